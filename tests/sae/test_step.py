"""Gradients of one SAE step against torch autograd of the definitions written out densely, in
float64."""

from __future__ import annotations

import pytest
import torch

from petriscope.sae.filter import CandidateFilter
from petriscope.sae.select import BatchTopK, TopK, above_threshold
from petriscope.sae.sparse import (
    Pattern,
    column_tiles,
    keep_largest,
    kth_largest,
    weighted_rows,
    weighted_rows_into,
)
from petriscope.sae.step import Objective, Parameters, batch_gradients, weight_blocks

N, D, M, K = 96, 24, 80, 5
NONE = torch.empty(0, dtype=torch.long)


def random_parameters(seed: int = 0) -> Parameters:
    rng = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(M, D, generator=rng)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    W_enc = W_dec + 0.1 * torch.randn(M, D, generator=rng)
    return Parameters(
        W_enc, 0.1 * torch.randn(M, generator=rng), W_dec, 0.3 * torch.randn(D, generator=rng)
    )


def dense_loss(
    parameters: Parameters, x: torch.Tensor, variant: str, objective: Objective, dead_topk: int
) -> torch.Tensor:
    """The definition: mean‖x − x̂‖² over prefixes, + aux_weight · AuxK / residual variance, + l1
    Σz."""
    W_enc, b_enc, W_dec, b_dec = parameters
    pre = (x - b_dec) @ W_enc.T + b_enc
    relu = pre.relu()
    if variant == "topk":
        z = torch.zeros_like(relu).scatter(1, relu.topk(K).indices, relu.topk(K).values)
    elif variant == "relu_l1":
        z = relu
    else:
        top = relu.flatten().topk(K * len(x))
        z = torch.zeros_like(relu.flatten()).scatter(0, top.indices, top.values).view_as(relu)
    loss, start = torch.zeros((), dtype=x.dtype), 0
    for size in objective.groups or (M,):
        error = x - (z[:, : start + size] @ W_dec[: start + size] + b_dec)
        loss = loss + error.square().sum(1).mean()
        start += size
    loss = loss + objective.l1 * z.sum(1).mean()
    if len(objective.dead):
        residual = error.detach()
        acts = relu[:, objective.dead]
        top = acts.topk(min(dead_topk, len(objective.dead)), dim=1)
        acts = torch.zeros_like(acts).scatter(1, top.indices, top.values)
        aux = (residual - acts @ W_dec[objective.dead]).square().sum(1).mean()
        loss = (
            loss + objective.aux_weight * aux / (residual - residual.mean(0)).square().sum(1).mean()
        )
    return loss


def silent(parameters: Parameters, dead: torch.Tensor) -> Parameters:
    """Make some latents weak enough never to be selected, yet positive on some tokens."""
    W_enc = parameters.W_enc.clone()
    W_enc[dead] *= 0.05
    return parameters._replace(W_enc=W_enc)


