"""Streamed training beside the stored path on one small model: disk, tokens per second, quality.

A transformer of two blocks with fixed random weights reads 256 tokens a window; its three layers
each get a dictionary. Stored: harvest_layers of all windows, then a dictionary each from the files.
Streamed: windows go through the model into all dictionaries at once; only the held-out windows are
harvested. Peak disk is read from the folder of each path ten times a second (allocated blocks).

python benchmarks/stream.py [--tokens 20000000] [--width 64] [--latents 256] [--disk-only]

Both take the tokens once. The two dictionaries of a layer saw the same tokens in another order.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from petriscope.probe.harvest import harvest_layers, layer_paths
from petriscope.probe.model import NO_EDITS, Inputs, ProbeOutput
from petriscope.probe.tokens import Tokens
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.stream import Key, train_streamed
from petriscope.sae.sweep import Job, train_many
from petriscope.sae.train import TrainResult

LENGTH, BATCH, HELD_OUT, WORDS = 256, 2048, 0.002, 512
LAYERS = 2


class Model(nn.Module):
    """Two blocks with random weights over embedded words."""

    n_layers, resumes = LAYERS, False

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.d_model = width
        self.embed = nn.Embedding(WORDS, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
            for _ in range(LAYERS)
        )

    def run(
        self, batch: Any, capture: Any = (), edits: Any = NO_EDITS, *, resume: Any = None
    ) -> ProbeOutput:
        """All layers."""
        hidden, found = self.embed(batch), {}
        for layer in range(LAYERS + 1):
            if layer:
                hidden = self.blocks[layer - 1](hidden)
            if layer in capture:
                found[layer] = hidden
        return ProbeOutput(hidden.mean(1), found)


class Words(Inputs):
    """Windows of words drawn when they are asked for: nothing of them is stored."""

    def __init__(self, windows: int) -> None:
        held = max(2, round(HELD_OUT * windows))
        split = np.where(np.arange(windows) < windows - held, "train", "select")
        self.tokens = Tokens.grid(
            pd.DataFrame({"split": split, "block": np.arange(windows)}), 1, LENGTH
        )

    def words(self, number: int) -> torch.Tensor:
        """A sequence in which words repeat, so that there is something to learn."""
        rng = np.random.default_rng([7, number])
        few = rng.choice(WORDS, 24, replace=False)
        return torch.from_numpy(few[rng.integers(0, 24, LENGTH)])

    def batch(self, number: int) -> torch.Tensor:
        return self.words(number)[None]

    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[0]

    def together(self, windows: Any) -> list[list[int]]:
        places = list(range(len(windows)))
        return [places[at : at + 8] for at in range(0, len(places), 8)]

    def streams_of(self, model: Any, windows: Any, layers: Any) -> dict[int, torch.Tensor]:
        batch = torch.stack([self.words(window) for window in windows])
        hidden = model.run(batch, capture=tuple(layers)).hidden
        return {layer: hidden[layer].reshape(-1, model.d_model) for layer in layers}


class Watched(NamedTuple):
    """What a path took."""

    seconds: float
    peak: int
    """bytes of its folder at most"""
    result: Any


def watched(work: Callable[[Path], Any]) -> Watched:
    """Run ``work`` in a folder of its own, and look at the folder while it runs."""
    with tempfile.TemporaryDirectory() as name:
        folder, ended, peak = Path(name), threading.Event(), [0]

        def look() -> None:
            while not ended.wait(0.1):
                peak[0] = max(peak[0], size(folder))

        thread = threading.Thread(target=look)
        thread.start()
        begun = time.perf_counter()
        try:
            result = work(folder)
        finally:
            seconds = time.perf_counter() - begun
            peak[0] = max(peak[0], size(folder))
            ended.set()
            thread.join()
        return Watched(seconds, peak[0], result)


def size(folder: Path) -> int:
    """Bytes allocated below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def main() -> int:
    """Both paths, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--tokens", type=float, default=20e6)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--latents", type=int, default=256)
    parser.add_argument(
        "--disk-only", action="store_true", help="the stored path ends with its harvest"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, inputs = Model(args.width).eval(), Words(int(args.tokens) // LENGTH)
    tokens, layers = inputs.tokens, range(LAYERS + 1)
    train, held = tokens.windows_of("train"), tokens.windows_of("select")
    steps = len(train) * LENGTH // BATCH
    config = SAEConfig(d=args.width, m=args.latents, k=8, steps=steps, batch=BATCH)
    plans: dict[Key, SAEConfig] = {(layer, 0): config for layer in layers}

    def streamed(folder: Path) -> dict[Key, TrainResult]:
        (folder / "held").mkdir()
        harvest_layers(model, inputs, held, layers, folder / "held")
        return train_streamed(
            model,
            inputs,
            plans,
            train=train,
            heldout=held,
            checkpoint=folder / "checkpoint",
            progress=False,
        )

    parts: dict[str, float] = {}

    def stored(folder: Path) -> dict[Key, TrainResult]:
        begun = time.perf_counter()
        (folder / "activations").mkdir()
        harvest_layers(model, inputs, range(len(inputs)), layers, folder / "activations")
        parts["harvest"] = time.perf_counter() - begun
        if args.disk_only:
            return {}
        jobs = []
        for layer, path in layer_paths(folder / "activations").items():
            sources = (TokenSource.of_split(path, tokens, split) for split in ("train", "select"))
            name, at = f"layer {layer}", folder / f"checkpoint_{layer}"
            jobs.append(Job(name, config, *sources, checkpoint=at))
        return dict(zip(plans, train_many(jobs, progress=False), strict=True))

    live = watched(streamed)
    kept = watched(stored)
    trained = steps * BATCH
    print(f"{trained:,} tokens a layer, {len(plans)} layers, d {args.width}, m {args.latents}")
    stored_name = "harvest" if args.disk_only else "stored"
    print(f"{'':<10}{'seconds':>9}{'tokens/s':>10}{'peak disk':>12}")
    for name, one in ((stored_name, kept), ("streamed", live)):
        rate, disk = trained / one.seconds, one.peak / 1e6
        print(f"{name:<10}{one.seconds:>9.1f}{rate:>10,.0f}{disk:>9,.1f} MB")
    print(f"of the stored path {parts['harvest']:.1f} s are the harvest")
    print(f"peak disk of the stream: {live.peak / kept.peak:.2%} of the stored path's")
    for key in kept.result:
        one, other = kept.result[key].quality, live.result[key].quality
        print(
            f"layer {key[0]}: FVU {one.fvu:.4f} stored, {other.fvu:.4f} streamed; "
            f"L0 {one.l0:.2f}, {other.l0:.2f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
