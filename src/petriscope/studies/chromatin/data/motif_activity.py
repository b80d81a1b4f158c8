"""The motif-activity input: how enriched each motif is in each biosample's peaks, scaled to [0,
1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.enrich.motifs import Motif
from petriscope.enrich.scan import scan_hits
from petriscope.errors import UserError

WIDTH = 128
MERGE = 500


def summit_regions(
    peaks: pd.DataFrame, max_peaks: int = 50_000, width: int = WIDTH
) -> pd.DataFrame:
    """``width`` bp around the summits of the strongest peaks of one biosample.

    ``peaks`` has columns chrom, summit (absolute), score. Ties in score keep file order. Returns
    chrom, start, end by falling score; the original takes 50,000 peaks and 128 bp.
    """
    best = peaks.sort_values("score", ascending=False, kind="stable").head(max_peaks)
    start = best["summit"].to_numpy() - width // 2
    return pd.DataFrame({"chrom": best["chrom"].to_numpy(), "start": start, "end": start + width})


def shared_regions(peaks: pd.DataFrame, width: int = WIDTH) -> pd.DataFrame:
    """The background: ``width`` bp about the mean of each run of summits within 500 bp of the next,
    all biosamples.

    The original's background is its 56,059 merged peaks, so enrichment means "more than in open
    chromatin at large", not "more than in the genome". ``peaks`` has columns chrom, summit. Returns
    chrom, start, end, sorted.
    """
    ordered = peaks.sort_values(["chrom", "summit"], kind="stable")
    chrom, summit = ordered["chrom"].to_numpy().astype(str), ordered["summit"].to_numpy()
    if not len(summit):
        return pd.DataFrame({"chrom": chrom, "start": summit, "end": summit})
    new = np.concatenate([[True], (chrom[1:] != chrom[:-1]) | (np.diff(summit) > MERGE)])
    group = np.cumsum(new) - 1
    center = np.rint(np.bincount(group, summit) / np.bincount(group)).astype(np.int64)
    start = center - width // 2
    return pd.DataFrame({"chrom": chrom[new], "start": start, "end": start + width})


def enrichment_log10_p(hits: np.ndarray, background_hits: np.ndarray) -> np.ndarray:
    """One-sided Fisher log10 p per motif: SEA's test on zero-or-one occurrences.

    ``hits`` (n, M) and ``background_hits`` (n_b, M) bool. Returns (M,) float64, at most 0, computed
    in log space.
    """
    n, n_b = len(hits), len(background_hits)
    with_motif = hits.sum(axis=0)
    total = with_motif + background_hits.sum(axis=0)
    log_p = [
        stats.hypergeom.logsf(k - 1, n + n_b, t, n) if k > 0 else 0.0
        for k, t in zip(with_motif, total)
    ]
    return np.minimum(np.array(log_p, dtype=np.float64) / np.log(10.0), 0.0)


def min_max(values: np.ndarray) -> np.ndarray:
    """Each row of (S, M) stretched to [0, 1]; a constant row becomes 0."""
    low, high = values.min(axis=-1, keepdims=True), values.max(axis=-1, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    return ((values - low) / span).astype(np.float32)


def motif_activity(
    peak_sequences: Sequence[np.ndarray], background_sequences: np.ndarray, motifs: Sequence[Motif]
) -> np.ndarray:
    """The motif vector of every biosample.

    Parameters: ``peak_sequences`` one (n_s, L) uint8 array per biosample (codes 0..3 = ACGT, 4 =
    N), `summit_regions` fetched; ``background_sequences`` (n_b, L), `shared_regions` fetched.
    Returns (S, M) float32 in [0, 1]: −log10 E of each motif's enrichment over the background (E =
    p·M, as MEME SEA reports it), min-max within the biosample (EpiBERT's preparation). Differs from
    SEA in that the score threshold is each motif's own, not optimized on the data. Raises
    `UserError` where a biosample has no peak or no motif is given.
    """
    if not motifs:
        raise UserError(
            "no motif to measure the activity of",
            field="annotation.motifs",
            remedy="Give a motif file.",
        )
    for index, sequences in enumerate(peak_sequences):
        if len(sequences) == 0:
            raise UserError(
                "has no peak",
                field=f"biosamples[{index}].peaks",
                remedy="Give its peaks or leave it out.",
            )
    if len(background_sequences) == 0:
        raise UserError(
            "no background peak", field="peaks", remedy="Give the peaks of at least one biosample."
        )
    stacked = np.concatenate([*peak_sequences, background_sequences])
    hits = scan_hits(stacked, motifs)
    cuts = np.cumsum([len(sequences) for sequences in peak_sequences])
    parts = np.split(hits, cuts)
    log_p = np.stack([enrichment_log10_p(part, parts[-1]) for part in parts[:-1]])
    return min_max(-(log_p + np.log10(len(motifs))))
