"""The one data-set format: a folder with `dataset.yaml`, checked at the door, after which the code
trusts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from petriscope.errors import UserError

CONTEXTS = ("in_vitro", "in_vivo")
SIGNAL_FORMATS = ("fragments", "bam", "bigwig", "bedgraph", "narrowpeak")
MOTIF_FORMATS = ("meme", "homer")


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
    try:
        raw = yaml.safe_load(source.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(
            f"not valid YAML ({error})",
            file=source,
            remedy="Write that line as `key: value`.",
        ) from None
    return _parse(_Reader(source, root, raw))


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
        wanted = yaml.safe_load(description.read_text(encoding="utf-8"))["genome"]["fasta"]
        for root in (path, path / "real", path / "data" / "real"):
            if all((root / name).is_file() for name in wanted):
                return description, root
    remedy = "Write dataset.yaml (format in docs/datasets.md) or run `petriscope data demo`."
    raise UserError(
        "holds no dataset.yaml and matches no bundled description", file=path, remedy=remedy
    )


class _Reader:
    """Typed access to the raw mapping, every failure naming the field."""

    def __init__(self, source: Path, root: Path, raw: Any) -> None:
        self.source, self.root = source, root
        if not isinstance(raw, dict):
            raise UserError(
                "is not a mapping", file=source, remedy="See docs/datasets.md for the format."
            )
        self.raw: dict[str, Any] = raw

    def fail(
        self, field: str, what: str, remedy: str = "See docs/datasets.md for the format."
    ) -> UserError:
        return UserError(what, file=self.source, field=field, remedy=remedy)

    def get(
        self, mapping: Any, field: str, kind: type | tuple[type, ...], default: Any = ...
    ) -> Any:
        key = field.rsplit(".", 1)[-1]
        if not isinstance(mapping, dict) or mapping.get(key) is None:
            if default is not ...:
                return default
            raise self.fail(field, "is missing")
        value = mapping[key]
        if kind is str and isinstance(value, (int, float)):
            value = str(value)
        if not isinstance(value, kind):
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.fail(field, f"must be a {wanted}, not {value!r}")
        return value

    def file(self, mapping: Any, field: str, *, optional: bool = False) -> Path | None:
        name = self.get(mapping, field, str, None if optional else ...)
        return None if name is None else self.existing(name, field)

    def existing(self, name: str, field: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise self.fail(
                field,
                f"names {path}, which does not exist",
                "Write a path relative to the data set's folder, or fetch the file.",
            )
        return path

    def choice(self, mapping: Any, field: str, allowed: tuple[str, ...]) -> str:
        value = self.get(mapping, field, str)
        if value not in allowed:
            raise self.fail(field, f"is {value!r}", f"Use one of: {', '.join(allowed)}.")
        return value


def _parse(r: _Reader) -> Dataset:
    if r.get(r.raw, "format", int) != 1:
        raise r.fail("format", f"is {r.raw['format']!r}", "This version reads format 1.")
    genome = r.get(r.raw, "genome", dict)
    fasta = r.get(genome, "genome.fasta", list)
    lineages = tuple(str(x) for x in r.get(r.raw, "lineages", list))
    annotation = r.get(r.raw, "annotation", dict)
    motifs = r.get(annotation, "annotation.motifs", dict)
    biosamples = tuple(
        _biosample(r, item, f"biosamples[{i}]", lineages)
        for i, item in enumerate(r.get(r.raw, "biosamples", list))
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
    if not biosamples:
        raise r.fail("biosamples", "is empty")
    genesets = r.get(annotation, "annotation.genesets", dict)
    motif_path = r.file(motifs, "annotation.motifs.file")
    genes = r.file(annotation, "annotation.genes")
    activity_field = (
        "annotation.activity_motifs" if "activity_motifs" in annotation else "annotation.motifs"
    )
    activity = r.get(annotation, activity_field, dict)
    activity_path = r.file(activity, f"{activity_field}.file")
    assert motif_path is not None and genes is not None and activity_path is not None
    factors = r.get(r.raw, "lineage_factors", dict, {})
    return Dataset(
        name=r.get(r.raw, "name", str),
        description=r.get(r.raw, "description", str, ""),
        licence=r.get(r.raw, "licence", str, ""),
        source=r.source,
        root=r.root,
        build=r.get(genome, "genome.build", str),
        fasta=tuple(r.existing(str(name), f"genome.fasta[{i}]") for i, name in enumerate(fasta)),
        blacklist=r.file(genome, "genome.blacklist", optional=True),
        lineages=lineages,
        biosamples=biosamples,
        genes=genes,
        chromhmm_states=r.file(annotation, "annotation.chromhmm_states", optional=True),
        genesets={
            str(k): r.existing(str(v), f"annotation.genesets.{k}") for k, v in genesets.items()
        },
        motifs=motif_path,
        motif_format=r.choice(motifs, "annotation.motifs.format", MOTIF_FORMATS),
        activity_motifs=activity_path,
        activity_motif_format=r.choice(activity, f"{activity_field}.format", MOTIF_FORMATS),
        lineage_factors={str(k): tuple(str(x) for x in v) for k, v in factors.items()},
        truth=r.file(r.raw, "truth", optional=True),
    )


def _share(r: _Reader, item: Any, field: str) -> float:
    value = float(r.get(item, field, (int, float), 1.0))
    if not 0 < value <= 1:
        raise r.fail(
            field,
            f"is {value:g}",
            "Give the share of the library in the file, above 0 and at most 1.",
        )
    return value


def _biosample(r: _Reader, item: Any, field: str, lineages: tuple[str, ...]) -> Biosample:
    signal = r.file(item, f"{field}.signal")
    assert signal is not None
    return Biosample(
        id=r.get(item, f"{field}.id", str),
        lineage=r.choice(item, f"{field}.lineage", lineages),
        context=r.choice(item, f"{field}.context", CONTEXTS),
        donor=r.get(item, f"{field}.donor", str, item.get("id", "")),
        signal=signal,
        format=r.choice(item, f"{field}.format", SIGNAL_FORMATS),
        library_share=_share(r, item, f"{field}.library_share"),
        peaks=r.file(item, f"{field}.peaks", optional=True),
        chromhmm=r.file(item, f"{field}.chromhmm", optional=True),
    )
