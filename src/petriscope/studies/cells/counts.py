"""The cells of a run: raw counts, genes and cells as stage cells wrote them, divided into
splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.files import atomic_path, write_parquet
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.data.cells import Cells

COUNTS, GENES, OBS = "counts.npz", "genes.parquet", "obs.parquet"
TRAINED = ("train", "select", "test")
"""Splits of the cells that models and dictionaries are made of and judged on."""
PERTURBED, SECOND = "perturbed", "second"
"""Splits of cells that were perturbed, and of cells of another tissue than the first."""
MIN_DONORS = 4
"""Donors from which whole donors are divided, not cells."""
GROUPS = 20
"""Groups of cells of a split that stand for blocks where no donor is known."""


def save_cells(cells: Cells, folder: Path) -> None:
    """Write counts.npz (CSR of scipy), genes.parquet and obs.parquet."""
    with atomic_path(folder / COUNTS) as temporary:
        sp.save_npz(temporary, cells.counts)
    write_parquet(folder / GENES, cells.genes)
    write_parquet(folder / OBS, cells.obs)


def load_cells(workspace: Workspace) -> Cells:
    """The cells of a run; obs has ``split`` and ``block`` besides.

    Raises `UserError` where stage cells has not run.
    """
    folder = workspace.table("cells")
    if not (folder / COUNTS).is_file():
        remedy = "Run `petriscope stage cells`."
        raise UserError("does not exist", file=folder / COUNTS, remedy=remedy)
    counts = sp.csr_matrix(sp.load_npz(folder / COUNTS))
    genes, obs = (pd.read_parquet(folder / name) for name in (GENES, OBS))
    return Cells(counts, genes, obs)


def spread(n: int, most: int | None) -> np.ndarray:
    """At most ``most`` of ``n`` rows, evenly spread, ascending; None: all."""
    if most is None or most >= n:
        return np.arange(n)
    return np.arange(most) * n // most


def divided(
    obs: pd.DataFrame, control: str | None, shares: Mapping[str, float], seed: int
) -> pd.DataFrame:
    """obs with ``split`` and ``block``.

    Perturbed cells are a split of their own, and so are those of another tissue than the first
    cell's. The others are divided by donor where there are `MIN_DONORS` or more, else by cell. A
    block is a donor, or one of `GROUPS` groups of the cells of a split without donor.

    Parameters: ``control`` — the target of cells that were not perturbed; ``shares`` — split →
    share. Raises `UserError` where a split gets no cell.
    """
    split = np.full(len(obs), "", object)
    if "target" in obs:
        split[(obs.target.notna() & (obs.target != control)).to_numpy()] = PERTURBED
    if "tissue" in obs:
        known = obs.tissue[obs.tissue.notna() & (split == "")]
        other = known.index[known != known.iloc[0]] if len(known) else known.index
        split[other] = SECOND
    rows = np.flatnonzero(split == "")
    donor = obs.donor if "donor" in obs else pd.Series(None, index=obs.index, dtype=object)
    donors = donor.iloc[rows].dropna().unique()
    rng = np.random.default_rng(seed)
    if len(donors) >= MIN_DONORS and donor.iloc[rows].notna().all():
        split[rows] = _by_donor(donor.iloc[rows], shares, rng)
    else:
        split[rows] = _by_cell(len(rows), shares, rng)
    empty = [name for name in shares if not (split == name).any()]
    if empty:
        what = f"split {empty[0]} has no cell ({len(rows):,} are divided)"
        remedy = "Give more cells that are not perturbed, or larger shares."
        raise UserError(what, field="cells.split", remedy=remedy)
    return obs.assign(split=split.astype(str), block=_blocks(donor, split, rng))


def _by_donor(donor: pd.Series, shares: Mapping[str, float], rng: np.random.Generator) -> pd.Series:
    """The split of each cell: the largest donors are dealt first, each to the split that lacks
    most cells."""
    size = donor.value_counts().sort_index()
    size = size.iloc[rng.permutation(len(size))].sort_values(ascending=False, kind="stable")
    lacks = {name: share * len(donor) for name, share in shares.items()}
    of: dict[str, str] = {}
    for left, (name, cells) in zip(range(len(size), 0, -1), size.items(), strict=True):
        empty = [split for split in shares if split not in of.values()]
        among = empty if left <= len(empty) else list(shares)  # none stays without a donor
        chosen = max(among, key=lambda split: lacks[split])
        of[str(name)] = chosen
        lacks[chosen] -= cells
    return donor.map(of)


def _by_cell(n: int, shares: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """The split of each of ``n`` cells, at random."""
    ends = np.round(np.cumsum(list(shares.values())) * n).astype(np.int64)
    place = np.searchsorted(ends, np.arange(n), "right").clip(max=len(shares) - 1)
    return np.array(list(shares), object)[place[np.argsort(rng.permutation(n))]]


def _blocks(donor: pd.Series, split: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 (n,) donors from 0 in the order of their names, then groups of the others."""
    code = pd.Categorical(donor).codes.astype(np.int64)
    first = int(code.max(initial=-1)) + 1
    for name in sorted(set(split)):
        rows = np.flatnonzero((split == name) & (code < 0))
        groups = min(GROUPS, len(rows))
        if groups:
            code[rows] = first + rng.permutation(len(rows)) % groups
            first += groups
    return code
