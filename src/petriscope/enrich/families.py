"""Families of tests: what is corrected together. A control draw is a family of its own, as a user's
single query is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from petriscope.enrich.tails import benjamini_hochberg

CONTROLS = ("peaks", "random", "planted", "top_activation")
SHOWN_DRAWS = 5
"""Random draws that stay in a table on disk; the share of significant draws is taken over all of
them."""


def for_disk(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with the first few random draws only."""
    random = table[table.kind == "random"].group.drop_duplicates()
    return table[~table.group.isin(random[SHOWN_DRAWS:])]


def below(alpha: float, name: str = "q") -> str:
    """The condition as a sentence or a legend writes it: 'q < .1'."""
    return f"{name} < {alpha:g}".replace(" 0.", " .")


def share_of_draws(table: pd.DataFrame, draws: int, *, alpha: float, q: str = "q") -> float | None:
    """Share of all random draws that have any term with ``q`` below alpha; None where none were
    drawn."""
    random = table[table.kind == "random"]
    return float((random.groupby("group")[q].min() < alpha).sum() / draws) if draws else None


def with_q(
    table: pd.DataFrame, tests_per_group: int | None = None, ln_p: str = "ln_p", q: str = "q"
) -> pd.DataFrame:
    """Add Benjamini–Hochberg ``q`` to a long table of groups (columns group, kind, and ``ln_p``).

    All features, lineages and conditions form one family; each control (raw peaks, random draw,
    planted elements, top-activation features) is its own, so that true findings elsewhere do not
    raise a control's cut-off. ``tests_per_group``: tests made per group where the table leaves out
    those without overlap (their p is 1).
    """
    family = np.where(table.kind.isin(CONTROLS), table.group, "features")
    values = np.full(len(table), np.nan)
    for _, rows in pd.Series(range(len(table))).groupby(family):
        here = table[ln_p].to_numpy(float)[rows]
        made = (
            None if tests_per_group is None else table.group.iloc[rows].nunique() * tests_per_group
        )
        values[rows] = benjamini_hochberg(here, family=made)
    return table.assign(**{q: values})
