"""Reference: models that copy a token from a fixed distance, so that what they follow is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.studies.dna.data.dataset import Truth
from petriscope.studies.dna.longrange import (
    masked_accuracy,
    planted_rule,
    probe_rule,
    rule_sites,
    target_places,
    word_places,
)
from petriscope.studies.dna.model.tokens import tokenize

TOKENS, ANCHOR, TARGET, WORD = 30, 3, 20, 8
MIDDLES = ["AAAAAC", "CCCCCA"]
SIGNS = {0: "ACACAC", 1: "GTGTGT"}
"""first token of either anchor"""


class Copies(torch.nn.Module):
    """A one-block model whose stream at a token is the embedding of the token ``back`` before it;
    its logits say which middle belongs to the anchor's first token."""

    n_layers = 1

    def __init__(self, back: int) -> None:
        super().__init__()
        self.back = back
        self.embedding = torch.nn.Embedding(4107, 8)
        self.config = type("Config", (), {"form": "v2"})()
        self.head = torch.nn.Linear(8, 4107)
        torch.nn.init.zeros_(self.head.weight)

    def streams(self, batch, layers):
        return {layers[0]: self.embedding(torch.roll(batch.ids, self.back, dims=1))}

    def logits(self, stream):
        if self.back != TARGET + 1 - ANCHOR:
            return self.head(stream)
        kinds = self.embedding.weight[[int(tokenize(SIGNS[i], "v2").ids[1]) for i in (0, 1)]]
        which = torch.cdist(stream, kinds).argmin(1)
        ids = torch.tensor([int(tokenize(m, "v2").ids[1]) for m in MIDDLES])
        return torch.nn.functional.one_hot(ids[which], 4107).float()


def world(n: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    rows, texts = [], []
    for i in range(n):
        codes, kind = list(rng.choice(list("ACGT"), 6 * TOKENS)), int(rng.integers(2))
        for at, text in ((ANCHOR, SIGNS[kind]), (TARGET + 1, MIDDLES[kind])):
            codes[6 * at : 6 * at + 6] = text
        texts.append("".join(codes))
        for name, at in (("anchor", ANCHOR), ("target", TARGET), ("word", WORD)):
            rows.append((f"s{i}", name, 6 * at, 6 * at + 18, 0, 0))
    frame = pd.DataFrame(
        {"id": [f"s{i}" for i in range(n)], "sequence": texts, "split": "test", "n_tokens": 31}
    )
    columns = ["id", "kind", "start", "end", "phase", "mutations"]
    return frame, pd.DataFrame(rows, columns=columns)


def test_sites_are_those_of_the_elements():
    frame, elements = world(3)
    (one, *others) = rule_sites(elements, frame.id.tolist(), np.full(3, TOKENS))
    assert len(others) == 2
    assert one.target == TARGET + 1
    assert one.anchor.tolist() == [3, 4, 5]
    assert sorted(one.word) == [8, 9, 10]
    assert not set(one.background) & set(range(3, 6)) | {20, 21, 22} & set(one.background)
    distance = np.abs(one.background - one.target)
    assert np.abs(distance - np.abs(one.anchor - one.target)).max() <= 3
    off_frame = elements.assign(phase=1)
    assert rule_sites(off_frame, frame.id.tolist(), np.full(3, TOKENS)) == []


def test_the_anchor_moves_the_target_of_a_model_that_follows_it():
    frame, elements = world()
    texts = frame.sequence.tolist()
    sites = rule_sites(elements, frame.id.tolist(), np.full(60, TOKENS))
    follows = probe_rule(Copies(TARGET + 1 - ANCHOR), "v2", texts, sites, 1)
    ones = np.ones((1, 60))
    assert follows.ratio(ones, "background")[0] > 100
    assert follows.ratio(ones, "word")[0] > 100
    assert follows.distance[:, 0].mean() == pytest.approx(17)
    elsewhere = probe_rule(Copies(TARGET + 1 - WORD), "v2", texts, sites, 1)
    assert elsewhere.change[:, 0].max() == 0
    assert elsewhere.change[:, 2].min() > 0


def test_the_rule_is_followed_and_known_or_neither():
    frame, elements = world(400)
    world_of = {"rule": {"kinds": 2}, "grammar": {"targets": [f"GGGGGG{m}TTTTTT" for m in MIDDLES]}}
    truth = Truth(world_of, elements)
    common = {"most": 100, "draws": 200, "seed": 3}
    found, table = planted_rule(truth, Copies(18), Copies(1), frame, **common)
    assert found.followed and found.above_chance
    assert found.accuracy == 1
    assert found.targets == 400
    assert len(table) == 200
    other, _ = planted_rule(truth, Copies(2), Copies(1), frame, **common)
    assert not other.followed and not other.above_chance
    none, empty = planted_rule(None, Copies(18), None, frame, **common)
    assert none.untestable and none.followed is None and empty.empty
    few, _ = planted_rule(truth, Copies(18), None, frame.iloc[:10], **common)
    assert "10 held-out sequences" in few.untestable


def test_a_mutated_target_has_no_right_answer():
    frame, elements = world(5)
    texts = frame.sequence.tolist()
    at = 6 * (TARGET + 1)
    texts[2] = texts[2][:at] + "GGGGGG" + texts[2][at + 6 :]
    places = target_places(elements, frame.id.tolist(), texts, MIDDLES)
    assert [row for row, _ in places] == [0, 1, 3, 4]
    assert {token for _, token in places} == {TARGET + 1}
    assert masked_accuracy(Copies(18), "v2", texts, places).share == 1
    assert [token for _, token in word_places(elements, frame.id.tolist(), 0)] == [WORD + 1] * 5
