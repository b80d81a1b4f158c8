"""Which latents fire: exact BatchTopK, TopK and threshold selection from filtered candidates.

The one dense product of an SAE step only proposes candidates, in cheap precision with proven slack:
W_enc·x + b_enc is formed in bfloat16 (or float32), a few latents at a time, and compared with a
floor lowered by a bound on its error; what passes is scored again exactly. With x̃, w̃ the rounded
operands, |x·w − x̃·w̃| ≤ ‖x − x̃‖‖w‖ + ‖x̃‖‖w − w̃‖ (Cauchy–Schwarz), plus d·2⁻²³·‖x‖‖w‖ for
float32 accumulation. So every entry above the floor is found, whatever the precision, and results
do not depend on it.

Floors are carried from one batch to the next, so a selection costs one pass of the filter. Too high
a floor is noticed (fewer than k exact values above it) and repaired, so results never depend on it.
Ties go to the lower latent.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import numpy as np
import torch

from petriscope.sae.sparse import (
    Pattern,
    keep_entries,
    kth_largest,
    on_host,
    positions,
    sampled_product,
    transpose,
)

_SLACK_ROWS = 128
_DEVICE_CHUNK_BYTES = 1 << 28
_CHUNK_BYTES = 1 << 21  # of the product held at once: fits the second-level cache


class CandidateFilter:
    """A low-precision copy of the encoder that finds all (latent, token) entries above a floor."""

    def __init__(self, W_enc: torch.Tensor, b_enc: torch.Tensor, precision: str = "auto") -> None:
        """W_enc (m, d) and b_enc (m) float32: the filter keeps a view (float32) or a rounded copy
        (bf16)."""
        self.exact_weight, self.exact_bias = W_enc, b_enc
        m, d = W_enc.shape
        host = (
            W_enc.device.type == "cpu"
        )  # elsewhere bf16 products may be summed in bf16, which the bound does not cover
        chosen = (fastest_precision(d) if host else "float32") if precision == "auto" else precision
        self.dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
        self.weight = (
            W_enc if self.dtype == torch.float32 else torch.empty_like(W_enc, dtype=self.dtype)
        )
        self.bias = (
            b_enc if self.dtype == torch.float32 else torch.empty_like(b_enc, dtype=self.dtype)
        )
        self._norm = torch.zeros_like(b_enc)  # ‖w‖
        self._rounding = torch.zeros_like(b_enc)  # ‖w − w̃‖
        self._product, self._hit = (
            W_enc.new_empty(0, 0, dtype=self.dtype),
            np.empty((0, 0), dtype=bool),
        )
        self.refresh(0, m)

    def refresh(self, start: int, stop: int) -> None:
        """Follow a change of the encoder's rows start..stop-1."""
        rows = self.exact_weight[start:stop]
        torch.linalg.vector_norm(rows, dim=1, out=self._norm[start:stop])
        if self.dtype != torch.float32:
            self.weight[start:stop] = rows
            self.bias[start:stop] = self.exact_bias[start:stop]
            _rounding_norm(rows, self.weight[start:stop], self._rounding[start:stop])

    def slack(self, x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        """Bound (n) on the error of each token's products: x (n, d) float32, ``rounded`` in filter
        precision."""
        norm = torch.linalg.vector_norm(x, dim=1)
        widest = float(self._norm.max())
        bound = norm * (widest * x.shape[1] * 2.0**-23)
        if self.dtype != torch.float32:
            left = torch.empty_like(norm)
            for start in range(
                0, len(x), _SLACK_ROWS
            ):  # a whole residual would be a pass through memory
                part = slice(start, start + _SLACK_ROWS)
                _rounding_norm(x[part], rounded[part], left[part])
            bound += left.mul_(widest)
            bound += norm * (1.01 * float(self._rounding.max()))
            bound += float((self.exact_bias - self.bias).abs().max())
        return bound

    def candidates(self, x: torch.Tensor, floor: torch.Tensor | float) -> Pattern:
        """All entries that may exceed ``floor`` (scalar or one per token), latent by latent:
        pattern (m, n).

        x (n, d) float32, already centered. Holds every entry whose exact product exceeds the floor,
        and some below.
        """
        n, m = len(x), len(self.weight)
        rounded = x.to(self.dtype)
        least = (floor - self.slack(x, rounded)).to(
            self.dtype
        )  # rounding is monotone: ≥ keeps what exact > keeps
        if not on_host(x):
            return self._candidates_elsewhere(rounded, least)
        chunk = max(1, min(m, _CHUNK_BYTES // (n * rounded.element_size())))
        if self._product.shape != (
            chunk,
            n,
        ):  # kept from call to call: fresh memory costs more than the comparison
            self._product, self._hit = (
                x.new_empty(chunk, n, dtype=self.dtype),
                np.empty((chunk, n), dtype=bool),
            )
        # Positive bf16 numbers order as their bit patterns do; numpy compares 16-bit integers with
        # full-width vectors.
        as_bits = self.dtype == torch.bfloat16 and bool((least > 0).all())
        bound = (least.view(torch.int16) if as_bits else least.float()).numpy()
        right = (
            rounded.T.contiguous() if self.dtype == torch.bfloat16 else rounded.T
        )  # else repacked for every chunk
        found = []
        for start in range(0, m, chunk):
            stop = min(start + chunk, m)
            part, hit = self._product[: stop - start], self._hit[: stop - start]
            torch.addmm(self.bias[start:stop, None], self.weight[start:stop], right, out=part)
            scores = part.view(torch.int16) if as_bits else part.float()
            np.greater_equal(scores.numpy(), bound, out=hit)
            found.append(where_true(hit.ravel()) + start * n)
        flat = np.concatenate(found)
        indptr = np.searchsorted(flat, np.arange(m + 1, dtype=np.int64) * n).astype(np.int32)
        return Pattern(torch.from_numpy(indptr), torch.from_numpy((flat % n).astype(np.int32)), n)

    def _candidates_elsewhere(self, rounded: torch.Tensor, least: torch.Tensor) -> Pattern:
        """The same by torch alone, in pieces that fill a larger processor."""
        n, m = len(rounded), len(self.weight)
        chunk = max(1, _DEVICE_CHUNK_BYTES // (n * rounded.element_size()))
        found = []
        for start in range(0, m, chunk):
            piece = slice(start, min(start + chunk, m))
            scores = torch.addmm(self.bias[piece, None], self.weight[piece], rounded.T)
            found.append((scores >= least).flatten().nonzero()[:, 0] + start * n)
        flat = torch.cat(found)
        indptr = torch.searchsorted(flat, torch.arange(m + 1, device=flat.device) * n).int()
        return Pattern(indptr, (flat % n).int(), n)


def _rounding_norm(exact: torch.Tensor, rounded: torch.Tensor, out: torch.Tensor) -> None:
    """Norm of each row of ``exact`` − ``rounded`` into ``out`` (cast first: a difference of mixed
    types is slow)."""
    torch.linalg.vector_norm(rounded.float().sub_(exact), dim=1, out=out)


def where_true(hit: np.ndarray) -> np.ndarray:
    """Where a mostly false mask (n) holds: eight entries are looked at together, most of them are
    none."""
    whole = len(hit) - len(hit) % 8
    eights = hit[:whole].view(np.int64)
    some = np.flatnonzero(eights != 0)
    inside = np.flatnonzero(eights[some].view(bool))
    return np.concatenate(
        [some[inside >> 3] * 8 + (inside & 7), np.flatnonzero(hit[whole:]) + whole]
    )


@functools.cache
def fastest_precision(d: int) -> str:
    """``bf16`` or ``float32``: which product of width d this processor forms faster (timed once per
    process)."""
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.ones(512, d, dtype=dtype), torch.ones(1024, d, dtype=dtype)
        rounds = []
        for _ in range(4):
            begun = time.perf_counter()
            torch.mm(left, right.T)
            rounds.append(time.perf_counter() - begun)
        seconds[name] = min(rounds)
    return min(seconds, key=lambda name: seconds[name])


_SHORT_SHARE = 0.004  # of tokens whose carried floor proves too high: they are few and done densely


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


def exact_values(
    pattern: Pattern, W_enc: torch.Tensor, b_enc: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Pre-activations at a latent-by-latent pattern (m, n): float32 (nnz)."""
    values = sampled_product(pattern, W_enc, x)
    return values.add_(torch.repeat_interleave(b_enc, pattern.indptr.diff()))


def above_threshold(filter_: CandidateFilter, x: torch.Tensor, threshold: float) -> Selection:
    """Inference of BatchTopK and ReLU: all latents above ``threshold`` (≥ 0). x (n, d) float32,
    centered."""
    found = filter_.candidates(x, threshold)
    values = exact_values(found, filter_.exact_weight, filter_.exact_bias, x)
    pattern, kept = keep_entries(found, values > max(threshold, 0.0))
    return _selection(pattern, values[kept])


class BatchTopK:
    """The k·n largest positive pre-activations of a batch of n tokens (arXiv 2412.06410)."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._last: float | None = None
        self._margin = 0.0

    def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
        """x (n, d) float32, centered."""
        wanted = self.k * len(x)
        if guessed := self._last is None:
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
        pattern, kept = keep_entries(found, _largest(values, wanted))
        chosen = values[kept]
        smallest = float(chosen.min()) if len(chosen) else 0.0
        kept_margin = 0.02 * smallest if guessed else 0.8 * self._margin
        self._margin = max(kept_margin, 2 * abs(smallest - self._last), 0.003 * smallest)
        self._last = smallest
        return _selection(pattern, chosen)

    def _guess(self, filter_: CandidateFilter, x: torch.Tensor) -> float:
        sample = x[:: max(1, len(x) // 64)]
        dense = torch.addmm(filter_.exact_bias, sample, filter_.exact_weight.T).flatten()
        return max(float(dense.topk(min(self.k * len(sample), dense.numel())).values[-1]), 0.0)


class TopK:
    """The k largest positive pre-activations of each token (arXiv 2406.04093)."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._ratio: float | None = (
            None  # floor of a token over its norm: few have fewer than k above it
        )

    def __call__(self, filter_: CandidateFilter, x: torch.Tensor) -> Selection:
        """x (n, d) float32, centered."""
        norm = torch.linalg.vector_norm(x, dim=1).clamp_min(1e-30)
        if self._ratio is None:
            sample = slice(None, None, max(1, len(x) // 64))
            self._ratio = float(
                (self._dense(filter_, x[sample], 0).values[:, -1] / norm[sample])
                .min()
                .clamp_min(0.0)
            )
        floor = norm * self._ratio
        found = filter_.candidates(x, floor)
        by_token, order = transpose(found)
        values = exact_values(found, filter_.exact_weight, filter_.exact_bias, x)[order]
        table = _padded(by_token, values, self.k)
        if self._ratio > 0:
            short = (table.values > floor[:, None]).sum(1) < self.k
            if bool(short.any()):
                table = self._rescue(filter_, x, table, short)
        kept, border = _top_of_rows(table.values, self.k)
        self._ratio = float(torch.quantile(border / norm, _SHORT_SHARE))
        indptr = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0)).int()
        where = positions(kept.flatten())
        chosen = Pattern(indptr, table.columns.flatten()[where], len(filter_.exact_bias))
        by_latent, back = transpose(chosen)
        return _selection(by_latent, table.values.flatten()[where][back])

    def _dense(
        self, filter_: CandidateFilter, x: torch.Tensor, spare: int
    ) -> torch.return_types.topk:
        width = min(self.k + spare, len(filter_.exact_bias))
        return torch.addmm(filter_.exact_bias, x, filter_.exact_weight.T).topk(width)

    def _rescue(
        self, filter_: CandidateFilter, x: torch.Tensor, table: _Padded, short: torch.Tensor
    ) -> _Padded:
        """The table with the tokens whose floor was too high (mask ``short``) done again, by a
        dense product."""
        few = x[short]
        columns = self._dense(filter_, few, 8).indices.sort(dim=1).values.int()
        width = columns.shape[1]
        indptr = torch.arange(0, len(few) * width + 1, width, dtype=torch.int32, device=x.device)
        pattern = Pattern(indptr, columns.flatten(), len(filter_.exact_bias))
        values = (
            sampled_product(pattern, few, filter_.exact_weight)
            + filter_.exact_bias[columns.flatten().long()]
        )
        widened = max(0, width - table.values.shape[1])
        table = _Padded(
            torch.nn.functional.pad(table.columns, (0, widened)),
            torch.nn.functional.pad(table.values, (0, widened), value=-torch.inf),
        )
        table.values[short] = -torch.inf
        rows = short.nonzero()[:, 0]
        table.values[rows, :width] = values.view(len(few), width)
        table.columns[rows, :width] = columns
        return table


class _Padded(NamedTuple):
    """Candidates token by token, in ascending order of the latent, padded to one length."""

    columns: torch.Tensor
    """int32 (n, width)"""
    values: torch.Tensor
    """float32 (n, width), -inf where padded"""


def _padded(by_token: Pattern, values: torch.Tensor, least: int) -> _Padded:
    lengths = by_token.indptr.diff()
    width = max(least, int(lengths.max()))
    if not on_host(values):
        inside = torch.arange(width, device=values.device) < lengths[:, None]
        table = (
            torch.zeros_like(inside, dtype=torch.int32),
            torch.full_like(inside, -torch.inf, dtype=torch.float32),
        )
        table[0][inside], table[1][inside] = by_token.columns, values
        return _Padded(*table)
    counts = lengths.numpy()
    filled = np.arange(width, dtype=np.int32) < counts[:, None]
    columns = np.zeros(filled.shape, dtype=np.int32)
    padded = np.full(filled.shape, -np.inf, dtype=np.float32)
    columns[filled], padded[filled] = by_token.columns.numpy(), values.numpy()
    return _Padded(torch.from_numpy(columns), torch.from_numpy(padded))


def _top_of_rows(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask of the k largest positive entries of each row; each row's k-th largest (n), 0 where
    fewer are positive."""
    border = kth_largest(values, k)
    kept = values >= border.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    for row in (kept.sum(1) > k).nonzero()[:, 0].tolist():
        kept[row] = _largest(values[row], k)
    return kept, border.clamp_min(0.0)


def _largest(values: torch.Tensor, wanted: int) -> torch.Tensor:
    """Mask of the ``wanted`` largest positive values; of equals at the border the first ones."""
    if len(values) <= wanted:
        return values > 0
    border = kth_largest(values, wanted)
    kept = values > border
    missing = wanted - int(kept.sum())
    kept[positions(values == border)[:missing]] = True
    return kept & (values > 0)


def _selection(by_latent: Pattern, values: torch.Tensor) -> Selection:
    by_token, order = transpose(by_latent)
    return Selection(by_latent, values, by_token, order)
