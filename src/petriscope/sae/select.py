"""Which latents fire: exact BatchTopK, TopK and threshold selection from filtered candidates.

Floors are carried from one batch to the next, so a selection costs one pass of the filter. Too high a floor is noticed
(fewer than k exact values above it) and repaired, so results never depend on it. Ties go to the lower latent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from petriscope.sae.filter import CandidateFilter
from petriscope.sae.sparse import Pattern, keep_entries, sampled_product, transpose


class Selection(NamedTuple):
    """The active latents of a batch of n tokens, in both orders."""

    by_latent: Pattern
    """(m, n)"""
    values: torch.Tensor
    """float32 (nnz) in the order of ``by_latent``, all positive"""
    by_token: Pattern
    """(n, m)"""
    order: torch.Tensor
    """int (nnz): ``values[order]`` follows ``by_token``"""

    @property
    def smallest(self) -> float:
        """The smallest kept activation, 0 where nothing fired."""
        return float(self.values.min()) if len(self.values) else 0.0


def exact_values(pattern: Pattern, W_enc: torch.Tensor, b_enc: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Pre-activations at a latent-by-latent pattern (m, n): float32 (nnz)."""
    values = sampled_product(pattern, W_enc, x)
    return values.add_(torch.repeat_interleave(b_enc, pattern.indptr.diff()))


def above_threshold(filter_: CandidateFilter, x: torch.Tensor, threshold: float) -> Selection:
    """Inference of BatchTopK and ReLU: all latents above ``threshold`` (≥ 0). x (n, d) float32, centred."""
    found = filter_.candidates(x, threshold)
    values = exact_values(found, filter_.exact_weight, filter_.exact_bias, x)
    kept = values > max(threshold, 0.0)
    return _selection(keep_entries(found, kept), values[kept])


class BatchTopK:
    """The k·n largest positive pre-activations of a batch of n tokens (arXiv 2412.06410)."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._last: float | None = None
        self._margin = 0.0

    def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
        """x (n, d) float32, centred."""
        wanted = self.k * len(x)
        if self._last is None:
            self._last = self._guess(filter_, x)
            self._margin = 0.1 * self._last
        floor = max(self._last - self._margin, 0.0)
        while True:
            found = filter_.candidates(x, floor)
            values = exact_values(found, filter_.exact_weight, filter_.exact_bias, x)
            if floor == 0.0 or int((values > floor).sum()) >= wanted:
                break
            self._margin = max(2 * self._margin, 0.02 * floor)
            floor = max(floor - self._margin, 0.0)
        kept = _largest(values, wanted)
        chosen = values[kept]
        smallest = float(chosen.min()) if len(chosen) else 0.0
        self._margin = max(0.9 * self._margin, 3 * abs(smallest - self._last), 0.01 * smallest)
        self._last = smallest
        return _selection(keep_entries(found, kept), chosen)

    def _guess(self, filter_: CandidateFilter, x: torch.Tensor) -> float:
        sample = x[:: max(1, len(x) // 64)]
        dense = torch.addmm(filter_.exact_bias, sample, filter_.exact_weight.T).flatten()
        return max(float(dense.topk(min(self.k * len(sample), dense.numel())).values[-1]), 0.0)


class TopK:
    """The k largest positive pre-activations of each token (arXiv 2406.04093)."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._ratio: float | None = None  # floor of a token over its norm: exceeded by k latents in 99 % of tokens

    def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
        """x (n, d) float32, centred."""
        norm = torch.linalg.vector_norm(x, dim=1).clamp_min(1e-30)
        if self._ratio is None:
            sample = slice(None, None, max(1, len(x) // 64))
            self._ratio = float((self._dense(filter_, x[sample], 0)[0].values[:, -1] / norm[sample]).min())
        floor = norm * max(self._ratio, 0.0)
        found = filter_.candidates(x, floor)
        by_token, order = transpose(found)
        values = exact_values(found, filter_.exact_weight, filter_.exact_bias, x)[order]
        rows = torch.repeat_interleave(torch.arange(len(x)), by_token.indptr.diff())
        columns = by_token.columns
        enough = torch.bincount(rows[values > floor[rows]], minlength=len(x)) >= self.k
        short = torch.empty(0, dtype=torch.long) if self._ratio <= 0 else (~enough).nonzero()[:, 0]
        if len(short):
            new_columns, new_values = self._rescue(filter_, x[short])
            kept = enough[rows]
            rows = torch.cat([rows[kept], short.repeat_interleave(new_columns.shape[1])])
            columns = torch.cat([columns[kept], new_columns.flatten()])
            values = torch.cat([values[kept], new_values.flatten()])
        rows, columns, values, last = _top_of_rows(rows, columns, values, len(x), self.k)
        self._ratio = float(torch.quantile(last / norm, 0.01))
        return _from_entries(rows, columns, values, len(x), len(filter_.exact_bias))

    def _dense(self, filter_: CandidateFilter, x: torch.Tensor, spare: int) -> tuple[torch.return_types.topk, int]:
        width = min(self.k + spare, len(filter_.exact_bias))
        return torch.addmm(filter_.exact_bias, x, filter_.exact_weight.T).topk(width), width

    def _rescue(self, filter_: CandidateFilter, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Columns and exact values (r, ≥ k) of the few tokens whose floor was too high, by a dense product."""
        top, width = self._dense(filter_, x, 8)
        columns = top.indices.sort(dim=1).values.int()
        indptr = torch.arange(0, len(x) * width + 1, width, dtype=torch.int32)
        pattern = Pattern(indptr, columns.flatten(), len(filter_.exact_bias))
        values = sampled_product(pattern, x, filter_.exact_weight) + filter_.exact_bias[columns.flatten().long()]
        return columns, values.view_as(columns)


def _largest(values: torch.Tensor, wanted: int) -> torch.Tensor:
    """Mask of the ``wanted`` largest positive values; of equals at the border the first ones."""
    if len(values) <= wanted:
        return values > 0
    border = values.topk(wanted, sorted=False).values.min()
    kept = values > border
    missing = wanted - int(kept.sum())
    kept[torch.from_numpy(np.flatnonzero((values == border).numpy())[:missing])] = True
    return kept & (values > 0)


def _top_of_rows(
    rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, n: int, k: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k largest positive entries of each row of a ragged set; last: each row's smallest kept value (n)."""
    if len(rows) and bool((rows.diff() < 0).any()):
        order = torch.argsort(rows, stable=True)
        rows, columns, values = rows[order], columns[order], values[order]
    counts = torch.bincount(rows, minlength=n)
    place = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    padded = torch.full((n, max(k, int(counts.max()))), -torch.inf)
    padded[rows, place] = values
    border = padded.topk(k, dim=1).values[:, -1]
    kept = padded >= border[:, None]
    crowded = (kept.sum(1) > k) & torch.isfinite(border)
    for row in crowded.nonzero()[:, 0].tolist():
        kept[row] = _largest(padded[row], k)
    mask = kept[rows, place] & (values > 0)
    return rows[mask], columns[mask], values[mask], border.clamp_min(0.0)


def _selection(by_latent: Pattern, values: torch.Tensor) -> Selection:
    by_token, order = transpose(by_latent)
    return Selection(by_latent, values, by_token, order)


def _from_entries(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, n: int, m: int) -> Selection:
    """Entries sorted by token → both orders."""
    indptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(rows, minlength=n).cumsum(0)]).int()
    by_latent, back = transpose(Pattern(indptr, columns.int(), m))
    return _selection(by_latent, values[back])
