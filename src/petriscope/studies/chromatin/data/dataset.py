"""The one data-set format: a folder with `dataset.yaml`, checked at the door, after which the code
trusts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from petriscope.described import Described, shown
from petriscope.errors import UserError
from petriscope.names import did_you_mean
from petriscope.textfile import read_yaml_text

CONTEXTS = ("in_vitro", "in_vivo")
SIGNAL_FORMATS = ("fragments", "bam", "bigwig", "bedgraph", "narrowpeak")
MOTIF_FORMATS = ("meme", "homer")
DOCS = "See docs/datasets.md for the format."
KIND = "chromatin"
FIELDS = {
    "": (
        *("format", "kind", "name", "description", "licence", "simulation", "genome"),
        *("lineages", "biosamples", "annotation", "lineage_factors", "truth"),
    ),
    "genome": ("build", "fasta", "blacklist"),
    "biosamples": (
        *("id", "lineage", "context", "donor", "signal", "format", "library_share"),
        *("peaks", "chromhmm"),
    ),
    "annotation": ("genes", "chromhmm_states", "genesets", "motifs", "activity_motifs"),
    "motifs": ("file", "format"),
}
"""What each level of dataset.yaml may hold: the top, and by name the mappings in it."""


@dataclass(frozen=True)
class Biosample:
    """One donor or cell-line replicate: whose chromatin, in which context, and the files that hold
    it."""

    id: str
    lineage: str
    context: str
    donor: str
    signal: Path
    format: str
    library_share: float
    """Share of the library that the signal file holds: below 1 where it covers part of the genome.
    Factor on scaled tracks."""
    peaks: Path | None
    chromhmm: Path | None


@dataclass(frozen=True)
class Dataset:
    """A checked `dataset.yaml`; every path exists. `source` is the description's own file, for
    error messages."""

    name: str
    description: str
    licence: str
    source: Path
    root: Path
    build: str
    fasta: tuple[Path, ...]
    blacklist: Path | None
    lineages: tuple[str, ...]
    biosamples: tuple[Biosample, ...]
    genes: Path
    chromhmm_states: Path | None
    genesets: Mapping[str, Path]
    motifs: Path
    motif_format: str
    activity_motifs: Path
    """Motifs of the model's motif-activity input: those of the annotation unless others are
    named."""
    activity_motif_format: str
    lineage_factors: Mapping[str, tuple[str, ...]]
    truth: Path | None

    @property
    def simulated(self) -> bool:
        """True where the planted truth is known."""
        return self.truth is not None

    def biosample_table(self) -> pd.DataFrame:
        """Columns biosample, lineage, context, donor: one row per biosample in the order of every
        array's S axis."""
        return pd.DataFrame(
            {
                "biosample": [b.id for b in self.biosamples],
                "lineage": [b.lineage for b in self.biosamples],
                "context": [b.context for b in self.biosamples],
                "donor": [b.donor for b in self.biosamples],
            }
        )

    def segmentation(self, lineage: str, context: str) -> Path | None:
        """The segmentation that a group of bins is held against: its own lineage and context, else
        its lineage; else None."""
        own = [b for b in self.biosamples if b.lineage == lineage and b.chromhmm]
        same = [b for b in own if b.context == context]
        return next((b.chromhmm for b in (*same, *own)), None)

    def untestable(self) -> list[str]:
        """What this data set cannot support, one sentence each (no replicates, a context
        missing)."""
        table = self.biosample_table()
        notes = []
        for lineage in self.lineages:
            for context in CONTEXTS:
                n = int(((table.lineage == lineage) & (table.context == context)).sum())
                if n == 0:
                    notes.append(
                        f"{lineage} has no {context} biosample: no contrast for this lineage"
                    )
                elif n == 1:
                    notes.append(
                        f"{lineage} {context} has one biosample: no biosample-level test for "
                        f"{lineage}"
                    )
        if not self.simulated:
            notes.append("no planted truth: recovery of planted elements cannot be scored")
        return notes


def read_truth(path: Path) -> pd.DataFrame:
    """The planted truth: one row per bin of an element, as `simulate_elements.truth_table` makes
    them."""
    return pd.read_csv(path, sep="\t", keep_default_na=False)


