"""A random genome with isochores, CpG depletion, repeat families and assembly gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N = 4
_RC = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)


@dataclass(frozen=True)
class RepeatFamily:
    """One family of interspersed repeats: every copy is a diverged, possibly truncated draw from
    one consensus."""

    name: str
    length: int
    gc: float
    share: float
    """Share of the genome its copies cover."""
    divergence: float
    """Probability that a base of a copy differs from the consensus."""
    truncated: bool
    """Copies keep only a random 3' part, as LINEs do."""


FAMILIES = (
    RepeatFamily("AluLike", 300, 0.58, 0.09, 0.12, False),
    RepeatFamily("L1Like", 4000, 0.37, 0.12, 0.15, True),
    RepeatFamily("MIRLike", 220, 0.45, 0.02, 0.25, True),
    RepeatFamily("LTRLike", 450, 0.47, 0.05, 0.14, False),
)
SIMPLE_SHARE = 0.01


@dataclass(frozen=True)
class SimulatedGenome:
    """Chromosomes by name as uint8 codes (0..3 = ACGT, 4 = N), their local GC, and what was laid on
    them."""

    sequence: dict[str, np.ndarray]
    gc: dict[str, np.ndarray]
    """Per 1024 bp: the isochore's target GC."""
    repeats: dict[str, np.ndarray]
    """(n, 2) int64 start, end of repeat copies."""
    blacklist: dict[str, np.ndarray]
    """(n, 2) int64 start, end: around gaps, and regions that gather artifact signal."""

    @property
    def size(self) -> int:
        """Base pairs in all."""
        return sum(len(codes) for codes in self.sequence.values())


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Codes (..., L) read on the other strand."""
    return _RC[codes[..., ::-1]]


def random_bases(rng: np.random.Generator, gc: np.ndarray, cpg_kept: float) -> np.ndarray:
    """Independent bases at per-position GC ``gc`` (L,), after which a CpG survives with probability
    ``cpg_kept``.

    A lost CpG turns into TpG or CpA with equal chance: methylated-cytosine decay on either strand.
    """
    strong = rng.random(len(gc)) < gc
    second = rng.integers(0, 2, len(gc), dtype=np.uint8)
    codes = np.where(strong, 1 + second, 3 * second).astype(np.uint8)
    cpg = np.flatnonzero((codes[:-1] == 1) & (codes[1:] == 2))
    cpg = cpg[rng.random(len(cpg)) >= cpg_kept]
    first = rng.random(len(cpg)) < 0.5
    codes[cpg[first]] = 3
    codes[cpg[~first] + 1] = 0
    return codes


def _isochores(rng: np.random.Generator, n_steps: int) -> np.ndarray:
    """Target GC per 1024 bp: steps of 40–200 kb between .36 and .52, plus slow drift within
    them."""
    levels = np.empty(n_steps)
    at = 0
    while at < n_steps:
        width = int(rng.integers(40, 200))
        levels[at : at + width] = rng.choice(
            [0.37, 0.39, 0.41, 0.44, 0.48, 0.52], p=[0.2, 0.25, 0.22, 0.16, 0.11, 0.06]
        )
        at += width
    drift = np.cumsum(rng.normal(0.0, 0.004, n_steps))
    drift -= np.convolve(np.pad(drift, 50, mode="edge"), np.full(101, 1 / 101), mode="valid")
    return np.clip(levels + drift, 0.34, 0.56)


def _lay_repeats(
    rng: np.random.Generator, codes: np.ndarray, consensus: dict[str, np.ndarray]
) -> np.ndarray:
    """Write repeat copies over ``codes`` in place; return their (n, 2) intervals, sorted."""
    intervals = []
    for family in FAMILIES:
        target, covered = family.share * len(codes), 0
        while covered < target:
            copy = consensus[family.name]
            if family.truncated:
                copy = copy[
                    -int(np.clip(rng.exponential(family.length * 0.3), 60, family.length)) :
                ]
            differs = rng.random(len(copy)) < family.divergence
            copy = np.where(differs, rng.integers(0, 4, len(copy), dtype=np.uint8), copy)
            if rng.random() < 0.5:
                copy = reverse_complement(copy)
            start = int(rng.integers(0, len(codes) - len(copy)))
            codes[start : start + len(copy)] = copy
            intervals.append((start, start + len(copy)))
            covered += len(copy)
    covered = 0
    while covered < SIMPLE_SHARE * len(codes):
        unit = rng.integers(0, 4, int(rng.integers(1, 5)), dtype=np.uint8)
        length = int(rng.integers(20, 120))
        start = int(rng.integers(0, len(codes) - length))
        codes[start : start + length] = np.resize(unit, length)
        covered += length
    return np.array(sorted(intervals), dtype=np.int64).reshape(-1, 2)


def simulate_genome(rng: np.random.Generator, lengths: dict[str, int]) -> SimulatedGenome:
    """Draw chromosomes of the given lengths.

    Isochores of GC .34–.56, CpG at a quarter of expectation, about a quarter of the bases in
    repeats, a telomeric gap of 10,240 N at the start, one inner gap, and two artifact regions per
    chromosome, which the blacklist lists.
    """
    consensus = {f.name: random_bases(rng, np.full(f.length, f.gc), 0.6) for f in FAMILIES}
    sequence, gc, repeats, blacklist = {}, {}, {}, {}
    for name, length in lengths.items():
        steps = _isochores(rng, -(-length // 1024))
        codes = random_bases(rng, np.repeat(steps, 1024)[:length], 0.25)
        repeats[name] = _lay_repeats(rng, codes, consensus)
        codes[:10_240] = N
        gap = int(rng.integers(length // 4, 3 * length // 4)) // 1024 * 1024
        codes[gap : gap + 5120] = N
        black = [(0, 11_264), (gap - 1024, gap + 6144)]
        for _ in range(2):
            start = int(rng.integers(20_000, length - 40_000)) // 128 * 128
            black.append((start, start + int(rng.integers(2000, 9000))))
        sequence[name], gc[name] = codes, steps
        blacklist[name] = merge(np.array(sorted(black), dtype=np.int64))
    return SimulatedGenome(sequence, gc, repeats, blacklist)


def merge(intervals: np.ndarray) -> np.ndarray:
    """Union of sorted (n, 2) half-open intervals."""
    if not len(intervals):
        return intervals
    reach = np.maximum.accumulate(intervals[:, 1])
    new = np.concatenate([[True], intervals[1:, 0] > reach[:-1]])
    last = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(intervals) - 1]])
    return np.stack([intervals[new, 0], reach[last]], axis=1)
