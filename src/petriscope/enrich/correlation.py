"""Tracks along a sequence of tokens are correlated with all latents at once: Pearson's r, its
partial form, its null under circular shifts, and its bootstrap over blocks.

A latent and a track that both come in runs correlate by chance far more than independent tokens
would. The null keeps both runs: the track is turned around its ring (a chromosome, or short pieces
laid end to end) by the same amount for all latents, and the largest |r| of each turn is what the
best of many latents must exceed (Westfall-Young maxT).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.fft
import scipy.sparse as sp

from petriscope.contrast.inference import PermutationP, permutation_p

AT_ONCE = 64
"""shifts held in memory together, at most; `permutation_p` takes 128"""
WIDTH = 128
"""columns of a product: the sums of all latents then stay in cache"""
DENSE = 0.05
"""share of nonzero values from which one Fourier transform a column is cheaper than products"""

Matrix: TypeAlias = Any
"""a dense array or a CSR matrix"""


class Lookup(NamedTuple):
    """What a partial correlation holds constant."""

    category: np.ndarray
    """(n,) int: the category of each token, for example its identity; every one gets a mean of its
    own."""
    covariates: np.ndarray
    """(n, q) further covariates, linear."""


class Correlations(NamedTuple):
    """Every latent with every track."""

    r: np.ndarray
    """(m, T); NaN where the latent or the track does not vary."""
    test: PermutationP
    """of the (m·T) flattened r: p, and maxT over this set of latents and tracks."""
    null_max: np.ndarray
    """(S, P, T) largest |r| of each shift over the latents of each part, a track at a time."""


def pearson(values: Matrix, tracks: np.ndarray, lookup: Lookup | None = None) -> np.ndarray:
    """Pearson's r (m, T) of the columns of ``values`` (n, m; dense or CSR) and ``tracks`` (n, T).

    With ``lookup`` the partial r: both sides less their least-squares fit on categories and
    covariates. NaN where a side does not vary. One product over all columns; equals
    `scipy.stats.pearsonr`.
    """
    prepared = _Prepared(values, lookup)
    return prepared.r(np.asarray(tracks, np.float64))


class _Prepared:
    """The latents' side of r: what it takes to residualize and scale any track against it."""

    def __init__(self, values: Matrix, lookup: Lookup | None) -> None:
        x = values.astype(np.float64)
        self.n = x.shape[0]
        self.lookup = lookup or Lookup(np.zeros(self.n, np.int64), np.zeros((self.n, 0)))
        category = np.unique(self.lookup.category, return_inverse=True)[1]
        count = np.bincount(category)
        ones = (np.ones(self.n), (category, np.arange(self.n)))
        self.members = sp.csc_matrix(ones, shape=(len(count), self.n))
        self.per = 1 / count[:, None]
        self.category = category
        covariates = self._centered(np.asarray(self.lookup.covariates, np.float64))
        self.basis = np.linalg.svd(covariates, full_matrices=False)[0]
        self.basis = (
            self.basis[:, : np.linalg.matrix_rank(covariates)]
            if self.basis.size
            else (np.zeros((self.n, 0)))
        )
        self.transposed = x.T if sp.issparse(x) else np.ascontiguousarray(x.T)
        """(m, n); of CSR it stays as it lies: row by row of tokens a product is five times faster
        than latent by latent"""
        squares = np.asarray(x.multiply(x).sum(0) if sp.issparse(x) else (x**2).sum(0)).ravel()
        sums = self.members @ x
        sums_squared = sums.multiply(sums) if sp.issparse(sums) else sums**2
        means = np.asarray(sums_squared.T @ self.per).ravel()
        fitted = (self.transposed @ self.basis) ** 2
        left = squares - means - fitted.sum(1)
        self.scale = np.sqrt(np.where(left > 1e-9 * squares, left, np.nan))
        """(m,) norm of each latent less its fit; NaN where nothing is left"""

    def _centered(self, y: np.ndarray) -> np.ndarray:
        members = self.members.astype(y.dtype)
        return np.asarray(y - ((members @ y) * self.per.astype(y.dtype))[self.category])

    def residual(self, tracks: np.ndarray) -> np.ndarray:
        """Unit residuals (n, T) of tracks; NaN where nothing is left."""
        y = self._centered(tracks)
        basis = self.basis.astype(y.dtype)
        y -= basis @ (basis.T @ y)
        norm, whole = np.sqrt((y**2).sum(0)), np.sqrt((tracks**2).sum(0))
        least = 10 * np.finfo(y.dtype).eps * np.maximum(whole, np.finfo(y.dtype).tiny)
        return np.asarray(y / np.where(norm > least, norm, np.nan), y.dtype)

    def r(self, tracks: np.ndarray) -> np.ndarray:
        return (self.transposed @ self.residual(tracks)) / self.scale[:, None]


def rings(contig: np.ndarray, min_shift: int) -> np.ndarray:
    """(n,) ring of each token of ``contig`` (n,) int, ascending: its contig, or one ring of all
    contigs too short to be shifted by ``min_shift`` and back (less than three times that)."""
    count = np.bincount(contig)
    short = count < 3 * min_shift
    if short.all():
        return np.zeros(len(contig), np.int64)
    return np.where(short[contig], len(count), contig)


