"""Windows: non-overlapping stretches of known sequence, and their split into train, select, tune
and test."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from petriscope.errors import UserError

BIN = 128
"""Base pairs per token: the resolution of the model's output."""

SPLITS = ("train", "select", "tune", "test")
WHOLE_CHROMOSOMES = 4
"""With at least this many chromosomes every split gets whole ones; with fewer, blocks are dealt out
instead."""

ATTEMPTS = 64

SIDE_CONTIGS = "KI|GL|EBV|chrM|K|J"
"""Names of unplaced, alternative, viral and mitochondrial contigs, as EpiBERT's own preparation
leaves them out."""


def tile_windows(
    contigs: pd.DataFrame,
    length: int,
    blacklist: pd.DataFrame | None = None,
    *,
    gaps: pd.DataFrame | None = None,
    max_n_fraction: float = 0.0,
    fractions: Mapping[str, float],
    block_bp: int = 1_000_000,
    seed: int = 0,
    exclude: str = SIDE_CONTIGS,
) -> pd.DataFrame:
    """Tile the genome and split it.

    Parameters: ``contigs`` — columns chrom, start, end (`Genome.contigs`); ``length`` — bp, a
    multiple of 128; ``blacklist``, ``gaps`` (`Genome.gaps`) — columns chrom, start, end; a window
    never touches the blacklist and has at most ``max_n_fraction`` unknown bases; ``fractions`` —
    share of windows per split, summing to 1; ``block_bp`` — edge of a locus block, the unit of
    inference; ``exclude`` — regular expression of contig names to leave out.

    Returns columns window, chrom, start, end, split, block, sorted by position. Starts are
    multiples of 128 on the chromosome. A window belongs to the block that holds its midpoint;
    blocks nest in chromosomes. Splits are whole chromosomes where there are at least four, else
    whole blocks. Same seed, same windows.
    """
    _check_parameters(length, fractions, block_bp, max_n_fraction)
    rows: list[tuple[str, int, int]] = []
    ordered = contigs[~contigs["chrom"].str.contains(exclude)] if exclude else contigs
    ordered = ordered.sort_values(["chrom", "start"], kind="stable")
    for chrom, first, last in zip(ordered["chrom"], ordered["start"], ordered["end"]):
        known = _merged(gaps, chrom, first, last)
        too_long = known[known[:, 1] - known[:, 0] > max_n_fraction * length]
        forbidden = np.concatenate([_merged(blacklist, chrom, first, last), too_long])
        for lower, upper in _free(forbidden, first, last):
            starts = np.arange(-(-lower // BIN) * BIN, upper - length + 1, length)
            allowed = starts[_overlap(known, starts, length) <= max_n_fraction * length]
            rows += [(chrom, int(start), int(start) + length) for start in allowed]
    if not rows:
        raise UserError(
            f"no window of {length} bp fits between blacklist and unknown bases",
            field="windows.length",
            remedy="Take a shorter window or raise windows.max_n_fraction.",
        )
    frame = pd.DataFrame(rows, columns=["chrom", "start", "end"])
    middle = (frame.start + frame.end) // 2
    keys = pd.MultiIndex.from_arrays([frame.chrom, middle // block_bp])
    block = np.asarray(pd.factorize(keys, sort=True)[0], dtype=np.int64)
    by_chromosome = frame.chrom.nunique() >= WHOLE_CHROMOSOMES
    unit = np.asarray(pd.factorize(frame.chrom, sort=True)[0]) if by_chromosome else block
    split = _deal(np.bincount(unit), fractions, seed, "chromosomes" if by_chromosome else "blocks")[
        unit
    ]
    return pd.DataFrame(
        {
            "window": np.arange(len(frame), dtype=np.int64),
            "chrom": frame.chrom,
            "start": frame.start.astype(np.int64),
            "end": frame.end.astype(np.int64),
            "split": split,
            "block": block,
        }
    )


def _check_parameters(
    length: int, fractions: Mapping[str, float], block_bp: int, max_n_fraction: float
) -> None:
    if length <= 0 or length % BIN:
        remedy = f"Use a multiple of {BIN}, such as {max(1, round(length / BIN)) * BIN}."
        raise UserError(
            f"{length} bp is not a positive multiple of {BIN}",
            field="windows.length",
            remedy=remedy,
        )
    if set(fractions) != set(SPLITS) or any(not 0 < share < 1 for share in fractions.values()):
        remedy = f"Give each of {', '.join(SPLITS)} a share between 0 and 1."
        raise UserError(
            f"{dict(fractions)} is not a share per split", field="windows.split", remedy=remedy
        )
    if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
        raise UserError(
            f"shares add up to {sum(fractions.values()):g}",
            field="windows.split",
            remedy="Make them add up to 1.",
        )
    if block_bp < length:
        remedy = "Make a block at least as long as a window."
        raise UserError(
            f"{block_bp} bp is shorter than a window", field="windows.block_bp", remedy=remedy
        )
    if not 0 <= max_n_fraction <= 1:
        raise UserError(
            f"{max_n_fraction} is not a fraction",
            field="windows.max_n_fraction",
            remedy="Use 0 to 1.",
        )


def _merged(intervals: pd.DataFrame | None, chrom: str, start: int, end: int) -> np.ndarray:
    """Union of ``intervals`` on ``chrom`` clipped to [start, end): (n, 2) int64, sorted,
    disjoint."""
    if intervals is None or not len(intervals):
        return np.empty((0, 2), dtype=np.int64)
    here = intervals[(intervals.chrom == chrom) & (intervals.end > start) & (intervals.start < end)]
    pairs = np.clip(here[["start", "end"]].to_numpy(dtype=np.int64), start, end)
    return _union(pairs)


def _union(pairs: np.ndarray) -> np.ndarray:
    if not len(pairs):
        return pairs.reshape(0, 2)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    reach = np.maximum.accumulate(pairs[:, 1])
    first = np.flatnonzero(np.r_[True, pairs[1:, 0] > reach[:-1]])
    return np.stack([pairs[first, 0], np.maximum.reduceat(pairs[:, 1], first)], axis=1)


def _free(forbidden: np.ndarray, start: int, end: int) -> list[tuple[int, int]]:
    """What is left of [start, end) once ``forbidden`` (n, 2) is taken out."""
    union = _union(forbidden)
    edges = np.concatenate([[start], union.ravel(), [end]]).reshape(-1, 2)
    return [(int(lower), int(upper)) for lower, upper in edges if upper > lower]


def _overlap(intervals: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Bases of each [start, start + length) that lie in the disjoint sorted ``intervals`` (n,
    2)."""
    if not len(intervals):
        return np.zeros(len(starts), dtype=np.int64)
    sizes = np.r_[0, np.cumsum(intervals[:, 1] - intervals[:, 0])]

    def before(position: np.ndarray) -> np.ndarray:
        index = np.searchsorted(intervals[:, 0], position, side="right")
        last = intervals[np.maximum(index - 1, 0)]
        inside = np.where(index > 0, np.clip(position - last[:, 0], 0, last[:, 1] - last[:, 0]), 0)
        return sizes[np.maximum(index - 1, 0)] + inside

    return before(starts + length) - before(starts)


def _deal(sizes: np.ndarray, fractions: Mapping[str, float], seed: int, what: str) -> np.ndarray:
    """Deal units of ``sizes`` windows into splits: the best of many seeded orders, each unit to the
    hungriest split."""
    if len(sizes) < len(SPLITS):
        raise UserError(
            f"{len(sizes)} {what} cannot fill the {len(SPLITS)} splits {', '.join(SPLITS)}",
            field="windows.block_bp",
            remedy="Use smaller blocks, shorter windows or more sequence.",
        )
    target = np.array([fractions[name] for name in SPLITS]) * sizes.sum()
    rng = np.random.default_rng(seed)
    best, best_error = np.empty(0, dtype=np.int64), np.inf
    for _ in range(ATTEMPTS):
        order = rng.permutation(len(sizes))
        given, choice = np.zeros(len(SPLITS)), np.empty(len(sizes), dtype=np.int64)
        for dealt, unit in enumerate(order):
            hunger = target - given
            if len(sizes) - dealt <= np.count_nonzero(given == 0):
                hunger = np.where(given == 0, hunger, -np.inf)
            choice[unit] = np.argmax(hunger)
            given[choice[unit]] += sizes[unit]
        error = float(np.max(np.abs(given - target) / target))
        if error < best_error:
            best, best_error = choice, error
    return np.array(SPLITS, dtype=object)[best]
