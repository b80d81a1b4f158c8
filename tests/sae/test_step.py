"""Gradients against autograd, the audit of the selection against float64, resampling against its paper."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sae.test_train import DATA, SHORT, run, same

from petriscope.errors import UserError
from petriscope.sae import train as train_module
from petriscope.sae.loader import TokenSource
from petriscope.sae.select import BatchTopK, CandidateFilter, Selection, TopK, above_threshold
from petriscope.sae.sparse import (
    Pattern,
    column_tiles,
    keep_entries,
    keep_largest,
    kth_largest,
    transpose,
    weighted_rows,
    weighted_rows_into,
)
from petriscope.sae.step import (
    DictionaryAdam,
    Objective,
    Parameters,
    batch_gradients,
    check_selection,
    resample,
    weight_blocks,
)

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
    centered = x - parameters.b_dec
    if variant == "relu_l1":
        selection = above_threshold(filter_, centered, 0.0)
    else:
        selection = (TopK(K) if variant == "topk" else BatchTopK(K))(filter_, centered)
    assert not set(objective.dead.tolist()) & set(
        selection.by_latent.indptr.diff().nonzero()[:, 0].tolist()
    )
    found = batch_gradients(parameters, x, centered, selection, objective)

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
    centered = x - parameters.b_dec
    selection = BatchTopK(K)(
        CandidateFilter(parameters.W_enc, parameters.b_enc, "float32"), centered
    )
    plain = batch_gradients(parameters, x, centered, selection, Objective(NONE, 4, 0.0))
    nested = batch_gradients(
        parameters, x, centered, selection, Objective(NONE, 4, 0.0, groups=(10, 70))
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


ROWS = torch.arange(0, N, 5)
PARAMETERS = random_parameters()
X = torch.randn(N, 24, generator=torch.Generator().manual_seed(1))


def selections() -> dict[str, tuple[Selection, int | None]]:
    filter_ = CandidateFilter(PARAMETERS.W_enc, PARAMETERS.b_enc, "bf16")
    return {
        "batchtopk": (BatchTopK(K)(filter_, X), None),
        "topk": (TopK(K)(filter_, X), K),
        "relu": (above_threshold(filter_, X, 0.0), None),
    }


def without(selection: Selection, entry: int) -> Selection:
    """The selection with one entry forgotten."""
    kept = torch.ones(len(selection.values), dtype=torch.bool)
    kept[entry] = False
    by_latent, _ = keep_entries(selection.by_latent, kept)
    by_token, order = transpose(by_latent)
    return Selection(by_latent, selection.values[kept], by_token, order)


def strongest(selection: Selection, rows: torch.Tensor) -> int:
    """The entry of the largest value in some rows."""
    inside = torch.isin(selection.by_latent.columns, rows)
    return int(torch.where(inside, selection.values, -1.0).argmax())


@pytest.mark.parametrize("name", ["batchtopk", "topk", "relu"])
def test_exact_selections_pass_and_forgotten_latents_do_not(name: str) -> None:
    selection, per_row = selections()[name]
    found = check_selection(selection, X, PARAMETERS, ROWS, per_row)
    assert found == (len(ROWS), 0, 0)
    spoilt = without(selection, strongest(selection, ROWS))
    assert check_selection(spoilt, X, PARAMETERS, ROWS, per_row).missed == 1


def test_latents_below_the_border_are_surplus() -> None:
    positive, _ = selections()["relu"]
    tight, _ = selections()["topk"]
    assert check_selection(positive, X, PARAMETERS, ROWS, K).surplus > 0
    dense = (X @ PARAMETERS.W_enc.T + PARAMETERS.b_enc).relu()
    expected = int((dense[ROWS] > 0).sum()) - K * len(ROWS)
    assert check_selection(positive, X, PARAMETERS, ROWS, K).surplus == expected
    assert len(tight.values) == K * N
    assert M > K


@pytest.mark.parametrize("variant", ["batchtopk", "topk", "relu_l1", "matryoshka"])
def test_training_audits_a_sample_and_says_how_many(variant: str) -> None:
    result = run(type(SHORT)(**{**SHORT.as_dict(), "variant": variant}))
    assert result.audited_rows == 4 * 3  # 60 steps, every 20th


def test_a_filter_that_misses_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky(BatchTopK):
        def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
            whole = super().__call__(filter_, x)
            return without(
                whole, strongest(whole, torch.arange(0, 128, 32))
            )  # rows that the first audit reads

    monkeypatch.setattr(train_module, "BatchTopK", Leaky)
    with pytest.raises(
        UserError, match=r"sae.filter: missed 1 latents and kept 0 too many in 4 rows of step 0"
    ):
        train_module.train_dictionary(SHORT, TokenSource(DATA), heldout=None, progress=False)


def test_dead_latents_become_inputs_of_large_loss() -> None:
    adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
    for moments in (adam.first, adam.second):
        for tensor in moments:
            tensor.fill_(1.0)
    before = [tensor.clone() for tensor in adam.parameters]
    rng = torch.Generator().manual_seed(3)
    centered = torch.randn(500, D, generator=rng)
    residual = torch.full((500, D), 1e-4)
    residual[100:110] = 1.0  # only these rows have a loss worth drawing
    dead = torch.tensor([3, 40, 41])
    resample(adam, dead, centered, residual, (0, 7))
    alive = torch.ones(len(before[0]), dtype=torch.bool)
    alive[dead] = False
    unit = torch.nn.functional.normalize(centered[100:110], dim=1)
    chosen = (adam.parameters.W_dec[dead] @ unit.T).max(1)
    np.testing.assert_allclose(chosen.values, 1.0, rtol=1e-5)
    assert len(set(chosen.indices.tolist())) == 3  # drawn without replacement
    length = before[0][alive].norm(dim=1).mean()
    np.testing.assert_allclose(adam.parameters.W_enc[dead].norm(dim=1), 0.2 * length, rtol=1e-5)
    assert not adam.parameters.b_enc[dead].any()
    for moments in (adam.first, adam.second):
        assert not any(getattr(moments, name)[dead].any() for name in ("W_enc", "W_dec", "b_enc"))
        assert all(
            (getattr(moments, name)[alive] == 1).all() for name in ("W_enc", "W_dec", "b_enc")
        )
    for name, tensor in zip(("W_enc", "b_enc", "W_dec", "b_dec"), before, strict=True):
        kept = slice(None) if name == "b_dec" else alive
        assert torch.equal(getattr(adam.parameters, name)[kept], tensor[kept])


def test_draws_follow_the_squared_loss() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0])  # probabilities 1, 4, 9 of 14
    residual = torch.zeros(3, D)
    residual[:, 0] = losses.sqrt()
    counts = torch.zeros(3)
    for step in range(400):
        adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
        resample(adam, torch.tensor([0]), torch.eye(3, D), residual, (1, step))
        counts += adam.parameters.W_dec[0, :3]
    np.testing.assert_allclose(counts / 400, np.array([1, 4, 9]) / 14, atol=0.08)


def test_nothing_to_do_changes_nothing() -> None:
    adam = DictionaryAdam(random_parameters(), (0.9, 0.999), 1.0)
    before = [tensor.clone() for tensor in adam.parameters]
    rows = torch.ones(5, D)
    resample(adam, torch.empty(0, dtype=torch.long), rows, rows, (0, 0))
    resample(adam, torch.arange(len(before[0])), rows, rows, (0, 0))
    resample(adam, torch.tensor([1]), rows, torch.zeros(5, D), (0, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, adam.parameters, strict=True))


def test_training_resamples_and_repeats() -> None:
    settings = {"resample_every": 15, "aux_weight": 0.0, "dead_after_tokens": 200, "lr": 2e-2}
    config = dataclasses.replace(SHORT, **settings)
    one, two, never = run(config), run(config), run(dataclasses.replace(config, resample_every=0))
    assert same(one, two)
    assert not torch.equal(one.sae.W_dec, never.sae.W_dec)
