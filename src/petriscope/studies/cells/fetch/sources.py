"""The table of sources (`sources.yaml`): the official files of Geneformer and scGPT, from where,
under which license, and what has no stable address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from petriscope.errors import UserError
from petriscope.fetch.sources import Source, check_unique, read_table, select, sources_of


@dataclass(frozen=True)
class SourceTable:
    """A checked sources.yaml."""

    file: Path
    sources: tuple[Source, ...]
    optional: tuple[str, ...]
    """Groups that are left out unless they are asked for."""
    elsewhere: Mapping[str, str]
    """What cannot be fetched → where it lies and what to do, in words."""

    def select(self, only: Sequence[str] | None) -> tuple[Source, ...]:
        """Sources whose group or id is in ``only``; without it all but the optional ones.

        Raises `UserError` for a name that is neither, or of what cannot be fetched.
        """
        for name in only or ():
            if name in self.elsewhere:
                what, remedy = f"{name} cannot be fetched", f"{self.elsewhere[name]}."
                raise UserError(what, field="--only", remedy=remedy)
        return select(self.sources, only, self.file, optional=self.optional)


def bundled() -> Path:
    """The table that ships with the package."""
    return Path(str(resources.files("petriscope.studies.cells.fetch") / "sources.yaml"))


def load_sources(path: str | Path | None = None) -> SourceTable:
    """Read and check a source table (the bundled one by default). Raises `UserError` naming entry
    and field."""
    file = bundled() if path is None else Path(path)
    raw = read_table(file)
    sources = tuple(sources_of(raw, file, ("url",)))
    check_unique(sources, file)
    return SourceTable(file, sources, tuple(raw.get("optional", [])), raw.get("elsewhere", {}))
