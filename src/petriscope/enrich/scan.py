"""Sequences are scanned for motifs by HOMER's zero-or-one-occurrence rule, through a sorted index
of 11-mers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from petriscope.enrich.motifs import Motif, reverse_complement
from petriscope.errors import UserError
from petriscope.progress import progress

_K = 11
_HALF = 6
_SMALL = 500_000  # below so many bases ranges are found by bisection: 4^11 starts cost more
_STEPS = 6  # grid on which the shortfall is shared between the runs of a long motif
_EDGE = 1e-9  # scores this close to the threshold are summed again in HOMER's order
_LETTERS = np.full(256, 4, dtype=np.uint8)
for _code, _pair in enumerate(("Aa", "Cc", "Gg", "Tt")):
    _LETTERS[[ord(c) for c in _pair]] = _code


class Occurrences(NamedTuple):
    """Placements of one motif, sorted by sequence, start and strand."""

    sequence: np.ndarray
    """(n,) int64 row of the sequence."""
    start: np.ndarray
    """(n,) int64 0-based leftmost base of the placement, on the given strand's sequence as stored
    (forward)."""
    strand: np.ndarray
    """(n,) int8 +1 or -1."""
    score: np.ndarray
    """(n,) float64 log-odds score in nat."""


class _Index(NamedTuple):
    """All 11-mers of one chunk of sequences, N read as A."""

    words: np.ndarray  # (n,) int32 11-mer code at each base of the flattened chunk
    room: np.ndarray  # (n,) uint8 bases from here to the next N or the row's end
    order: np.ndarray  # (n,) int32 bases sorted by word
    first: (
        np.ndarray | None
    )  # (4^11 + 1,) int32 first place in ``order`` of each word; None in a small chunk
    sorted: np.ndarray  # (n,) int64 words in ``order``

    def range(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First place in ``order`` and number of bases of the words ``low`` .. ``high`` - 1."""
        if self.first is None:
            begin = np.searchsorted(self.sorted, low)
            return begin, np.searchsorted(self.sorted, high) - begin
        begin = self.first[low]
        return begin, self.first[high] - begin


def encode(sequences: Sequence[str]) -> np.ndarray:
    """(N, L) uint8 codes, A C G T = 0..3, anything else 4; shorter strings are filled up with N."""
    width = max((len(s) for s in sequences), default=0)
    joined = "".join(s.ljust(width, "N") for s in sequences).encode("ascii", "replace")
    return _LETTERS[np.frombuffer(joined, dtype=np.uint8)].reshape(len(sequences), width)


