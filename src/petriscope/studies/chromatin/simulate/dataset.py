"""The demo data set is a simulated genome, thirty biosamples with planted context programmes, and
the truth; new libraries of it (the same genome and elements, other donors) say which features are
planted."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import yaml

from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, sha256
from petriscope.genome.coverage import WindowBins, cut_sites
from petriscope.genome.tracks import SCALE_TO
from petriscope.parallel import in_processes
from petriscope.studies.chromatin.simulate.annotation import (
    STATES,
    Gene,
    segment,
    simulate_gene_sets,
    simulate_genes,
)
from petriscope.studies.chromatin.simulate.genome import (
    CONDITIONS,
    LETTERS,
    LINEAGE_FACTORS,
    LINEAGES,
    Element,
    SimulatedGenome,
    plant_elements,
    simulate_genome,
    truth_table,
)
from petriscope.studies.chromatin.simulate.signal import (
    HUMAN_GENOME,
    PEAK_P,
    SimulatedBiosample,
    call_peaks,
    design,
    element_rates,
    simulate_fragments,
)

LINE = 60
DEMO = Output(
    "a simulated data set",
    (
        *("dataset.yaml", "genome.fa", "genome.fa.fai", "genes.bed", "go.gmt", "motifs.meme"),
        *("states.tsv", "blacklist.bed", "truth.tsv.gz"),
        *("signal/*.fragments.tsv.gz*", "peaks/*.narrowPeak.gz", "chromhmm/*.bed.gz"),
    ),
    lambda path: "\nsimulation:\n" in path.read_text(encoding="utf-8", errors="replace"),
)


@dataclass(frozen=True)
class DemoConfig:
    """What to simulate. The defaults are the demo that ships; tests use a smaller one."""

    seed: int = 20260
    chromosomes: int = 10
    mean_length: int = 1_050_000
    """Base pairs of an average chromosome; lengths fall from 1.4 to 0.6 of it."""
    replicates: int = 5
    deepest: int = 640_000
    """Fragments of the deepest biosample; the shallowest has about six tenths."""

    def lengths(self) -> dict[str, int]:
        """Chromosome lengths, multiples of 1024."""
        share = np.linspace(1.4, 0.6, self.chromosomes)
        return {
            f"chr{i + 1}": int(self.mean_length * x) // 1024 * 1024 for i, x in enumerate(share)
        }

    def check(self) -> None:
        """Raise `UserError` naming the field that cannot be simulated."""
        for field, low in (
            ("seed", 0),
            ("chromosomes", 1),
            ("mean_length", 200_000),
            ("replicates", 1),
            ("deepest", 1000),
        ):
            if getattr(self, field) < low:
                raise UserError(
                    f"is {getattr(self, field)}",
                    field=field,
                    remedy=f"Give a number of at least {low}.",
                )


def demo_motifs_path() -> Path:
    """The bundled motif matrices (JASPAR CORE 2024, CC BY 4.0)."""
    return Path(str(resources.files("petriscope.studies.chromatin.simulate") / "demo_motifs.meme"))


def dataset_digest(folder: str | Path) -> str:
    """SHA-256 over the folder's sorted file names and contents: equal for equal seeds."""
    return sha256(folder)


def simulate_demo(out_folder: str | Path, config: DemoConfig | None = None) -> None:
    """Write the demo data set into ``out_folder`` (replaced as a whole, or left as it was on
    failure).

    Same config, same bytes: no time stamps, gzip headers blank. Raises `UserError` for a config out
    of range.
    """
    config = config or DemoConfig()
    config.check()
    motifs = {motif.factor: motif for motif in read_motifs(demo_motifs_path(), "meme")}
    with atomic_folder(out_folder, DEMO) as folder:
        _write_all(folder, config, motifs)


def _stream(config: DemoConfig, *part: int) -> np.random.Generator:
    """An independent random stream per part, so that a change in one leaves the others' draws
    alone."""
    return np.random.default_rng([config.seed, *part])


def _write_all(folder: Path, config: DemoConfig, motifs: dict[str, Motif]) -> None:
    genome = simulate_genome(_stream(config, 1), config.lengths())
    elements = plant_elements(_stream(config, 2), genome, motifs)
    genes = simulate_genes(_stream(config, 3), elements, config.lengths())
    samples = design(_stream(config, 4), config.replicates, config.deepest)
    rates = element_rates(_stream(config, 5), elements, samples)
    _write_genome(folder, genome)
    _write_annotation(folder, config, genome, elements, genes)

    def one(index: int) -> None:
        sample = samples[index]
        fragments = simulate_fragments(
            _stream(config, 6, index), genome, elements, rates[:, index], sample
        )
        _write_fragments(folder / _signal(sample), fragments)
        _write_peaks(folder / _peaks(sample), call_peaks(fragments, config.lengths(), p=PEAK_P))

    for _ in in_processes(one, range(len(samples)), "simulating biosamples", unit="biosample"):
        pass
    _write_gzip(folder / "truth.tsv.gz", _table_bytes(truth_table(elements), header=True))
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump(_description(config, genome, samples), sort_keys=False, width=110),
        encoding="utf-8",
    )


