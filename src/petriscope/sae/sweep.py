"""A cheap learning-rate sweep: short runs, the rate with the least held-out FVU among those that
keep latents alive."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_sae

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)


class Sweep(NamedTuple):
    """What was tried and what was chosen."""

    config: SAEConfig
    """the given configuration with the chosen rate"""
    table: list[dict[str, float]]
    """a row per rate: lr, fvu (held out; NaN where it diverged), l0, dead"""


def sweep_learning_rate(
    config: SAEConfig,
    source: TokenSource,
    heldout: np.ndarray | TokenSource,
    *,
    rates: tuple[float, ...] = RATES,
    share: float = 0.1,
    most_dead: float = 0.05,
) -> Sweep:
    """Train ``share`` of the steps (at least 200) at each rate, judge on held-out rows (…, d) or a
    source, choose.

    Chosen: least FVU among the rates with at most ``most_dead`` dead latents (among all where none
    keeps to that). Raises `UserError` where every rate diverges.
    """
    steps = min(config.steps, max(200, round(share * config.steps)))
    table = []
    for rate in rates:
        short = dataclasses.replace(
            config, lr=rate, steps=steps, warmup=None, decay=None, threshold_start=None
        )
        row = {"lr": rate, "fvu": float("nan"), "l0": float("nan"), "dead": float("nan")}
        try:
            judged = train_sae(short, source, heldout=heldout, progress=False).quality
        except UserError as error:
            if "diverged" not in str(error):
                raise
        else:
            assert judged is not None
            row |= {"fvu": judged.fvu, "l0": judged.l0, "dead": judged.dead_fraction}
        table.append(row)
    sound = [row for row in table if np.isfinite(row["fvu"])]
    if not sound:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise UserError(
            f"training diverged at every rate tried ({tried})",
            field="sae.lr",
            remedy="Check the input.",
        )
    alive = [row for row in sound if row["dead"] <= most_dead] or sound
    best = min(alive, key=lambda row: row["fvu"])
    return Sweep(dataclasses.replace(config, lr=best["lr"]), table)
