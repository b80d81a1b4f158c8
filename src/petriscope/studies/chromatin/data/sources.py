"""The table of official sources (`sources.yaml`): what the paper data set needs, from where, under
which license."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import check_relative

GROUPS = ("model", "genome", "signal", "peaks", "chromhmm", "annotation", "motifs")
ADDRESSES = ("url", "encode", "zenodo")


@dataclass(frozen=True)
class Source:
    """One thing to fetch, by ``url``, by ``encode`` (ENCFF file or ENCSR experiment) or by
    ``zenodo`` (record)."""

    id: str
    group: str
    path: str
    """Destination in the data set's folder; for a Zenodo record the folder its files go to."""
    licence: str
    what: str
    url: str | None = None
    encode: str | None = None
    suffix: str = ""
    """Ending of an ENCODE file's name, such as bam or bed.gz."""
    zenodo: str | None = None
    unpack: str | None = None
    bytes: int | None = None
    about: int | None = None
    """An estimate of the size where the exact one is unknown."""
    sha256: str | None = None
    md5: str | None = None


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
        if not only:
            return self.sources
        names = {source.id for source in self.sources} | set(GROUPS)
        for name in only:
            if name not in names:
                remedy = f"Use a group ({', '.join(GROUPS)}) or a source's id (see --dry-run)."
                raise UserError(
                    f"knows no source or group {name!r}",
                    file=self.file,
                    field="--only",
                    remedy=remedy,
                )
        return tuple(source for source in self.sources if source.id in only or source.group in only)


def bundled() -> Path:
    """The table that ships with the package."""
    return Path(str(resources.files("petriscope.studies.chromatin.data") / "sources.yaml"))


def load_sources(path: str | Path | None = None) -> SourceTable:
    """Read and check a source table (the bundled one by default). Raises `UserError` naming entry
    and field."""
    file = bundled() if path is None else Path(path)
    if not file.is_file():
        raise UserError(
            "no such source table",
            file=file,
            remedy="Give --sources an existing file, or leave it out for the bundled one.",
        )
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(
            f"not valid YAML ({error})",
            file=file,
            remedy="Write that line as `key: value`.",
        ) from None
    if not isinstance(raw, dict) or raw.get("format") != 1:
        raise UserError(
            "is not a source table of format 1",
            file=file,
            field="format",
            remedy="Write `format: 1`.",
        )
    licenses, known = raw.get("licences", {}), raw.get("known", {})
    license = licenses.get("encode", "ENCODE data use policy")
    sources = [
        _source(file, number, item, licenses) for number, item in enumerate(raw.get("sources", []))
    ]
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
    for field in ("id", "path"):
        seen: set[str] = set()
        for source in [*sources, *table[len(sources) :]]:
            value = getattr(source, field)
            if value in seen:
                raise UserError(
                    f"{field} {value!r} appears twice",
                    file=file,
                    remedy="Give each source its own.",
                )
            seen.add(value)
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


def _source(file: Path, number: int, item: Any, licenses: Mapping[str, str]) -> Source:
    where = f"sources[{number}]"
    unknown = set(item) - set(Source.__dataclass_fields__)
    if unknown:
        raise UserError(
            "no such field",
            file=file,
            field=f"{where}.{min(unknown)}",
            remedy=f"Fields: {', '.join(Source.__dataclass_fields__)}.",
        )
    for name in ("id", "group", "path", "licence", "what"):
        if not item.get(name):
            raise UserError("is missing", file=file, field=f"{where}.{name}", remedy="Give it.")
    if item["group"] not in GROUPS:
        remedy = f"Use one of: {', '.join(GROUPS)}."
        raise UserError(f"is {item['group']!r}", file=file, field=f"{where}.group", remedy=remedy)
    if sum(name in item for name in ADDRESSES) != 1:
        remedy = f"Give exactly one of: {', '.join(ADDRESSES)}."
        raise UserError("has no single address", file=file, field=where, remedy=remedy)
    check_relative(str(item["path"]))
    text = {name: str(item[name]) for name in (*ADDRESSES, "sha256", "md5") if name in item}
    return Source(**{**item, **text, "licence": licenses.get(item["licence"], item["licence"])})


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
