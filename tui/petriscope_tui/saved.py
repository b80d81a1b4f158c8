"""Saved filters and chosen columns, in the user's configuration folder; an unwritable folder is
reported, not fatal."""

from __future__ import annotations

import json
import os
from typing import Any

from petriscope_tui.workspace import config_folder

BUILT_IN = {
    "context features": "is:context",
    "stable and causal": "is:context is:stable is:causal",
    "higher in vivo": "is:context is:vivo",
    "higher in vitro": "is:context is:vitro",
    "dead latents": "is:dead",
}


def load_filters() -> dict[str, str]:
    """Name and text of every filter: the built-in ones, then the user's."""
    return {**BUILT_IN, **_read().get("filters", {})}


def save_filter(name: str, text: str) -> str | None:
    """Keep a filter; returns what went wrong, if anything."""
    state = _read()
    state.setdefault("filters", {})[name] = text
    return _write(state)


def load_columns() -> list[str] | None:
    """The columns the user chose, if any."""
    columns = _read().get("columns")
    return [str(c) for c in columns] if isinstance(columns, list) else None


def save_columns(names: list[str]) -> str | None:
    """Keep the chosen columns; returns what went wrong, if anything."""
    return _write({**_read(), "columns": names})


def _read() -> dict[str, Any]:
    try:
        state = json.loads((config_folder() / "tui.json").read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write(state: dict[str, Any]) -> str | None:
    path = config_folder() / "tui.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(state, indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        return f"kept for this session only: {error}"
    return None
