"""Adapters against direct calls: a Hugging Face encoder's own hidden states, edits by hand, and the
stages.

Broken adapters are refused with the fault named; the code that runs is the one params.yaml names,
never one from a file.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from petriscope.errors import UserError
from petriscope.probe.model import NO_EDITS, ProbeOutput
from petriscope.probe.states import predict
from petriscope.run.params import load_params
from petriscope.run.stage import run_stage
from petriscope.run.workspace import create_workspace
from petriscope.studies.chromatin.inputs import load_inputs
from petriscope.studies.chromatin.model.adapter import (
    AdaptedModel,
    Build,
    build_adapted,
    check_adapted,
    find_adapter,
)
from petriscope.studies.chromatin.model.base import Batch, TokenIndex
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, simulate_demo
from petriscope.studies.chromatin.study import STUDY

REPOSITORY = Path(__file__).resolve().parents[4]
BUILD = Build(length=2048, crop=2, motifs=5, layers=2, d_model=16, heads=2, weights=None)


class Linear(nn.Module):
    """The least adapter: two blocks that mix neighbors. ``fault`` breaks one promise."""

    name, n_layers, d_model = "linear", 2, 8
    fault = ""

    def __init__(self, build: Build) -> None:
        super().__init__()
        self.crop = build.crop
        self.embed = nn.Linear(32, 8)
        self.blocks = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 1)

    def tokens(self, batch):
        count = batch.atac.shape[1] // 32
        stop = count if self.fault == "crop" else count - self.crop
        width = 64 if self.fault == "width" else 128
        return TokenIndex(128 * np.arange(count), width, slice(self.crop, stop))

    def run(self, batch, capture=(), edits=NO_EDITS):
        count = batch.atac.shape[1] // 32
        bins = batch.atac.reshape(len(batch.atac), count, 32)
        if self.fault == "blind":
            bins = torch.zeros_like(bins)
        hidden = first = self.embed(bins)
        captured = {}
        for layer in range(3):
            if layer:
                hidden = self.blocks[layer - 1](hidden.mT).mT.relu()
            if self.fault == "skip" and layer == 2:
                hidden = hidden + first
            if self.fault == "dropout":
                hidden = hidden + torch.rand(())
            if layer in capture and self.fault == "order":
                captured[layer] = hidden
            if layer in edits:
                hidden = edits[layer](hidden)
            if layer in capture and self.fault not in ("order", "nothing"):
                captured[layer] = hidden
        prediction = nn.functional.softplus(self.head(hidden))  # Poisson loss: a mean is positive
        return ProbeOutput(
            prediction if self.fault == "shape" else prediction[:, self.crop : -self.crop], captured
        )


class NotAModule:
    def __init__(self, build: Build) -> None:
        self.build = build


class Half(nn.Linear):
    def __init__(self, build: Build) -> None:
        super().__init__(2, 2)


def hf_model() -> AdaptedModel:
    pytest.importorskip("transformers", reason="the extra `docs` is not installed")
    return build_adapted(
        find_adapter("examples/hf_encoder.py:HFEncoder", REPOSITORY), BUILD, seed=3
    ).eval()


def random_batch(windows: int, rows: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    letters = torch.randint(0, 4, (windows, 2048), generator=generator)
    atac = torch.rand(rows, 512, 1, generator=generator)
    return Batch(
        nn.functional.one_hot(letters, 4).float(), atac, torch.rand(rows, 1, 5, generator=generator)
    )


def test_the_worked_example_is_under_sixty_lines():
    assert len((REPOSITORY / "examples/hf_encoder.py").read_text().splitlines()) < 60


@torch.inference_mode()
def test_the_residual_stream_is_hugging_faces_own():
    """transformers' `output_hidden_states` is the reference, computed without our loop over
    blocks."""
    model, batch = hf_model(), random_batch(2, 4)
    check_adapted(model)
    found = model.run(batch, capture=(0, 1, 2))
    inner = model.inner
    bins = [
        batch.sequence.repeat_interleave(2, 0).reshape(4, 16, 512),
        batch.atac.reshape(4, 16, 32).log1p(),
    ]
    embedded = inner.embed(torch.cat([*bins, batch.motif.expand(4, 16, -1)], 2))
    expected = inner.bert(inputs_embeds=embedded, output_hidden_states=True).hidden_states
    assert len(expected) == 3
    for layer, hidden in enumerate(expected):
        torch.testing.assert_close(found.hidden[layer], hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found.prediction, inner.head(expected[-1])[:, 2:-2], rtol=1e-5, atol=1e-5
    )


@torch.inference_mode()
def test_resuming_from_an_edited_stream_equals_editing_on_the_way():
    model, batch = hf_model(), random_batch(1, 3)
    plain = model.run(batch, capture=(1,)).hidden[1]
    pushed = model.run(batch, edits={1: lambda hidden: hidden * 0.5}).prediction
    resumed = predict(model, 1, plain * 0.5)
    np.testing.assert_allclose(resumed, pushed[..., 0].numpy(), rtol=1e-4, atol=1e-6)
    edited = model.run(None, resume=(1, plain), edits={1: lambda hidden: hidden * 0.5}).prediction
    torch.testing.assert_close(edited, pushed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", None),
        ("width", "has 16 tokens of 64 bp, the stages need 16 of 128"),
        ("crop", "predicts tokens slice"),
        ("shape", r"predicts shape \(2, 16, 1\)"),
        ("nothing", r"captures None at layer 0, not \(rows, tokens, 8\)"),
        ("dropout", "gives two results on one input"),
        ("blind", "does not read accessibility"),
        ("order", "does not apply an edit at layer 0 before it captures"),
        ("skip", "reads more than the residual stream above layer 0"),
    ],
)
def test_a_broken_promise_is_named(fault, message, monkeypatch):
    monkeypatch.setattr(Linear, "fault", fault)
    model = build_adapted(find_adapter(f"{__name__}:Linear", REPOSITORY), BUILD, seed=0).eval()
    if message is None:
        return check_adapted(model)
    with pytest.raises(UserError, match=f"model.adapter: .*{message}.*docs/your-model.md"):
        check_adapted(model)


def test_a_wrong_name_is_one_line_with_a_remedy(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needs.py").write_text("import no_such_library\n")
    cases = {
        "hf_encoder": "is 'hf_encoder'. Write FILE.py:NAME or package.module:NAME",
        "none.py:Model": "names .*none.py, which does not exist",
        "broken.py:f": r"broken.py cannot be imported \(invalid syntax",
        "needs.py:f": "needs.py cannot be imported: no module 'no_such_library'. Install it",
        "no.such.module:f": "no.such.module cannot be imported: no module 'no'",
        "petriscope.probe.model:Nothing": "has no class or function 'Nothing'",
        f"{__name__}:NotAModule": "does not return a torch module with parameters",
        f"{__name__}:Half": "lacks name, n_layers, d_model, tokens, run",
    }
    for spec, message in cases.items():
        with pytest.raises(UserError, match=message):
            build_adapted(find_adapter(spec, tmp_path), BUILD, seed=0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A small simulated data set and a workspace whose params.yaml names an adapter."""
    root = tmp_path_factory.mktemp("adapted")
    simulate_demo(
        root / "data", DemoConfig(chromosomes=2, mean_length=400_000, replicates=2, deepest=9000)
    )
    made = create_workspace(root / "run", root / "data")
    text = made.params.read_text()
    for entry, value in {
        "adapter": "own.py:Linear",
        "length": 4096,
        "block_bp": 40_000,
        "epochs": 1,
        "biosamples_per_step": 2,
        "mask_folds": 2,
        "max_peaks": 50,
    }.items():
        text, count = re.subn(rf"(?m)^(  {entry}:) \S+", rf"\1 {value}", text)
        assert count == 1, entry
    made.params.write_text(text)
    (made.root / "own.py").write_text(f"from {__name__} import Linear\n")
    return made


