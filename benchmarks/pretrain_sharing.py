"""Sequence branch once per window against once per biosample: a training step and a harvest of the
small EpiBERT.

Rival: the same model, fed every biosample its own copy of the sequence (the naive way). Median of
interleaved rounds.

    python benchmarks/pretrain_sharing.py [--biosamples 18] [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig
from petriscope.studies.chromatin.model.pretrain import (
    Arrays,
    PretrainConfig,
    Step,
    poisson_loss,
    training_step_arrays,
)

SMALL = EpiBERTConfig(
    input_length=16_384,
    output_length=128,
    final_output_length=124,
    sequence_filters=(32, 48, 48, 64, 64, 96),
    atac_stem_filters=16,
    atac_filters=(16, 32),
    num_motifs=40,
    d_model=96,
    heads=4,
    layers=4,
    random_features=64,
    dropout=0.0,
    head_dropout=0.0,
    motif_dropout=0.0,
)


def made_up(biosamples: int) -> Arrays:
    """Two windows of noise: cost does not depend on content."""
    rng = np.random.default_rng(0)
    sequence = rng.integers(0, 4, (2, SMALL.input_length)).astype(np.uint8)
    signal = rng.gamma(0.5, 1.0, (2, biosamples, SMALL.input_length // 4)).astype(np.float16)
    return Arrays(sequence, signal, rng.random((biosamples, SMALL.num_motifs)).astype(np.float32))


def train(
    model: EpiBERT, optimizer: torch.optim.Optimizer, step: Step, sequence: torch.Tensor
) -> None:
    """One optimizer step."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    out = model.run(Batch(sequence, step.batch.atac, step.batch.motif)).prediction[..., 0]
    poisson_loss(out, step.target, step.mask).backward()
    optimizer.step()


def harvest(model: EpiBERT, step: Step, sequence: torch.Tensor) -> torch.Tensor:
    """Every layer's residual stream of all rows."""
    model.eval()
    with torch.inference_mode():
        out = model.run(
            Batch(sequence, step.batch.atac, step.batch.motif), capture=range(model.n_layers + 1)
        )
    return out.hidden[model.n_layers]


def compare(
    name: str, shared: Callable[[], object], naive: Callable[[], object], rounds: int
) -> None:
    """Print median seconds of both and their ratio."""
    seconds: dict[str, list[float]] = {"shared": [], "naive": []}
    for number in range(rounds + 1):
        for label, body in (("shared", shared), ("naive", naive)):
            start = time.perf_counter()
            body()
            if number:  # the first round warms caches up
                seconds[label].append(time.perf_counter() - start)
    a, b = (statistics.median(seconds[label]) for label in ("shared", "naive"))
    ratio = statistics.median(y / x for x, y in zip(seconds["shared"], seconds["naive"]))
    print(f"{name:<14} shared {a:6.3f} s   naive {b:6.3f} s   {ratio:4.2f}x")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--biosamples", type=int, default=18)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    arrays = made_up(args.biosamples)
    drawn = np.tile(np.arange(args.biosamples), (1, 1))
    config = PretrainConfig(biosamples_per_step=args.biosamples)
    step = training_step_arrays(
        arrays, [0], drawn, np.random.default_rng(0), config, crop=SMALL.crop
    )
    once = step.batch.sequence
    copies = once.repeat_interleave(args.biosamples, dim=0)
    model = EpiBERT(SMALL, init_seed=0)
    gap = (harvest(model, step, once) - harvest(model, step, copies)).norm() / harvest(
        model, step, once
    ).norm()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    print(
        f"one window of {SMALL.input_length} bp, {args.biosamples} biosamples, {args.threads} "
        f"thread(s)"
    )
    print(f"last layer's relative difference between the two ways: {gap:.1e}")
    compare(
        "training step",
        lambda: train(model, optimizer, step, once),
        lambda: train(model, optimizer, step, copies),
        args.rounds,
    )
    compare(
        "harvest",
        lambda: harvest(model, step, once),
        lambda: harvest(model, step, copies),
        args.rounds,
    )


if __name__ == "__main__":
    main()
