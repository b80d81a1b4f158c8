"""The copies of outputs in DVC's cache: does each hold the bytes its name promises?

DVC names a copy by its MD5 and makes it read-only; a read-only one it hands out unread, so that a
damaged copy would become a stage's result, and everything below it would be computed from that,
without a word.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from petriscope.errors import UserError
from petriscope.run.hashes import Hasher
from petriscope.run.locks import dvc_folder

_NAME = re.compile(r"[0-9a-f]{30}(\.dir)?")


def cache_folder(root: Path) -> Path:
    """Where the workspace keeps its copies: `.dvc/cache`, or what its configuration names."""
    folder = dvc_folder(root)
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read([folder / "config", folder / "config.local"])
    except configparser.Error:
        return folder / "cache"
    return folder / config.get("cache", "dir", fallback="cache").strip("\"'")


def damaged_copies(root: Path, hasher: Hasher | None = None) -> list[Path]:
    """Copies whose bytes are not those of their name. Without ``hasher`` a file is read again only
    where it changed."""
    remembering = hasher is None
    hasher = hasher or Hasher(root)
    files = sorted(
        p for p in (cache_folder(root) / "files" / "md5").glob("??/*") if _NAME.fullmatch(p.name)
    )
    wrong = [p for p in files if hasher.path(str(p)) != p.parent.name + p.name.removesuffix(".dir")]
    if remembering:
        hasher.remember()
    return wrong


def require_sound_cache(root: Path) -> None:
    """Raise UserError, before anything is restored from it, where the cache holds other bytes than
    it promises."""
    wrong = damaged_copies(root)
    if wrong:
        more = (
            f" (and {len(wrong) - 1} more, listed by `petriscope verify --results`)"
            if len(wrong) > 1
            else ""
        )
        raise UserError(
            f"was changed after DVC cached it{more}: it is no result of any stage",
            file=wrong[0],
            remedy="Remove it and run the same command again: what it held is computed anew, or "
            "comes with `dvc pull`.",
        )
