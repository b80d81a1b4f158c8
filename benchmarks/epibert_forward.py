"""Full-size EpiBERT on a CPU: six conditions of a window, naive against a shared sequence branch;
edits that resume.

Random weights of the released size (84.3 M numbers). The rival in each ratio is the naive forward
of the same round: sequence branch and transformer for one condition. Six naive forwards are one,
times six, unless --all-six. The default takes about three minutes on two idle cores; --length 65536
takes seconds and gives the same ratios nearly.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot

CONDITIONS = 6
LAYER = 6
TARGETS = {"six conditions": 0.40, "resume": 0.12}
PEAK_GB = 6.5


class Cost(NamedTuple):
    """Of one piece of work."""

    wall: float
    """seconds"""
    cpu: float
    """seconds of processor time over all threads: what other load on the machine disturbs least"""
    peak: float
    """GB resident at most, interpreter and weights included"""


def _peak_gb() -> float:
    """Peak resident memory since the last reset (Linux), else of the whole process."""
    status = Path("/proc/self/status")
    if status.exists() and (
        found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
    ):
        return int(found[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _reset_peak() -> None:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5", encoding="utf-8")


def measure(work: Callable[[], object]) -> Cost:
    """Run ``work`` once."""
    _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, _peak_gb())


def inputs(length: int) -> Batch:
    """One window of random DNA and ``CONDITIONS`` random accessibility tracks."""
    generator = torch.Generator().manual_seed(0)
    sequence = one_hot(torch.randint(0, 4, (1, length), generator=generator))
    atac = torch.rand(CONDITIONS, length // 4, 1, generator=generator) * 5
    return Batch(sequence, atac, torch.rand(CONDITIONS, 1, 693, generator=generator))


def condition(batch: Batch, index: int) -> Batch:
    """One condition of ``batch``."""
    return batch._replace(atac=batch.atac[index : index + 1], motif=batch.motif[index : index + 1])


def one_round(model: EpiBERT, batch: Batch, all_six: bool) -> dict[str, Cost]:
    """Every piece of work once, interleaved."""
    count = CONDITIONS if all_six else 1
    kept: dict[int, torch.Tensor] = {}

    def naive() -> None:
        for index in range(count):
            output = model.run(condition(batch, index), range(model.n_layers + 1))
            kept[LAYER] = output.hidden[LAYER]

    def shared() -> None:
        features = model.sequence_features(batch.sequence)
        for index in range(CONDITIONS):
            model.run(condition(batch, index), sequence_features=features)

    first = measure(naive)
    costs = {"naive forward, nine sites": Cost(first.wall / count, first.cpu / count, first.peak)}
    costs[f"shared, {CONDITIONS} conditions"] = measure(shared)
    edits = {LAYER: lambda hidden: 1.1 * hidden}
    costs[f"edit, resumed from layer {LAYER}"] = measure(
        lambda: model.run(None, edits=edits, resume=(LAYER, kept[LAYER]))
    )
    return costs


def bf16_error(model: EpiBERT, batch: Batch) -> float:
    """Relative Frobenius error of the bfloat16 prediction of one condition."""
    wanted = model.run(condition(batch, 0)).prediction
    found = model.to(torch.bfloat16).run(condition(batch, 0)).prediction.float()
    return float((found - wanted).norm() / wanted.norm())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", type=int, default=524_288, help="bp, a multiple of 128")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--all-six", action="store_true", help="run all six naive forwards instead of one"
    )
    parser.add_argument("--bf16", action="store_true", help="also report the error of bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, batch = EpiBERT(EpiBERTConfig()).eval(), inputs(args.length)
    with torch.inference_mode():
        model.run(condition(inputs(16_384), 0))
        rounds = [one_round(model, batch, args.all_six) for _ in range(args.rounds)]
        print(f"{args.length:,} bp, {args.threads} threads, median of {args.rounds} round(s)")
        medians = {}
        for name in rounds[0]:
            medians[name] = Cost(
                *(statistics.median(values) for values in zip(*(costs[name] for costs in rounds)))
            )
            cost = medians[name]
            print(
                f"{name:34s} {cost.wall:8.2f} s wall {cost.cpu:8.2f} s cpu {cost.peak:6.2f} GB peak"
            )
        naive, shared, resumed = medians.values()
        how = "measured" if args.all_six else "one forward x 6"
        pairs = {"six conditions": (shared, 6), "resume": (resumed, 1)}
        for name, (cost, forwards) in pairs.items():
            rival = f"six naive forwards ({how})" if forwards == 6 else "one naive forward"
            wall, cpu = cost.wall / naive.wall / forwards, cost.cpu / naive.cpu / forwards
            print(
                f"{name}: {wall:.3f} of {rival} by wall, {cpu:.3f} by cpu; target "
                f"{TARGETS[name]:.2f}"
            )
        peak = max(cost.peak for cost in medians.values())
        print(f"peak {peak:.2f} GB, all sites captured; target {PEAK_GB} GB")
        if args.bf16:
            print(f"bfloat16: prediction relF {bf16_error(model, batch):.1e} from float32")


if __name__ == "__main__":
    main()
