"""The demo data set against independent readers (pysam, pandas, scipy) and against the truth it
says it planted."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest
from scipy import stats

from petriscope.enrich.motifs import read_motifs
from petriscope.enrich.scan import scan_hits
from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.genome.fragments import read_fragments
from petriscope.genome.peaks import read_peaks
from petriscope.studies.chromatin.data import demo
from petriscope.studies.chromatin.data.dataset import load_dataset, read_truth
from petriscope.studies.chromatin.simulate.annotation import MARKERS, PLANTED_TERMS, STATES
from petriscope.studies.chromatin.simulate.dataset import (
    DemoConfig,
    dataset_digest,
    demo_motifs_path,
    simulate_demo,
)
from petriscope.studies.chromatin.simulate.genome import (
    CONDITIONS,
    CONTEXTS,
    LINEAGE_FACTORS,
    Element,
    SimulatedGenome,
    merge,
    programmes,
    random_bases,
    reverse_complement,
    sample_site,
)
from petriscope.studies.chromatin.simulate.signal import (
    SimulatedBiosample,
    call_peaks,
    design,
    element_rates,
    simulate_fragments,
)

SMALL = DemoConfig(seed=3, chromosomes=4, mean_length=300_000, replicates=2, deepest=18_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo"
    simulate_demo(out, SMALL)
    return out


@pytest.fixture(scope="module")
def truth(folder: Path) -> pd.DataFrame:
    return read_truth(folder / "truth.tsv.gz")


@pytest.fixture(scope="module")
def elements(truth: pd.DataFrame) -> pd.DataFrame:
    return truth.drop_duplicates("element").reset_index(drop=True)


def element_dna(folder: Path, elements: pd.DataFrame, width: int = 800) -> np.ndarray:
    """(n, width) codes of whole elements, N beyond their ends."""
    genome = Genome([folder / "genome.fa"])
    out = np.full((len(elements), width), 4, dtype=np.uint8)
    for row, e in enumerate(elements.itertuples()):
        codes = genome.fetch_codes(e.chrom, e.element_start, e.element_end)
        out[row, : len(codes)] = codes
    return out


def cuts(folder: Path, name: str) -> dict[str, np.ndarray]:
    table = pd.read_csv(folder / "signal" / f"{name}.fragments.tsv.gz", sep="\t", header=None)
    return {str(c): np.sort(g[[1, 2]].to_numpy().ravel()) for c, g in table.groupby(0)}


def in_elements(folder: Path, name: str, elements: pd.DataFrame) -> np.ndarray:
    positions = cuts(folder, name)
    return np.array(
        [
            np.searchsorted(positions[e.chrom], e.element_end)
            - np.searchsorted(positions[e.chrom], e.element_start)
            for e in elements.itertuples()
        ]
    )


def test_same_config_same_bytes(folder: Path, tmp_path: Path) -> None:
    simulate_demo(tmp_path / "again", SMALL)
    assert dataset_digest(tmp_path / "again") == dataset_digest(folder)


def test_another_seed_another_data_set(tmp_path: Path) -> None:
    for seed in (4, 5):
        simulate_demo(tmp_path / str(seed), DemoConfig(seed, 1, 250_000, 1, 2000))
    assert dataset_digest(tmp_path / "4") != dataset_digest(tmp_path / "5")


def test_no_file_carries_a_time_stamp(folder: Path) -> None:
    for path in folder.rglob("*.gz"):
        assert path.read_bytes()[4:8] == b"\0\0\0\0", path


def test_description_loads_and_names_every_condition(folder: Path) -> None:
    dataset = load_dataset(folder)
    table = dataset.biosample_table()
    assert table.groupby(["lineage", "context"]).size().tolist() == [2] * 6
    assert dataset.simulated and dataset.untestable() == []
    assert table["donor"].is_unique
    size = sum(SMALL.lengths().values())
    assert dataset.biosamples[0].library_share == pytest.approx(size / 3.1e9, rel=1e-5)
    assert dataset.lineage_factors["liver"] == ("HNF4A", "FOXA2")


def test_index_is_the_one_samtools_makes(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "genome.fa"
    copy.write_bytes((folder / "genome.fa").read_bytes())
    pysam.faidx(str(copy))
    assert Path(f"{copy}.fai").read_text() == (folder / "genome.fa.fai").read_text()


def test_genome_has_gaps_depleted_cpg_and_varied_gc(folder: Path) -> None:
    genome = Genome([folder / "genome.fa"])
    ratios, contents = [], []
    for row in genome.contigs.itertuples():
        codes = genome.fetch_codes(row.chrom, row.start, row.end)
        assert (codes[:10_240] == 4).all()
        assert (codes[10_240:] == 4).sum() == 5120
        known = codes[codes < 4]
        c, g = (known == 1).mean(), (known == 2).mean()
        ratios.append(((known[:-1] == 1) & (known[1:] == 2)).mean() / (c * g))
        steps = known[: len(known) // 50_000 * 50_000].reshape(-1, 50_000)
        contents += list(np.isin(steps, (1, 2)).mean(axis=1))
    assert 0.15 < np.mean(ratios) < 0.55  # the human genome's is about .2 to .25
    assert 0.36 < np.mean(contents) < 0.5
    assert np.ptp(contents) > 0.05


def test_random_bases_keep_their_gc_where_cpg_stays() -> None:
    codes = random_bases(np.random.default_rng(0), np.full(200_000, 0.4), 1.0)
    assert np.isin(codes, (1, 2)).mean() == pytest.approx(0.4, abs=0.005)


def test_merge_equals_a_union_of_base_sets() -> None:
    intervals = np.array([[0, 5], [3, 8], [8, 9], [12, 20], [13, 14]])
    assert merge(intervals).tolist() == [[0, 9], [12, 20]]


def test_fragments_are_sorted_inside_and_off_the_gaps(folder: Path) -> None:
    dataset = load_dataset(folder)
    genome = Genome(dataset.fasta)
    for biosample in dataset.biosamples[:4]:
        frame = pd.concat(read_fragments(biosample.signal, genome.contigs))
        assert (frame["end"] > frame["start"]).all()
        for row in genome.contigs.itertuples():
            codes = genome.fetch_codes(row.chrom, row.start, row.end)
            here = frame[frame["chrom"] == row.chrom]
            assert (codes[here["start"].to_numpy()] < 4).all() and (
                codes[here["end"].to_numpy() - 1] < 4
            ).all()


def test_elements_keep_off_the_blacklist_and_follow_their_programme(
    folder: Path, elements: pd.DataFrame
) -> None:
    blacklist = pd.read_csv(folder / "blacklist.bed", sep="\t", header=None)
    for e in elements.itertuples():
        same = blacklist[blacklist[0] == e.chrom]
        assert not ((same[1] < e.element_end) & (same[2] > e.element_start)).any()
    rules = {rule.name: rule for rule in programmes()}
    assert sum(rule.cards for rule in rules.values()) == 51
    for e in elements.itertuples():
        allowed = {name for recipe in rules[e.programme].recipes for name in recipe}
        assert set(e.motifs.split(",")) <= allowed
        assert e.lineages == ",".join(rules[e.programme].lineages)


def test_truth_bins_are_covered_by_their_element(truth: pd.DataFrame) -> None:
    overlap = np.minimum(truth["end"], truth["element_end"]) - np.maximum(
        truth["start"], truth["element_start"]
    )
    assert (overlap == truth["overlap"]).all() and (overlap >= 32).all()
    assert (truth["start"] % 128 == 0).all()
    on = truth[truth["programme"] == "liver_in_vivo"]
    assert np.allclose(on["open_liver_in_vivo"], on["effect"])
    assert (on["open_liver_in_vitro"] < 0.1 * on["effect"]).all()


@pytest.mark.parametrize("lineage", ["blood", "liver", "lymph"])
def test_lineage_motifs_lie_in_their_elements_and_hardly_elsewhere(
    folder: Path, elements: pd.DataFrame, lineage: str
) -> None:
    motifs = [
        m for m in read_motifs(folder / "motifs.meme") if m.factor in LINEAGE_FACTORS[lineage]
    ]
    assert len(motifs) == 2
    mine = elements["programme"].str.startswith(lineage).to_numpy()
    hits = scan_hits(element_dna(folder, elements), motifs)
    assert (hits[mine].mean(axis=0) > 0.8).all()
    assert (hits[~mine].mean(axis=0) < 0.35).all()


def test_sites_score_near_their_matrix_and_vary() -> None:
    motif = next(m for m in read_motifs(demo_motifs_path()) if m.factor == "HNF4A")
    rng = np.random.default_rng(1)
    sites = np.stack([sample_site(rng, motif) for _ in range(200)])
    scores = motif.log_odds()[np.arange(sites.shape[1]), sites].sum(axis=1)
    assert (scores >= 0.7 * motif.log_odds().max(axis=1).sum() - 1e-9).all()
    assert len({tuple(site) for site in sites}) > 20
    assert (reverse_complement(reverse_complement(sites)) == sites).all()


def test_accessibility_follows_the_truth(folder: Path, elements: pd.DataFrame) -> None:
    counts = in_elements(folder, "liver_vivo_1", elements) / (
        elements["element_end"] - elements["element_start"]
    )
    for programme in ("liver", "in_vivo", "shared"):
        assert (
            counts[elements["programme"] == programme].mean()
            > 4 * counts[elements["programme"] == "blood"].mean()
        )
    on = elements["open_liver_in_vivo"] > 0.3
    assert stats.spearmanr(counts[on], elements["open_liver_in_vivo"][on]).statistic > 0.2


def test_replicates_differ_by_more_than_counting_noise(
    folder: Path, elements: pd.DataFrame
) -> None:
    on = (elements["open_blood_in_vivo"] > 0.5).to_numpy()
    a, b = (in_elements(folder, f"blood_vivo_{i}", elements)[on].astype(float) for i in (1, 2))
    expected = (a + b) * (a.sum() / (a.sum() + b.sum()))
    chi2 = ((a - expected) ** 2 / (expected * (b.sum() / (a.sum() + b.sum())))).sum()
    assert stats.chi2.sf(chi2, on.sum() - 1) < 1e-6


def test_fragment_counts_are_negative_binomial() -> None:
    """Poisson of a gamma with variance .04: Var = mean + .04 mean²."""
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 4, 1_024_000).astype(np.uint8)
    genome = SimulatedGenome(
        {"c": sequence}, {"c": np.full(1000, 0.41)}, {}, {"c": np.zeros((0, 2), np.int64)}
    )
    places = range(2000, 1_020_000, 1000)
    elements = [
        Element(i, "c", at, at + 400, i, "x", "shared", False, (), 1.0)
        for i, at in enumerate(places)
    ]
    sample = SimulatedBiosample("s", "blood", "in_vitro", "d", 220 * len(elements), 0.9)
    fragments = simulate_fragments(rng, genome, elements, np.ones(len(elements)), sample)["c"]
    middle = fragments.sum(axis=1) // 2
    near = np.bincount((middle[middle >= 1700] - 1700) // 1000, minlength=len(elements))[
        : len(elements)
    ]
    assert near.var() / (near.mean() + 0.04 * near.mean() ** 2) == pytest.approx(1, abs=0.2)


def test_depth_and_signal_to_noise_differ_between_contexts_and_overlap_in_every_lineage() -> None:
    samples = design(np.random.default_rng(0), 5, 640_000)
    everything = [s.fragments for s in samples]
    assert 1.5 < max(everything) / min(everything) < 2
    for value in (lambda s: s.fragments, lambda s: s.in_elements):
        for lineage in ("blood", "liver", "lymph"):
            of = {
                c: [value(s) for s in samples if (s.lineage, s.context) == (lineage, c)]
                for c in CONTEXTS
            }
            assert np.mean(of["in_vitro"]) > 1.02 * np.mean(of["in_vivo"])
            assert sum(x > min(of["in_vitro"]) for x in of["in_vivo"]) >= 2
    order = [
        np.argsort([s.fragments for s in samples[i : i + 5]]).tolist() for i in range(0, 30, 5)
    ]
    assert len({tuple(x) for x in order}) > 1


def test_donors_vary_by_a_quarter_and_alike_in_both_contexts() -> None:
    elements = [Element(i, "c", 0, 400, i // 4, "x", "shared", False, (), 1.0) for i in range(2000)]
    samples = design(np.random.default_rng(3), 40, 640_000)
    log = np.log(element_rates(np.random.default_rng(2), elements, samples))
    for first in range(0, len(samples), 40):
        assert log[:, first : first + 40].std(1, ddof=1).mean() == pytest.approx(0.25, abs=0.02)


def test_peaks_find_open_elements_without_the_truth(folder: Path, elements: pd.DataFrame) -> None:
    dataset = load_dataset(folder)
    genome = Genome(dataset.fasta)
    biosample = max(dataset.biosamples, key=lambda b: b.signal.stat().st_size)
    peaks = read_peaks(biosample.peaks, genome.contigs)
    column = f"open_{biosample.lineage}_{biosample.context}"
    strong = elements[elements[column] > 0.8]
    found = [
        (
            (peaks.chrom == e.chrom) & (peaks.start < e.element_end) & (peaks.end > e.element_start)
        ).any()
        for e in strong.itertuples()
    ]
    assert np.mean(found) > 0.85
    blacklist = pd.read_csv(folder / "blacklist.bed", sep="\t", header=None)
    real = []
    for p in peaks.itertuples():
        if ((blacklist[0] == p.chrom) & (blacklist[1] < p.end) & (blacklist[2] > p.start)).any():
            continue
        same = elements[elements.chrom == p.chrom]
        real.append(((same.element_start < p.end + 150) & (same.element_end > p.start - 150)).any())
    assert np.mean(real) > 0.9


def test_peak_calls_agree_with_scipy_where_signal_is_flat() -> None:
    rng = np.random.default_rng(0)
    starts = np.sort(rng.integers(0, 199_000, 4000))
    quiet = call_peaks({"c": np.stack([starts, starts + 100], axis=1)}, {"c": 200_000}, p=1e-9)
    assert quiet.empty
    extra = np.sort(np.concatenate([starts, rng.integers(99_950, 100_000, 60)]))
    loud = call_peaks({"c": np.stack([extra, extra + 50], axis=1)}, {"c": 200_000}, p=1e-9)
    assert len(loud) == 1
    assert abs(loud["summit"].iloc[0] - 100_000) < 150


def test_narrowpeak_has_ten_columns_and_summits_inside(folder: Path) -> None:
    for path in sorted((folder / "peaks").iterdir())[:3]:
        table = pd.read_csv(path, sep="\t", header=None)
        assert table.shape[1] == 10
        assert ((table[9] >= 0) & (table[1] + table[9] < table[2])).all()
        assert (table[4].between(0, 1000)).all() and (table[7] >= 6).all()


def test_segmentation_tiles_the_genome_in_official_states(
    folder: Path, elements: pd.DataFrame
) -> None:
    names = {f"{i + 1}_{name}": color for i, (name, color) in enumerate(STATES)}
    for lineage, context in CONDITIONS:
        bed = pd.read_csv(
            folder / "chromhmm" / f"{lineage}_{context}.bed.gz", sep="\t", header=None
        )
        for chrom, length in SMALL.lengths().items():
            here = bed[bed[0] == chrom]
            assert here[1].iloc[0] == 0 and here[2].iloc[-1] == length
            assert (here[1].to_numpy()[1:] == here[2].to_numpy()[:-1]).all()
        assert (bed[3].map(names) == bed[8]).all()
        on = elements[(elements[f"open_{lineage}_{context}"] > 0.8) & ~elements["promoter"]]
        middle = ((on["element_start"] + on["element_end"]) // 2).to_numpy()
        state = np.empty(len(on), dtype=object)
        for chrom, here in bed.groupby(0):
            rows = np.flatnonzero(on["chrom"] == chrom)
            state[rows] = here[3].to_numpy()[
                np.searchsorted(here[2].to_numpy(), middle[rows], side="right")
            ]
        assert np.mean([name.split("_")[1] in ("EnhA1", "EnhA2", "EnhG1") for name in state]) > 0.7


def test_gene_sets_carry_their_programme(folder: Path) -> None:
    genes = pd.read_csv(folder / "genes.bed", sep="\t", header=None)
    assert (
        genes[3].is_unique and (genes[2] == genes[1] + 1).all() and genes[5].isin(["+", "-"]).all()
    )
    known = set(genes[3])
    lines = [line.split("\t") for line in (folder / "go.gmt").read_text().splitlines()]
    assert len({line[0] for line in lines}) == len(lines)
    assert sum(line[1] == "random" for line in lines) >= 100
    for term, note, *members in lines:
        assert set(members) <= known and len(set(members)) == len(members), term
        if note.startswith("planted:"):
            assert term.split(" (PETRI")[0] in PLANTED_TERMS[note.removeprefix("planted:")]
    for programme, text in MARKERS.items():
        share = {
            note: np.mean(
                [np.isin(line[2:], text.split()).mean() for line in lines if line[1] == note]
            )
            for note in {line[1] for line in lines}
        }
        assert share[f"planted:{programme}"] > 1.5 * share["random"]
        assert max(share, key=lambda note: share[note]) == f"planted:{programme}"


def test_motif_file_names_its_source_and_license() -> None:
    text = demo_motifs_path().read_text()
    assert "JASPAR" in text and "CC BY 4.0" in text
    motifs = read_motifs(demo_motifs_path())
    assert len(motifs) == 40
    assert all(m.name.split("/")[1].startswith("MA") for m in motifs)
    needed = {name for rule in programmes() for recipe in rule.recipes for name in recipe}
    assert needed <= {m.factor for m in motifs}
    ebf = next(m for m in motifs if m.factor == "EBF1")
    assert "TCCC" in "".join(
        "ACGT"[i] if p > 0.6 else "N" for i, p in zip(ebf.matrix.argmax(1), ebf.matrix.max(1))
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", -1), ("chromosomes", 0), ("mean_length", 1000), ("replicates", 0), ("deepest", 1)],
)
def test_config_out_of_range_names_the_field(tmp_path: Path, field: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"{field}: is {value}.*at least"):
        simulate_demo(tmp_path / "x", DemoConfig(**{field: value}))
    assert not list(tmp_path.iterdir())


def test_interrupted_simulation_leaves_the_earlier_data_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / "dataset.yaml").write_text("name: demo\nsimulation:\n  seed: 1\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petriscope.studies.chromatin.simulate.dataset._write_peaks", full)
    with pytest.raises(OSError, match="No space"):
        simulate_demo(out, SMALL)
    assert [p.name for p in out.iterdir()] == ["dataset.yaml"]
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


class TestVerb:
    """`petriscope data demo`: first run writes, second changes nothing, a different folder is
    refused."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny = {"chromosomes": 1, "mean_length": 250_000, "replicates": 1, "deepest": 2000}
        monkeypatch.setattr(demo, "DemoConfig", lambda seed: DemoConfig(seed=seed, **tiny))
        monkeypatch.setattr(demo.DemoConfig, "seed", 5, raising=False)

    @staticmethod
    def call(out: Path, seed: int = 5) -> None:
        demo.run(argparse.Namespace(out=str(out), seed=seed))

    def test_twice_is_a_no_op(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.call(tmp_path / "demo")
        first = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*")}
        self.call(tmp_path / "demo")
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*")} == first
        assert "byte for byte" in capsys.readouterr().out
        assert [p.name for p in tmp_path.iterdir()] == ["demo"]

    def test_refuses_a_different_folder_and_leaves_it(self, tmp_path: Path) -> None:
        self.call(tmp_path / "demo")
        with pytest.raises(UserError, match=r"demo: holds something other.*Name another folder"):
            self.call(tmp_path / "demo", seed=6)
        (tmp_path / "demo" / "genome.fa").write_text(">chr1\n")
        with pytest.raises(UserError, match="holds something other"):
            self.call(tmp_path / "demo")
        assert (tmp_path / "demo" / "genome.fa").read_text() == ">chr1\n"

    def test_refuses_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "demo").write_text("")
        with pytest.raises(UserError, match=r"demo: is a file"):
            self.call(tmp_path / "demo")