def test_the_stages_run_on_an_adapter_and_refuse_another_one(workspace):
    """The model stage trains and keeps it, the harvest equals a direct run; docs/your-model.md runs
    the rest in CI."""
    for stage in ("windows", "tracks", "model", "activations"):
        run_stage(stage, workspace)
    params, model = load_params(workspace.params), load_model(workspace)
    assert (model.name, model.n_layers, model.d_model, model.crop) == ("linear", 2, 8, 2)
    batch = load_inputs(workspace, model).batch(5)
    with torch.inference_mode():
        direct = model.inner.run(batch, capture=(1,)).hidden[1][:, 2:-2]
    stored = np.load(workspace.activations / "layer_1.npy")[5]
    np.testing.assert_array_equal(stored, direct.numpy().astype(np.float16))
    twin = model.reinitialized(5)
    assert twin.build.random and not torch.equal(twin.inner.embed.weight, model.inner.embed.weight)

    assert not STUDY.unseen(workspace, params)
    own = workspace.root / "own.py"
    own.write_text(own.read_text() + "# edited\n")
    assert list(STUDY.unseen(workspace, params)) == ["model"]
    with pytest.raises(
        UserError,
        match=r"was built by another version of own.py:Linear. Run `petriscope stage model`",
    ):
        load_model(workspace)
    workspace.params.write_text(workspace.params.read_text().replace("own.py:Linear", "null"))
    with pytest.raises(UserError, match=r"was built by own.py:Linear, params.yaml names None"):
        load_model(workspace)
