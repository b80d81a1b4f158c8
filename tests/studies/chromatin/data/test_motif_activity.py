"""The motif vector against scipy's Fisher test and the scaling of the original's preparation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.errors import UserError
from petriscope.studies.chromatin.data.motif_activity import (
    enrichment_log10_p,
    min_max,
    motif_activity,
    shared_regions,
    summit_regions,
)
from petriscope.studies.chromatin.simulate.dataset import demo_motifs_path
from petriscope.studies.chromatin.simulate.genome import sample_site


@pytest.fixture(scope="module")
def motifs() -> list[Motif]:
    return read_motifs(demo_motifs_path())[:6]


def test_enrichment_is_the_one_sided_fisher_test() -> None:
    rng = np.random.default_rng(0)
    hits, background = rng.random((60, 5)) < [0.1, 0.5, 0.9, 0.0, 0.3], rng.random((200, 5)) < 0.3
    got = enrichment_log10_p(hits, background)
    for m in range(5):
        a, b = hits[:, m].sum(), background[:, m].sum()
        p = stats.fisher_exact([[a, 60 - a], [b, 200 - b]], alternative="greater").pvalue
        assert got[m] == pytest.approx(np.log10(p), abs=1e-9)


def test_enrichment_beyond_the_smallest_double() -> None:
    got = enrichment_log10_p(np.ones((3000, 1), bool), np.zeros((3000, 1), bool))
    exact = -np.log10(2.0) * 6000  # 1 / C(6000, 3000) is about 2^-6000 · sqrt(3000·pi)
    assert got[0] == pytest.approx(exact + 0.5 * np.log10(3000 * np.pi), abs=0.01)


def test_min_max_spans_each_row_and_maps_constants_to_zero() -> None:
    got = min_max(np.array([[-3.0, 1.0, 5.0], [2.0, 2.0, 2.0]]))
    assert got.tolist() == [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]] and got.dtype == np.float32


def test_summit_regions_takes_the_strongest_in_file_order() -> None:
    peaks = pd.DataFrame(
        {"chrom": list("abcd"), "summit": [100, 200, 300, 400], "score": [1.0, 9.0, 9.0, 2.0]}
    )
    got = summit_regions(peaks, max_peaks=3, width=128)
    assert got["chrom"].tolist() == ["b", "c", "d"]
    assert got["start"].tolist() == [136, 236, 336] and ((got["end"] - got["start"]) == 128).all()


def test_shared_regions_merge_near_summits_across_biosamples() -> None:
    peaks = pd.DataFrame(
        {"chrom": ["x", "x", "y", "x", "x"], "summit": [1000, 5000, 1200, 1300, 1700]}
    )
    got = shared_regions(peaks)
    assert got["chrom"].tolist() == ["x", "x", "y"]
    assert got["start"].tolist() == [round((1000 + 1300 + 1700) / 3) - 64, 5000 - 64, 1200 - 64]
    assert shared_regions(peaks.head(0)).empty


def test_planted_motif_tops_its_biosample(motifs: list[Motif]) -> None:
    rng = np.random.default_rng(1)
    samples = [rng.integers(0, 4, (150, 128)).astype(np.uint8) for _ in range(3)]
    for s, sequences in enumerate(samples):
        for row in sequences[::2]:
            site = sample_site(rng, motifs[s], 0.8)
            row[40 : 40 + len(site)] = site
    background = rng.integers(0, 4, (400, 128)).astype(np.uint8)
    got = motif_activity(samples, background, motifs)
    assert got.shape == (3, 6) and got.dtype == np.float32
    assert got.argmax(axis=1).tolist() == [0, 1, 2]
    assert (got.max(axis=1) == 1).all() and (got.min(axis=1) == 0).all()


def test_empty_inputs_are_named(motifs: list[Motif]) -> None:
    some, none = np.zeros((2, 128), np.uint8), np.zeros((0, 128), np.uint8)
    with pytest.raises(UserError, match=r"biosamples\[1\].peaks: has no peak"):
        motif_activity([some, none], some, motifs)
    with pytest.raises(UserError, match="no background peak"):
        motif_activity([some], none, motifs)
    with pytest.raises(UserError, match=r"annotation.motifs: no motif"):
        motif_activity([some], some, [])
