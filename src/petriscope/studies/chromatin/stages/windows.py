"""Stage windows: cut the genome into non-overlapping windows and split it once, before anything is
looked at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from petriscope.files import write_parquet
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import read_intervals
from petriscope.genome.windows import tile_windows
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.data.preflight import check_dataset
from petriscope.studies.chromatin.params import Params


@dataclass(frozen=True)
class WindowNumbers:
    """How much of the genome is looked at."""

    windows: int
    blocks: int
    bp: int
    windows_per_split: dict[str, int]
    blocks_per_split: dict[str, int]
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> WindowNumbers:
    """Write results/windows.parquet."""
    dataset, asked = load_dataset(workspace.dataset(params.dataset)), params.windows
    check_dataset(dataset).refuse()
    genome = Genome(dataset.fasta)
    windows = tile_windows(
        genome.contigs,
        asked.length,
        None if dataset.blacklist is None else read_intervals(dataset.blacklist),
        gaps=genome.gaps(),
        max_n_fraction=asked.max_n_fraction,
        fractions=dataclasses.asdict(asked.split),
        block_bp=asked.block_bp,
        seed=params.seed,
    )
    write_parquet(workspace.windows, windows)
    return WindowNumbers(
        windows=len(windows),
        blocks=windows.block.nunique(),
        bp=int((windows.end - windows.start).sum()),
        windows_per_split=windows.split.value_counts().to_dict(),
        blocks_per_split=windows.groupby("split").block.nunique().to_dict(),
    )