def circular_shifts(ring: np.ndarray, n: int, min_shift: int, seed: int) -> np.ndarray:
    """(n, R) tokens by which each ring is turned: uniform between ``min_shift`` and the ring's
    length less it. ``ring``: (tokens,) as `rings` gives. Raises ValueError for a ring too short."""
    lengths = np.unique(ring, return_counts=True)[1]
    if (lengths < 2 * min_shift + 1).any():
        raise ValueError(f"a ring of {lengths.min()} tokens cannot be shifted by {min_shift}")
    rng = np.random.default_rng(seed)
    return rng.integers(min_shift, lengths - min_shift + 1, (n, len(lengths)))


def turned(ring: np.ndarray, shifts: np.ndarray) -> Iterator[np.ndarray]:
    """For each row of ``shifts`` (S, R): the row (n,) from which each token reads the track."""
    order = np.argsort(ring, kind="stable")
    _, first, which, lengths = np.unique(
        ring[order], return_index=True, return_inverse=True, return_counts=True
    )
    place, start, length = np.arange(len(ring)) - first[which], first[which], lengths[which]
    source = np.empty(len(ring), np.int64)
    for row in shifts:
        source[order] = order[start + (place + row[which]) % length]
        yield source.copy()


def correlate(
    values: Matrix,
    tracks: np.ndarray,
    ring: np.ndarray,
    shifts: np.ndarray,
    lookup: Lookup | None = None,
    *,
    part: np.ndarray | None = None,
) -> Correlations:
    """r of every latent with every track, tested against circular shifts of the tracks.

    Parameters
    ----------
    values : ndarray or csr_matrix of shape (n, m)
        Activations, tokens in order; of several layers side by side, to make them one family.
    tracks : ndarray of shape (n, T)
        Annotation of each token.
    ring : ndarray of shape (n,)
        What is turned as one (`rings`).
    shifts : ndarray of shape (S, R)
        The turns (`circular_shifts`), the same for all latents.
    lookup : Lookup, optional
        Test the partial r instead; each turned track is residualized again.
    part : ndarray of shape (m,), optional
        A number from 0, ascending, for the latents of one layer: the bands of ``null_max``.
    """
    first = np.zeros(1, np.int64) if part is None else np.unique(part, return_index=True)[1]
    y = np.asarray(tracks, np.float64)
    prepared = _Prepared(values, lookup)
    observed = prepared.r(y)
    maxima: list[np.ndarray] = []

    def null(order: np.ndarray) -> Iterator[np.ndarray]:
        for products in _null(prepared, y, ring, shifts, lookup):
            maxima.append(np.maximum.reduceat(np.abs(products), first, axis=1))
            yield products.reshape(len(products), -1)[:, order]

    test = permutation_p(observed.ravel(), null, exact=False)
    return Correlations(observed, test, np.concatenate(maxima))


