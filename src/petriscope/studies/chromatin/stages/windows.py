"""Stage windows: cut the genome into non-overlapping windows and split it once, before anything is
looked at."""

from __future__ import annotations

import dataclasses
from typing import Any

from petriscope.files import write_parquet
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import read_intervals
from petriscope.genome.windows import tile_windows
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.params import Params


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/windows.parquet."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    genome = Genome(dataset.fasta)
    blacklist = None if dataset.blacklist is None else read_intervals(dataset.blacklist)
    windows = tile_windows(
        genome.contigs,
        params.windows.length,
        blacklist,
        gaps=genome.gaps(),
        max_n_fraction=params.windows.max_n_fraction,
        fractions=dataclasses.asdict(params.windows.split),
        block_bp=params.windows.block_bp,
        seed=params.seed,
    )
    write_parquet(workspace.windows, windows)
    return {
        "windows": len(windows),
        "blocks": windows.block.nunique(),
        "bp": int((windows.end - windows.start).sum()),
        "windows_per_split": windows.split.value_counts().to_dict(),
        "blocks_per_split": windows.groupby("split").block.nunique().to_dict(),
    }
