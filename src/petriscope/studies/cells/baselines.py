"""What the genes of a cell are worth to a predictor without a transformer: how frequent a gene is,
how frequent at its place in the cell, and its mean bin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.studies.cells.model.tokens import CellTokens


class Guess(NamedTuple):
    """How well a baseline predicts hidden genes."""

    nats: float
    """mean cross-entropy of the gene that is there"""
    accuracy: float
    """share of the genes that are the likeliest"""


def gene_tokens(tokens: CellTokens, cells: np.ndarray) -> pd.DataFrame:
    """Columns token (place in its cell), gene, id and value of the gene tokens of some cells."""
    offsets = tokens.offsets
    rows = np.concatenate([np.arange(*offsets[cell : cell + 2]) for cell in cells])
    place = rows - np.repeat(offsets[cells], np.diff(offsets)[cells])
    columns = {"token": place, "gene": tokens.gene[rows], "id": tokens.ids[rows]}
    frame = pd.DataFrame({**columns, "value": tokens.values[rows]})
    return frame[frame.gene >= 0].reset_index(drop=True)


def unigram(train: pd.DataFrame, held: pd.DataFrame, words: int) -> Guess:
    """A gene is as likely everywhere as it is frequent in ``train``, one added to each of the
    ``words`` of the vocabulary. Both tables have the column id, a row per gene token."""
    shares = _shares(train, words)
    ids = held["id"].to_numpy()
    return Guess(float(-np.log(shares[ids]).mean()), float((ids == shares.argmax()).mean()))


def position_unigram(train: pd.DataFrame, held: pd.DataFrame, words: int) -> Guess:
    """A gene is as likely as it is frequent at that place of the cell: counts of (place, gene) in
    ``train`` beside ``words`` further tokens with the shares of `unigram`. Columns token and id."""
    shares = _shares(train, words)
    pair, count = np.unique(_pairs(train, words), return_counts=True)
    places = int(max(train.token.max(), held.token.max())) + 1
    total = np.bincount(pair // words, count, places) + words
    found = np.searchsorted(pair, wanted := _pairs(held, words)).clip(max=len(pair) - 1)
    seen = np.where(pair[found] == wanted, count[found], 0)
    ids, place = held["id"].to_numpy(), held["token"].to_numpy()
    p = (seen + words * shares[ids]) / total[place]
    score = count + words * shares[pair % words]
    order = np.lexsort((-(pair % words), score, pair // words))  # ties: the smallest id is last
    last = np.flatnonzero(np.diff(pair[order] // words, append=places))
    best, height = np.full(places, shares.argmax()), np.full(places, words * shares.max())
    at, top, reached = pair[order[last]] // words, pair[order[last]] % words, score[order[last]]
    higher = reached >= height[at]
    best[at[higher]] = top[higher]
    return Guess(float(-np.log(p).mean()), float((ids == best[place]).mean()))


def _pairs(frame: pd.DataFrame, words: int) -> np.ndarray:
    return frame["token"].to_numpy(np.int64) * words + frame["id"].to_numpy(np.int64)


def _shares(train: pd.DataFrame, words: int) -> np.ndarray:
    counts = np.bincount(train["id"], minlength=words) + 1.0
    return counts / counts.sum()


class BinBaselines(NamedTuple):
    """Mean squared error, in squared bins, of predictors of a hidden bin."""

    gene_mean: float
    """of the gene's mean bin in the training cells; where it is in none, of the mean of all"""
    variance: float
    """of the mean of all"""


def bin_baselines(train: pd.DataFrame, held: pd.DataFrame) -> BinBaselines:
    """``train`` with the columns gene and value, ``held`` with gene and bin."""
    overall = float(train["value"].mean())
    mean = held["gene"].map(train.groupby("gene")["value"].mean()).fillna(overall)
    off = held["bin"].to_numpy(np.float64)
    return BinBaselines(
        float(((off - mean.to_numpy(np.float64)) ** 2).mean()), float(((off - overall) ** 2).mean())
    )


def random_part(draws: list[CellTokens], cells: np.ndarray) -> float | None:
    """The mean variance of a bin over random draws of the ties of its cell, in squared bins: no
    predictor can do better. Over the genes that every draw reads; None with fewer than two."""
    if len(draws) < 2:
        return None
    offsets = [draw.offsets for draw in draws]
    values = []
    for cell in cells:
        spans = [slice(int(of[cell]), int(of[cell + 1])) for of in offsets]
        series = [
            pd.Series(draw.values[span], draw.gene[span]).drop(-1, errors="ignore")
            for draw, span in zip(draws, spans, strict=True)
        ]
        joined = pd.concat(series, axis=1, join="inner")
        values.append(joined.to_numpy(np.float64).var(axis=1, ddof=1))
    return float(np.concatenate(values).mean())