def scan_hits(
    sequences: np.ndarray,
    motifs: Sequence[Motif],
    *,
    threads: int | None = None,
    chunk_bases: int = 8_000_000,
) -> np.ndarray:
    """Which sequences hold at least one occurrence of which motif.

    ``sequences`` (N, L) uint8 codes 0..3 = A C G T, 4 = N. Returns (N, M) bool. A placement on
    either strand is an occurrence when its log-odds sum reaches the motif's threshold; any N kills
    it (HOMER's rule). Each of ``threads`` (default: all cores) works through about ``chunk_bases``
    bases at a time, some 30 bytes of memory each.
    """
    sequences = _checked(sequences)
    n, width = sequences.shape
    hits = np.zeros((len(motifs), n), dtype=bool)
    if n == 0 or width == 0 or not motifs:
        return hits.T
    threads = threads or len(os.sched_getaffinity(0))
    rows = max(1, min(chunk_bases // width, -(-n // threads)))
    searches = [
        (m, _Search(scores, motif.threshold))
        for m, motif in enumerate(motifs)
        for scores in _both(motif)
    ]

    def scan(begin: int) -> None:
        index = _build(sequences[begin : begin + rows])
        for m, search in searches:
            starts, _ = search.find(index)
            hits[m, begin + starts // width] = True

    begins = range(0, n, rows)
    with ThreadPoolExecutor(threads) as pool:
        for _ in progress(pool.map(scan, begins), "motif scan", total=len(begins), unit="chunk"):
            pass
    return np.ascontiguousarray(hits.T)


def find_occurrences(
    sequences: np.ndarray, motif: Motif, chunk_bases: int = 8_000_000
) -> Occurrences:
    """Every placement of one motif that reaches its threshold, on either strand; a palindrome
    counts on both."""
    sequences = _checked(sequences)
    n, width = sequences.shape
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    searches = [_Search(scores, motif.threshold) for scores in _both(motif)]
    rows = max(1, chunk_bases // max(width, 1))
    for begin in range(0, n if width else 0, rows):
        index = _build(sequences[begin : begin + rows])
        for sign, search in zip((1, -1), searches):
            starts, scores = search.find(index)
            parts.append(
                (starts + begin * width, np.full(len(starts), sign, dtype=np.int8), scores)
            )
    if not parts:
        return Occurrences(
            np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0)
        )
    flat, strand, score = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.lexsort((-strand, flat))
    return Occurrences(flat[order] // width, flat[order] % width, strand[order], score[order])


def best_scores(sequences: np.ndarray, motif: Motif) -> np.ndarray:
    """(N,) best log-odds score over all placements and both strands; -inf where no placement is
    free of N."""
    sequences = _checked(sequences)
    n, width = sequences.shape
    best = np.full(n, -np.inf)
    for scores in _both(motif):
        padded = np.concatenate([scores, np.full((len(scores), 1), -np.inf)], axis=1)
        span = width - len(scores) + 1
        if span > 0:
            # S(i) = sum over j of ln(max(p_j(x_{i+j}), 0.001) / 0.25), -inf over an N
            total = sum(padded[j][sequences[:, j : j + span]] for j in range(len(scores)))
            best = np.maximum(best, np.max(total, axis=1))
    return best


def _checked(sequences: np.ndarray) -> np.ndarray:
    sequences = np.asarray(sequences)
    if sequences.ndim != 2 or sequences.dtype != np.uint8:
        raise UserError(
            f"sequences are {sequences.dtype} of shape {sequences.shape}",
            remedy="Give a (sequences, bases) uint8 array of codes 0..4, as encode() makes it",
        )
    return sequences


def _both(motif: Motif) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the motif on the forward and, reverse complemented, on the other strand."""
    scores = motif.log_odds()
    return scores, np.ascontiguousarray(reverse_complement(scores))


def _build(rows: np.ndarray) -> _Index:
    """Index one chunk: words, free room, and bases sorted by word."""
    width = rows.shape[1]
    is_base = rows < 4
    column = np.arange(width, dtype=np.int32)
    if is_base.all():
        room = np.broadcast_to(np.minimum(width - column, 255).astype(np.uint8), rows.shape).ravel()
    else:
        stop = np.where(is_base, np.int32(width), column)[:, ::-1]
        stop = np.minimum.accumulate(stop, axis=1)[:, ::-1] - column
        room = np.minimum(stop, 255).astype(np.uint8).ravel()
    words = _words(np.where(is_base, rows, 0).ravel())
    ordered, order = torch.sort(torch.from_numpy(words))
    first = None
    if len(words) > _SMALL:
        first = np.zeros(4**_K + 1, dtype=np.int32)
        np.cumsum(np.bincount(ordered.numpy(), minlength=4**_K), out=first[1:])
    return _Index(words, room, order.numpy().astype(np.int32), first, ordered.numpy())


def _words(letters: np.ndarray) -> np.ndarray:
    """(n,) int32 code of the word that starts at each base, A beyond the end; ``letters`` (n,)
    uint8 codes 0..3."""
    one = np.concatenate([letters, np.zeros(16, dtype=np.uint8)])
    two = (one[:-1] << 2) | one[1:]
    four = (two[:-2] << 4) | two[2:]
    eight = (four[:-4].astype(np.uint16) << 8) | four[4:]
    size, code, n = 8, eight[: len(letters)].astype(np.int32), len(letters)
    while size < _K:
        step = min(4, _K - size)
        code = (code << (2 * step)) | (four[size : size + n] >> (2 * (4 - step)))
        size += step
    return code


def _table(scores: np.ndarray) -> np.ndarray:
    """(4^L,) score of every word of the L ≤ 6 rows given, first letter most significant."""
    table = np.zeros(1)
    for row in scores:
        table = (table[:, None] + row).ravel()
    return table


def _expand(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The concatenated ranges first[i] .. first[i]+count[i]-1."""
    if not len(count):
        return np.zeros(0, dtype=np.int64)
    steps = np.ones(int(count.sum()), dtype=np.int64)
    ends = np.cumsum(count)
    steps[0] = first[0]
    steps[ends[:-1]] = first[1:] - (first[:-1] + count[:-1] - 1)
    return np.cumsum(steps)


class _Piece(NamedTuple):
    """A run of at most eleven motif positions whose words are looked up, and what decides its
    candidates afterwards."""

    anchor: int
    shift: int  # bits between a word of this length and a 11-mer
    words: np.ndarray  # (w,) int64
    scores: np.ndarray  # (w,) float64
    rest: list[list[int]]  # groups of the other positions
    rest_best: list[float]  # best score each group can add


class _Search:
    """One strand of one motif, ready to be looked up in any index.

    A motif of up to eleven positions is one word: those that reach the threshold are enumerated
    from sorted tables of two halves. A longer one is cut into runs. If a placement falls short of
    the best score by at most D in total and the runs are allowed w_i D with Σ w_i = 1, then at
    least one run keeps within its allowance (pigeonhole), so looking up the words of every run that
    do finds every hit; the remaining positions decide, six at a time. The cut and the w_i are those
    with the fewest candidates.
    """

    def __init__(self, scores: np.ndarray, threshold: float) -> None:
        self.scores = scores
        self.threshold = threshold
        shortfall = scores.max(axis=1).sum() - threshold + _EDGE
        plans = [plan for runs in _cuts(scores) for plan in _plans(scores, runs, shortfall)]
        _, runs, halves, allowed = min(plans, key=lambda plan: plan[0])
        self.pieces = [
            _piece(scores, a, *half.words(share), length=b - a)
            for (a, b), half, share in zip(runs, halves, allowed)
            if share > 0
        ]

    def find(self, index: _Index) -> tuple[np.ndarray, np.ndarray]:
        """(starts, scores) of all hits in the flattened chunk, unordered, each once."""
        found = [self._look_up(index, piece) for piece in self.pieces]
        if not found:  # no word reaches the threshold
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        if len(found) == 1:
            return found[0]
        start, first = np.unique(np.concatenate([f[0] for f in found]), return_index=True)
        return start, np.concatenate([f[1] for f in found])[first]

    def _look_up(self, index: _Index, piece: _Piece) -> tuple[np.ndarray, np.ndarray]:
        low, count = index.range(piece.words << piece.shift, (piece.words + 1) << piece.shift)
        some = np.flatnonzero(count)
        start = index.order[_expand(low[some], count[some])] - piece.anchor
        score = np.repeat(piece.scores[some], count[some])
        if piece.anchor:
            inside = start >= 0
            start, score = start[inside], score[inside]
        # HOMER's rule: no N inside, and the sum of log-odds reaches the threshold. A candidate is
        # dropped once even the best letters at what is left of the motif cannot reach it.
        free = index.room[start] >= len(self.scores)
        start, score = start[free], score[free]
        ceiling = sum(piece.rest_best)
        for group, best in zip(piece.rest, piece.rest_best):
            ceiling -= best
            code = index.words[start + group[0]] >> (2 * (_K - len(group)))
            score = score + _table(self.scores[group])[code]
            alive = score >= self.threshold - _EDGE - ceiling
            start, score = start[alive], score[alive]
        edge = np.flatnonzero(np.abs(score - self.threshold) <= _EDGE)
        if edge.size:
            score[edge] = self._in_order(index, start[edge])
            hit = score >= self.threshold
            start, score = start[hit], score[hit]
        return start.astype(np.int64), score

    def _in_order(self, index: _Index, start: np.ndarray) -> np.ndarray:
        """Scores summed from the first position to the last."""
        total = np.zeros(len(start))
        for j, row in enumerate(self.scores):
            total += row[index.words[start + j] >> (2 * (_K - 1))]
        return total


class _Halves:
    """Words of one run as sums of two sorted tables, so that those above a bound are counted or
    listed at once."""

    def __init__(self, scores: np.ndarray) -> None:
        left, right = _table(scores[:_HALF]), _table(scores[_HALF:])
        self.by_left, self.by_right = np.argsort(-left), np.argsort(-right)
        self.left, self.right = left[self.by_left], right[self.by_right]
        self.descending = -self.right
        self.best = scores.max(axis=1).sum()

    def _counts(self, allowance: float) -> np.ndarray:
        return np.searchsorted(
            self.descending, self.left - (self.best - allowance - _EDGE), side="right"
        )

    def count(self, allowance: float) -> int:
        """How many words fall short of the best by at most ``allowance``."""
        return int(self._counts(allowance).sum())

    def words(self, allowance: float) -> tuple[np.ndarray, np.ndarray]:
        """Those words and their scores."""
        count = self._counts(allowance)
        count = count[: np.count_nonzero(count)]
        prefix = np.repeat(np.arange(len(count)), count)
        suffix = _expand(np.zeros(len(count), dtype=np.int64), count)
        words = self.by_left[prefix] * len(self.right) + self.by_right[suffix]
        return words, self.left[prefix] + self.right[suffix]


def _plans(
    scores: np.ndarray, runs: list[tuple[int, int]], shortfall: float
) -> Iterator[tuple[float, list[tuple[int, int]], list[_Halves], list[float]]]:
    """Ways to share the shortfall between the runs: (share of all words that are candidates, runs,
    tables, allowances)."""
    halves = [_Halves(scores[a:b]) for a, b in runs]
    if len(runs) == 1:
        yield halves[0].count(shortfall) / 4 ** (runs[0][1] - runs[0][0]), runs, halves, [shortfall]
        return
    steps = range(1, _STEPS + 1)
    cost = [
        [0.0, *(h.count(step * shortfall / _STEPS) / 4 ** (b - a) for step in steps)]
        for h, (a, b) in zip(halves, runs)
    ]
    for shares in itertools.product(range(_STEPS + 1), repeat=len(runs)):
        if sum(shares) == _STEPS:
            expected = sum(cost[i][share] for i, share in enumerate(shares))
            yield expected, runs, halves, [share * shortfall / _STEPS for share in shares]


def _cuts(scores: np.ndarray) -> list[list[tuple[int, int]]]:
    """Ways to cut a motif into runs: its eleven positions of widest score range, or equal parts
    that tile it."""
    length = len(scores)
    if length <= _K:
        return [[(0, length)]]
    spread = np.cumsum(np.concatenate([[0.0], scores.max(axis=1) - scores.mean(axis=1)]))
    anchor = int(np.argmax(spread[_K:] - spread[: length - _K + 1]))
    parts = -(-length // _K)
    edges = [length * i // parts for i in range(parts + 1)]
    return [[(anchor, anchor + _K)], list(itertools.pairwise(edges))]


def _piece(
    scores: np.ndarray, anchor: int, words: np.ndarray, word_scores: np.ndarray, length: int
) -> _Piece:
    rest = _groups([j for j in range(len(scores)) if not anchor <= j < anchor + length])
    return _Piece(
        anchor,
        2 * (_K - length),
        words,
        word_scores,
        rest,
        [float(scores[g].max(axis=1).sum()) for g in rest],
    )


def _groups(positions: list[int]) -> list[list[int]]:
    """Runs of consecutive positions, at most six long."""
    groups: list[list[int]] = []
    for j in positions:
        if groups and groups[-1][-1] == j - 1 and len(groups[-1]) < _HALF:
            groups[-1].append(j)
        else:
            groups.append([j])
    return groups
