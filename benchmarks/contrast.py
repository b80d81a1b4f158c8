"""The streamed contrast against scipy on dense tokens, and its permutations, in one run on one
thread.

1. Streaming: Welch's t of every feature between the two conditions of three lineages from sparse
   codes (StatisticsAccumulator + moments), against `scipy.stats.ttest_ind(equal_var=False)` on
   dense float32 blocks. Codes come from a pool of distinct pieces, cycled until the asked number of
   tokens is through; scipy runs on a few features over the same number of tokens, and its time is
   multiplied by features / measured features (the printed figure says so). Making the dense blocks
   is not counted.
2. Accuracy: both against float64 on dense tokens with a large mean.
3. Permutations: cds_t at biosample level (plain and depth-adjusted) and locus level with 10,000
   relabellings and maxT over 8,192 features, one layer measured, all layers its multiple.

python benchmarks/contrast.py [--tokens 2000000] [--features 8192] [--l0 64]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.contrast.cds import CdsT, cds_t
from petriscope.contrast.design import Design, Level
from petriscope.contrast.inference import p_two_sided
from petriscope.sae.codes import Codes, StatisticsAccumulator
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.units import design_of

PIECE = 16_384
POOL = 6
CONDITIONS = 6
LAYERS = 9
"""of the released EpiBERT: its input and eight blocks"""


def pool(features: int, l0: int, rng: np.random.Generator) -> list[Codes]:
    """Distinct pieces of codes with ``l0`` ascending features per token."""
    step = features // l0
    pieces = []
    for _ in range(POOL):
        indices = (np.arange(l0) * step + rng.integers(0, step, (PIECE, l0))).astype(np.int32)
        values = rng.gamma(2.0, 1.0, PIECE * l0).astype(np.float32)
        pieces.append(
            Codes(np.arange(PIECE + 1, dtype=np.int64) * l0, indices.ravel(), values, features)
        )
    return pieces


def stream(pieces: list[Codes], tokens: int, features: int) -> np.ndarray:
    """Token-level Welch t (3, features) from streamed moments: what scipy is asked for, by the same
    formula."""
    accumulator = StatisticsAccumulator(1, CONDITIONS, features)
    block = np.zeros(PIECE, np.int64)
    for condition in range(CONDITIONS):
        for at in range(0, tokens, PIECE):
            piece = pieces[(at // PIECE + condition) % POOL]
            count = min(PIECE, tokens - at)
            accumulator.add(piece.rows(0, count), block[:count], np.full(count, condition))
    found = accumulator.result()
    n = found.tokens[0][:, None].astype(float)
    mean = found.total[0] / n
    variance = (found.squares[0] - n * mean**2) / (n - 1) / n
    a, b = slice(1, None, 2), slice(0, None, 2)
    t = (mean[a] - mean[b]) / np.sqrt(np.maximum(variance[a] + variance[b], np.finfo(float).tiny))
    df = (variance[a] + variance[b]) ** 2 / (
        variance[a] ** 2 / (n[a] - 1) + variance[b] ** 2 / (n[b] - 1)
    )
    p_two_sided(t, df)
    return t


def timed(task: Callable[[], object]) -> float:
    begin = time.process_time()
    task()
    return time.process_time() - begin


def peak(task: Callable[[], object]) -> int:
    """Largest memory numpy held while the task ran, bytes."""
    tracemalloc.start()
    task()
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used


def streaming(tokens: int, features: int, l0: int, rounds: int, scipy_features: int) -> None:
    rng = np.random.default_rng(0)
    pieces = pool(features, l0, rng)
    repeats = -(-tokens // PIECE // POOL)
    one = np.concatenate([piece.scipy()[:, :scipy_features].toarray() for piece in pieces])
    a = np.tile(one, (repeats, 1))[:tokens]
    b = np.tile(one[::-1], (repeats, 1))[:tokens]
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(timed(lambda: stream(pieces, tokens, features)))
        theirs.append(timed(lambda: stats.ttest_ind(a, b, equal_var=False)))
    whole = statistics.median(theirs) * features / a.shape[1] * CONDITIONS / 2
    mine = statistics.median(ours)
    small = tokens // 10
    memory = peak(lambda: stream(pieces, small, features))
    dense = peak(lambda: stats.ttest_ind(a.copy(), b.copy(), equal_var=False))
    print(
        f"Streaming CDS, {CONDITIONS} conditions x {tokens:,} tokens x {features:,} features, L0 "
        f"{l0}"
    )
    print(
        f"  petriscope        {mine:9.2f} s CPU    {memory / 2**20:9.1f} MiB beyond the codes "
        f"(whatever the tokens)"
    )
    print(
        f"  scipy.ttest_ind   {whole:9.2f} s CPU    {dense / 2**20:9.1f} MiB at {a.shape[1]} "
        f"dense features at a time"
    )
    print(
        f"                    (measured on {a.shape[1]} features, times "
        f"{features / a.shape[1] * CONDITIONS / 2:.0f})"
    )
    print(f"  ratio             {whole / mine:9.0f} x          {dense / memory:9.0f} x")


def accuracy(tokens: int = 400_000, m: int = 64) -> None:
    rng = np.random.default_rng(1)
    sides = [
        (10 + rng.gamma(2.0, 0.05, (tokens, m)) + shift).astype(np.float32)
        for shift in (0.0, 0.0004)
    ]
    exact = stats.ttest_ind(*(side.astype(np.float64) for side in sides), equal_var=False).statistic
    single = stats.ttest_ind(*sides, equal_var=False).statistic
    accumulator = StatisticsAccumulator(1, 2, m)
    for s, side in enumerate(sides):
        indices = np.tile(np.arange(m, dtype=np.int32), tokens)
        codes = Codes(np.arange(tokens + 1, dtype=np.int64) * m, indices, side.ravel(), m)
        accumulator.add(codes, np.zeros(tokens, np.int64), np.full(tokens, s))
    found = accumulator.result()
    mean = found.total[0] / tokens
    variance = (found.squares[0] - tokens * mean**2) / (tokens - 1) / tokens
    ours = (mean[0] - mean[1]) / np.sqrt(variance.sum(0))
    print(
        "Accuracy of t (largest error against float64 on dense tokens; mean 10, sd .07: the hard "
        "case)"
    )
    print(
        f"  petriscope {np.abs(ours - exact).max():.1e}   scipy on float32 "
        f"{np.abs(single - exact).max():.1e}"
    )


def permutations(features: int, rounds: int) -> None:
    rng = np.random.default_rng(2)
    rows = [(f"{x}{c}{i}", x, c) for x in "abc" for c in ("in_vitro", "in_vivo") for i in range(3)]
    frame = pd.DataFrame(rows, columns=["biosample", "lineage", "context"])
    designs = {
        "biosample": design_of(frame),
        "biosample, depth adjusted": design_of(
            frame.assign(fragments=rng.integers(200_000, 900_000, 18))
        ),
        "locus": design_of(frame),
    }
    tokens = np.full((40, 18), 600)
    total = (
        rng.gamma(300.0, 1.0, (40, 18, features))
        * rng.gamma(1.0, 0.1, features)
        * rng.lognormal(0, 0.2, (18, features))
    )
    moments = Moments(total, total**2, np.full(total.shape, 60), tokens)
    print(
        f"Permutations with maxT, {features:,} features (CPU seconds per layer, median of {rounds})"
    )
    for name, design in designs.items():
        level: Level = "locus" if name == "locus" else "biosample"
        found: list[CdsT] = []

        def task(design: Design = design, level: Level = level, found: list[CdsT] = found) -> None:
            found.append(cds_t(moments, design, level=level))

        seconds = statistics.median(timed(task) for _ in range(rounds))
        drawn = found[0].permutation
        print(
            f"  {name:<26}{seconds:6.2f} s for {drawn.n if drawn else 0:,} relabellings; {LAYERS} "
            f"layers {LAYERS * seconds:.1f} s"
        )
    n = 50
    flips = rng.choice([-1.0, 1.0], (n, 40))
    difference = rng.normal(size=(40, features))
    loop = (
        timed(lambda: [stats.ttest_1samp(difference * row[:, None], 0).statistic for row in flips])
        * 10_000
        / n
    )
    print(
        f"  a loop over scipy.ttest_1samp: {loop:.0f} s for 10,000 sign flips (measured on {n}, "
        f"times {10_000 // n})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=2_000_000, help="per condition")
    parser.add_argument("--features", type=int, default=8192)
    parser.add_argument("--l0", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scipy-features", type=int, default=16)
    given = parser.parse_args()
    streaming(given.tokens, given.features, given.l0, given.rounds, given.scipy_features)
    accuracy()
    permutations(given.features, given.rounds)


if __name__ == "__main__":
    main()