def bundled_descriptions() -> dict[str, Path]:
    """Descriptions shipped with the package for folders that hold the files but no dataset.yaml:
    name → file."""
    folder = Path(str(resources.files("petriscope.studies.chromatin.data") / "descriptions"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_dataset(path: str | Path) -> Dataset:
    """Read and check a data set.

    Parameters: ``path`` — a folder with `dataset.yaml`, that file itself, or a folder whose files
    match a description bundled with the package. Raises `UserError` naming file, field and remedy.
    """
    source, root = _locate(Path(path))
    return _parse(Described(source, root, FIELDS, DOCS))


def _locate(path: Path) -> tuple[Path, Path]:
    """The description file and the folder its paths are relative to."""
    if path.is_file():
        return path, path.parent
    if (path / "dataset.yaml").is_file():
        return path / "dataset.yaml", path
    if not path.is_dir():
        remedy = (
            "Run `petriscope data demo` for the demo, or give the folder that holds dataset.yaml."
        )
        raise UserError("no such data set", file=path, remedy=remedy)
    for description in bundled_descriptions().values():
        wanted = read_yaml_text(description)["genome"]["fasta"]
        for root in (path, path / "real", path / "data" / "real"):
            if all((root / name).is_file() for name in wanted):
                return description, root
    remedy = "Write dataset.yaml (format in docs/datasets.md) or run `petriscope data demo`."
    raise UserError(
        "holds no dataset.yaml and matches no bundled description", file=path, remedy=remedy
    )


def _parse(r: Described) -> Dataset:
    kind = r.text(r.raw, "kind", KIND)
    if kind != KIND:
        remedy = "Name the study that reads this one (--study)."
        raise r.fail("kind", f"is {kind!r}, not {KIND!r}", remedy)
    r.known(r.raw, "", "")
    if (version := r.text(r.raw, "format")) != "1":
        raise r.fail("format", f"is {version}", "This version reads format 1.")
    genome = r.mapping(r.raw, "genome")
    r.known(genome, "genome", "genome")
    lineages = r.names(r.raw, "lineages")
    annotation = r.mapping(r.raw, "annotation")
    r.known(annotation, "annotation", "annotation")
    motifs, motif_format = _motifs(r, annotation, "annotation.motifs")
    activity, activity_format = motifs, motif_format
    if annotation.get("activity_motifs") is not None:
        activity, activity_format = _motifs(r, annotation, "annotation.activity_motifs")
    biosamples = tuple(
        _biosample(r, item, f"biosamples[{i}]", lineages)
        for i, item in enumerate(r.items(r.raw, "biosamples"))
    )
    seen: set[str] = set()
    for i, biosample in enumerate(biosamples):
        if biosample.id in seen:
            raise r.fail(
                f"biosamples[{i}].id",
                f"{biosample.id!r} appears twice",
                "Give each biosample its own id.",
            )
        seen.add(biosample.id)
    for name, found in (("lineages", lineages), ("biosamples", biosamples)):
        if not found:
            raise r.fail(name, "is empty", "Name at least one.")
    fasta = r.names(genome, "genome.fasta")
    if not fasta:
        raise r.fail("genome.fasta", "is empty", "Name at least one FASTA file.")
    genes = r.file(annotation, "annotation.genes")
    assert genes is not None
    return Dataset(
        name=r.text(r.raw, "name"),
        description=r.text(r.raw, "description", ""),
        licence=r.text(r.raw, "licence", ""),
        source=r.source,
        root=r.root,
        build=r.text(genome, "genome.build"),
        fasta=tuple(r.existing(name, f"genome.fasta[{i}]") for i, name in enumerate(fasta)),
        blacklist=r.file(genome, "genome.blacklist", optional=True),
        lineages=lineages,
        biosamples=biosamples,
        genes=genes,
        chromhmm_states=r.file(annotation, "annotation.chromhmm_states", optional=True),
        genesets=_genesets(r, annotation),
        motifs=motifs,
        motif_format=motif_format,
        activity_motifs=activity,
        activity_motif_format=activity_format,
        lineage_factors=_factors(r, lineages),
        truth=r.file(r.raw, "truth", optional=True),
    )


def _motifs(r: Described, annotation: Mapping[Any, Any], field: str) -> tuple[Path, str]:
    """File and format of an entry such as `{file: motifs.meme, format: meme}`."""
    entry = r.mapping(annotation, field)
    r.known(entry, "motifs", field)
    path = r.file(entry, f"{field}.file")
    assert path is not None
    return path, r.choice(entry, f"{field}.format", MOTIF_FORMATS)


def _genesets(r: Described, annotation: Mapping[Any, Any]) -> dict[str, Path]:
    """Collection → GMT file."""
    field = "annotation.genesets"
    found = {}
    for name, value in r.mapping(annotation, field).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise r.fail(f"{field}.{name}", f"must name a file, not {shown(value)}")
        found[name] = r.existing(value, f"{field}.{name}")
    return found


def _factors(r: Described, lineages: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Lineage → the factors claimed for it."""
    field = "lineage_factors"
    factors = r.mapping(r.raw, field, {})
    for lineage in factors:
        if lineage not in lineages:
            remedy = did_you_mean(lineage, lineages, kind="Lineages")
            raise r.fail(f"{field}.{lineage}", "is not a lineage of this data set", remedy)
    return {lineage: r.names(factors, f"{field}.{lineage}") for lineage in factors}


def _share(r: Described, item: Mapping[Any, Any], field: str) -> float:
    text = r.text(item, field, "1")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 1:
        raise r.fail(
            field,
            f"is {text}",
            "Give the share of the library in the file, above 0 and at most 1.",
        )
    return value


def _biosample(r: Described, item: Any, field: str, lineages: tuple[str, ...]) -> Biosample:
    if not isinstance(item, dict):
        raise r.fail(field, f"must be a mapping, not {shown(item)}")
    r.known(item, "biosamples", field)
    signal = r.file(item, f"{field}.signal")
    assert signal is not None
    name = r.text(item, f"{field}.id")
    return Biosample(
        id=name,
        lineage=r.choice(item, f"{field}.lineage", lineages, "Lineages"),
        context=r.choice(item, f"{field}.context", CONTEXTS, "Contexts"),
        donor=r.text(item, f"{field}.donor", name),
        signal=signal,
        format=r.choice(item, f"{field}.format", SIGNAL_FORMATS, "Formats"),
        library_share=_share(r, item, f"{field}.library_share"),
        peaks=r.file(item, f"{field}.peaks", optional=True),
        chromhmm=r.file(item, f"{field}.chromhmm", optional=True),
    )
