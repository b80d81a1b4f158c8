"""Selections against dense torch.topk on the full pre-activation matrix; the filter against its own
definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from petriscope.sae.select import (
    BatchTopK,
    CandidateFilter,
    Selection,
    TopK,
    above_threshold,
    fastest_precision,
    where_true,
)

N, D, M, K = 257, 40, 190, 7
PRECISIONS = ["bf16", "float32"]


def encoder(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    W_enc = torch.randn(M, D, generator=rng) * (0.2 + torch.rand(M, 1, generator=rng))
    return W_enc, 0.2 * torch.randn(M, generator=rng) - 0.1


def tokens(seed: int = 1, outlier: float = 1.0) -> torch.Tensor:
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(seed))
    x[::50] *= outlier  # a few tokens far larger than the rest, as transformers have
    x[:, 3] *= outlier
    return x


def dense(selection: Selection) -> torch.Tensor:
    z = torch.zeros(N, M)
    rows = torch.repeat_interleave(torch.arange(N), selection.by_token.indptr.diff())
    z[rows, selection.by_token.columns.long()] = selection.values[selection.order]
    return z


def check_orders_agree(selection: Selection) -> None:
    latents = torch.repeat_interleave(torch.arange(M), selection.by_latent.indptr.diff())
    z = torch.zeros(M, N)
    z[latents, selection.by_latent.columns.long()] = selection.values
    assert torch.equal(z.T, dense(selection))
    columns, indptr = selection.by_token.columns.numpy(), selection.by_token.indptr.numpy()
    assert all(np.all(np.diff(columns[a:b]) > 0) for a, b in itertools.pairwise(indptr))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("outlier", [1.0, 180.0])
def test_filter_misses_nothing(precision: str, outlier: float) -> None:
    W_enc, b_enc = encoder()
    x = tokens(outlier=outlier)
    exact = (x.double() @ W_enc.double().T + b_enc.double()).T
    for floor in (0.0, 0.8, torch.rand(N) + 0.1):
        found = CandidateFilter(W_enc, b_enc, precision).candidates(x, floor)
        hit = torch.zeros(M, N, dtype=torch.bool)
        hit[torch.repeat_interleave(torch.arange(M), found.indptr.diff()), found.columns.long()] = (
            True
        )
        missed = (exact > floor) & ~hit
        assert not bool(missed.any())
        assert (
            int(hit.sum()) < 1.5 * int((exact > floor).sum()) + 50
        )  # a filter that lets all pass is none


@pytest.mark.parametrize("n", [5, 64, 1003])
def test_where_true_is_flatnonzero(n: int) -> None:
    for share in (0.0, 0.02, 1.0):
        hit = np.random.default_rng(n).random(n) < share
        assert np.array_equal(where_true(hit), np.flatnonzero(hit))


def test_filter_follows_a_change_of_some_rows() -> None:
    W_enc, b_enc = encoder()
    filter_ = CandidateFilter(W_enc, b_enc, "bf16")
    W_enc[20:30] *= 5
    b_enc[20:30] += 1
    filter_.refresh(20, 30)
    fresh = CandidateFilter(W_enc, b_enc, "bf16")
    assert torch.equal(
        filter_.candidates(tokens(), 0.5).columns, fresh.candidates(tokens(), 0.5).columns
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("outlier", [1.0, 180.0])
def test_batchtopk_is_exact_over_drifting_batches(precision: str, outlier: float) -> None:
    W_enc, b_enc = encoder()
    filter_, select = CandidateFilter(W_enc, b_enc, precision), BatchTopK(K)
    for step, grow in enumerate(
        [1.0, 1.01, 0.5, 3.0, 1.0]
    ):  # the carried floor is far too high, then far too low
        x = tokens(step, outlier) * grow
        selection = select(filter_, x)
        pre = (x @ W_enc.T + b_enc).relu().flatten()
        top = pre.topk(K * N)
        expected = torch.zeros_like(pre).scatter(0, top.indices, top.values).view(N, M)
        torch.testing.assert_close(dense(selection), expected, rtol=1e-5, atol=1e-5 * outlier)
        assert len(selection.values) == K * N
        check_orders_agree(selection)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("outlier", [1.0, 180.0])
def test_topk_is_exact_over_drifting_batches(precision: str, outlier: float) -> None:
    W_enc, b_enc = encoder()
    filter_, select = CandidateFilter(W_enc, b_enc, precision), TopK(K)
    for step, grow in enumerate([1.0, 1.01, 0.5, 3.0, 1.0]):
        x = tokens(step, outlier) * grow
        selection = select(filter_, x)
        pre = (x @ W_enc.T + b_enc).relu()
        top = pre.topk(K, dim=1)
        expected = torch.zeros_like(pre).scatter(1, top.indices, top.values)
        torch.testing.assert_close(dense(selection), expected, rtol=1e-5, atol=1e-5 * outlier)
        check_orders_agree(selection)


def test_both_precisions_select_the_same_bits() -> None:
    W_enc, b_enc = encoder()
    for make in (BatchTopK, TopK):
        one, two = (
            make(K)(CandidateFilter(W_enc, b_enc, precision), tokens()) for precision in PRECISIONS
        )
        assert torch.equal(dense(one), dense(two))


@pytest.mark.parametrize("make", [BatchTopK, TopK])
def test_fewer_positive_than_k(make: type[BatchTopK] | type[TopK]) -> None:
    W_enc, b_enc = encoder()
    b_enc = b_enc - 15.0  # hardly anything is positive
    x = tokens()
    select = make(K)
    filter_ = CandidateFilter(W_enc, b_enc, "bf16")
    for _ in range(2):
        selection = select(filter_, x)
        torch.testing.assert_close(
            dense(selection), (x @ W_enc.T + b_enc).relu(), rtol=1e-5, atol=1e-5
        )
        check_orders_agree(selection)


def test_ties_go_to_the_lower_latent() -> None:
    W_enc = torch.ones(6, 8)
    filter_ = CandidateFilter(W_enc, torch.zeros(6), "float32")
    x = torch.ones(4, 8)
    z = TopK(2)(filter_, x)
    assert z.by_token.columns.tolist() == [0, 1] * 4
    z = BatchTopK(2)(filter_, x)
    assert z.by_latent.indptr.tolist() == [0, 4, 8, 8, 8, 8, 8]


def test_threshold_selection_and_empty_result() -> None:
    W_enc, b_enc = encoder()
    filter_ = CandidateFilter(W_enc, b_enc, "bf16")
    pre = tokens() @ W_enc.T + b_enc
    torch.testing.assert_close(
        dense(above_threshold(filter_, tokens(), 0.7)), pre.where(pre > 0.7, 0.0)
    )
    nothing = above_threshold(filter_, tokens(), 1e6)
    assert len(nothing.values) == 0
    assert nothing.smallest == 0.0


def test_precision_is_timed_once() -> None:
    assert fastest_precision(64) in PRECISIONS
    assert fastest_precision(64) is fastest_precision(64)
