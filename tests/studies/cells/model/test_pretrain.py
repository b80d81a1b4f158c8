"""Training by hidden genes: it learns what the other genes tell, an interrupted run is an unbroken
one, and what is hidden is what the originals' recipes hide."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from cells_models_toy import GENES, PAD, RANK_WORDS, toy_counts, toy_model, toy_tokens

from petriscope.errors import UserError
from petriscope.studies.cells.baselines import bin_baselines, gene_tokens, position_unigram
from petriscope.studies.cells.model import pretrain as module
from petriscope.studies.cells.model.geneformer import MASK
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.pretrain import (
    PretrainConfig,
    hidden_genes,
    learning_rate,
    masked_batch,
    pretrain,
)
from petriscope.studies.cells.params import FAMILIES

SMALL = PretrainConfig(steps=11, batch=8)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def weights(model: PostNormModel) -> list[torch.Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def test_the_recipe_of_geneformer_s_masks() -> None:
    tokens, cells = toy_tokens("geneformer", toy_counts(1, 900)), np.arange(900)
    words = np.arange(4, RANK_WORDS)
    model, rng = toy_model("geneformer"), np.random.default_rng(1)
    shown, at, wanted = masked_batch(model, tokens, cells, PAD["geneformer"], rng, 0.2, words)
    plain = module.padded(tokens, cells, PAD["geneformer"])
    genes = plain.ids >= 4
    assert not (at & ~genes).any() and torch.equal(wanted, plain.ids[at])
    assert torch.equal(at.sum(1), (0.2 * genes.sum(1)).round().long().clamp(min=1))
    changed = shown.ids != plain.ids
    assert not (changed & ~at).any() and (shown.ids[changed & (shown.ids != MASK)] >= 4).all()
    share = (shown.ids[at] == MASK).float().mean()
    other = (changed[at] & (shown.ids[at] != MASK)).float().mean()
    assert abs(share - 0.8) < 0.03 and abs(other - 0.1 * 23 / 24) < 0.02
    places = at.nonzero()[:, 1].float()
    assert abs(places.mean() - genes.nonzero()[:, 1].float().mean()) < 0.5  # anywhere in a cell


def test_the_recipe_of_scgpt_s_masks() -> None:
    tokens, cells = toy_tokens("scgpt", toy_counts(1, 90)), np.arange(90)
    rng = np.random.default_rng(1)
    shown, at, wanted = masked_batch(
        toy_model("scgpt"), tokens, cells, PAD["scgpt"], rng, 0.4, np.arange(GENES)
    )
    plain = module.padded(tokens, cells, PAD["scgpt"])
    genes = plain.mask & (plain.ids < GENES)
    assert shown.values is not None and plain.values is not None
    assert torch.equal(shown.ids, plain.ids) and not (at & ~genes).any()
    assert torch.equal(at.sum(1), (0.4 * genes.sum(1)).round().long())
    assert (shown.values[at] == -1).all() and torch.equal(shown.values[~at], plain.values[~at])
    assert torch.equal(wanted, plain.values[at]) and (wanted >= 1).all()


def test_an_interrupted_run_is_an_unbroken_one(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_EVERY", 3)
    tokens, cells, pad = toy_tokens(family, toy_counts(2, 50)), np.arange(40), PAD[family]
    whole = toy_model(family)
    history = pretrain(whole, SMALL, tokens, cells, pad, seed=5)
    assert not whole.training and [row["step"] for row in history] == [3, 6, 9, 11]
    kept, real, calls = tmp_path / "c.safetensors", module._step, []

    def breaks(*args: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_step", breaks)
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy_model(family), SMALL, tokens, cells, pad, seed=5, checkpoint=kept)
    monkeypatch.setattr(module, "_step", real)
    again = toy_model(family, seed=9)  # its own weights are replaced by those of the checkpoint
    assert pretrain(again, SMALL, tokens, cells, pad, seed=5, checkpoint=kept) == history
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again)))
    with pytest.raises(UserError, match="belongs to another configuration or seed"):
        pretrain(toy_model(family), SMALL, tokens, cells, pad, seed=6, checkpoint=kept)


def test_another_seed_is_another_model_and_no_steps_are_none(family: str) -> None:
    tokens, cells, pad = toy_tokens(family, toy_counts(2, 50)), np.arange(40), PAD[family]
    a, b, c = (toy_model(family) for _ in range(3))
    pretrain(a, SMALL, tokens, cells, pad, seed=5)
    pretrain(b, SMALL, tokens, cells, pad, seed=6)
    assert not torch.equal(a.embedding.weight, b.embedding.weight)
    none = dataclasses.replace(SMALL, steps=0)
    assert pretrain(c, none, tokens, cells, pad, seed=5) == []
    assert all(torch.equal(x, y) for x, y in zip(weights(c), weights(toy_model(family))))
    with pytest.raises(UserError, match="no training cell"):
        pretrain(c, SMALL, tokens, cells[:0], pad, seed=5)


def test_it_learns_what_the_other_genes_tell(family: str) -> None:
    """Every cell has one half of the genes high: the best guess of a hidden gene is one of its half
    at its place, of a hidden bin the middle of its half."""
    tokens, pad = toy_tokens(family, toy_counts(3, 600)), PAD[family]
    train, held = np.arange(500), np.arange(500, 540)
    model = toy_model(family, layers=2, d_model=16, heads=2, ffn=32)
    share = 0.15 if family == "geneformer" else 0.4
    how = PretrainConfig(steps=700, batch=16, learning_rate=2e-3, mask=share)
    history = pretrain(model, how, tokens, train, pad, seed=1)
    found, rows = hidden_genes(model, tokens, held, pad, share=share), gene_tokens(tokens, train)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    if family == "geneformer":
        best = position_unigram(rows, found, RANK_WORDS)
        assert found.nats.mean() < best.nats - 0.3 and best.nats > 3.1  # log 24 = 3.2, log 12 = 2.5
        assert found.correct.mean() > best.accuracy
    else:
        error = ((found.predicted - found.bin) ** 2).mean()
        assert bin_baselines(rows, found).gene_mean > 190 and error < 75  # 52 within a half


def test_every_gene_is_predicted_once_while_it_is_hidden(family: str) -> None:
    model, tokens, pad = toy_model(family), toy_tokens(family, toy_counts(4, 12)), PAD[family]
    cells = np.array([3, 1, 8])
    seen: list[torch.Tensor] = []
    real = model.hide
    model.hide = lambda batch, at: (seen.append(at), real(batch, at))[1]  # type: ignore[method-assign]
    found = hidden_genes(model, tokens, cells, pad, share=0.4, seed=4)
    del model.hide
    first = tokens.offsets[found.cell] + found.token
    wanted = [row for cell in (1, 3, 8) for row in range(*tokens.offsets[cell : cell + 2])]
    assert first.tolist() == [row for row in wanted if tokens.gene[row] >= 0]
    assert found.gene.tolist() == tokens.gene[first].tolist()
    for at in seen:
        assert (at.sum(1) <= np.ceil(0.4 * at.shape[1])).all()
    one = toy_tokens(family, np.array([[9, 0, 5] + [0] * (GENES - 3)]))  # each is hidden alone
    found = hidden_genes(model, one, np.array([0]), pad, share=0.4)
    batch = module.padded(one, np.array([0]), pad)
    for row, place in enumerate(found.token):
        at = torch.zeros_like(batch.mask)
        at[0, place] = True
        with torch.no_grad():
            value = model.readout(model.hide(batch, at), batch.ids)[0, place]
        column = -found.nats if family == "geneformer" else found.predicted
        assert abs(float(value) - column[row]) < 1e-4
    if family == "scgpt":
        assert found.bin.tolist() == one.values[1:].tolist()
    with pytest.raises(UserError, match="no held-out cell"):
        hidden_genes(model, one, cells[:0], pad, share=0.4)


def test_the_rate_rises_and_falls() -> None:
    how = PretrainConfig()
    rates = [learning_rate(done, how) for done in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and np.argmax(rates) == 5 and abs(rates[5] - 1e-3) < 1e-9
    assert abs(rates[-1] - 0.05 * 1e-3) < 1e-9


def test_a_rate_too_high_is_said_so(family: str) -> None:
    how = PretrainConfig(steps=30, batch=8, learning_rate=1e30)
    tokens, cells = toy_tokens(family, toy_counts(2, 50)), np.arange(40)
    with pytest.raises(UserError, match=rf"{family}.learning_rate: the loss is not finite"):
        pretrain(toy_model(family), how, tokens, cells, PAD[family], seed=1)
