"""Whether the folder of a web atlas is whole: each file is compared with its manifest."""

from __future__ import annotations

import re
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import read_json, sha256
from petriscope.progress import progress
from petriscope.web.export import MANIFEST, WEB

_DIGEST = re.compile(r"[0-9a-f]{64}")


def verify_web(folder: Path) -> tuple[int, list[str]]:
    """How many files were looked for, and a sentence for each that is missing, changed or foreign.

    Raises `UserError` where ``folder`` holds no web atlas.
    """
    known = files_of(folder)
    problems = []
    for name, (size, digest) in progress(sorted(known.items()), "verify", unit="file"):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name}: is missing")
        elif path.stat().st_size != size:
            problems.append(f"{name}: has {path.stat().st_size:,} bytes, {size:,} were written")
        elif sha256(path) != digest:
            problems.append(f"{name}: was changed (another sha256)")
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    foreign = sorted(there - {*known, MANIFEST})
    problems += [f"{name}: is none of its files" for name in foreign]
    return len(known), problems


def files_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file, as the manifest has them. Raises `UserError`."""
    path = folder / MANIFEST
    if not path.is_file() or not WEB.known(path):
        remedy = "Name a folder that `petriscope atlas export` wrote."
        raise UserError("is no web atlas", file=folder, remedy=remedy)
    files = read_json(path).get("files")
    found: dict[str, tuple[int, str]] = {}
    for name, told in files.items() if isinstance(files, dict) else ():
        told = told if isinstance(told, dict) else {}
        size, digest = told.get("size"), str(told.get("sha256"))
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if not isinstance(size, int) or not _DIGEST.fullmatch(digest) or outside:
            remedy = "Export the atlas again."
            raise UserError("is damaged", file=path, field=f"files.{name}", remedy=remedy)
        found[name] = (size, digest)
    if not found:
        raise UserError("names no file", file=path, remedy="Export the atlas again.")
    return found
