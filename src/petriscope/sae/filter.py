"""The one dense product of an SAE step, used only to propose candidates: cheap precision, proven
slack, no misses.

The encoder product W_enc·x + b_enc is formed in bfloat16 (or float32), a few latents at a time, and
compared with a floor lowered by a bound on its error; what passes is scored again exactly. With x̃,
w̃ the rounded operands, |x·w − x̃·w̃| ≤ ‖x − x̃‖‖w‖ + ‖x̃‖‖w − w̃‖ (Cauchy–Schwarz), plus
d·2⁻²³·‖x‖‖w‖ for float32 accumulation. So every entry above the floor is found, whatever the
precision, and results do not depend on it.
"""

from __future__ import annotations

import functools
import time

import numpy as np
import torch

from petriscope.sae.sparse import Pattern, on_host

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

        x (n, d) float32, already centred. Holds every entry whose exact product exceeds the floor,
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
