"""The table of official sources (`sources.yaml`): what the paper data set needs, from where, under
which license."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.fetch.sources import (
    ADDRESSES,
    Source,
    check_unique,
    read_table,
    select,
    sources_of,
)

GROUPS = ("model", "genome", "signal", "peaks", "chromhmm", "annotation", "motifs")


@dataclass(frozen=True)
class PaperBiosample:
    """A biosample of the paper data set: its labels and the destinations of its files."""

    id: str
    lineage: str
    context: str
    donor: str
    signal: str
    peaks: str
    chromhmm: str


@dataclass(frozen=True)
class SourceTable:
    """A checked sources.yaml. ``excluded``: accession → why it is left out."""

    file: Path
    services: Mapping[str, str]
    sources: tuple[Source, ...]
    biosamples: tuple[PaperBiosample, ...]
    excluded: Mapping[str, str]
    lineage_factors: Mapping[str, list[str]]

    def select(self, only: list[str] | None) -> tuple[Source, ...]:
        """Sources whose group or id is in ``only``; all where it is empty."""
        return select(self.sources, only, self.file)


def bundled() -> Path:
    """The table that ships with the package."""
    return Path(str(resources.files("petriscope.studies.chromatin.data") / "sources.yaml"))


def load_sources(path: str | Path | None = None) -> SourceTable:
    """Read and check a source table (the bundled one by default). Raises `UserError` naming entry
    and field."""
    file = bundled() if path is None else Path(path)
    raw = read_table(file)
    licenses, known = raw.get("licences", {}), raw.get("known", {})
    license = licenses.get("encode", "ENCODE data use policy")
    sources = list(sources_of(raw, file, ADDRESSES, GROUPS))
    biosamples = []
    by_path = {source.path: source for source in sources}
    chromhmm = {source.id: source.path for source in sources if source.group == "chromhmm"}
    for number, item in enumerate(raw.get("biosamples", [])):
        biosample, files = _biosample(
            file, number, item, license=license, known=known, chromhmm=chromhmm
        )
        biosamples.append(biosample)
        for source in files:
            by_path.setdefault(source.path, source)
    table = tuple(by_path.values())
    check_unique([*sources, *table[len(sources) :]], file)
    excluded = {str(item["id"]): str(item["why"]) for item in raw.get("excluded", [])}
    for source in table:
        if source.encode in excluded:
            remedy = "Name another file."
            raise UserError(
                f"{source.encode} is excluded: {excluded[source.encode]}", file=file, remedy=remedy
            )
    return SourceTable(
        file,
        raw.get("services", {}),
        table,
        tuple(biosamples),
        excluded,
        raw.get("lineage_factors", {}),
    )


def _biosample(
    file: Path,
    number: int,
    item: Any,
    *,
    license: str,
    known: Mapping[str, Any],
    chromhmm: Mapping[str, str],
) -> tuple[PaperBiosample, list[Source]]:
    where = f"biosamples[{number}]"
    for name in ("id", "lineage", "context", "donor", "signal", "peaks", "chromhmm"):
        if not item.get(name):
            raise UserError("is missing", file=file, field=f"{where}.{name}", remedy="Give it.")
    if item["chromhmm"] not in chromhmm:
        remedy = f"Use one of: {', '.join(chromhmm)}."
        raise UserError(
            f"names {item['chromhmm']!r}", file=file, field=f"{where}.chromhmm", remedy=remedy
        )
    label = f"{item['id']} ({item['lineage']} {item['context']})"
    signal = Source(
        f"{item['id']}.signal",
        "signal",
        f"signal/{item['id']}.bam",
        license,
        f"ATAC alignments, {label}",
        encode=item["signal"],
        suffix="bam",
        about=item.get("about"),
        **known.get(item["signal"], {}),
    )
    peaks = Source(
        f"{item['peaks']}.peaks",
        "peaks",
        f"peaks/{item['peaks']}.narrowPeak.gz",
        license,
        f"ATAC peaks, {item['lineage']} {item['context']}",
        encode=item["peaks"],
        suffix="bed.gz",
        about=2_500_000,
        **known.get(item["peaks"], {}),
    )
    labels = {name: str(item[name]) for name in ("id", "lineage", "context", "donor")}
    return PaperBiosample(
        **labels, signal=signal.path, peaks=peaks.path, chromhmm=chromhmm[item["chromhmm"]]
    ), [
        signal,
        peaks,
    ]
