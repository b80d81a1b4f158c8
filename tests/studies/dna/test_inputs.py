"""Harvest of sequences run together against each run by itself; the table of places against the
tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dna_toy import random_sequences, sequence_frame, toy_model

from petriscope.errors import UserError
from petriscope.probe.harvest import harvest, harvest_layers, open_layers
from petriscope.studies.dna import inputs as module
from petriscope.studies.dna.inputs import SequenceInputs, load_model, load_places
from petriscope.studies.dna.model.tokens import Form, tokenize
from petriscope.studies.dna.sequences import load_sequences

FORMS: tuple[Form, ...] = ("v1", "v2")


@pytest.mark.parametrize("form", FORMS)
def test_together_is_one_by_one(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 40)
    sequences = random_sequences(11, 30, 40) + ["ACGTACGTAC"] * 9
    inputs, model = SequenceInputs(sequence_frame(sequences, form), form, 1000), toy_model(form)
    groups = inputs.together(range(len(sequences)))
    assert sorted(place for group in groups for place in group) == list(range(len(sequences)))
    assert max(map(len, groups)) > 1
    harvest_layers(model, inputs, range(len(sequences)), [0, 2, 3], tmp_path)
    for layer, store in open_layers(tmp_path).items():
        assert store.dtype == np.float16 and len(store) == len(inputs.tokens)
        for number, sequence in enumerate(sequences):
            with torch.no_grad():
                alone = model.run(inputs.batch(number), capture=[layer]).hidden[layer][0]
            rows = inputs.tokens.rows_of(np.array([number]))
            assert len(rows) == len(tokenize(sequence, form).ids)
            np.testing.assert_allclose(store[rows], alone.numpy(), atol=4e-3, rtol=2e-3)
        np.testing.assert_array_equal(harvest(model, inputs, layer, windows=None).values, store)


def test_some_sequences_in_the_order_of_the_axis() -> None:
    sequences = ["ACGTACG", "ACG", "TTTTTTA", "GGGGGGG"]
    inputs, model = SequenceInputs(sequence_frame(sequences), "v2", 100), toy_model("v2")
    whole = harvest(model, inputs, 1, windows=None)
    some = harvest(model, inputs, 1, windows=[0, 1, 3])
    rows = inputs.tokens.rows_of(np.array([0, 1, 3]))
    np.testing.assert_allclose(some.values, whole.values[rows], atol=2e-3)


def test_the_bytes_do_not_depend_on_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = SequenceInputs(sequence_frame(random_sequences(12, 40, 60)), "v2", 1000)
    for workers in (1, 3):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=workers: set(range(n)))
        (tmp_path / str(workers)).mkdir()
        harvest_layers(toy_model("v2"), inputs, range(40), [0, 3], tmp_path / str(workers))
    for layer in (0, 3):
        one, three = ((tmp_path / n / f"layer_{layer}.npy").read_bytes() for n in "13")
        assert one == three


def test_places_are_those_of_the_tokenizer() -> None:
    sequences = ["ACGTACGTN", "NACGT"]
    inputs = SequenceInputs(sequence_frame(sequences), "v2", 100)
    places = inputs.places()
    assert places.columns.tolist() == ["id", "start", "width"]
    assert places.width.tolist() == [0, 6, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    assert places.start.tolist() == [0, 0, 6, 7, 8, 0, 0, 1, 2, 3, 4]
    assert inputs.tokens.position.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]
    assert "sequence" not in inputs.tokens.windows and len(inputs) == 2


def test_a_sequence_longer_than_the_model_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"sequence s1: has 6 tokens, the model reads 5: 24 bp"):
        SequenceInputs(sequence_frame(["ACGTAC", "ACGTACGTAC"]), "v2", 5)


def test_stages_that_have_not_run_are_named(tmp_path: Path) -> None:
    from petriscope.run.workspace import Workspace

    workspace = Workspace(tmp_path)
    for read in (load_model, load_places, load_sequences):
        with pytest.raises(UserError, match=r"does not exist. Run `petriscope stage \w+`"):
            read(workspace)
