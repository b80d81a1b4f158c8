"""The one data-set format: a folder with `dataset.yaml`, checked at the door, after which the code
trusts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from petriscope.errors import UserError
from petriscope.names import did_you_mean, exactly
from petriscope.textfile import read_yaml_text

CONTEXTS = ("in_vitro", "in_vivo")
SIGNAL_FORMATS = ("fragments", "bam", "bigwig", "bedgraph", "narrowpeak")
MOTIF_FORMATS = ("meme", "homer")
DOCS = "See docs/datasets.md for the format."
FIELDS = {
    "": (
        *("format", "name", "description", "licence", "simulation", "genome", "lineages"),
        *("biosamples", "annotation", "lineage_factors", "truth"),
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
    return _parse(_Reader(source, root, read_yaml_text(source)))


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


class _Reader:
    """Typed access to the raw mapping, whose every scalar is text; every failure names the
    field."""

    def __init__(self, source: Path, root: Path, raw: Any) -> None:
        self.source, self.root = source, root
        if not isinstance(raw, dict):
            raise UserError("is not a mapping", file=source, remedy=DOCS)
        self.raw: dict[Any, Any] = raw

    def fail(self, field: str, what: str, remedy: str = DOCS) -> UserError:
        return UserError(what, file=self.source, field=field, remedy=remedy)

    def known(self, mapping: Mapping[Any, Any], level: str, where: str) -> None:
        """Refuse a field that ``level`` does not have, naming the nearest, or where it belongs."""
        for name in mapping:
            if name in FIELDS[level]:
                continue
            field = f"{where}.{name}" if where else str(name)
            homes = [home or "the top level" for home in FIELDS if name in FIELDS[home]]
            remedy = did_you_mean(name, FIELDS[level], kind="Fields here")
            if homes:
                belongs = f"{name} belongs under {' or '.join(homes)}."
                remedy = f"{belongs} {remedy}" if remedy.startswith("Did you mean") else belongs
            raise self.fail(field, "is not a field of a data set", remedy)

    def mapping(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> dict[Any, Any]:
        value = self._value(above, field, default)
        if not isinstance(value, dict):
            raise self.fail(field, f"must be a mapping, not {_shown(value)}")
        return value

    def items(self, above: Mapping[Any, Any], field: str) -> list[Any]:
        value = self._value(above, field)
        if not isinstance(value, list):
            remedy = f"Write [{value}]." if isinstance(value, str) else "Write it as [a, b]."
            raise self.fail(field, f"must be a list, not {_shown(value)}", remedy)
        return value

    def names(self, above: Mapping[Any, Any], field: str) -> tuple[str, ...]:
        """A list of texts, each once."""
        found: list[str] = []
        for i, value in enumerate(self.items(above, field)):
            if not isinstance(value, str) or not value.strip():
                raise self.fail(f"{field}[{i}]", f"must be a name, not {_shown(value)}")
            if value in found:
                raise self.fail(f"{field}[{i}]", f"{value!r} appears twice", "Write it once.")
            found.append(value)
        return tuple(found)

    def text(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> Any:
        value = self._value(above, field, default)
        if value is default:
            return value
        if not isinstance(value, str):
            raise self.fail(field, f"must be a text, not {_shown(value)}")
        if not value.strip() and default is ...:
            raise self.fail(field, "is empty", "Write its value.")
        return value

    def _value(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> Any:
        value = above.get(field.rsplit(".", 1)[-1])
        if value is None:
            if default is ...:
                raise self.fail(field, "is missing")
            return default
        return value

    def file(self, above: Mapping[Any, Any], field: str, *, optional: bool = False) -> Path | None:
        name = self.text(above, field, None if optional else ...)
        return None if name is None else self.existing(name, field)

    def existing(self, name: str, field: str) -> Path:
        path = self.root / name
        try:
            found = path.is_file()
        except OSError:  # a name that no file can have
            found = False
        if not found:
            remedy = "Write a path relative to the data set's folder, or fetch the file."
            near = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
            nearest = did_you_mean(path.name, near)
            if nearest.startswith("Did you mean"):
                remedy = f"{nearest} {remedy}"
            raise self.fail(field, f"names {path}, which does not exist", remedy)
        return path

    def choice(
        self, above: Mapping[Any, Any], field: str, allowed: tuple[str, ...], kind: str = "Use"
    ) -> str:
        value = self.text(above, field)
        return exactly(value, allowed, file=self.source, field=field, kind=kind)


def _shown(value: Any) -> str:
    """A wrong value, cut short."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _parse(r: _Reader) -> Dataset:
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


def _motifs(r: _Reader, annotation: Mapping[Any, Any], field: str) -> tuple[Path, str]:
    """File and format of an entry such as `{file: motifs.meme, format: meme}`."""
    entry = r.mapping(annotation, field)
    r.known(entry, "motifs", field)
    path = r.file(entry, f"{field}.file")
    assert path is not None
    return path, r.choice(entry, f"{field}.format", MOTIF_FORMATS)


def _genesets(r: _Reader, annotation: Mapping[Any, Any]) -> dict[str, Path]:
    """Collection → GMT file."""
    field = "annotation.genesets"
    found = {}
    for name, value in r.mapping(annotation, field).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise r.fail(f"{field}.{name}", f"must name a file, not {_shown(value)}")
        found[name] = r.existing(value, f"{field}.{name}")
    return found


def _factors(r: _Reader, lineages: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Lineage → the factors claimed for it."""
    field = "lineage_factors"
    factors = r.mapping(r.raw, field, {})
    for lineage in factors:
        if lineage not in lineages:
            remedy = did_you_mean(lineage, lineages, kind="Lineages")
            raise r.fail(f"{field}.{lineage}", "is not a lineage of this data set", remedy)
    return {lineage: r.names(factors, f"{field}.{lineage}") for lineage in factors}


def _share(r: _Reader, item: Mapping[Any, Any], field: str) -> float:
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


def _biosample(r: _Reader, item: Any, field: str, lineages: tuple[str, ...]) -> Biosample:
    if not isinstance(item, dict):
        raise r.fail(field, f"must be a mapping, not {_shown(item)}")
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
