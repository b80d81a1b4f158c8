"""What the latents of a model owe to surprisal: the surprisal of every token from counts of other
DNA, and how much of a latent's activation it explains beyond the token's identity, GC, conservation
and annotation.

The unit of chance is the group of sequences (a locus and its homologues): intervals draw groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.correlation import Lookup
from petriscope.genome.fasta import CODES
from petriscope.studies.dna.entropy import Scan, codes_of, published_entropy

AROUND = 5
"""tokens on either side that a token's GC is counted over"""
AT_ONCE = 64
"""latents whose residuals are held in memory together"""


def token_surprisal(
    scan: Scan, sequences: Sequence[str], row: np.ndarray, start: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """(n,) bits of the bases of each token, from counts of other DNA; NaN where a base has no k
    known bases before it.

    row: (n,) which of ``sequences`` the token is in; start, width: (n,) its bases, bp.
    """
    bits = scan.dirichlet(codes_of(sequences), own=False).surprisal
    return token_sums(bits, sequences, row, start, width)


def token_sums(
    values: np.ndarray,
    sequences: Sequence[str],
    row: np.ndarray,
    start: np.ndarray,
    width: np.ndarray,
) -> np.ndarray:
    """(n,) sums over the bases of each token of ``values`` at every position of `codes_of`; NaN
    where one is."""
    before = np.concatenate([[0], np.cumsum([len(text) + 1 for text in sequences])])[:-1]
    unknown = np.concatenate([[0], np.cumsum(np.isnan(values))])
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    first = before[row] + start
    found = total[first + width] - total[first]
    return np.where(unknown[first + width] == unknown[first], found, np.nan)


def local_gc(
    sequences: Sequence[str], row: np.ndarray, start: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """(n,) share of G and C in the ±`AROUND` tokens' worth of bases about each token."""
    codes = codes_of(sequences)
    length = np.array([len(text) for text in sequences])
    before = np.concatenate([[0], np.cumsum(length + 1)])[:-1]
    strong = np.concatenate(
        [[0], np.cumsum((codes == CODES[ord("C")]) | (codes == CODES[ord("G")]))]
    )
    low = np.maximum(start - 6 * AROUND, 0)
    high = np.minimum(start + width + 6 * AROUND, length[row])
    return (strong[before[row] + high] - strong[before[row] + low]) / (high - low)


class Absorbed:
    """The least-squares fit on a category (a mean each) and covariates, to be taken out of others.

    lookup: of n tokens.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.category = np.unique(lookup.category, return_inverse=True)[1]
        count = np.bincount(self.category)
        n = len(self.category)
        share = 1 / count[self.category]
        self.mean = sp.csr_matrix((share, (self.category, np.arange(n))), (len(count), n))
        covariates = self.centered(np.asarray(lookup.covariates, np.float64))
        self.basis = np.linalg.svd(covariates, full_matrices=False)[0]
        self.basis = (
            self.basis[:, : np.linalg.matrix_rank(covariates)]
            if self.basis.size
            else (np.zeros((n, 0)))
        )

    def centered(self, values: np.ndarray) -> np.ndarray:
        """Less the mean of each category; (n, q)."""
        return np.asarray(values - (self.mean @ values)[self.category])

    def residual(self, values: np.ndarray) -> np.ndarray:
        """Less all of it; (n, q)."""
        left = self.centered(values)
        return np.asarray(left - self.basis @ (self.basis.T @ left))


def block_partial_r(
    codes: Any, y: np.ndarray, lookup: Lookup, block: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R, m) partial r of every latent with ``y`` over blocks taken ``weights`` (R, B) times; 0
    where nothing is left of a latent.

    codes: CSR (n, m). block: (n,) 0 to B − 1. The fit on category and covariates is that of all
    tokens throughout.
    """
    absorbed = Absorbed(lookup)
    left = absorbed.residual(np.asarray(y, np.float64)[:, None])[:, 0]
    members = sp.csr_matrix((np.ones(len(block)), (block, np.arange(len(block)))))
    yy = weights @ (members @ left**2)
    found = np.zeros((len(weights), codes.shape[1]))
    columns = codes.tocsc()
    for at in range(0, codes.shape[1], AT_ONCE):
        x = absorbed.residual(columns[:, at : at + AT_ONCE].toarray().astype(np.float64))
        xy, xx = weights @ (members @ (x * left[:, None])), weights @ (members @ x**2)
        below = np.sqrt(np.maximum(xx, 0) * yy[:, None])
        found[:, at : at + AT_ONCE] = np.divide(
            xy, below, out=np.zeros_like(xy), where=below > 1e-9
        )
    return found


class Partition(NamedTuple):
    """How much of the activation of some latents each predictor explains on held-out groups, the
    mean over latents; R bootstrap samples, the first of all groups once."""

    whole: np.ndarray
    """(R,) share of variance by all predictors together"""
    alone: dict[str, np.ndarray]
    """(R,) by each predictor alone"""
    unique: dict[str, np.ndarray]
    """(R,) what is lost without it"""


def partition(
    values: np.ndarray,
    category: np.ndarray,
    predictors: Mapping[str, np.ndarray],
    fitted: np.ndarray,
    block: np.ndarray,
    weights: np.ndarray,
) -> Partition:
    """Fit latents by least squares on some tokens and judge on others.

    values: (n, F) dense activations. category: (n,) token identity, a predictor of its own
    (``identity``). predictors: name → (n, q). fitted: (n,) bool, tokens of the fit; the others are
    judged. block: (n,) group of each token, 0 to B − 1. weights: (R, B) of the bootstrap.
    A latent that does not vary on the judged tokens is left out.
    """
    names = ["identity", *predictors]
    held = ~fitted
    members = sp.csr_matrix(
        (np.ones(held.sum()), (block[held], np.arange(held.sum()))),
        (weights.shape[1], int(held.sum())),
    )
    truth = values[held].astype(np.float64)
    mean = values[fitted].mean(0, dtype=np.float64)
    total = weights @ (members @ (truth - mean) ** 2)
    varies = total[0] > 0

    def explained(chosen: Sequence[str]) -> np.ndarray:
        guess = _predicted(values, category, predictors, chosen, fitted, mean)
        rest = weights @ (members @ (truth - guess) ** 2)
        share = 1 - rest[:, varies] / np.maximum(total[:, varies], np.finfo(float).tiny)
        return np.asarray(share.mean(1)) if varies.any() else np.zeros(len(weights))

    whole = explained(names)
    return Partition(
        whole,
        {name: explained([name]) for name in names},
        {name: whole - explained([n for n in names if n != name]) for name in names},
    )


def _predicted(
    values: np.ndarray,
    category: np.ndarray,
    predictors: Mapping[str, np.ndarray],
    chosen: Sequence[str],
    fitted: np.ndarray,
    mean: np.ndarray,
) -> np.ndarray:
    """(judged, F) activations by the fit on the tokens ``fitted``; a category that these do not
    hold has their mean."""
    linear = [predictors[name] for name in chosen if name != "identity"]
    x = np.concatenate([np.zeros((len(values), 0)), *linear], axis=1).astype(np.float64)
    shift = x[fitted].mean(0)
    spread = x[fitted].std(0)
    x = (x - shift) / np.where(spread > 0, spread, 1)
    y = values[fitted].astype(np.float64)
    if "identity" in chosen:
        codes, inside = np.unique(category[fitted], return_inverse=True)
        ones = (np.ones(len(inside)), (inside, np.arange(len(inside))))
        sums = sp.csr_matrix(ones, (len(codes), len(inside)))
        count = np.asarray(sums.sum(1)).ravel()[:, None]
        means, means_x = (sums @ y) / count, (sums @ x[fitted]) / count
        slope = _slope(x[fitted] - means_x[inside], y - means[inside])
        at = np.minimum(np.searchsorted(codes, category[~fitted]), len(codes) - 1)
        known = (codes[at] == category[~fitted])[:, None]
        center, center_x = np.where(known, means[at], mean), np.where(known, means_x[at], 0.0)
    else:
        slope = _slope(x[fitted], y - mean)
        center, center_x = mean[None, :], np.zeros((1, x.shape[1]))
    return np.asarray(center + (x[~fitted] - center_x) @ slope)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if not x.shape[1]:
        return np.zeros((0, y.shape[1]))
    return np.asarray(np.linalg.lstsq(x.T @ x, x.T @ y, rcond=1e-10)[0])


def scan_of(text: np.ndarray, k: int) -> dict[str, float]:
    """What one k says of contiguous DNA (codes as of `codes_of`): k, bases scanned,
    published_entropy (mean bits), contexts, singletons (share of the contexts that occur once),
    leave_one_out (mean surprisal, both strands, each base's own occurrence left out)."""
    published = published_entropy(text, k)
    contexts = float((1 / published.seen).sum())
    once = float((published.seen == 1).sum())
    left = Scan.of(text, k).dirichlet(text, own=True).surprisal
    return {
        "k": k,
        "bases": len(published.seen),
        "published_entropy": float(published.entropy.mean()),
        "contexts": round(contexts),
        "singletons": once / contexts,
        "leave_one_out": float(np.nanmean(left)),
    }


def element_share(
    elements: pd.DataFrame,
    ids: Sequence[str],
    sequences: Sequence[str],
    row: np.ndarray,
    start: np.ndarray,
    width: np.ndarray,
) -> np.ndarray:
    """(n,) share of each token's bases that lie in planted ``elements`` (id, start, end)."""
    number = {name: at for at, name in enumerate(ids)}
    here = elements[elements.id.isin(number)]
    before = np.concatenate([[0], np.cumsum([len(text) for text in sequences])])
    offset = before[here.id.map(number).to_numpy(np.int64)]
    edges = np.zeros(before[-1] + 1, np.int64)
    np.add.at(edges, offset + here.start.to_numpy(), 1)
    np.add.at(edges, offset + here.end.to_numpy(), -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(edges)[:-1] > 0)])
    first = before[row] + start
    return np.asarray((covered[first + width] - covered[first]) / width)
