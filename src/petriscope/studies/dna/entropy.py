"""The entropy of the next nucleotide given k before it, by counting (k + 1)-mers.

Published (`published_entropy`): one strand, the scanned base itself counted, shares that do not
add up to 1 where a break follows, 0 bits where the context is absent. So the entropy falls with k
for want of data: on 3.4 Mb of chromosome 22, four of five contexts of 12 bases are seen once.

Corrected (`Scan`): the surprisal of the base that is there, from counts without its own occurrence
(or of other DNA), on both strands, smoothed by a Dirichlet prior of 1/4 a letter; the k is chosen
by the surprisal of held-out DNA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.genome.fasta import CODES

BREAK = 9
"""Code between two texts: no window spans it."""
UNKNOWN = 4
"""Code of N."""
PRIOR = 0.25
"""Dirichlet pseudo-count of each letter."""
LONGEST = 16
"""Largest k: a key of k + 1 letters stays in 64 bits, also of five letters."""
DENSE = 1 << 24
"""Largest table of keys that is held in full; above, only the keys that occur."""
KEYS_AT_ONCE = 1 << 24


def codes_of(texts: Sequence[str]) -> np.ndarray:
    """Base codes uint8 of all texts, 0..3 = ACGT, 4 = N or another letter of ambiguity, `BREAK`
    after each text. Raises `UserError` for a letter that is no base."""
    parts = []
    for row, text in enumerate(texts):
        codes = CODES[np.frombuffer(text.encode("ascii", "replace"), np.uint8)]
        if (codes == 255).any():
            what = f"has {text[int(np.argmax(codes == 255))]!r}, which is no letter for a base"
            raise UserError(what, field=f"sequence {row + 1}", remedy="Give DNA.")
        parts += [codes, np.array([BREAK], np.uint8)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """The other strand: each base's partner, from the other end; N and breaks stay what they
    are."""
    back = codes[::-1]
    return np.where(back < UNKNOWN, 3 - back, back).astype(np.uint8)


def check_k(k: int, codes: np.ndarray) -> None:
    """Raise `UserError` where no window of k + 1 letters fits into any text, or keys would not fit
    into 64 bits."""
    if not 1 <= k <= LONGEST:
        what, remedy = f"is {k}", f"Give 1 to {LONGEST}; longer contexts need an FM-index."
        raise UserError(what, field="entropy.ks", remedy=remedy)
    ends = np.flatnonzero(np.append(codes, BREAK) == BREAK)
    longest = int(np.diff(ends, prepend=-1).max()) - 1
    if k >= longest:
        raise UserError(
            f"is {k}, the longest sequence has {longest:,} bases",
            field="entropy.ks",
            remedy=f"Give a k below {longest:,}." if longest > 1 else "Give longer sequences.",
        )


def windows(codes: np.ndarray, width: int, letters: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Key (n,) of the ``width`` letters that end at each position, and whether all of them are of
    the first ``letters`` codes and in one text.

    Keys are numbers in base ``letters``, first letter foremost; int32 where they fit.
    """
    kind = np.int32 if letters**width <= 2**31 else np.int64
    key, good = np.zeros(len(codes), kind), np.zeros(len(codes), bool)
    size = len(codes) - width + 1
    if size < 1:
        return key, good
    known = codes < letters
    clipped = np.minimum(codes, letters - 1).astype(np.uint8)
    tail, whole = key[width - 1 :], good[width - 1 :]
    whole[:] = True
    for i in range(width):
        np.multiply(tail, letters, out=tail)
        np.add(tail, clipped[i : i + size], out=tail)
        whole &= known[i : i + size]
    return key, good


