"""Encode every token of one layer in one pass, and keep beside its codes what is asked of them
later: sums per window and block, strongest tokens, histograms, co-activation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse as sp

from petriscope.errors import UserError
from petriscope.files import write_npy, write_parquet
from petriscope.probe.harvest import layer_paths
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
        """Sums per (block, unit, latent)."""
        return Moments(*(np.load(self.folder / f"block_{name}.npy") for name in Moments._fields))

    def window_sums(self) -> np.ndarray:
        """Summed activation float32 (W, S, m) per window and unit, memory-mapped."""
        array: np.ndarray = np.load(self.folder / "window_sum.npy", mmap_mode="r")
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
    def write(
        cls, folder: Path, sae: SAE, store: np.ndarray, tokens: Tokens, top: int
    ) -> EncodedLayer:
        """Encode ``store`` (W, S, T', d) into ``folder``; ``top`` strongest tokens are kept per
        latent and unit."""
        n_windows, n_units, n_positions = tokens.shape
        if store.shape[:3] != tokens.shape:
            raise UserError(
                f"has shape {store.shape[:3]}, the token axis {tokens.shape}",
                file=folder,
                field="activations",
                remedy="Harvest them again (`petriscope stage activations`).",
            )
        rows, block = n_units * n_positions, tokens.windows.block.to_numpy()
        at_once = max(1, ROWS_AT_ONCE // rows)
        sums = np.zeros((n_windows, n_units, sae.m), np.float32)
        parts: list[Moments] = []
        strongest = TopRowsAccumulator(sae.m, n_units, top)
        sizes = {"n_units": n_units, "m": sae.m}
        with writing_codes(folder / "codes", sae.m) as writer:
            for start, codes in encode_stream(sae, store, rows_at_once=at_once * rows):
                first, count = start // rows, codes.n // rows
                window, of_unit, _ = tokens.at(np.arange(codes.n))  # from the first window on
                of_windows = Moments(
                    *sufficient_statistics(codes, window, of_unit, n_blocks=count, **sizes)
                )
                sums[first : first + count] = of_windows.sum
                added = of_windows.summed(block[first : first + count], int(block.max()) + 1)
                parts = [reduce(_plus, [*parts, added])]
                strongest.add(start, codes, of_unit)
                writer.add(codes)
        write_npy(folder / "window_sum.npy", sums)
        for name, array in parts[0]._asdict().items():
            write_npy(folder / f"block_{name}.npy", array)
        write_parquet(folder / "top.parquet", top_frame(strongest.result(), tokens))
        found = cls(folder)
        every = np.tile(np.repeat(np.arange(n_units), n_positions), n_windows)
        counts, maximum = activation_histograms(
            found.codes(), every, groups=n_units, bins=HISTOGRAM_BINS
        )
        write_npy(folder / "histogram_counts.npy", counts.astype(np.int32))
        write_npy(folder / "histogram_maximum.npy", maximum)
        sp.save_npz(folder / "coactivation.npz", coactivation(found.codes()), compressed=False)
        return found


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