def test_shipped_config_is_the_size_it_says() -> None:
    lengths = DemoConfig().lengths()
    assert len(lengths) == 10 and 8e6 < sum(lengths.values()) < 12e6
    assert all(length % 1024 == 0 for length in lengths.values())


def test_gzip_is_readable_to_its_end(folder: Path) -> None:
    for path in folder.rglob("*.gz"):
        with gzip.open(path) as handle:
            assert handle.read()[-1:] == b"\n"


def test_elements_of_one_context_differ_in_shape_and_not_in_strength(
    elements: pd.DataFrame,
) -> None:
    width = (elements.element_end - elements.element_start).groupby(elements.contexts)
    assert width.min()["in_vitro"] >= 500 and width.max()["in_vivo"] <= 220
    assert width.min()["in_vitro,in_vivo"] >= 200 and width.max()["in_vitro,in_vivo"] <= 600
    strength = elements.groupby("contexts").effect.mean()
    assert strength["in_vitro"] == pytest.approx(strength["in_vivo"], rel=0.2)


def test_truth_holds_no_bit_that_depends_on_the_processor(truth: pd.DataFrame) -> None:
    np.testing.assert_array_equal(truth.effect, truth.effect.round(6))
    assert truth.promoter.dtype == bool
    assert set(truth.contexts) == {"in_vitro", "in_vivo", "in_vitro,in_vivo"}
