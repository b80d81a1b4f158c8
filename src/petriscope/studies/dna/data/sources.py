"""The table of sources (`sources.yaml`): what a full run of study dna needs, from where, under
which license."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from petriscope.fetch.sources import Source, check_unique, read_table, select, sources_of


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
        return select(self.sources, only, self.file, optional=self.optional)


def bundled() -> Path:
    """The table that ships with the package."""
    return Path(str(resources.files("petriscope.studies.dna.data") / "sources.yaml"))


def load_sources(path: str | Path | None = None) -> SourceTable:
    """Read and check a source table (the bundled one by default). Raises `UserError` naming entry
    and field."""
    file = bundled() if path is None else Path(path)
    raw = read_table(file)
    sources = tuple(sources_of(raw, file, ("url", "zenodo")))
    check_unique(sources, file)
    return SourceTable(
        file,
        raw.get("services", {}),
        sources,
        tuple(raw.get("optional", [])),
        raw.get("classes", {}),
        str(raw.get("contig", "")),
    )
