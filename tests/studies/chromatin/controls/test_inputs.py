"""Reference: dinucleotide counts by definition, all Eulerian paths of a short word by enumeration,
and the plain inputs."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.studies.chromatin.controls.inputs import (
    UNKNOWN,
    VARIANTS,
    InputVariant,
    dinucleotide_shuffle,
    swapped_contexts,
    vary,
)
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.units import design_of


def pairs(codes: np.ndarray) -> Counter:
    return Counter(zip(codes[:-1].tolist(), codes[1:].tolist()))


def design(vivo: list[bool], lineage: list[int]) -> Design:
    names = [f"s{i}" for i in range(len(vivo))]
    contexts = ["in_vivo" if mine else "in_vitro" for mine in vivo]
    lineages = [("blood", "liver")[number] for number in lineage]
    return design_of(pd.DataFrame({"biosample": names, "lineage": lineages, "context": contexts}))


def inputs(windows: int = 5, biosamples: int = 6) -> WindowInputs:
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 4, (windows, 1024)).astype(np.uint8)
    signal = rng.gamma(1.0, 1.0, (windows, biosamples, 256)).astype(np.float16)
    return WindowInputs(sequence, signal, rng.normal(size=(biosamples, 7)).astype(np.float32), 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=0, max_size=60), st.integers(0, 2**31))
def test_shuffles_keep_every_dinucleotide(letters: list[int], seed: int) -> None:
    codes = np.array(letters, np.uint8)
    shuffled = dinucleotide_shuffle(codes, seed)
    assert shuffled.dtype == codes.dtype
    assert pairs(shuffled) == pairs(codes)
    assert Counter(shuffled.tolist()) == Counter(codes.tolist())
    if len(codes):
        assert (shuffled[0], shuffled[-1]) == (codes[0], codes[-1])


def test_every_arrangement_is_equally_likely() -> None:
    codes = np.array([0, 1, 2, 1, 0, 1, 1, 2, 0], np.uint8)
    wanted = pairs(codes)
    inner = {
        (0, *order, 0)
        for order in permutations(codes[1:-1].tolist())
        if pairs(np.array((0, *order, 0))) == wanted
    }
    drawn = Counter(
        tuple(dinucleotide_shuffle(codes, seed).tolist()) for seed in range(200 * len(inner))
    )
    assert set(drawn) == inner
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_long_sequence_is_rearranged_and_the_seed_decides() -> None:
    codes = np.random.default_rng(1).integers(0, 4, 16_384).astype(np.uint8)
    one, two = dinucleotide_shuffle(codes, 3), dinucleotide_shuffle(codes, 4)
    assert (one != codes).mean() > 0.6
    assert (one != two).mean() > 0.6
    np.testing.assert_array_equal(one, dinucleotide_shuffle(codes, 3))


def test_variants_change_what_they_name_and_nothing_else() -> None:
    plain, layout = inputs(), design([False, False, False, True, True, True], [0] * 6)
    chosen = np.array([3, 1])
    for variant in VARIANTS:
        given_ = vary(plain, chosen, variant, layout, seed=5)
        np.testing.assert_array_equal(
            (given_.sequence == plain.sequence[chosen]).all(), variant.dna == "real"
        )
        np.testing.assert_array_equal(
            (given_.signal == plain.signal[chosen]).all(), variant.atac == "real"
        )
        np.testing.assert_array_equal(
            (given_.motif_activity == plain.motif_activity).all(), variant.motif == "real"
        )
        batch = given_.batch(0)
        assert batch.sequence is not None
        if variant.dna == "zero":
            assert (given_.sequence == UNKNOWN).all()
            assert float(batch.sequence.abs().sum()) == 0
        if variant.atac == "zero":
            assert float(batch.atac.abs().sum()) == 0
    shuffled = vary(plain, chosen, InputVariant(dna="shuffled"), layout, seed=5)
    for got, original in zip(shuffled.sequence, plain.sequence[chosen]):
        assert pairs(got) == pairs(original)
    averaged = vary(plain, chosen, InputVariant(motif="averaged"), layout, seed=5)
    np.testing.assert_allclose(
        averaged.motif_activity, np.tile(plain.motif_activity.mean(0), (6, 1))
    )
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) == 8


def test_swapped_rows_are_of_the_other_context_of_the_lineage() -> None:
    layout = design([False, True, True, False, False, True, False], [0, 0, 0, 1, 1, 1, 1])
    rows = swapped_contexts(layout)
    assert (layout.stratum_of[rows] == layout.stratum_of).all()
    assert (layout.is_target[rows] != layout.is_target).all()
    alone = design([True, True], [0, 0])
    np.testing.assert_array_equal(swapped_contexts(alone), [0, 1])


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UserError, match=r"is 'mirrored'.*Use one of: real, shuffled, zero"):
        vary(
            inputs(), np.array([0]), InputVariant(dna="mirrored"), design([False, True], [0, 0]), 0
        )
