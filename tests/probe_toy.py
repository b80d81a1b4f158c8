"""A probed model of letters: two blocks that mix neighbors, a readout per row. ``fault`` breaks one
promise of the probe."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from petriscope.probe.model import NO_EDITS, Inputs, ProbeOutput
from petriscope.probe.tokens import Tokens

WIDTH = 8


class Letters(Inputs):
    """Windows of 3 to 6 letters, two a unit, padded to 7 positions."""

    def __init__(self, windows: int = 6, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.text = [rng.integers(1, 9, rng.integers(3, 7)) for _ in range(windows)]
        table = pd.DataFrame({"block": np.arange(windows) // 2, "split": "train"})
        table.loc[windows - 2 :, "split"] = "select"
        window = np.repeat(np.arange(windows), [len(text) for text in self.text])
        position = np.concatenate([np.arange(len(text)) for text in self.text])
        self.tokens = Tokens.ragged(table, (windows + 1) // 2, window, window // 2, position)

    def batch(self, number: int) -> dict[str, torch.Tensor]:
        padded = np.zeros(7, np.int64)
        padded[: len(self.text[number])] = self.text[number]
        return {"letters": torch.from_numpy(padded)[None]}

    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[0, : len(self.text[number])]


class Reader(nn.Module):
    """The least probed model; it resumes from a residual stream."""

    n_layers, d_model, resumes = 2, WIDTH, True

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        super().__init__()
        self.fault = fault
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(9, WIDTH)
            self.blocks = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
            self.head = nn.Linear(WIDTH, 3)

    def run(self, batch, capture=(), edits=NO_EDITS, *, resume=None):
        start, hidden = resume or (0, None)
        if resume is None:
            hidden = self.embed(batch["letters"])
            self.first = hidden
        captured = {}
        for layer in range(start, 3):
            if layer > start:
                hidden = self.blocks[layer - 1](hidden.mT).mT.tanh()
            if self.fault == "skip" and layer == 2:
                hidden = hidden + (self.first if resume is None else 0)
            if self.fault == "dropout":
                hidden = hidden + torch.rand(())
            if self.fault == "observed" and capture:
                hidden = hidden + 0.1
            if self.fault == "together" and layer == 1 and len(capture) > 1:
                captured[layer] = hidden + 0.1
            if layer in edits and self.fault not in ("deaf", "no effect"):
                hidden = edits[layer](hidden)
            if layer in capture and self.fault != "nothing":
                shown = edits[layer](hidden) if layer in edits else hidden
                captured.setdefault(layer, shown if self.fault == "no effect" else hidden)
        prediction = self.head(hidden.mean(1))
        return ProbeOutput(prediction / 0 if self.fault == "infinite" else prediction, captured)
