"""The SQLite atlas becomes a folder of static files; every number in it is the atlas's own.

Each table is read by one ordered cursor; blocks of features, columns and terms are written by
several processes, and the bytes do not depend on how many there are.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import resources
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, sha256
from petriscope.parallel import in_processes
from petriscope.web.chunks import Written, write_items, write_json
from petriscope.web.columns import write_column, write_first_rows, write_positions
from petriscope.web.flows import flow_chunks, pairs_of
from petriscope.web.home import FORMAT, home
from petriscope.web.knowledge import knowledge_graph
from petriscope.web.lists import documents, small_tables
from petriscope.web.modules import Graph, graphs_of, module_chunks, summary
from petriscope.web.packs import Packer
from petriscope.web.parts import Parts
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
    with atomic_folder(out, WEB) as folder, without_gc():
        written = [_plain(folder, name, raw) for name, raw in page.items()]
        written += _data(folder, source, digest, workers)
        written.append(_plain(folder, ".nojekyll", b""))
        written.sort()
        told = json.dumps(manifest(source, written, digest), indent=1) + "\n"
        (folder / MANIFEST).write_text(told, encoding="utf-8")
    source.atlas.close()
    return written


@contextmanager
def without_gc() -> Iterator[None]:
    """Many small tuples and no cycles: looking for cycles would take a third of the time. Processes
    that are forked meanwhile do not look either."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def program() -> str:
    """Which program wrote a folder: its version, and the page that it ships."""
    place = resources.files("petriscope.web") / "assets"
    digest = hashlib.sha256()
    for name in ASSETS:
        file = place / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return f"{version('petriscope')} {digest.hexdigest()[:12]}"


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
    packer = Packer.of(source)
    size = packer.size()
    tasks, parts = _shared(folder, source)
    tasks += _features(folder, source, packer, size)
    written = write_json(folder, "home", home(source, digest, size, parts))
    numbers = range(len(tasks))
    run = partial(_run, tasks)
    for found in in_processes(run, numbers, "web atlas", unit="part", workers=workers):
        written += found
    return written


def _run(tasks: list[Task], number: int) -> list[Written]:
    """One part, by its number: the parts themselves are inherited by the processes."""
    return tasks[number]()


def _features(folder: Path, source: Source, packer: Packer, size: int) -> list[Task]:
    """Packs, columns and first rows."""
    tasks: list[Task] = []
    block = max(BLOCK // size, 1) * size
    for first in range(0, len(source.ids), block):
        last = min(first + block, len(source.ids))
        tasks.append(partial(packer.write, folder, first, last, size))
    for name, column in source.atlas.columns.items():
        if name in source.atlas.filled:
            tasks.append(partial(write_column, folder, source, column))
            tasks.append(partial(write_first_rows, folder, source, name))
    tasks.append(partial(write_items, folder, "flags", source.flags))
    return tasks


def _shared(folder: Path, source: Source) -> tuple[list[Task], Parts]:
    """What is not of single features, and what home.js says of it."""
    atlas, tables = source.atlas, small_tables(source.atlas)
    has, tasks = list(tables), [_json(folder, name, table) for name, table in tables.items()]
    graphs, pairs, words = graphs_of(atlas), pairs_of(atlas), Vocabulary(source)
    if atlas.has_graph or words.posts or words.listings:
        has.append("kg")
        tasks.append(partial(_write_knowledge, folder, source))
    layers = sorted({layer for graph in graphs for layer in graph.modules})
    tasks += [partial(_write_modules, folder, source, graphs, layer) for layer in layers]
    for _, group in groupby(pairs, lambda pair: pair[0]):
        tasks.append(partial(_write_flow, folder, source, graphs, list(group)))
    places = Places(source) if source.genome else None
    if places is not None:
        has.append("place")
        tasks += [partial(places.write, folder, k) for k in range(len(places.cuts))]
    if source.numbered:
        has += ["kinds", "terms"]
        tasks.append(partial(write_items, folder, "kinds", source.kinds))
        tasks.append(partial(words.write_terms, folder))
        tasks += [partial(words.write_posts, folder, group) for group in words.posts]
    if words.genes.name:
        has.append("genes")
        tasks.append(partial(words.write_genes, folder, places))
        tasks += [partial(words.write_listing, folder, group) for group in words.listings]
    if source.has("celltypes"):
        has.append("celltypes")
        tasks.append(partial(words.write_celltypes, folder))
    if atlas.layout_made is not None:
        tasks.append(partial(write_positions, folder, source))
    kept, all_documents = documents(atlas)
    if kept:
        has.append("documents")
        tasks.append(partial(write_json, folder, "documents", kept))
    index = [] if places is None else places.index()
    return tasks, Parts(sorted(has), pairs, summary(graphs), index, (len(kept), all_documents))


def _json(folder: Path, name: str, value: Any) -> Task:
    return partial(write_json, folder, name, value)


def _write_knowledge(folder: Path, source: Source) -> list[Written]:
    with source.opened() as atlas:
        return write_json(folder, "graph/kg", knowledge_graph(atlas))


def _write_modules(folder: Path, source: Source, graphs: list[Graph], layer: int) -> list[Written]:
    with source.opened() as atlas:
        chunks = list(module_chunks(atlas, graphs, layer))
    return [one for name, value in chunks for one in write_json(folder, name, value)]


def _write_flow(
    folder: Path, source: Source, graphs: list[Graph], pairs: list[tuple[int, int]]
) -> list[Written]:
    with source.opened() as atlas:
        chunks = list(flow_chunks(atlas, graphs, pairs))
    return [one for name, value in chunks for one in write_json(folder, name, value)]


def _plain(folder: Path, name: str, raw: bytes) -> Written:
    """Write a file as it is."""
    (folder / name).write_bytes(raw)
    return Written(name, len(raw), hashlib.sha256(raw).hexdigest())