def _signal(sample: SimulatedBiosample) -> str:
    return f"signal/{sample.id}.fragments.tsv.gz"


def _peaks(sample: SimulatedBiosample) -> str:
    return f"peaks/{sample.id}.narrowPeak.gz"


def _chromhmm(lineage: str, context: str) -> str:
    return f"chromhmm/{lineage}_{context}.bed.gz"


def _write_gzip(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, compresslevel=6, mtime=0))


def _table_bytes(frame: pd.DataFrame, header: bool = False) -> bytes:
    """Tab-separated rows."""
    sink = pa.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(include_header=header, delimiter="\t", quoting_style="none")
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), sink, options)
    return sink.getvalue().to_pybytes()


def _write_genome(folder: Path, genome: SimulatedGenome) -> None:
    """FASTA with lines of 60, its .fai, and the blacklist."""
    offset = 0
    with (
        (folder / "genome.fa").open("wb") as fasta,
        (folder / "genome.fa.fai").open("w", encoding="utf-8") as index,
    ):
        for name, codes in genome.sequence.items():
            header = f">{name}\n".encode()
            letters = LETTERS[codes]
            whole = len(letters) // LINE * LINE
            body = np.full((whole // LINE, LINE + 1), ord("\n"), dtype=np.uint8)
            body[:, :LINE] = letters[:whole].reshape(-1, LINE)
            rest = letters[whole:].tobytes() + b"\n" if len(letters) > whole else b""
            fasta.write(header + body.tobytes() + rest)
            index.write(f"{name}\t{len(letters)}\t{offset + len(header)}\t{LINE}\t{LINE + 1}\n")
            offset += len(header) + body.size + len(rest)
    rows = [f"{c}\t{a}\t{b}\tartefact\n" for c, pairs in genome.blacklist.items() for a, b in pairs]
    (folder / "blacklist.bed").write_text("".join(rows), encoding="utf-8")


def _write_annotation(
    folder: Path,
    config: DemoConfig,
    genome: SimulatedGenome,
    elements: list[Element],
    genes: list[Gene],
) -> None:
    rows = [f"{g.chrom}\t{g.tss}\t{g.tss + 1}\t{g.name}\t0\t{g.strand}\n" for g in genes]
    (folder / "genes.bed").write_text("".join(rows), encoding="utf-8")
    sets = simulate_gene_sets(_stream(config, 7), genes)
    (folder / "go.gmt").write_text(
        "".join("\t".join([term, note, *members]) + "\n" for term, note, members in sets),
        encoding="utf-8",
    )
    states = "".join(f"{i + 1}\t{name}\t{color}\n" for i, (name, color) in enumerate(STATES))
    (folder / "states.tsv").write_text(f"number\tname\tcolour\n{states}", encoding="utf-8")
    (folder / "motifs.meme").write_bytes(demo_motifs_path().read_bytes())
    for index, (lineage, context) in enumerate(CONDITIONS):
        table = segment(_stream(config, 8, index), genome, elements, genes, index)
        name = np.array([f"{i + 1}_{state}" for i, (state, _) in enumerate(STATES)])
        color = np.array([rgb for _, rgb in STATES])
        state = table["state"].to_numpy() - 1
        bed = table[["chrom", "start", "end"]].assign(
            name=name[state],
            score=0,
            strand=".",
            thick_start=table["start"],
            thick_end=table["end"],
            rgb=color[state],
        )
        _write_gzip(folder / _chromhmm(lineage, context), _table_bytes(bed))


def _write_fragments(path: Path, fragments: dict[str, np.ndarray]) -> None:
    """chrom, start, end, one line per fragment, sorted; duplicates stay separate lines."""
    frames = [
        pd.DataFrame({"chrom": c, "start": f[:, 0], "end": f[:, 1]}) for c, f in fragments.items()
    ]
    _write_gzip(path, _table_bytes(pd.concat(frames, ignore_index=True)))


def _write_peaks(path: Path, peaks: pd.DataFrame) -> None:
    """narrowPeak: name, score (0–1000), strand, signal, −log10 p, −1 (no q), summit offset."""
    bed = pd.DataFrame(
        {
            "chrom": peaks["chrom"],
            "start": peaks["start"],
            "end": peaks["end"],
            "name": [f"peak_{i + 1}" for i in range(len(peaks))],
            "score": np.clip(peaks["log_p"] * 10, 0, 1000).astype(int),
            "strand": ".",
            "signal": peaks["signal"].map("{:.4f}".format),
            "log_p": peaks["log_p"].map("{:.3f}".format),
            "log_q": -1,
            "summit": peaks["summit"] - peaks["start"],
        }
    )
    _write_gzip(path, _table_bytes(bed))


def _description(
    config: DemoConfig, genome: SimulatedGenome, samples: list[SimulatedBiosample]
) -> dict[str, object]:
    """The content of dataset.yaml."""
    share = float(f"{genome.size / HUMAN_GENOME:.6g}")
    return {
        "format": 1,
        "name": "demo",
        "description": f"Simulated chromatin of {len(samples)} biosamples with planted programmes "
        f"of dish and body",
        "licence": "CC BY 4.0 (motifs: JASPAR CORE 2024; all else simulated)",
        "simulation": asdict(config),
        "genome": {"build": "petri1", "fasta": ["genome.fa"], "blacklist": "blacklist.bed"},
        "lineages": list(LINEAGES),
        "biosamples": [
            {
                "id": s.id,
                "lineage": s.lineage,
                "context": s.context,
                "donor": s.donor,
                "signal": _signal(s),
                "format": "fragments",
                "library_share": share,
                "peaks": _peaks(s),
                "chromhmm": _chromhmm(s.lineage, s.context),
            }
            for s in samples
        ],
        "annotation": {
            "genes": "genes.bed",
            "chromhmm_states": "states.tsv",
            "genesets": {"GO_BP": "go.gmt"},
            "motifs": {"file": "motifs.meme", "format": "meme"},
        },
        "lineage_factors": {
            lineage: [x.upper() for x in LINEAGE_FACTORS[lineage]] for lineage in LINEAGES
        },
        "truth": "truth.tsv.gz",
    }


class Libraries(NamedTuple):
    """Simulated libraries as the model takes them."""

    table: pd.DataFrame
    """columns biosample, lineage, context, fragments, in_elements (the share of fragments meant to
    lie in elements)."""
    signal: np.ndarray
    """(W, S, L/4) float16"""
    peaks: list[pd.DataFrame]
    """columns chrom, start, end, summit, score of each library."""


def simulate_libraries(
    config: DemoConfig, windows: pd.DataFrame, *, donors: int, alike: bool, seed: int
) -> Libraries:
    """``donors`` new libraries per condition over ``windows`` (chrom, start, end), donors drawn as
    the data set's were.

    Where they are ``alike``, all have the depth and the share of fragments in elements of the data
    set's median: nothing but the planted openness differs between conditions. Otherwise both are
    drawn as the data set's were.
    """
    genome = simulate_genome(np.random.default_rng([config.seed, 1]), config.lengths())
    motifs = {motif.factor: motif for motif in read_motifs(demo_motifs_path(), "meme")}
    elements = plant_elements(np.random.default_rng([config.seed, 2]), genome, motifs)
    rng = np.random.default_rng([seed, 1])
    samples = design(rng, donors, config.deepest)
    if alike:
        own = design(np.random.default_rng([config.seed, 4]), config.replicates, config.deepest)
        fragments = int(np.median([sample.fragments for sample in own]))
        inside = float(np.median([sample.in_elements for sample in own]))
        samples = [replace(sample, fragments=fragments, in_elements=inside) for sample in samples]
    rates = element_rates(rng, elements, samples)

    def one(number: int) -> tuple[np.ndarray, int, pd.DataFrame]:
        stream = np.random.default_rng([seed, 2, number])
        fragments = simulate_fragments(stream, genome, elements, rates[:, number], samples[number])
        track, total = _track(fragments, windows, genome.size / HUMAN_GENOME)
        called = call_peaks(fragments, config.lengths(), p=PEAK_P)
        called = called.rename(columns={"signal": "score"})
        stored = np.minimum(track, np.finfo(np.float16).max).astype(np.float16)
        return stored, total, called[["chrom", "start", "end", "summit", "score"]]

    made = in_processes(one, range(len(samples)), "simulating libraries", unit="library")
    signal = np.empty((len(windows), len(samples), WindowBins(windows).bins), np.float16)
    rows, peaks = [], []
    for number, (sample, (track, total, called)) in enumerate(zip(samples, made, strict=True)):
        signal[:, number] = track
        peaks.append(called)
        rows.append((f"new_{sample.id}", sample.lineage, sample.context, total, sample.in_elements))
    table = pd.DataFrame(
        rows, columns=["biosample", "lineage", "context", "fragments", "in_elements"]
    )
    return Libraries(table, signal, peaks)


def _track(
    fragments: dict[str, np.ndarray], windows: pd.DataFrame, share: float
) -> tuple[np.ndarray, int]:
    """Scaled cut coverage (W, L/4) as `signal_for_windows` makes it from a file, and the
    fragments."""
    bins = WindowBins(windows)
    values, total = bins.zeros(), 0
    for chrom, pairs in fragments.items():
        total += len(pairs)
        bins.add_cuts(values, chrom, cut_sites(pairs[:, 0], pairs[:, 1]))
    return values * np.float32(SCALE_TO / total * float(f"{share:.6g}")), total
