"""Text files are UTF-8, whatever the locale says; this module loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

from petriscope.errors import UserError


def read_text(path: str | Path) -> str:
    """The text in ``path``. Raises `UserError` where it is not UTF-8, OSError where it cannot be
    read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"is not UTF-8 text (byte {error.start})", file=path, remedy="Save it as UTF-8."
        ) from None
