"""Reference: the dense product of the firing matrices; a loop over tokens."""

from __future__ import annotations

import numpy as np
import pytest
from codes_toy import random_codes

from petriscope.graph import cofiring as module
from petriscope.graph.cofiring import Counter, cofiring, rows_of
from petriscope.sae.codes import Codes


@pytest.mark.parametrize(
    "sizes", [{}, {"ENTRIES_AT_ONCE": 100}, {"ENTRIES_OF_PIECE": 70}, {"FEATURES_OF_PIECE": 3}]
)
@pytest.mark.parametrize("rate", [0.1, 0.004])
def test_counts_are_those_of_the_dense_product(
    sizes: dict[str, int], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uneven tokens (the low rate) take another way; small pieces cut a feature's rows."""
    for name, size in sizes.items():
        monkeypatch.setattr(module, f"_{name}", size)
    first, second = random_codes(300, 40, 1, rate), random_codes(300, 25, 2, rate)
    a, b = (codes.dense() > 0 for codes in (first, second))
    a, b = a.astype(int), b.astype(int)
    np.testing.assert_array_equal(cofiring(first, second), a.T @ b)
    np.testing.assert_array_equal(cofiring(first), a.T @ a)


def test_a_pair_on_more_tokens_than_a_piece_can_count() -> None:
    n = (1 << 16) + 7
    always = Codes(np.arange(n + 1), np.zeros(n, np.int32), np.ones(n, np.float32), 2)
    assert cofiring(always).tolist() == [[n, 0], [0, 0]]
    assert Counter(always, always).counts().tolist() == [[n, 0], [0, 0]]


def test_counts_in_another_order() -> None:
    first, second = random_codes(200, 20, 3), random_codes(200, 30, 4)
    order = np.random.default_rng(5).permutation(200)
    expected = np.zeros((20, 30), int)
    for i in range(200):
        expected += np.outer(first.dense()[i] > 0, second.dense()[order[i]] > 0)
    np.testing.assert_array_equal(Counter(first, second).counts(order), expected)


def test_no_tokens_and_unlike_numbers_of_tokens() -> None:
    empty = random_codes(0, 4, 0)
    assert cofiring(empty).tolist() == np.zeros((4, 4), int).tolist()
    silent = Codes(np.zeros(6, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 3)
    assert not cofiring(silent).any()
    with pytest.raises(ValueError, match="same tokens"):
        cofiring(empty, silent)


def test_rows() -> None:
    codes = random_codes(50, 8, 6)
    order = np.array([4, 4, 49, 0])
    np.testing.assert_array_equal(rows_of(codes, order).dense(), codes.dense()[order])
    kept = np.arange(50) % 3 == 0
    np.testing.assert_array_equal(rows_of(codes, kept).dense(), codes.dense()[kept])
