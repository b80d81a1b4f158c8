"""A source is one thing that a data set fetches: a file by its address, a file or experiment of
ENCODE, or all files of a Zenodo record. Tables of them are YAML, checked at the door."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import Remote, check_relative
from petriscope.fetch.transfer import Policy, fetch_json
from petriscope.names import did_you_mean

REMEDY = "Correct the table, or leave --sources out for the bundled one."
ADDRESSES = ("url", "zenodo", "encode")


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
    zenodo: str | None = None
    encode: str | None = None
    suffix: str = ""
    """Ending of an ENCODE file's name, such as bam or bed.gz."""
    unpack: str | None = None
    bytes: int | None = None
    about: int | None = None
    """An estimate of the size where the exact one is unknown."""
    sha256: str | None = None
    md5: str | None = None
    checked: bool = True
    """False where no checksum is known before the download, here or from the archive."""

    @property
    def address(self) -> str:
        """Where it lies, in words."""
        return self.url or self.encode or f"Zenodo {self.zenodo}"

    @property
    def size(self) -> str:
        """Its bytes, in words."""
        if self.bytes:
            return f"{self.bytes:,}"
        return f"~{self.about:,}" if self.about else "unknown"


def read_table(file: Path) -> dict[str, Any]:
    """What a source table of format 1 holds. Raises `UserError` where it is none."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError(what, file=file, field="--sources", remedy=REMEDY) from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML ({error})", file=file, remedy=REMEDY) from None
    if not isinstance(raw, dict) or raw.get("format") != 1:
        raise UserError("is no source table of format 1", file=file, field="format", remedy=REMEDY)
    return raw


def sources_of(
    raw: Mapping[str, Any], file: Path, addresses: Sequence[str], groups: Collection[str] = ()
) -> Iterator[Source]:
    """The entries `sources` of a table; each has one of ``addresses`` and, where ``groups`` are
    given, one of them. Raises `UserError` naming entry and field."""
    licenses = raw.get("licences", {})
    for number, item in enumerate(raw.get("sources", [])):
        where = f"sources[{number}]"
        _check_fields(item, file, where)
        if groups and item["group"] not in groups:
            remedy, what = did_you_mean(item["group"], groups), f"is {item['group']!r}"
            raise UserError(what, file=file, field=f"{where}.group", remedy=remedy)
        if [name for name in ADDRESSES if item.get(name)] not in [[name] for name in addresses]:
            what, remedy = "has no single address", f"Give exactly one of: {', '.join(addresses)}."
            raise UserError(what, file=file, field=where, remedy=remedy)
        pinned = any(item.get(name) for name in ("sha256", "md5", "zenodo", "encode"))
        if pinned != item.get("checked", True):
            what = "says otherwise than whether a checksum is known"
            remedy = "Give sha256 or md5, or write `checked: false`."
            raise UserError(what, file=file, field=f"{where}.checked", remedy=remedy)
        check_relative(str(item["path"]))
        text = {key: str(item[key]) for key in (*ADDRESSES, "sha256", "md5") if key in item}
        yield Source(**{**item, **text, "licence": licenses.get(item["licence"], item["licence"])})


def _check_fields(item: Mapping[str, Any], file: Path, where: str) -> None:
    fields = tuple(Source.__dataclass_fields__)
    for name in item:
        if name not in fields:
            remedy = did_you_mean(name, fields, kind="Fields")
            raise UserError("no such field", file=file, field=f"{where}.{name}", remedy=remedy)
    for name in ("id", "group", "path", "licence", "what"):
        if not item.get(name):
            raise UserError("is missing", file=file, field=f"{where}.{name}", remedy="Give it.")


def check_unique(sources: Sequence[Source], file: Path) -> None:
    """Raise `UserError` where two sources share an id or a path."""
    for name in ("id", "path"):
        values = [getattr(one, name) for one in sources]
        for value in values:
            if values.count(value) > 1:
                remedy = "Give each source its own."
                raise UserError(f"{name} {value!r} appears twice", file=file, remedy=remedy)


def select(
    sources: Sequence[Source],
    only: Sequence[str] | None,
    file: Path,
    *,
    optional: Collection[str] = (),
) -> tuple[Source, ...]:
    """Sources whose group or id is in ``only``; without it all but those of ``optional`` groups.

    Raises `UserError` for a name that is neither, with the nearest.
    """
    if not only:
        return tuple(one for one in sources if one.group not in optional)
    known = sorted({one.group for one in sources} | {one.id for one in sources})
    for name in only:
        if name not in known:
            remedy = did_you_mean(name, known, kind="Groups and sources")
            what = f"knows no source or group {name!r}"
            raise UserError(what, file=file, field="--only", remedy=remedy)
    return tuple(one for one in sources if one.id in only or one.group in only)


def remote(source: Source, url: str, size: int | None = None, md5: str | None = None) -> Remote:
    """The one file behind a source at ``url``, with what the table or its archive says of it."""
    size, md5 = source.bytes or size, source.md5 or md5
    return Remote(source.path, url, source.licence, size, source.sha256, md5)


def resolve(source: Source, services: Mapping[str, str], policy: Policy) -> list[Remote]:
    """The files behind a plain address or a Zenodo record, with size and checksum where they are
    known: those of a record from its own list. Raises `UserError` for a record without files."""
    if source.url is not None:
        return [remote(source, source.url)]
    record = fetch_json(f"{services['zenodo']}/api/records/{source.zenodo}", policy)
    files = [_of_record(source, item) for item in record.get("files", [])]
    if not files:
        where = f"{source.id} (Zenodo {source.zenodo})"
        raise UserError("lists no file", field=where, remedy="See the record's own page.")
    return files


def _of_record(source: Source, item: Mapping[str, Any]) -> Remote:
    kind, _, digest = str(item.get("checksum", "")).partition(":")
    path = f"{source.path}/{item.get('key', '')}"
    url = str(item.get("links", {}).get("self", ""))
    md5 = digest if kind == "md5" else None
    return Remote(path, url, source.licence, item.get("size"), md5=md5)
