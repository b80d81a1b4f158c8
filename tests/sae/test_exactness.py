"""The audit of training rows against selections made dense, and against selections spoilt on
purpose."""

from __future__ import annotations

import pytest
import torch
from sae.test_step import K, M, N, random_parameters
from sae.test_train import DATA, SHORT, run

from petriscope.errors import UserError
from petriscope.sae import train as train_module
from petriscope.sae.exactness import check_selection
from petriscope.sae.filter import CandidateFilter
from petriscope.sae.loader import TokenSource
from petriscope.sae.select import BatchTopK, Selection, TopK, above_threshold
from petriscope.sae.sparse import keep_entries, transpose

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
        train_module.train_sae(SHORT, TokenSource(DATA), heldout=None, progress=False)
