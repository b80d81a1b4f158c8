"""Harvest of cells run together against each run by itself; the table of places against the
tokenizer; what a run's folders hold against what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from cells_models_toy import (
    GENES,
    RANK_WORDS,
    toy_cells,
    toy_counts,
    toy_inputs,
    toy_model,
    toy_obs,
    toy_tokens,
)

from petriscope.errors import UserError
from petriscope.probe.harvest import harvest, harvest_layers, open_layers
from petriscope.probe.hooked import probe
from petriscope.run.workspace import Workspace
from petriscope.studies.cells import inputs as module
from petriscope.studies.cells.inputs import (
    CellInputs,
    load_cells,
    load_model,
    load_random_model,
    save_axis,
)
from petriscope.studies.cells.params import FAMILIES


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_together_is_one_by_one(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 90)
    inputs, model = toy_inputs(family), toy_model(family)
    groups = inputs.together(range(40))
    assert sorted(place for group in groups for place in group) == list(range(40))
    assert max(map(len, groups)) > 1 and 0 < inputs.padding_share() < 0.05
    harvest_layers(model, inputs, range(40), [0, 2, 3], tmp_path)
    for layer, store in open_layers(tmp_path).items():
        assert store.dtype == np.float16 and len(store) == len(inputs.tokens)
        for number in range(40):
            with torch.no_grad():
                alone = model.run(inputs.batch(number), capture=[layer]).hidden[layer][0]
            rows = inputs.tokens.rows_of(np.array([number]))
            np.testing.assert_allclose(store[rows], alone.numpy(), atol=4e-3, rtol=2e-3)
        np.testing.assert_array_equal(harvest(model, inputs, layer, windows=None).values, store)


def test_any_other_model_reads_the_batches_too() -> None:
    """Hugging Face's BERT by hooks, padded cells among them."""
    transformers = pytest.importorskip("transformers")
    from petriscope.studies.cells.model.weights import their_weights

    inputs, model = toy_inputs("geneformer"), toy_model("geneformer")
    config = transformers.BertConfig(
        vocab_size=RANK_WORDS,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=40,
        hidden_act="relu",
        max_position_embeddings=64,
    )
    native = transformers.BertForMaskedLM(config).eval()
    native.load_state_dict(their_weights(model), strict=False)

    class Called(torch.nn.Module):
        config = native.config

        def __init__(self) -> None:
            super().__init__()
            self.native = native

        def forward(self, ids: torch.Tensor, values: None, mask: torch.Tensor) -> torch.Tensor:
            return self.native(ids, attention_mask=mask.long()).logits

    hooked = probe(Called(), "native.bert.encoder.layer", lambda logits: logits)
    cells = [int(inputs.counts.argmax()), int(inputs.counts.argmin())]
    with torch.no_grad():
        theirs = inputs.streams_of(hooked, cells, [0, 3])
        ours = inputs.streams_of(model, cells, [0, 3])
    for layer in (0, 3):
        assert len(ours[layer]) == inputs.counts[cells].sum()
        torch.testing.assert_close(ours[layer], theirs[layer], atol=1e-5, rtol=0)


def test_the_bytes_do_not_depend_on_the_processes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 90)
    for workers in (1, 3):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=workers: set(range(n)))
        (tmp_path / str(workers)).mkdir()
        harvest_layers(
            toy_model(family), toy_inputs(family), range(40), [3], tmp_path / str(workers)
        )
    one, three = ((tmp_path / n / "layer_3.npy").read_bytes() for n in "13")
    assert one == three


def test_places_are_those_of_the_tokenizer() -> None:
    counts = np.zeros((2, GENES), int)
    counts[0, [3, 5, 8]], counts[1, [1, 9]] = [2, 9, 4], [7, 1]
    for family, genes, values in (
        ("geneformer", [-1, 5, 8, 3, -1, -1, 1, 9, -1], [-1, 0, 1, 2, -1, -1, 0, 1, -1]),
        ("scgpt", [-1, 3, 5, 8, -1, 1, 9], [-2, 1, 34, 17, -2, 26, 1]),
    ):
        inputs = CellInputs(toy_obs(2), toy_tokens(family, counts), family, 0, RANK_WORDS)
        places = inputs.places()
        assert places.gene.tolist() == genes and places.value.tolist() == values
        assert (places.gene.dtype, places.value.dtype) == (np.int32, np.float32)
        assert inputs.tokens.window.tolist() == [0] * (len(genes) // 2 + 1) + [1] * (
            len(genes) // 2
        )
        assert inputs.tokens.windows.split.tolist() == ["train", "perturbed"]


def test_the_axis_is_kept(tmp_path: Path, family: str) -> None:
    inputs = toy_inputs(family)
    save_axis(inputs, tmp_path)
    again = module.Tokens.load(tmp_path / "tokens")
    np.testing.assert_array_equal(again.index, inputs.tokens.index)
    assert again.windows.cell.tolist() == inputs.tokens.windows.cell.tolist()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "places.parquet"), inputs.places())


def test_a_model_that_cannot_read_the_cells_is_refused() -> None:
    inputs = toy_inputs("geneformer")
    inputs.check(toy_model("geneformer"))
    longest = inputs.counts.max()
    with pytest.raises(
        UserError, match=rf"tokens.size: lets a cell have {longest} tokens, the model reads 9\. Set"
    ):
        inputs.check(toy_model("geneformer", tokens=9))
    with pytest.raises(UserError, match="model: is scgpt, the cells are encoded for geneformer"):
        inputs.check(toy_model("scgpt"))
    other = CellInputs(toy_obs(3), toy_tokens("scgpt", toy_counts(1, 3)), "scgpt", GENES, 99)
    with pytest.raises(
        UserError, match=r"scgpt\.weights: knows 27 tokens, the vocabulary of the data set has 99"
    ):
        other.check(toy_model("scgpt"))


def test_what_stage_cells_wrote_is_read_and_missing_stages_are_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(
        UserError, match=r"counts.npz: does not exist. Run `petriscope stage cells`"
    ):
        load_cells(workspace)
    counts, genes, obs = toy_cells(1, 9)
    folder = workspace.table("cells")
    folder.mkdir(parents=True)
    sp.save_npz(folder / "counts.npz", counts)
    genes.to_parquet(folder / "genes.parquet")
    obs.to_parquet(folder / "obs.parquet")
    found = load_cells(workspace)
    assert (found.counts != counts).nnz == 0 and found.counts.dtype == np.int32
    assert found.obs.split.tolist() == obs.split.tolist() and len(found.genes) == GENES
    with pytest.raises(UserError, match="Run `petriscope stage model`"):
        load_model(workspace, "scgpt")
    with pytest.raises(UserError, match=r"Set controls\.random_init to true"):
        load_random_model(workspace, "scgpt")
