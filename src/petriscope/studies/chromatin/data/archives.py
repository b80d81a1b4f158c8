"""What ENCODE and Zenodo say about their own files: address, size, md5; an experiment's file chosen
by rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from petriscope.errors import UserError
from petriscope.fetch import sources
from petriscope.fetch.download import Remote
from petriscope.fetch.sources import Source, remote
from petriscope.fetch.transfer import Policy, fetch_json

ASSEMBLY = "GRCh38"
ORGANISM = "Homo sapiens"
WANTED = {
    "bam": ("bam", ("alignments",)),
    "bed.gz": (
        "bed",
        ("IDR thresholded peaks", "conservative IDR thresholded peaks", "pseudoreplicated peaks"),
    ),
}
"""Suffix → ENCODE's file format and the output types that serve, best first."""


def resolve(source: Source, services: Mapping[str, str], policy: Policy) -> list[Remote]:
    """The files behind ``source``, with size and checksum where its archive publishes them.

    Asks ENCODE for a file's or an experiment's metadata, Zenodo for a record's list; a plain
    address needs no asking. Raises `UserError` for a file of another assembly or organism, a
    withdrawn file, or an experiment without one.
    """
    if source.encode is None:
        return sources.resolve(source, services, policy)
    accession = source.encode
    base = services["encode"]
    if accession.startswith("ENCSR"):
        item = _choose(source, fetch_json(f"{base}/experiments/{accession}/?format=json", policy))
    else:
        item = fetch_json(f"{base}/files/{accession}/?format=json", policy)
        _check_file(source, item)
    href = item.get("href") or f"/files/{accession}/@@download/{accession}.{source.suffix}"
    return [remote(source, base + href, item.get("file_size"), item.get("md5sum"))]


def _none(source: Source, what: str) -> list[Remote]:
    raise UserError(
        what,
        field=f"{source.id} ({source.zenodo or source.encode})",
        remedy="See the archive's own page.",
    )


def _check_file(source: Source, item: Mapping[str, Any]) -> None:
    """A file must be released and, where it says so, of the human assembly."""
    if item.get("status", "released") not in ("released", "archived"):
        _none(source, f"is {item['status']}, no longer released")
    if item.get("assembly", ASSEMBLY) != ASSEMBLY:
        _none(source, f"is aligned to {item['assembly']}, not {ASSEMBLY}")


def _choose(source: Source, experiment: Mapping[str, Any]) -> Mapping[str, Any]:
    """The experiment's file: released, GRCh38; best type, first biological replicate, preferred,
    newest, by name."""
    organisms = set(_values(experiment, "scientific_name"))
    if organisms and organisms != {ORGANISM}:
        _none(source, f"is {', '.join(sorted(organisms))}, not {ORGANISM}")
    format, kinds = WANTED[source.suffix]
    files = [
        item
        for item in experiment.get("files", [])
        if item.get("file_format") == format
        and item.get("output_type") in kinds
        and item.get("status") == "released"
        and item.get("assembly") == ASSEMBLY
        and (format != "bam" or len(item.get("biological_replicates", [])) == 1)
    ]
    if not files:
        held = sorted(
            {str(item["assembly"]) for item in experiment.get("files", []) if item.get("assembly")}
        )
        _none(
            source,
            f"has no released {ASSEMBLY} file of {' or '.join(kinds)} (assemblies: "
            f"{', '.join(held) or 'none'})",
        )
    files.sort(key=lambda item: str(item.get("accession")))
    files.sort(key=lambda item: str(item.get("date_created", "")), reverse=True)
    files.sort(
        key=lambda item: (
            kinds.index(item["output_type"]),
            min(item.get("biological_replicates") or [0]) if format == "bam" else 0,
            not item.get("preferred_default", False),
        )
    )
    return files[0]


def _values(node: Any, key: str) -> Iterator[str]:
    """Every string under ``key`` anywhere in a JSON document, outside its files."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == key and isinstance(value, str):
                yield value
            elif name != "files":
                yield from _values(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from _values(item, key)
