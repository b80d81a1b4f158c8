"""Reference: the safetensors library reads back what was written; other processes write the same
bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from petriscope.studies.chromatin.model.checkpoint import stable_bytes

METADATA = {name: name * 3 for name in ("format", "config", "adapter", "sha256", "build", "é")}
STATE = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.tensor([1.5], dtype=torch.float64),
    "empty": torch.zeros(0),
}
SCRIPT = """
import hashlib, sys; sys.path.insert(0, sys.argv[1])
from studies.chromatin.model.test_checkpoint import METADATA, STATE, stable_bytes
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
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[3])],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here