def _null(
    prepared: _Prepared, y: np.ndarray, ring: np.ndarray, shifts: np.ndarray, lookup: Lookup | None
) -> Iterator[np.ndarray]:
    """float32 (≤ AT_ONCE, m, T) null r of consecutive shifts."""
    n_tracks, x = y.shape[1], prepared.transposed
    share = _share(x)
    if lookup is None and share >= DENSE and shifts.shape[1] == 1:
        yield from _by_fourier(prepared, y, ring, shifts[:, 0])
        return
    scaled = np.nan_to_num(1 / prepared.scale).astype(np.float32)[None, :, None]
    x = x.astype(np.float32)
    # what was a residual at home is none where it has been turned to: then it is made again
    fixed = y if lookup is not None else np.nan_to_num(prepared.residual(y))
    fixed, sources = fixed.astype(np.float32), turned(ring, shifts)
    at_once = int(np.clip(WIDTH // n_tracks, 1, AT_ONCE))
    while of_turn := list(islice(sources, at_once)):
        moved = np.concatenate([fixed[source] for source in of_turn], axis=1)
        if lookup is not None:
            moved = np.nan_to_num(prepared.residual(moved))
        found = (x @ moved).reshape(-1, len(of_turn), n_tracks)
        yield np.ascontiguousarray(found.transpose(1, 0, 2)) * scaled


def _by_fourier(
    prepared: _Prepared, y: np.ndarray, ring: np.ndarray, shifts: np.ndarray
) -> Iterator[np.ndarray]:
    """The same of one ring and many nonzero values: all turns of a latent from one transform."""
    n = len(ring)
    fixed = np.nan_to_num(prepared.residual(y)).astype(np.float32)
    x = prepared.transposed
    m, n_tracks = x.shape[0], y.shape[1]
    of_track = np.conj(scipy.fft.rfft(fixed, axis=0)).T
    table = np.empty((len(shifts), m, n_tracks), np.float32)
    scale = np.nan_to_num(1 / prepared.scale).astype(np.float32)
    for at in range(0, m, 512):
        rows = slice(at, min(at + 512, m))
        part = _dense(x[rows])
        transformed = scipy.fft.rfft(part.astype(np.float32), axis=1)
        for track in range(n_tracks):
            # sum over i of x[i] y[i + s] is the correlation at lag -s of x against y
            lags = scipy.fft.irfft(transformed * of_track[track], n, axis=1)
            table[:, rows, track] = (lags[:, (n - shifts) % n] * scale[rows, None]).T
    for at in range(0, len(shifts), AT_ONCE):
        yield table[at : at + AT_ONCE].copy()


class BlockSums(NamedTuple):
    """What r of any set of blocks follows from; B blocks, m latents, T tracks."""

    n: np.ndarray
    """(B,) tokens"""
    x: np.ndarray
    """(B, m)"""
    xx: np.ndarray
    """(B, m)"""
    y: np.ndarray
    """(B, T)"""
    yy: np.ndarray
    """(B, T)"""
    xy: np.ndarray
    """(B, m, T)"""

    @classmethod
    def of(cls, values: Matrix, tracks: np.ndarray, block: np.ndarray) -> BlockSums:
        """Sums of the rows of each block (n,) int from 0."""
        size = int(block.max()) + 1
        ones = (np.ones(len(block)), (block, np.arange(len(block))))
        members = sp.csr_matrix(ones, shape=(size, len(block)))
        x, y = values.astype(np.float64), np.asarray(tracks, np.float64)
        squares = x.multiply(x) if sp.issparse(x) else x**2
        products = [
            members @ (x.multiply(y[:, [t]]).tocsr() if sp.issparse(x) else x * y[:, [t]])
            for t in range(y.shape[1])
        ]
        return cls(
            np.bincount(block, minlength=size).astype(float),
            _dense(members @ x),
            _dense(members @ squares),
            members @ y,
            members @ y**2,
            np.stack([_dense(p) for p in products], axis=2),
        )

    def only(self, latents: np.ndarray) -> BlockSums:
        """Of one latent per track: ``latents`` (T,). r is then (…, T) with m = T, track t's in
        place t (`paired_r`)."""
        x, xx = self.x[:, latents], self.xx[:, latents]
        xy = self.xy[:, latents, np.arange(len(latents))][:, :, None]
        return self._replace(x=x, xx=xx, xy=xy)

    def r(self, weights: np.ndarray) -> np.ndarray:
        """(R, m, T) r of the blocks taken ``weights`` (R, B) times each; 0 where a side does not
        vary."""
        n = (weights @ self.n)[:, None]
        x, xx, y, yy = (weights @ part / n for part in (self.x, self.xx, self.y, self.yy))
        xy = np.tensordot(weights, self.xy, axes=1) / n[:, :, None]
        return _ratio(xy - x[:, :, None] * y[:, None, :], (xx - x**2)[:, :, None], yy - y**2)

    def paired_r(self, weights: np.ndarray) -> np.ndarray:
        """(R, T) after `only`: latent t with track t."""
        n = (weights @ self.n)[:, None]
        x, xx, y, yy = (weights @ part / n for part in (self.x, self.xx, self.y, self.yy))
        xy = weights @ self.xy[:, :, 0] / n
        return _ratio(xy - x * y, xx - x**2, yy - y**2)


def _ratio(above: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = y[:, None, :] if above.ndim == 3 else y
    below = np.sqrt(np.clip(x, 0, None) * np.clip(y, 0, None))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 1e-12))


def _share(matrix: Matrix) -> float:
    """Of nonzero values."""
    return matrix.nnz / max(1, np.prod(matrix.shape)) if sp.issparse(matrix) else 1.0


def _dense(matrix: Matrix) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


def block_weights(blocks: np.ndarray, size: int, n: int, seed: int) -> np.ndarray:
    """(n + 1, size) how often each block is drawn; ``blocks`` are those in play. Row 0 takes each
    once, the others are bootstrap samples."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=n)
    weights = np.zeros((n + 1, size))
    weights[0, blocks], weights[1:, blocks] = 1, drawn
    return weights


class HeldOut(NamedTuple):
    """The best latent of each track, chosen on some blocks and read on others."""

    latent: np.ndarray
    """(T,)"""
    r: np.ndarray
    """(1 + n, T) |r| on the held-out blocks, signed as on the others: of all, then of each
    bootstrap sample."""


def held_out_best(
    sums: BlockSums, train: np.ndarray, weights: np.ndarray, alive: np.ndarray
) -> HeldOut:
    """Choose the latent of largest |r| on the ``train`` blocks among those ``alive`` (m,) bool, and
    read its r on held-out blocks under ``weights`` (1 + n, B) (`block_weights`)."""
    chosen = np.zeros((1, len(sums.n)))
    chosen[0, train] = 1
    r = sums.r(chosen)[0]
    latent = np.where(alive[:, None], np.abs(r), -1).argmax(0)
    sign = np.sign(r[latent, np.arange(len(latent))])
    return HeldOut(latent, sums.only(latent).paired_r(weights) * sign)