@dataclass(frozen=True)
class Table:
    """How often each key occurs: all keys in full, or those that occur, sorted."""

    keys: np.ndarray | None
    """sorted keys; None where ``counts`` has a place for each"""
    counts: np.ndarray
    """int64 or int32"""

    @classmethod
    def of(cls, keys: np.ndarray, universe: int) -> Table:
        """Counts of ``keys`` (n,), each below ``universe``."""
        if universe <= DENSE:
            counts = np.zeros(universe, np.int64)
            for start in range(0, len(keys), KEYS_AT_ONCE):
                counts += np.bincount(keys[start : start + KEYS_AT_ONCE], minlength=universe)
            return cls(None, counts)
        keys = np.sort(keys)
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        return cls(keys[first], np.diff(first, append=len(keys)))

    def __getitem__(self, keys: np.ndarray) -> np.ndarray:
        """Counts of ``keys`` of any shape; 0 where one does not occur."""
        if self.keys is None:
            return self.counts[keys]
        if not len(self.keys):
            return np.zeros(np.shape(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.counts[at], 0)


class Published(NamedTuple):
    """What the published scan says of each position."""

    seen: np.ndarray
    """(n,) occurrences of the context, the scanned one among them"""
    next: np.ndarray
    """(n, 4) occurrences of the context with A, C, G, T behind it"""
    entropy: np.ndarray
    """(n,) bits"""


def published_entropy(
    codes: np.ndarray, k: int, at: np.ndarray | None = None, *, index: np.ndarray | None = None
) -> Published:
    """Entropy of the next nucleotide at positions ``at`` (None: at every position that has k
    letters of its text before it) as published.

    H = −Σ p log₂ p over ACGT with p = count(c a) / count(c): not renormalized where an N or an end
    follows, 0 bits where the context is absent; N is a letter like any other. index: the DNA that
    is counted (None: the scanned DNA itself, so the scanned base counts).
    Source: HSG `bwt/src/lib.rs`, `hsg/entropy/entropy_scan.py:60-98`.
    """
    check_k(k, codes)
    counted = codes if index is None else index
    clear = windows(codes, k, 4)
    whole = windows(codes, k, 5) if (codes == UNKNOWN).any() else clear
    if at is None:
        at = scanned(codes, k)
    elif len(at) and (not 0 < at.min() <= at.max() < len(codes) or not whole[1][at - 1].all()):
        raise UserError(f"has no {k} letters before it", field="position", remedy="Leave it out.")
    count, behind = np.zeros(len(at), np.int64), np.zeros((len(at), 4), np.int64)
    entropy = np.zeros(len(at))
    plain = clear[1][at - 1]
    for letters, rows in ((4, plain), (5, ~plain)):
        if not rows.any():
            continue
        # contexts with an N are few: only windows that hold one are counted for them
        asked = (clear if letters == 4 else whole)[0][at[rows] - 1]
        context, which = np.unique(asked, return_inverse=True)  # each once, and in order
        ends, longer = (_keys(counted, width, letters) for width in (k, k + 1))
        seen = Table.of(ends, letters**k)[context]
        after = _behind(Table.of(longer, letters ** (k + 1)), context.astype(np.int64), letters)
        count[rows], behind[rows] = seen[which], after[which]
        entropy[rows] = _bits(after / np.maximum(seen, 1)[:, None])[which]
    return Published(count, behind, entropy)


def published_bits(codes: np.ndarray, k: int) -> np.ndarray:
    """(n,) published entropy at every position of ``codes``; NaN where there are no k letters
    before it."""
    found = np.full(len(codes), np.nan)
    at = scanned(codes, k)
    found[at] = published_entropy(codes, k, at).entropy
    return found


def scanned(codes: np.ndarray, k: int) -> np.ndarray:
    """Positions with k letters of their text before them, N among them."""
    inside = np.flatnonzero(codes[1:] != BREAK) + 1
    return inside[windows(codes, k, 5)[1][inside - 1]]


def _keys(codes: np.ndarray, width: int, letters: int) -> np.ndarray:
    """Keys of the windows in ``codes``: of four letters all, of five those with an N."""
    key, good = windows(codes, width, letters)
    if letters == 5:
        good &= ~windows(codes, width, 4)[1]
    return key[good]


def _bits(share: np.ndarray) -> np.ndarray:
    """−Σ p log₂ p over the last axis."""
    found = np.zeros(share.shape[:-1])
    for base in range(share.shape[-1]):
        p = share[..., base]
        np.subtract(found, p * np.log2(p, out=np.zeros_like(p), where=p > 0), out=found)
    return found


class Smoothed(NamedTuple):
    """What a context says of the base behind it, at each of n positions; NaN where the position has
    no k known bases before it or no known base."""

    surprisal: np.ndarray
    """(n,) −log₂ p of the base that is there, bits"""
    entropy: np.ndarray
    """(n,) of the next base, bits"""
    others: np.ndarray
    """(n,) occurrences of the context with a base behind it, its own left out; −1 where there is
    none"""


@dataclass(frozen=True)
class Scan:
    """Counts of all (k + 1)-mers of some DNA, ready to be asked."""

    k: int
    both: bool
    """whether the other strand is counted too"""
    table: Table
    """of the (k + 1)-mers of ACGT"""

    @classmethod
    def of(cls, codes: np.ndarray, k: int, *, both: bool = True) -> Scan:
        """Count the DNA in ``codes`` (see `codes_of`)."""
        check_k(k, codes)
        key, good = windows(codes, k + 1)
        found = key[good]
        if both:
            key, good = windows(reverse_complement(codes), k + 1)
            found = np.concatenate([found, key[good]])
        return cls(k, both, Table.of(found, 4 ** (k + 1)))

    def dirichlet(self, codes: np.ndarray, *, own: bool) -> Smoothed:
        """Shares (n_a + 1/4) / (n + 1) at every position of ``codes``; ``own``: these bases are
        among the counted ones, and each is left out for itself (on both strands)."""
        asked = self._asked(codes)
        behind = _behind(self.table, asked.context)
        if own:
            behind -= self._removed(asked.context, asked.base)
        total = behind.sum(1)
        share = (behind + PRIOR) / (total + 4 * PRIOR)[:, None]
        return _spread(len(codes), asked, share, total)

    def _asked(self, codes: np.ndarray) -> _Asked:
        """The (k + 1)-mers of ``codes``, each once."""
        key, good = windows(codes, self.k + 1)
        where = np.flatnonzero(good)
        word, which = np.unique(key[where], return_inverse=True)
        word = word.astype(np.int64)
        return _Asked(where, which, word >> 2, word & 3)

    def _removed(self, context: np.ndarray, base: np.ndarray) -> np.ndarray:
        """(n, 4) how often an occurrence of a context with its base is counted behind that context:
        once, and on the other strand again where that has the same context."""
        gone = np.zeros((len(base), 4), np.int64)
        rows = np.arange(len(base))
        gone[rows, base] = 1
        if self.both:
            back = _complement(context * 4 + base, self.k + 1)
            same = back >> 2 == context
            np.add.at(gone, (rows[same], back[same] & 3), 1)
        return gone


class _Asked(NamedTuple):
    """What the positions of some DNA ask."""

    where: np.ndarray
    """(n,) positions with k known bases before them and one there"""
    which: np.ndarray
    """(n,) the row below of each"""
    context: np.ndarray
    """(u,) key of the k letters"""
    base: np.ndarray
    """(u,) the letter behind them"""


def _behind(table: Table, context: np.ndarray, letters: int = 4) -> np.ndarray:
    """(n, 4) counts of A, C, G, T behind each context."""
    return np.stack([table[context * letters + base] for base in range(4)], axis=1)


def _complement(key: np.ndarray, width: int) -> np.ndarray:
    """Keys of the reverse complements of words of ``width`` letters."""
    found, rest = np.zeros_like(key), key.copy()
    for _ in range(width):
        found = found * 4 + (3 - (rest & 3))
        rest >>= 2
    return found


def _spread(n: int, asked: _Asked, share: np.ndarray, total: np.ndarray) -> Smoothed:
    """Values at the asked positions, put back among all n."""
    surprisal, entropy = np.full(n, np.nan), np.full(n, np.nan)
    others = np.full(n, -1, np.int64)
    own = share[np.arange(len(asked.base)), asked.base]
    surprisal[asked.where] = -np.log2(own)[asked.which]
    entropy[asked.where] = _bits(share)[asked.which]
    others[asked.where] = total[asked.which]
    return Smoothed(surprisal, entropy, others)


class Chosen(NamedTuple):
    """Mean surprisal of held-out DNA by k."""

    k: np.ndarray
    surprisal: np.ndarray
    """bits a base"""
    seen: np.ndarray
    """share of held-out bases whose context occurs in the counted DNA"""
    bases: int
    """held-out bases that every k could be asked about"""

    @property
    def best(self) -> int:
        """The k of the smallest held-out surprisal; of equals the smaller."""
        return int(self.k[int(np.argmin(self.surprisal))])


def held_out(counted: np.ndarray, held: np.ndarray, ks: Sequence[int]) -> Chosen:
    """Surprisal of ``held`` codes from counts of other DNA, on the bases that the largest k can be
    asked about, so that every k is judged on the same ones."""
    ks = sorted(set(ks))
    check_k(ks[-1], held)
    good = windows(held, ks[-1] + 1)[1]
    found = [Scan.of(counted, k).dirichlet(held, own=False) for k in ks]
    return Chosen(
        np.array(ks),
        np.array([one.surprisal[good].mean() for one in found]),
        np.array([(one.others[good] > 0).mean() for one in found]),
        int(good.sum()),
    )
