"""Stage tracks: signal, sequence, peaks and motif activity of every window and biosample, as the
model takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.data.tracks import (
    biosample_table,
    make_tracks,
    sequence_codes,
    stored_signal,
)
from petriscope.studies.chromatin.inputs import Arrays
from petriscope.studies.chromatin.params import Params


@dataclass(frozen=True)
class TrackNumbers:
    """Depth and quality of the data; entries by biosample where they are known."""

    biosamples: int
    fragments: dict[str, int]
    frip: dict[str, float]
    peaks: dict[str, int]
    gc: float
    lacks: list[str]
    """What the data set cannot support, a sentence each."""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> TrackNumbers:
    """Write results/tracks/: sequence, signal, motif_activity (.npy), biosamples, peaks
    (.parquet)."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    windows, genome = pd.read_parquet(workspace.windows), Genome(dataset.fasta)
    made = make_tracks(dataset, windows, genome, params.tracks, params.seed)
    table, sequence = biosample_table(dataset, made, windows), sequence_codes(genome, windows)
    with atomic_folder(workspace.tracks) as folder:
        Arrays(sequence, stored_signal(made.tracks), made.activity).save(folder)
        write_parquet(folder / "biosamples.parquet", table)
        write_parquet(folder / "peaks.parquet", pd.concat(made.peaks, ignore_index=True))
    by_name = table.set_index("biosample")
    return TrackNumbers(
        biosamples=len(table),
        fragments={str(k): int(v) for k, v in by_name.fragments.dropna().items()},
        frip={str(k): round(float(v), 6) for k, v in by_name.frip.dropna().items()},
        peaks={frame.biosample.iloc[0]: len(frame) for frame in made.peaks if len(frame)},
        gc=float(np.isin(sequence, (1, 2)).sum() / np.maximum((sequence < 4).sum(), 1)),
        lacks=dataset.untestable(),
    )
