"""Controls of the foregrounds against places written by hand."""

from __future__ import annotations

import pandas as pd

from petriscope.studies.chromatin.foregrounds import peak_bins, planted_bins


def test_planted_bins_are_the_lineage_alone_strongest_first():
    bins = pd.DataFrame({"chrom": ["c1", "c1", "c2", "c2"], "start": [0, 128, 0, 128]})
    truth = pd.DataFrame(
        {
            "chrom": ["c2", "c1", "c1", "c2", "c9"],
            "start": [128, 0, 128, 0, 0],
            "lineages": ["liver", "liver", "blood", "blood,liver", "liver"],
            "effect": [1.0, 2.0, 9.0, 9.0, 5.0],
        }
    )
    assert planted_bins(truth, "liver", bins, 10).tolist() == [0, 3]
    assert planted_bins(truth, "lymph", bins, 10).tolist() == []


def test_peak_bins_find_the_bin_of_each_summit():
    bins = pd.DataFrame({"chrom": ["c1"] * 3 + ["c2"] * 2, "start": [256, 384, 640, 0, 128]})
    bins["end"] = bins.start + 128
    peaks = pd.DataFrame(
        {
            "chrom": ["c1", "c1", "c2", "c1", "c3"],
            "summit": [390, 600, 127, 383, 5],
            "score": [1.0, 9, 5, 7, 9],
        }
    )
    assert peak_bins(peaks, bins, 10).tolist() == [0, 3, 1]
    assert peak_bins(peaks, bins, 1).tolist() == [0]
