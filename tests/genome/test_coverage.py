"""Coverage of cut sites and of signal intervals against a base-by-base sum on random windows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from petriscope.genome.coverage import WindowBins, share_in_peaks

SIZE = 3_000


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), bins=st.sampled_from([1, 2, 3, 32, 64]))
def test_random_windows_hold_the_base_by_base_sums(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    length = 4 * bins
    starts = length * rng.permutation(SIZE // length)[: rng.integers(1, 30)] + 4 * int(
        rng.integers(0, 3)
    )
    starts = starts[starts + length <= SIZE]
    windows = pd.DataFrame(
        {"chrom": rng.choice(["a", "b"], len(starts)), "start": starts, "end": starts + length}
    )
    if not len(windows):
        return
    layout = WindowBins(windows)
    values, base = layout.zeros(), {name: np.zeros(SIZE + 50) for name in "abc"}
    for chrom in "abc":
        cuts = rng.integers(-3, SIZE + 3, 200)
        layout.add_cuts(values, chrom, cuts)
        for cut in cuts[cuts >= 5]:
            base[chrom][cut - 5 : cut + 6] += 1
        edges = np.sort(rng.choice(SIZE, 60, replace=False)).reshape(-1, 2)
        value = rng.integers(0, 9, len(edges)).astype(float)
        layout.add_intervals(values, chrom, edges[:, 0], edges[:, 1], value)
        for (lower, upper), height in zip(edges, value):
            base[chrom][lower:upper] += height
    expected = [
        base[c][s:e].reshape(-1, 4).sum(axis=1) for c, s, e in windows.itertuples(index=False)
    ]
    np.testing.assert_array_equal(values, np.array(expected, dtype=np.float32))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_share_in_peaks_is_what_a_base_by_base_mask_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = pd.DataFrame(
        {"chrom": ["a", "b", "a"], "start": [400, 0, 1200], "end": [800, 400, 1600]}
    )
    start = rng.integers(0, 1700, 25)
    peaks = pd.DataFrame(
        {
            "chrom": rng.choice(["a", "b", "c"], 25),
            "start": start,
            "end": start + rng.integers(1, 90, 25),
        }
    )
    signals = [rng.gamma(0.3, size=(3, 100)), np.zeros((3, 100))]
    margin = int(rng.integers(0, 40))
    mask = np.zeros((3, 100), bool)
    for row, window in enumerate(windows.itertuples()):
        for peak in peaks[peaks.chrom == window.chrom].itertuples():
            for base in range(
                max(peak.start - margin, window.start), min(peak.end + margin, window.end)
            ):
                mask[row, (base - window.start) // 4] = True
    found = share_in_peaks(signals, peaks, windows, margin)
    np.testing.assert_allclose(found[0], signals[0][mask].sum() / signals[0].sum())
    assert np.isnan(found[1])
