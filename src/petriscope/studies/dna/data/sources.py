"""The table of sources (`sources.yaml`): what a full run of study dna needs, from where, under
which license."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import Remote, check_relative
from petriscope.fetch.transfer import Policy, fetch_json
from petriscope.names import did_you_mean

REMEDY = "Correct the table, or leave --sources out for the bundled one."


@dataclass(frozen=True)
class Source:
    """One thing to fetch: a file by ``url``, or all files of a Zenodo record."""

    id: str
    group: str
    path: str
    """Destination in the folder; for a record the folder its files go to."""
    licence: str
    what: str
    url: str | None = None
    zenodo: str | None = None
    bytes: int | None = None
    about: int | None = None
    """An estimate of the size where the exact one is unknown."""
    sha256: str | None = None
    md5: str | None = None
    checked: bool = True
    """Whether a checksum is known before the download, here or from the archive."""

    @property
    def address(self) -> str:
        """Where it lies, in words."""
        return self.url or f"Zenodo {self.zenodo}"


@dataclass(frozen=True)
class SourceTable:
    """A checked sources.yaml."""

    file: Path
    services: Mapping[str, str]
    sources: tuple[Source, ...]
    optional: tuple[str, ...]
    """Groups that are left out unless they are asked for."""
    classes: Mapping[str, str]
    """Class → name of its BED file."""
    contig: str
    """The chromosome whose DNA is cut out of the genome for k-mer counts."""

    def select(self, only: Sequence[str] | None) -> tuple[Source, ...]:
        """Sources whose group or id is in ``only``; without it all but the optional ones."""
        if not only:
            return tuple(one for one in self.sources if one.group not in self.optional)
        known = sorted({one.group for one in self.sources} | {one.id for one in self.sources})
        for name in only:
            if name not in known:
                remedy = did_you_mean(name, known, kind="Groups and sources")
                what = f"knows no source or group {name!r}"
                raise UserError(what, file=self.file, field="--only", remedy=remedy)
        return tuple(one for one in self.sources if one.id in only or one.group in only)


def bundled() -> Path:
    """The table that ships with the package."""
    return Path(str(resources.files("petriscope.studies.dna.data") / "sources.yaml"))


def load_sources(path: str | Path | None = None) -> SourceTable:
    """Read and check a source table (the bundled one by default). Raises `UserError` naming entry
    and field."""
    file = bundled() if path is None else Path(path)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError(what, file=file, field="--sources", remedy=REMEDY) from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML ({error})", file=file, remedy=REMEDY) from None
    if not isinstance(raw, dict) or raw.get("format") != 1:
        raise UserError("is no source table of format 1", file=file, field="format", remedy=REMEDY)
    licenses = raw.get("licences", {})
    sources = [_source(file, i, item, licenses) for i, item in enumerate(raw.get("sources", []))]
    for name in ("id", "path"):
        values = [getattr(one, name) for one in sources]
        for value in values:
            if values.count(value) > 1:
                remedy = "Give each source its own."
                raise UserError(f"{name} {value!r} appears twice", file=file, remedy=remedy)
    return SourceTable(
        file,
        raw.get("services", {}),
        tuple(sources),
        tuple(raw.get("optional", [])),
        raw.get("classes", {}),
        str(raw.get("contig", "")),
    )


def _source(file: Path, number: int, item: Any, licenses: Mapping[str, str]) -> Source:
    where = f"sources[{number}]"
    fields = tuple(Source.__dataclass_fields__)
    for name in item:
        if name not in fields:
            remedy = did_you_mean(name, fields, kind="Fields")
            raise UserError("no such field", file=file, field=f"{where}.{name}", remedy=remedy)
    for name in ("id", "group", "path", "licence", "what"):
        if not item.get(name):
            raise UserError("is missing", file=file, field=f"{where}.{name}", remedy="Give it.")
    if (item.get("url") is None) == (item.get("zenodo") is None):
        what = "needs one address: url or zenodo"
        raise UserError(what, file=file, field=where, remedy="Give one of them.")
    known = item.get("sha256") or item.get("md5") or item.get("zenodo")
    if bool(known) != item.get("checked", True):
        what = "says otherwise than whether a checksum is known"
        remedy = "Give sha256 or md5, or write `checked: false`."
        raise UserError(what, file=file, field=f"{where}.checked", remedy=remedy)
    check_relative(item["path"])
    text = {key: str(item[key]) for key in ("url", "zenodo", "sha256", "md5") if key in item}
    return Source(**{**item, **text, "licence": licenses.get(item["licence"], item["licence"])})


def resolve(source: Source, services: Mapping[str, str], policy: Policy) -> list[Remote]:
    """The files behind a source, with size and checksum where they are known: those of a Zenodo
    record from its own list."""
    if source.url is not None:
        return [
            Remote(source.path, source.url, source.licence, source.bytes, source.sha256, source.md5)
        ]
    record = fetch_json(f"{services['zenodo']}/api/records/{source.zenodo}", policy)
    files = [_of_record(source, item) for item in record.get("files", [])]
    if not files:
        remedy = "See the record's own page."
        raise UserError("lists no file", field=source.address, remedy=remedy)
    return files


def _of_record(source: Source, item: Mapping[str, Any]) -> Remote:
    kind, _, digest = str(item.get("checksum", "")).partition(":")
    path = f"{source.path}/{item.get('key', '')}"
    url = str(item.get("links", {}).get("self", ""))
    md5 = digest if kind == "md5" else None
    return Remote(path, url, source.licence, item.get("size"), md5=md5)
