"""Encode every token of one layer in one pass, and keep beside its codes what is asked of them
later: sums per window and block, strongest tokens, histograms, co-activation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse as sp

from petriscope.errors import UserError
from petriscope.files import write_npy, write_parquet
from petriscope.probe.harvest import layer_paths
from petriscope.probe.shards import Store
from petriscope.probe.tokens import Tokens
from petriscope.sae.coder import SAE, encode_stream
from petriscope.sae.codes import (
    Codes,
    TopRows,
    TopRowsAccumulator,
    activation_histograms,
    coactivation,
    sufficient_statistics,
    writing_codes,
)
from petriscope.sae.moments import Moments

ROWS_AT_ONCE = 65_536
HISTOGRAM_BINS = 24


class SplitCodes(NamedTuple):
    """One layer's codes on some windows, summed."""

    moments: Moments
    """sums per (block, unit, latent) of the windows' blocks."""
    window_means: np.ndarray
    """mean activation float32 (W, S, m) per window and unit."""


@dataclass(frozen=True)
class EncodedLayer:
    """The folder of one layer's codes; nothing is read before it is asked for."""

    folder: Path

    def codes(self) -> Codes:
        """Sparse codes of every token, memory-mapped."""
        return Codes.load(self.folder / "codes")

    def moments(self) -> Moments:
        """Sums per (block, unit, latent). Raises `UserError` for a ragged token axis."""
        return Moments(*(self._sums(f"block_{name}.npy", None) for name in Moments._fields))

    def window_sums(self) -> np.ndarray:
        """Summed activation float32 (W, S, m) per window and unit, memory-mapped. Raises
        `UserError` for a ragged token axis."""
        return self._sums("window_sum.npy", "r")

    def _sums(self, name: str, mapped: Literal["r"] | None) -> np.ndarray:
        path = self.folder / name
        if not path.exists() and (self.folder / "codes").is_dir():
            raise UserError(
                "is not kept for a ragged token axis",
                file=path,
                remedy="Sum the codes over the rows of each window or block.",
            )
        array: np.ndarray = np.load(path, mmap_mode=mapped)
        return array

    def top(self) -> pd.DataFrame:
        """Columns feature, unit, window, position, activation of the strongest tokens of every
        latent and unit, strongest first."""
        return pd.read_parquet(self.folder / "top.parquet")

    def histograms(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts (S, m, bins) of the firing tokens of every unit and latent between 0 and the
        latent's maximum, and that maximum."""
        counts = np.load(self.folder / "histogram_counts.npy")
        return counts, np.load(self.folder / "histogram_maximum.npy")

    def coactivation(self) -> sp.csr_matrix:
        """(m, m) number of tokens on which two latents fire together; on the diagonal, one."""
        return sp.load_npz(self.folder / "coactivation.npz").tocsr()

    def of_split(self, tokens: Tokens, *splits: str) -> SplitCodes:
        """What the contrast needs of one or more splits."""
        rows = tokens.windows_of(*splits)
        blocks = np.unique(tokens.windows.block.to_numpy()[rows])
        means = self.window_sums()[rows] / np.float32(tokens.shape[2])
        return SplitCodes(self.moments().blocks(blocks), means)

    @classmethod
    def write(cls, folder: Path, sae: SAE, store: Store, tokens: Tokens, top: int) -> EncodedLayer:
        """Encode ``store``, (W, S, T', d) on a grid of tokens or (n, d) on a ragged axis, into
        ``folder``; ``top`` strongest tokens are kept per latent and unit.

        Sums per window and unit, and moments per block and unit, are kept on a grid alone. There
        every window is seen in every unit, so each cell sums many tokens. On a ragged axis a
        window (a sequence, a cell) lies in one unit and blocks may be as many as windows: the sums
        would take more room than the codes, which answer the same questions.
        """
        wanted = (len(tokens),) if tokens.index is not None else tokens.shape
        if store.shape[:-1] != wanted:
            raise UserError(
                f"has shape {store.shape[:-1]}, the token axis {wanted}",
                file=folder,
                field="activations",
                remedy="Harvest them again (`petriscope stage activations`).",
            )
        sums = _GridSums(tokens, sae.m) if tokens.index is None else None
        strongest = TopRowsAccumulator(sae.m, tokens.units, top)
        at_once = ROWS_AT_ONCE if sums is None else sums.whole_windows(ROWS_AT_ONCE)
        with writing_codes(folder / "codes", sae.m) as writer:
            for start, codes in encode_stream(sae, store, rows_at_once=at_once):
                if sums is not None:
                    sums.add(start, codes)
                strongest.add(start, codes, tokens.at(np.arange(start, start + codes.n))[1])
                writer.add(codes)
        if sums is not None:
            sums.write(folder)
        write_parquet(folder / "top.parquet", top_frame(strongest.result(), tokens))
        found = cls(folder)
        counts, maximum = activation_histograms(
            found.codes(), tokens.unit, groups=tokens.units, bins=HISTOGRAM_BINS
        )
        write_npy(folder / "histogram_counts.npy", counts.astype(np.int32))
        write_npy(folder / "histogram_maximum.npy", maximum)
        sp.save_npz(folder / "coactivation.npz", coactivation(found.codes()), compressed=False)
        return found


class _GridSums:
    """Sums of codes over the tokens of a grid: per window and unit, and moments per block."""

    def __init__(self, tokens: Tokens, m: int) -> None:
        self.tokens, self.m = tokens, m
        windows, units, positions = tokens.shape
        self.rows, self.block = units * positions, tokens.windows.block.to_numpy()
        self.of_windows = np.zeros((windows, units, m), np.float32)
        self.parts: list[Moments] = []

    def whole_windows(self, rows: int) -> int:
        """About ``rows`` rows that end with a window."""
        return max(1, rows // self.rows) * self.rows

    def add(self, start: int, codes: Codes) -> None:
        """Add the codes of whole windows from row ``start`` on."""
        first, count = start // self.rows, codes.n // self.rows
        window, unit, _ = self.tokens.at(np.arange(codes.n))  # numbered from the first window on
        sizes = {"n_blocks": count, "n_units": self.tokens.units, "m": self.m}
        moments = Moments(*sufficient_statistics(codes, window, unit, **sizes))
        self.of_windows[first : first + count] = moments.sum
        block = self.block[first : first + count]
        added = moments.summed(block, int(self.block.max()) + 1)
        self.parts = [reduce(_plus, [*self.parts, added])]

    def write(self, folder: Path) -> None:
        """Write window_sum.npy and block_<moment>.npy."""
        write_npy(folder / "window_sum.npy", self.of_windows)
        for name, array in self.parts[0]._asdict().items():
            write_npy(folder / f"block_{name}.npy", array)


def encoded_layers(folder: Path) -> dict[int, EncodedLayer]:
    """The codes of every layer in ``folder``."""
    return {layer: EncodedLayer(path) for layer, path in layer_paths(folder).items()}


def top_frame(top: TopRows, tokens: Tokens) -> pd.DataFrame:
    """Columns feature, unit, window, position, activation of the strongest tokens."""
    window, _, position = tokens.at(top.row)
    return pd.DataFrame(
        {
            "feature": top.feature,
            "unit": top.group,
            "window": window.astype(np.int32),
            "position": position.astype(np.int32),
            "activation": top.value,
        }
    )


def _plus(left: Moments, right: Moments) -> Moments:
    return Moments(*(a + b for a, b in zip(left, right, strict=True)))
