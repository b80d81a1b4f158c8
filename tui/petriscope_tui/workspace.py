"""A session works in one folder: where its atlas, figures and pipeline lie, and what state they are
in. Its filters and chosen columns are saved in the user's configuration folder; an unwritable one
is reported, not fatal."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope.atlas.query import Atlas
from petriscope.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """A folder with dvc.yaml, params.yaml, results/ and paper_figures/ (any of which may be
    missing)."""

    root: Path

    @property
    def atlas(self) -> Path:
        return self.root / "results" / "atlas.sqlite"

    @property
    def figures(self) -> Path:
        return self.root / "paper_figures"

    @property
    def pipeline(self) -> Path:
        return self.root / "dvc.yaml"

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def writable(self) -> bool:
        """Whether anything can be written here (a mounted image may be read-only)."""
        return os.access(self.root, os.W_OK)


class AtlasHandle:
    """The workspace's atlas, opened when first asked for and again when the file is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        self._atlas: Atlas | None = None
        self._stamp: tuple[int, int] | None = None

    def get(self) -> Atlas | None:
        """The open atlas, or None with the reason in ``error``."""
        if self._atlas is None:
            try:
                self._atlas, self.error = Atlas(self.path), None
                self._stamp = self._now()
            except UserError as error:
                self.error = str(error)
        return self._atlas

    def changed(self) -> bool:
        """Whether the file is another one than that which is open."""
        return self._now() != self._stamp

    def reopen(self) -> Atlas | None:
        """Close and open again."""
        if self._atlas is not None:
            self._atlas.close()
        self._atlas, self._stamp = None, None
        return self.get()

    def _now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def short_path(path: Path) -> str:
    """``path`` with the home folder as ``~``."""
    home = home_folder()
    return f"~/{path.relative_to(home)}" if home and path.is_relative_to(home) else str(path)


def home_folder() -> Path | None:
    """The user's home; None for a user without an entry and without HOME, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def config_folder() -> Path:
    """Where saved filters are kept; for a user without a home a place where nothing can be."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else (home_folder() or Path(os.devnull)) / ".config") / "petriscope"


BUILT_IN = {
    "context features": "is:context",
    "stable and causal": "is:context is:stable is:causal",
    "higher in vivo": "is:context is:vivo",
    "higher in vitro": "is:context is:vitro",
    "dead latents": "is:dead",
}


def load_filters() -> dict[str, str]:
    """Name and text of every filter: the built-in ones, then the user's."""
    return {**BUILT_IN, **_read_saved().get("filters", {})}


def save_filter(name: str, text: str) -> str | None:
    """Keep a filter; returns what went wrong, if anything."""
    state = _read_saved()
    state.setdefault("filters", {})[name] = text
    return _write_saved(state)


def load_columns() -> list[str] | None:
    """The columns the user chose, if any."""
    columns = _read_saved().get("columns")
    return [str(c) for c in columns] if isinstance(columns, list) else None


def save_columns(names: list[str]) -> str | None:
    """Keep the chosen columns; returns what went wrong, if anything."""
    return _write_saved({**_read_saved(), "columns": names})


def _read_saved() -> dict[str, Any]:
    try:
        state = json.loads((config_folder() / "tui.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_saved(state: dict[str, Any]) -> str | None:
    path = config_folder() / "tui.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        return f"kept for this session only: {error}"
    return None
