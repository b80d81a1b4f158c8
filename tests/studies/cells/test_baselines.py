"""Predictors without a transformer against sums written out in the test."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd
from cells_models_toy import RANK_WORDS, toy_counts, toy_tokens

from petriscope.studies.cells.baselines import (
    bin_baselines,
    gene_tokens,
    position_unigram,
    random_part,
    unigram,
)
from petriscope.studies.cells.model.tokens import CellTokens


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    tokens = toy_tokens("geneformer", toy_counts(1, 60))
    return gene_tokens(tokens, np.arange(40)), gene_tokens(tokens, np.arange(40, 60))


def test_gene_tokens_are_those_of_the_cells_without_special_ones() -> None:
    tokens = toy_tokens("scgpt", toy_counts(1, 9))
    found = gene_tokens(tokens, np.array([2, 7]))
    wanted = [
        (row - tokens.offsets[cell], tokens.gene[row], tokens.ids[row], tokens.values[row])
        for cell in (2, 7)
        for row in range(*tokens.offsets[cell : cell + 2])
        if tokens.gene[row] >= 0
    ]
    assert list(found.itertuples(index=False, name=None)) == wanted


def test_frequencies_gene_by_gene() -> None:
    train, held = tables()
    count = Counter(train["id"])
    total = len(train) + RANK_WORDS
    share = {word: (count[word] + 1) / total for word in range(RANK_WORDS)}
    found = unigram(train, held, RANK_WORDS)
    assert math.isclose(found.nats, -np.mean([math.log(share[w]) for w in held["id"]]))
    best = max(share, key=lambda w: (share[w], -w))
    assert math.isclose(found.accuracy, np.mean(held["id"] == best))

    at = Counter(zip(train.token, train["id"]))
    here = Counter(train.token)
    nats, right = [], []
    for place, word in zip(held.token, held["id"]):
        p = {w: (at[place, w] + RANK_WORDS * share[w]) / (here[place] + RANK_WORDS) for w in share}
        assert math.isclose(sum(p.values()), 1)
        nats.append(-math.log(p[word]))
        right.append(word == max(p, key=lambda w: (p[w], -w)))
    placed = position_unigram(train, held, RANK_WORDS)
    assert math.isclose(placed.nats, np.mean(nats))
    assert math.isclose(placed.accuracy, np.mean(right))


def test_a_place_that_training_cells_do_not_reach_has_the_frequencies() -> None:
    train, held = tables()
    far = held.assign(token=500)
    a, b = position_unigram(train, far, RANK_WORDS), unigram(train, held, RANK_WORDS)
    assert math.isclose(a.nats, b.nats) and math.isclose(a.accuracy, b.accuracy)


def test_a_gene_is_told_by_its_place_where_places_tell() -> None:
    train = pd.DataFrame({"token": np.tile([1, 2, 3], 4000), "id": np.tile([7, 9, 11], 4000)})
    found = position_unigram(train, train.head(9), 12)
    assert found.accuracy == 1 and found.nats < 0.01
    assert math.isclose(unigram(train, train, 12).nats, math.log(3), abs_tol=1e-2)


def test_mean_bins() -> None:
    train = pd.DataFrame({"gene": [0, 0, 1, 1], "value": [2.0, 4.0, 10.0, 30.0]})
    held = pd.DataFrame({"gene": [0, 1, 5], "bin": [3.0, 24.0, 11.5]})
    found = bin_baselines(train, held)  # means 3, 20, and 11.5 for a gene that is in no cell
    assert math.isclose(found.gene_mean, (0 + 16 + 0) / 3)
    assert math.isclose(found.variance, (8.5**2 + 12.5**2 + 0) / 3)


def draw(values: list[float], genes: list[int]) -> CellTokens:
    """Two cells: `<cls>` and some genes, and one gene that is always 3."""
    return CellTokens(
        np.zeros(len(genes) + 3, np.int32),
        np.array([-1, *genes, -1, 0], np.int32),
        np.array([-2, *values, -2, 3.0], np.float32),
        np.array([0, len(genes) + 1, len(genes) + 3]),
    )


def test_the_random_part_is_the_variance_over_draws_of_the_genes_that_all_read() -> None:
    draws = [draw([1, 5, 9], [2, 3, 4]), draw([7, 3, 1], [3, 2, 6]), draw([2, 8, 4], [2, 3, 7])]
    wanted = [np.var([1, 3, 2], ddof=1), np.var([5, 7, 8], ddof=1), 0]
    found = random_part(draws, np.array([0, 1]))
    assert found is not None and math.isclose(found, np.mean(wanted))
    assert random_part(draws[:1], np.array([0])) is None
