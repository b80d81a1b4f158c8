"""The probe, on EpiBERT: captures after edits, resuming equals running, windows map to tokens,
misuse is named. Its file: the safetensors library reads back what was written, and other processes
write the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from epibert_reference import SMALL, random_batch
from safetensors import safe_open

from petriscope.errors import UserError
from petriscope.probe.model import NO_EDITS, ProbedModel
from petriscope.studies.chromatin.model.base import stable_bytes
from petriscope.studies.chromatin.model.epibert import EpiBERT


def test_edits_apply_in_order_and_captures_come_after_them() -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 1, 2)
    with torch.no_grad():
        zeroed = model.run(
            batch, capture=[0, 1], edits={1: torch.zeros_like, 0: lambda hidden: 2 * hidden}
        )
        plain = model.run(batch, capture=[0])
        all_zero = model.run(None, resume=(1, torch.zeros_like(plain.hidden[0])))
    torch.testing.assert_close(zeroed.hidden[0], 2 * plain.hidden[0])
    assert not zeroed.hidden[1].any()
    torch.testing.assert_close(zeroed.prediction, all_zero.prediction)


def test_resuming_above_the_last_block_runs_the_head_alone() -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 1, 2)
    with torch.no_grad():
        plain = model.run(batch, capture=[2])
        again = model.run(None, resume=(2, plain.hidden[2]))
    torch.testing.assert_close(again.prediction, plain.prediction, rtol=0, atol=0)


def test_it_is_a_probed_model() -> None:
    model: ProbedModel = EpiBERT(SMALL)
    assert (model.name, model.n_layers, model.d_model) == ("epibert", 2, 16)


def test_any_window_of_whole_tokens_runs() -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 1, 2, tokens=37)
    with torch.no_grad():
        prediction = model.run(batch).prediction
    index = model.tokens(batch)
    assert prediction.shape == (2, 33, 1)
    assert index.start.tolist() == [128 * i for i in range(37)]
    assert index.width == 128
    assert len(index.start[index.predicted]) == 33


def test_misfitting_inputs_are_refused() -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 2, 2)
    hidden = torch.zeros(1, 16, 16)
    cases: list[tuple[str, dict[str, object]]] = [
        (
            "sequence: shape .* whole 128-bp tokens",
            {"batch": batch._replace(sequence=batch.sequence[:, :2000])},
        ),
        (
            "sequence: there is neither sequence nor its features",
            {"batch": batch._replace(sequence=None)},
        ),
        (
            r"atac: shape \(3, 512, 1\) does not fit 2 windows of 16",
            {"batch": batch._replace(atac=batch.atac[:3])},
        ),
        (
            r"atac: .* give \(rows, 512, 1\)|Give \(rows, 512, 1\)",
            {"batch": batch._replace(atac=batch.atac[:, :500])},
        ),
        (
            "motif: shape .* 4 rows of 9 motifs",
            {"batch": batch._replace(motif=batch.motif[..., :8])},
        ),
        ("capture: layer 3 is not run. Choose 0 to 2", {"batch": batch, "capture": [3]}),
        ("edits: layer -1 is not run", {"batch": batch, "edits": {-1: torch.neg}}),
        ("edit at layer 1: turned shape", {"batch": batch, "edits": {1: lambda h: h[:, :1]}}),
        ("batch: there is neither a batch nor a hidden state", {"batch": None}),
        ("resume: layer 3 does not exist", {"batch": None, "resume": (3, hidden)}),
        (
            "capture: layer 0 is not run. Choose 1 to 2",
            {"batch": None, "resume": (1, hidden), "capture": [0]},
        ),
        ("resume: shape .* is not", {"batch": None, "resume": (1, hidden[..., :3])}),
    ]
    for message, arguments in cases:
        with pytest.raises(UserError, match=message):
            model.run(**arguments)


def test_the_default_of_no_edits_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        NO_EDITS[0] = torch.neg


METADATA = {name: name * 3 for name in ("format", "config", "adapter", "sha256", "build", "é")}
STATE = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.tensor([1.5], dtype=torch.float64),
    "empty": torch.zeros(0),
}
SCRIPT = """
import hashlib, sys; sys.path.insert(0, sys.argv[1])
from studies.chromatin.model.test_base import METADATA, STATE, stable_bytes
print(hashlib.sha256(stable_bytes(STATE, METADATA)).hexdigest())
"""


def test_the_library_reads_it_back(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(stable_bytes(STATE, METADATA))
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == METADATA
        for name, value in STATE.items():
            assert torch.equal(file.get_tensor(name), value)


def test_every_process_writes_the_same_bytes() -> None:
    here = hashlib.sha256(stable_bytes(STATE, METADATA)).hexdigest()
    for order in ("1", "2"):  # of a set: what differs between processes
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[3])],
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here
