"""Training by masked tokens: it learns what can be learnt, an interrupted run is an unbroken one,
and the masks are those of the original's recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dna_toy import random_sequences, toy_model

from petriscope.errors import UserError
from petriscope.studies.dna.model import pretrain as module
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer, SequenceBatch, padded
from petriscope.studies.dna.model.pretrain import (
    PretrainConfig,
    learning_rate,
    masked_batch,
    masked_tokens,
    pretrain,
    token_counts,
    unigram_nats,
)
from petriscope.studies.dna.model.tokens import (
    CLS,
    MASK,
    PAD,
    Form,
    TokenTables,
    tokenize,
    tokenize_all,
    vocabulary,
)

SMALL = PretrainConfig(tokens=1500, batch=8)


def tables() -> TokenTables:
    return tokenize_all(random_sequences(21, 60, 60), "v2")


def weights(model: NucleotideTransformer) -> list[torch.Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def test_the_recipe_of_the_masks() -> None:
    ids = torch.from_numpy(np.random.default_rng(0).integers(6, 4102, (400, 41)))
    ids[:, 0], ids[7, 30:] = CLS, PAD
    batch = SequenceBatch(ids, ids != PAD)
    shown, at = masked_batch(batch, np.random.default_rng(1), 0.15, vocabulary("v2"))
    real = at >= 0
    assert (real.sum(1) == torch.where(batch.keep.all(1), 6, 4)).all()  # 15 % of 40 and of 29
    rows = torch.arange(400)[:, None].expand_as(at)[real]
    places = at[real]
    assert (places > 0).all() and batch.keep[rows, places].all()
    assert len({(int(r), int(p)) for r, p in zip(rows, places)}) == len(places)
    changed = shown.ids != ids
    chosen = torch.zeros_like(changed)
    chosen[rows, places] = True
    assert not (changed & ~chosen).any()
    share = (shown.ids[rows, places] == MASK).float().mean()
    other = (changed[rows, places] & (shown.ids[rows, places] != MASK)).float().mean()
    assert abs(share - 0.8) < 0.03 and abs(other - 0.1) < 0.02
    assert (shown.ids[changed] != CLS).all() and (shown.ids[changed & (shown.ids > 5)] < 4107).all()


def test_an_interrupted_run_is_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_EVERY", 3)
    data, rows = tables(), np.arange(50)
    whole = toy_model("v2")
    history = pretrain(whole, SMALL, data, rows, seed=5)
    assert not whole.training and history[-1]["tokens"] >= 1500
    kept, real, calls = tmp_path / "c.safetensors", module._step, []

    def breaks(*args: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_step", breaks)
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy_model("v2"), SMALL, data, rows, seed=5, checkpoint=kept)
    monkeypatch.setattr(module, "_step", real)
    again = toy_model("v2", seed=9)  # its own weights are replaced by those of the checkpoint
    assert pretrain(again, SMALL, data, rows, seed=5, checkpoint=kept) == history
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again)))
    with pytest.raises(UserError, match="belongs to another configuration or seed"):
        pretrain(toy_model("v2"), SMALL, data, rows, seed=6, checkpoint=kept)


def test_another_seed_is_another_model_and_no_tokens_is_none() -> None:
    data, rows = tables(), np.arange(50)
    a, b, c = (toy_model("v2") for _ in range(3))
    pretrain(a, SMALL, data, rows, seed=5)
    pretrain(b, SMALL, data, rows, seed=6)
    assert not torch.equal(a.embedding.weight, b.embedding.weight)
    assert pretrain(c, PretrainConfig(tokens=0), data, rows, seed=5) == []
    assert all(torch.equal(x, y) for x, y in zip(weights(c), weights(toy_model("v2"))))
    with pytest.raises(UserError, match="no training sequence"):
        pretrain(c, SMALL, data, rows[:0], seed=5)


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_it_learns_what_the_context_tells(form: Form) -> None:
    """Every sequence is one of four repeated tokens: masked, a token is told by its neighbors."""
    words = ["ACGTAC", "TTGACA", "GGGCCC", "CATCAT"]
    sequences = [words[i % 4] * 8 for i in range(200)]
    data, rows = tokenize_all(sequences, form), np.arange(200)
    model = toy_model(form)
    before = masked_tokens(model, data, rows[:20])
    how = PretrainConfig(tokens=40_000, batch=16, learning_rate=5e-3)
    history = pretrain(model, how, data, rows[40:], seed=1)
    after = masked_tokens(model, data, rows[:40])
    assert history[-1]["loss"] < 0.5
    assert before.correct.mean() < 0.1 and after.correct.mean() > 0.95
    counts = token_counts(data, rows[40:], len(vocabulary(form)))
    assert after.nats.mean() < 0.3
    assert unigram_nats(after["id"].to_numpy(), counts) > 1.3  # log 4


def test_every_token_is_predicted_once_while_it_is_hidden() -> None:
    model, data = toy_model("v2"), tables()
    found = masked_tokens(model, data, np.array([3, 1, 8]), share=0.2, seed=4)
    wanted = [(row, t) for row in (1, 3, 8) for t in range(1, len(data.of(row).ids))]
    assert list(zip(found.row, found.token)) == wanted
    assert [int(data.of(row).ids[t]) for row, t in wanted] == found["id"].tolist()
    two = tokenize_all(["ACGTACTTGACA"], "v2")  # two tokens: each hidden alone
    found = masked_tokens(model, two, np.array([0]))
    for token in (1, 2):
        ids = torch.from_numpy(two.ids.copy())[None]
        ids[0, token] = MASK
        with torch.no_grad():
            logits = model.run(padded([tokenize("ACGTACTTGACA", "v2")])._replace(ids=ids))
        nats = -logits.prediction[0, token].log_softmax(0)[two.ids[token]]
        assert abs(float(nats) - found.nats[token - 1]) < 1e-4


def test_the_rate_rises_and_falls() -> None:
    how = PretrainConfig()
    rates = [learning_rate(done, how) for done in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and np.argmax(rates) == 5 and abs(rates[5] - 3e-3) < 1e-9
    assert abs(rates[-1] - 0.05 * 3e-3) < 1e-9


def test_a_rate_too_high_is_said_so() -> None:
    how = PretrainConfig(tokens=20_000, batch=8, learning_rate=1e30)
    with pytest.raises(UserError, match=r"model.learning_rate: the loss is not finite"):
        pretrain(toy_model("v2"), how, tables(), np.arange(50), seed=1)
