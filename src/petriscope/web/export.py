"""The SQLite atlas becomes a folder of static files; every number in it is the atlas's own.

Each table is read by one ordered cursor; blocks of features, columns and terms are written by
several processes, and the bytes do not depend on how many there are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from petriscope import __version__
from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, sha256
from petriscope.parallel import in_processes
from petriscope.web.chunks import Written, write_json
from petriscope.web.columns import write_column, write_first_rows, write_flags
from petriscope.web.home import FORMAT, home
from petriscope.web.packs import Packer
from petriscope.web.places import Places
from petriscope.web.source import Source
from petriscope.web.terms import Vocabulary

MANIFEST = "manifest.json"
ASSETS = ("index.html", "app.js", "app.css", "LICENSES.txt")
BLOCK = 768
"""Features that a process writes at a time."""
WEB = Output(
    "a web atlas",
    holds=(MANIFEST, *ASSETS, ".nojekyll", "data/*"),
    known=json_with(petriscope="web atlas"),
)
Task = Callable[[], list[Written]]


def export_atlas(
    atlas: Path, out: Path, *, assets: bool = True, workers: int | None = None
) -> list[Written]:
    """Write the web atlas of the SQLite file ``atlas`` to the folder ``out``; returns its files.

    Without ``assets`` the data alone. Raises `UserError` where ``out`` holds anything but an
    earlier web atlas, or where this installation lacks the page.
    """
    source, digest = Source(atlas), sha256(atlas)
    page = read_assets() if assets else {}
    with atomic_folder(out, WEB) as folder:
        written = [_plain(folder, name, raw) for name, raw in page.items()]
        written += _data(folder, source, digest, workers)
        written.append(_plain(folder, ".nojekyll", b""))
        written.sort()
        told = json.dumps(manifest(source, written, digest), indent=1) + "\n"
        (folder / MANIFEST).write_text(told, encoding="utf-8")
    source.atlas.close()
    return written


def program() -> str:
    """Which program wrote a folder: its version, and the page that it ships."""
    place = resources.files("petriscope.web") / "assets"
    digest = hashlib.sha256()
    for name in ASSETS:
        file = place / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return f"{__version__} {digest.hexdigest()[:12]}"


def manifest(source: Source, written: list[Written], atlas: str) -> dict[str, Any]:
    """What the folder holds: `petriscope atlas verify` compares it. ``atlas``: the sha256 of the
    SQLite file."""
    files = {one.path: {"size": one.size, "sha256": one.sha256} for one in written}
    run = source.atlas.run()
    return {
        "petriscope": "web atlas",
        "format": FORMAT,
        "program": program(),
        "atlas": atlas,
        "dataset": run.get("dataset"),
        "files": files,
    }


def read_assets() -> dict[str, bytes]:
    """The page: its files as they are shipped."""
    place = resources.files("petriscope.web") / "assets"
    found = {}
    for name in ASSETS:
        file = place / name
        if not file.is_file():
            remedy = "Reinstall petriscope, or build the page: `npm ci && npm run build` in web/."
            raise UserError("this installation lacks the page", file=str(file), remedy=remedy)
        found[name] = file.read_bytes()
    return found


def _data(folder: Path, source: Source, digest: str, workers: int | None) -> list[Written]:
    """Write data/."""
    atlas = source.atlas
    packer, vocabulary = Packer.of(source), Vocabulary(source)
    genome = bool(atlas.select("SELECT 1 FROM contexts WHERE chrom IS NOT NULL LIMIT 1"))
    places = Places(source) if genome else None
    size = packer.size()
    tasks, has = _tasks(folder, source, packer, vocabulary, places, size)
    written = write_json(folder, "home", home(source, digest, size, places, has))
    source.flags  # noqa: B018  # before processes are forked
    numbers = range(len(tasks))
    for found in in_processes(
        lambda i: tasks[i](), numbers, "web atlas", unit="part", workers=workers
    ):
        written += found
    return written


def _tasks(
    folder: Path,
    source: Source,
    packer: Packer,
    vocabulary: Vocabulary,
    places: Places | None,
    size: int,
) -> tuple[list[Task], list[str]]:
    """What is written besides home.js, and the names of what not every atlas has."""
    atlas, has = source.atlas, []
    tasks: list[Task] = []
    block = max(BLOCK // size, 1) * size
    for first in range(0, len(source.ids), block):
        last = min(first + block, len(source.ids))
        tasks.append(partial(packer.write, folder, first, last, size))
    for name, column in atlas.columns.items():
        if name in atlas.filled:
            tasks.append(partial(write_column, folder, source, column))
            tasks.append(partial(write_first_rows, folder, source, name))
    tasks.append(partial(write_flags, folder, source))
    if source.numbered:
        has.append("terms")
        tasks.append(partial(vocabulary.write_terms, folder))
        tasks += [partial(vocabulary.write_posts, folder, group) for group in vocabulary.posts]
    if vocabulary.genes.name:
        has.append("genes")
        tasks.append(partial(vocabulary.write_genes, folder, places))
        tasks += [partial(vocabulary.write_listing, folder, group) for group in vocabulary.listings]
    if places is not None:
        has.append("place")
        tasks += [partial(places.write, folder, k) for k in range(len(places.cuts))]
    if source.has("celltypes"):
        has.append("celltypes")
        tasks.append(partial(vocabulary.write_celltypes, folder))
    for name, rows in _lists(source).items():
        if rows:
            has.append(name)
            tasks.append(partial(write_json, folder, name, rows))
    return tasks, has


def _lists(source: Source) -> dict[str, Any]:
    """Small tables that are written as they are."""
    atlas = source.atlas
    curves = {name: [p._asdict() for p in atlas.curves(name)] for name in ("ablation", "steering")}
    return {
        "numbers": [number._asdict() for number in atlas.numbers()],
        "curves": curves if any(curves.values()) else None,
    }


def _plain(folder: Path, name: str, raw: bytes) -> Written:
    """Write a file as it is."""
    (folder / name).write_bytes(raw)
    return Written(name, len(raw), hashlib.sha256(raw).hexdigest())
