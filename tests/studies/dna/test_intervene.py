"""The experiments of stages head and interventions on a small planted world. Reference: the world's
truth; inside the model, the loss of the edited stream computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from edit_world import MOTIF, World, world

from petriscope.errors import UserError
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes
from petriscope.sae.config import SAEConfig
from petriscope.studies.dna.classify import Asked, Classified, classify
from petriscope.studies.dna.head import PADDED_TO, Head
from petriscope.studies.dna.inside import masked_loss_under
from petriscope.studies.dna.intervene import Intervened, Material, Request, choose, intervene
from petriscope.studies.dna.labeled import Labeled
from petriscope.studies.dna.model.nucleotide import NucleotideConfig, NucleotideTransformer, padded
from petriscope.studies.dna.model.tokens import MASK, TokenTables, tokenize_all

ASKED = Asked(30, 8, (0, 1), 3, 1, True, 100, 0)
REQUEST = Request(4, (0, 0.5, 1, 2, 4), 40, 90, 5, 50, 0.05, 100, 0)
MODEL = NucleotideTransformer(NucleotideConfig("v2", 2, 32, 2, 32)).eval()


def dictionary(w: World) -> SAE:
    zeros = torch.zeros(40), torch.zeros(32)
    d = torch.from_numpy(w.directions)
    return SAE(SAEConfig(32, 40, 4), d, zeros[0], d, zeros[1], 1.0, 0.5)


def sequences(w: World) -> tuple[Labeled, TokenTables]:
    rng = np.random.default_rng(0)
    lengths = np.bincount(w.sequence)
    texts = ["".join(rng.choice(list("ACGT"), 6 * n)) for n in lengths]
    frame = pd.DataFrame(
        {"id": [f"s{i}" for i in range(len(texts))], "sequence": texts, "split": w.split}
        | {"group": w.group}
    )
    return Labeled(frame, w.label, w.group, np.arange(len(texts))), tokenize_all(texts, "v2")


def material(w: World) -> Material:
    codes = Codes(w.codes.indptr, w.codes.indices, w.codes.data, 40)
    return Material(sequences(w)[0], w.streams(), codes, dictionary(w), 1)


def both(w: World) -> tuple[Classified, Intervened | str]:
    mine = material(w)
    found = classify(mine.streams, mine.labeled, mine.sae, ASKED)
    heads = {name: Head(network, 1, groups) for name, (network, groups) in found.networks.items()}
    chosen = choose(mine, REQUEST)
    if isinstance(chosen, str):
        return found, chosen
    heads_of = heads["seed_0"], heads["published"]
    return found, intervene(mine, REQUEST, chosen, *heads_of, MODEL, sequences(w)[1])


@pytest.fixture(scope="module")
def planted() -> tuple[Classified, Intervened | str]:
    return both(world(planted=True, seed=1))


def test_the_head_beats_rivals_that_read_the_sequence(
    planted: tuple[Classified, Intervened | str],
) -> None:
    numbers = planted[0].numbers  # the sequences are random: only the hidden states know the class
    assert numbers["low"] > 0.6 and numbers["least_lead_low"] > 0 and numbers["not_beaten"] == []
    tables = planted[0].tables
    assert set(tables["folds"].reads) == {"length", "gc", "composition", "kmer", "onehot"}
    assert tables["folds"].auc.between(0.35, 0.65).all()
    assert {"hidden mean", "principal components", "code mean"} < set(tables["rivals"].reads)
    assert tables["split"].groupby("group")[["split", "fold"]].nunique().eq(1).all().all()
    assert numbers["published_test_seen"] == pytest.approx(0.64, abs=0.12)
    assert planted[0].networks["published"][0].padded_to == PADDED_TO
    trained = planted[0].networks["seed_0"][1]
    test = tables["split"][tables["split"].split == "test"].group
    assert not np.isin(test, trained).any()


def test_the_planted_latent_is_found(planted: tuple[Classified, Intervened | str]) -> None:
    found = planted[1]
    assert isinstance(found, Intervened)
    off, dimmer = found.numbers["off_switch"], found.numbers["dimmer"]
    assert off["supported"] and off["feature"] == MOTIF and off["side"] == "positive"
    assert off["untestable"] is None and dimmer["untestable"] is None
    assert "10 a side are needed" in found.numbers["asymmetry"]["untestable"]
    assert not found.numbers["asymmetry"]["supported"]
    grid = found.tables["grid"]
    assert set(grid.form) == {"published", "bias kept", "error kept"}
    assert (grid.groupby(["feature", "form"]).size() == 4).all()
    assert set(found.tables["chosen"].side) <= {"positive", "negative", ""}


def test_random_labels_leave_nothing_to_edit() -> None:
    found, edited = both(world(planted=False, seed=2))
    assert not found.numbers["least_lead_low"] > 0
    assert isinstance(edited, str) and "no feature fires at rates that differ" in edited


def test_a_head_that_saw_the_groups_is_refused() -> None:
    w = world(planted=True, seed=1)
    mine = material(w)
    chosen = choose(mine, REQUEST)
    assert not isinstance(chosen, str)
    torch.manual_seed(0)
    networks = classify(mine.streams, mine.labeled, mine.sae, ASKED._replace(epochs=1)).networks
    published = Head(networks["published"][0], 1, np.unique(w.group))
    for head, said in (
        (Head(networks["seed_0"][0], 1, np.unique(w.group)), "were trained on"),
        (published, "padded to 1000 tokens and is used unpadded"),
        (Head(networks["seed_0"][0], 2, np.zeros(0, int)), "trained on layer 2"),
    ):
        with pytest.raises(UserError, match=said):
            intervene(mine, REQUEST, chosen, head, published, MODEL, sequences(w)[1])


def test_lengths_apart_are_not_a_mistake_of_the_user() -> None:
    w = world(planted=True, seed=1)
    mine = material(w)
    label = mine.streams.lengths > 15
    confounded = mine._replace(labeled=mine.labeled._replace(label=label))
    assert "no length bin" in str(choose(confounded, REQUEST._replace(length_bin=1)))


def test_an_edit_inside_the_model() -> None:
    w = world(planted=True, sequences=12)
    _, tables = sequences(w)
    sae, rows = dictionary(w), np.array([2, 5, 7, 8])
    sets = {"all": [np.arange(40)], "none": [np.zeros(0, int)]}
    found = masked_loss_under(MODEL, tables, rows, np.arange(4), sae, 1, sets, resamples=50, seed=3)
    table = found.table.set_index("arm")
    assert table.loc["none", "change"] == pytest.approx(0, abs=1e-6)
    assert table.loc["untouched", "nats"] == pytest.approx(found.recovered.model)
    assert abs(table.loc["all", "change"]) > 1e-5
    # by hand: every sequence alone, all features taken out of it
    seen: list[torch.Tensor] = []
    original = MODEL.run

    def watched(batch: object, **how: object) -> object:
        seen.append(how["resume"][1])  # type: ignore[index]
        return original(batch, **how)  # type: ignore[arg-type]

    MODEL.run = watched  # type: ignore[method-assign, assignment]
    try:
        masked_loss_under(MODEL, tables, rows, np.arange(4), sae, 1, sets, resamples=5, seed=3)
    finally:
        del MODEL.run
    per_length = len(seen) // 6
    plain, cut = seen[0][:, 1:], seen[4][:, 1:]
    codes = sae.encode(plain.flatten(0, 1).numpy()).dense()
    wanted = plain.flatten(0, 1).numpy() - codes @ w.directions
    np.testing.assert_allclose(cut.flatten(0, 1), wanted, atol=1e-5)
    assert torch.equal(seen[0][:, 0], seen[4][:, 0]) and per_length >= 1  # <cls> is left alone


def test_the_loss_is_that_of_the_masked_tokens() -> None:
    w = world(planted=True, sequences=6)
    _, tables = sequences(w)
    found = masked_loss_under(
        MODEL, tables, np.array([3]), np.zeros(1), dictionary(w), 1, {}, resamples=5, seed=1
    )
    ids = tables.of(3).ids
    rng = np.random.default_rng([1, 0])
    size = max(1, round(0.15 * (len(ids) - 1)))
    at = np.argsort(rng.random((1, len(ids) - 1)), axis=1)[0, :size] + 1
    batch = padded([tables.of(3)])
    batch.ids[0, at] = MASK
    with torch.inference_mode():
        logits = MODEL.run(batch).prediction[0, at]
    wanted = F.cross_entropy(logits, torch.from_numpy(ids[at]))
    assert found.table.nats.iloc[0] == pytest.approx(float(wanted), abs=1e-5)
