"""Signal, peaks and motif activity of every biosample of a data set, as the model takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.motifs import read_motifs
from petriscope.genome.coverage import share_in_peaks
from petriscope.genome.fasta import Genome
from petriscope.genome.peaks import call_peaks, read_peaks
from petriscope.genome.tracks import SCALE_TO, TrackResult, signal_for_windows
from petriscope.parallel import in_processes
from petriscope.studies.chromatin.data.dataset import Biosample, Dataset
from petriscope.studies.chromatin.data.motif_activity import (
    motif_activity,
    shared_regions,
    summit_regions,
)
from petriscope.studies.chromatin.params import Tracks

CUT_WIDTH = 11
PEAK_Q = 0.01
"""q of a bin that belongs to a peak, where the data set brings no peaks."""


class Made(NamedTuple):
    """What the model is told of each biosample."""

    tracks: list[TrackResult]
    peaks: list[pd.DataFrame]
    activity: np.ndarray
    """(S, M) motif activity."""


def make_tracks(
    dataset: Dataset, windows: pd.DataFrame, genome: Genome, tracks: Tracks, seed: int
) -> Made:
    """Signal, peaks and motif activity of every biosample of the data set over ``windows``."""

    def one(number: int) -> tuple[TrackResult, pd.DataFrame]:
        biosample = dataset.biosamples[number]
        track = _track(biosample, windows, genome, tracks, seed + number)
        return track, _peaks(biosample, track, windows, genome).assign(biosample=biosample.id)

    found = list(in_processes(one, range(len(dataset.biosamples)), "tracks", unit="biosample"))
    made, peaks = [track for track, _ in found], [called for _, called in found]
    return Made(made, peaks, motif_vectors(dataset, peaks, genome, tracks))


def biosample_table(dataset: Dataset, made: Made, windows: pd.DataFrame) -> pd.DataFrame:
    """A row per biosample: lineage, context, donor, and what its track is made of."""
    return dataset.biosample_table().assign(
        fragments=pd.array([track.fragments for track in made.tracks], dtype="Int64"),
        signal_kind=[track.kind for track in made.tracks],
        mean_signal=[float(track.values.mean()) for track in made.tracks],
        frip=fractions_in_peaks(dataset, made.tracks, made.peaks, windows),
    )


def sequence_codes(genome: Genome, windows: pd.DataFrame) -> np.ndarray:
    """(W, L) uint8 codes 0..3 = ACGT, 4 = N, of every window."""
    return np.stack([genome.fetch_codes(w.chrom, w.start, w.end) for w in windows.itertuples()])


def fractions_in_peaks(
    dataset: Dataset, tracks: list[TrackResult], peaks: list[pd.DataFrame], windows: pd.DataFrame
) -> np.ndarray:
    """(S,) fraction of reads in any biosample's peaks, within the windows; NaN where the signal was
    made from peaks."""
    shares = share_in_peaks(
        (track.values for track in tracks), pd.concat(peaks, ignore_index=True), windows
    )
    made_up = [biosample.format == "narrowpeak" for biosample in dataset.biosamples]
    return np.where(made_up, np.nan, shares)


def stored_signal(tracks: list[TrackResult]) -> np.ndarray:
    """(W, S, L/4) float16, as stages keep it."""
    signal = np.stack([track.values for track in tracks], axis=1)
    return np.minimum(signal, np.finfo(np.float16).max).astype(np.float16)


def _track(
    biosample: Biosample,
    windows: pd.DataFrame,
    genome: Genome,
    tracks: Tracks,
    seed: int,
) -> TrackResult:
    """One biosample's signal; scaled by the whole library where the file holds only part of it."""
    counted = biosample.format in ("fragments", "bam")
    depth = tracks.match_depth if counted else None
    options: dict[str, Any] = {"depth": depth, "seed": seed}
    track = signal_for_windows(
        biosample.signal, biosample.format, windows, genome.contigs, **options
    )
    if counted and biosample.library_share < 1:
        track = track._replace(values=track.values * np.float32(biosample.library_share))
    return track


def _peaks(
    biosample: Biosample, track: TrackResult, windows: pd.DataFrame, genome: Genome
) -> pd.DataFrame:
    """Peaks the data set brings, else called from the track."""
    if biosample.peaks is not None:
        return read_peaks(biosample.peaks, genome.contigs)
    library = None if track.fragments is None else track.fragments / biosample.library_share
    cuts_per_unit = 1.0 if library is None else library / SCALE_TO / CUT_WIDTH
    return call_peaks(track.values, windows, cuts_per_unit, q=PEAK_Q)


def motif_vectors(
    dataset: Dataset, peaks: list[pd.DataFrame], genome: Genome, tracks: Tracks
) -> np.ndarray:
    """Motif-activity vectors (S, M)."""
    motifs = read_motifs(dataset.activity_motifs, dataset.activity_motif_format, tracks.motif_p)
    spans = genome.contigs

    def fetch(regions: pd.DataFrame) -> np.ndarray:
        inside = pd.Series(False, index=regions.index)
        for contig in spans.itertuples():
            inside |= (
                (regions.chrom == contig.chrom)
                & (regions.start >= contig.start)
                & (regions.end <= contig.end)
            )
        return np.stack(
            [genome.fetch_codes(r.chrom, r.start, r.end) for r in regions[inside].itertuples()]
        )

    background = fetch(shared_regions(pd.concat(peaks, ignore_index=True)))
    return motif_activity(
        [fetch(summit_regions(p, tracks.max_peaks)) for p in peaks], background, motifs
    )