CASES = {
    "batchtopk": ("batchtopk", Objective(NONE, 4, 1 / 32), 4),
    "topk": ("topk", Objective(NONE, 4, 1 / 32), 4),
    "matryoshka": ("batchtopk", Objective(NONE, 4, 1 / 32, groups=(10, 30, 40)), 4),
    "relu_l1": ("relu_l1", Objective(NONE, 4, 1 / 32, l1=0.7), 4),
    "aux, all dead latents used": (
        "batchtopk",
        Objective(torch.tensor([3, 17, 18, 60]), 12, 0.5),
        12,
    ),
    "aux, the largest of the dead": ("batchtopk", Objective(torch.arange(0, M, 4), 3, 0.5), 3),
    "aux, some tokens with more than it takes": (
        "batchtopk",
        Objective(torch.arange(0, M, 4), 9, 0.5),
        9,
    ),
    "aux under matryoshka": (
        "batchtopk",
        Objective(torch.arange(0, M, 4), 3, 0.5, groups=(20, 60)),
        3,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_gradients_equal_autograd(name: str, precision: str) -> None:
    variant, objective, aux_k = CASES[name]
    parameters = (
        silent(random_parameters(), objective.dead) if len(objective.dead) else random_parameters()
    )
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    filter_ = CandidateFilter(parameters.W_enc, parameters.b_enc, precision)
    centred = x - parameters.b_dec
    if variant == "relu_l1":
        selection = above_threshold(filter_, centred, 0.0)
    else:
        selection = (TopK(K) if variant == "topk" else BatchTopK(K))(filter_, centred)
    assert not set(objective.dead.tolist()) & set(
        selection.by_latent.indptr.diff().nonzero()[:, 0].tolist()
    )
    found = batch_gradients(parameters, x, centred, selection, objective)

    exact = Parameters(*(item.double().requires_grad_() for item in parameters))
    loss = dense_loss(exact, x.double(), variant, objective, aux_k)
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-6)
    got = Parameters(torch.empty(M, D), found.b_enc, torch.empty(M, D), found.b_dec)
    filled = list(weight_blocks(found, objective, 7, got.W_enc, got.W_dec))
    assert sum(block.stop - block.start for block in filled) == M
    for field in Parameters._fields:
        expected = getattr(exact, field).grad
        error = float((getattr(got, field) - expected).abs().max() / expected.abs().max())
        assert error < 1e-6, (field, error)


def test_squared_error_and_l0_are_of_the_whole_dictionary() -> None:
    parameters = random_parameters()
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    centred = x - parameters.b_dec
    selection = BatchTopK(K)(
        CandidateFilter(parameters.W_enc, parameters.b_enc, "float32"), centred
    )
    plain = batch_gradients(parameters, x, centred, selection, Objective(NONE, 4, 0.0))
    nested = batch_gradients(
        parameters, x, centred, selection, Objective(NONE, 4, 0.0, groups=(10, 70))
    )
    assert plain.l0 == nested.l0 == K
    assert nested.squared_error == pytest.approx(plain.squared_error, rel=1e-5)
    assert nested.loss > plain.loss


def test_sums_of_rows_in_tiles_are_the_same_bits() -> None:
    rng = torch.Generator().manual_seed(2)
    table, lengths = torch.randn(50, 300, generator=rng), torch.randint(0, 9, (40,), generator=rng)
    indptr = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    columns = torch.randint(0, 50, (int(lengths.sum()),), generator=rng, dtype=torch.int32)
    pattern, values = Pattern(indptr, columns, 50), torch.rand(len(columns), generator=rng)
    tiles = column_tiles(table)
    assert [tile.shape[1] for tile in tiles] == [128, 128, 44]
    out = torch.full((40, 300), torch.nan)
    assert weighted_rows_into(out, pattern, values, tiles) is out
    plain = torch.nn.functional.embedding_bag(
        columns, table, indptr, mode="sum", per_sample_weights=values, include_last_offset=True
    )
    assert torch.equal(out, plain)
    often = Pattern(indptr, columns % 20, 20)  # a row is used often enough to be copied
    assert len(columns) >= 6 * 20
    plain = torch.nn.functional.embedding_bag(
        columns % 20,
        table[:20],
        indptr,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )
    assert torch.equal(weighted_rows(often, values, table[:20]), plain)


def test_kth_largest_is_that_of_a_sort() -> None:
    values = torch.randn(7, 31, generator=torch.Generator().manual_seed(3))
    values[2] = 0.5
    values[3, ::2] = -torch.inf
    for k in (1, 9, 31):
        assert torch.equal(
            kth_largest(values, k), values.sort(dim=1, descending=True).values[:, k - 1]
        )
        assert torch.equal(kth_largest(values[0], k), values[0].sort(descending=True).values[k - 1])


def test_keep_largest_is_torchs_topk_scattered_into_zeros() -> None:
    given = torch.randn(150, 31, generator=torch.Generator().manual_seed(4)).clamp_min_(0.0)
    given[64:128] *= (
        torch.rand(64, 31, generator=torch.Generator().manual_seed(5)) < 0.3
    )  # a block of short rows
    for k in (1, 9, 16, 31, 40):
        kept = given.clone()
        keep_largest(kept, k)
        best = given.topk(min(k, 31), dim=1)
        assert torch.equal(kept, torch.zeros_like(given).scatter_(1, best.indices, best.values))
