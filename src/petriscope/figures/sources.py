"""Figures and tables are drawn from files that stages wrote, and each says from which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from petriscope.figures.style import as_markdown, save
from petriscope.files import atomic_folder, read_csv, write_csv, write_json
from petriscope.run.workspace import Workspace

SOURCES = "sources.json"
"""beside figures and tables: each one's name → files under results/ it was drawn from"""
EMPTY = pd.DataFrame()
Drawn = tuple[Callable[..., Figure], Sequence[str]]
"""What draws a figure, and the files under results/ that it is given in that order."""


@dataclass(frozen=True)
class FigureNumbers:
    """How many were drawn."""

    figures: int
    tables: int
    untestable: str | None = None


@dataclass
class Files:
    """Tables and arrays of a run, by stage/file; those that a stage did not write are empty."""

    workspace: Workspace
    read: list[str] = field(default_factory=list)

    def table(self, name: str) -> pd.DataFrame:
        """A CSV or parquet file below results/; empty where it is not there or holds no row."""
        path = self.workspace.results / name
        if not path.is_file():
            return EMPTY
        self.read.append(name)
        try:
            return pd.read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
        except pd.errors.EmptyDataError:
            return EMPTY

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of an .npz file; none where it is not there."""
        path = self.workspace.results / name
        if not path.is_file():
            return {}
        self.read.append(name)
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}

    def given(self, name: str) -> pd.DataFrame | dict[str, np.ndarray]:
        """What a file holds."""
        return self.arrays(name) if name.endswith(".npz") else self.table(name)


def write_figures(
    workspace: Workspace,
    drawn: Mapping[str, Drawn],
    stamp: str,
    dpi: int,
    more: Mapping[str, Sequence[object]],
) -> None:
    """Write paper_figures/figures/*.png and *.pdf. ``more``: what a figure's function is given
    after its files, by the figure's name."""
    sources: dict[str, list[str]] = {}
    with atomic_folder(workspace.figures / "figures") as folder:
        for name, (draw, wanted) in drawn.items():
            files = Files(workspace)
            given = [files.given(file) for file in wanted]
            save(draw(*given, *more.get(name, ())), folder, name, stamp, dpi)
            sources[name] = sorted(files.read)
        write_json(folder / SOURCES, sources)


def write_tables(workspace: Workspace, tables: Mapping[str, str], stamp: str) -> int:
    """Write paper_figures/tables/*.csv and *.md, each a file under results/; those that no stage
    wrote, or that hold no row, are left out. Returns how many there are."""
    sources = {}
    with atomic_folder(workspace.figures / "tables") as folder:
        for name, file in tables.items():
            frame = Files(workspace).table(file)
            if frame.empty:
                continue
            write_csv(folder / f"{name}.csv", frame)
            text = as_markdown(frame, f"{name} · {stamp}")
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
            sources[name] = [file]
        write_json(folder / SOURCES, sources)
    return len(sources)
