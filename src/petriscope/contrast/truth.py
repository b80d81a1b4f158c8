"""Which features truly depend on context, where the simulator's planted elements are known, and how
the test fares.

Definitions:

- *true context feature*: its mean activation over the select windows differs between the contexts
  (mean of the lineages' differences) among new donors whose libraries are alike: of one depth and
  one share of fragments in elements, run through the same model and autoencoder. "Differs": t over
  libraries, BH q at most alpha (`cds.alpha`).
- *strong match*: the AUROC of its activation (mean over a condition's biosamples) at tokens (bin,
  condition) where a programme's element is open, against all other element tokens, is at least .8
  for its best programme, that programme is open in one context only, and the feature's true
  difference points there. General openness does not reach it: other programmes' elements are open
  too.

Two parts were changed after first measurements. The direction was added to the second definition:
features of a lineage that fire on all its programmes follow one of them best by a hair, while their
mean moves the other way. The first one read libraries without donors; but donors are what the test
generalises over, and the mean over donors of an activation that is not linear in openness is not
its value at the mean openness: features that do differ between new donors counted as false.

The same donors give the spread between donors for the bound on power. A discovery is false where
the true difference is not there, or points the other way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.contrast.linear import fit, layout
from petriscope.contrast.moments import Design
from petriscope.contrast.multiplicity import adjust


class Truth(NamedTuple):
    """The true differences of m features."""

    difference: np.ndarray
    """in vivo minus in vitro, mean over lineages."""
    sign: np.ndarray
    """-1, 0 or 1: the direction of the difference, 0 where there is none."""
    spread: np.ndarray
    """standard deviation between the libraries of a condition."""


class Match(NamedTuple):
    """The planted programme that each feature follows best."""

    programme: np.ndarray
    """(m,) its name."""
    auroc: np.ndarray
    """(m,)"""


def true_difference(means: np.ndarray, design: Design, alive: np.ndarray, *, alpha: float) -> Truth:
    """From per-library mean activations (S, m); the family are the ``alive`` features, BH at
    ``alpha``."""
    shape = layout(design, design.lineages)
    values = means[shape.rows]
    residual = values - shape.columns @ np.linalg.lstsq(shape.columns, values, rcond=None)[0]
    spread = np.sqrt((residual**2).sum(0) / shape.df)
    test = fit(means, shape).mean
    q = np.full(means.shape[1], np.nan)
    q[alive] = adjust(test.p[alive], "bh")
    return Truth(test.estimate, np.where(q <= alpha, np.sign(test.estimate), 0.0), spread)


def planted_match(
    activity: np.ndarray, programme: np.ndarray, openness: dict[str, np.ndarray]
) -> Match:
    """Best programme of every feature.

    Parameters: ``activity`` (n, C, m) at n element bins in C conditions; ``programme`` (n,) of each
    bin's element; ``openness`` by programme: (C,) bool, the conditions it is open in.
    """
    n, conditions, m = activity.shape
    ranks = stats.rankdata(activity.reshape(-1, m), axis=0)
    names = [name for name in openness if (programme == name).any()]
    aurocs = np.full((len(names), m), np.nan)
    for row, name in zip(aurocs, names):
        positive = ((programme == name)[:, None] & openness[name][None]).ravel()
        ones = int(positive.sum())
        row[:] = (ranks[positive].sum(0) - ones * (ones + 1) / 2) / (ones * (n * conditions - ones))
    best = aurocs.argmax(0)
    return Match(np.array(names)[best], aurocs.max(0))


def expected_power(truth: Truth, design: Design, threshold: float) -> np.ndarray:
    """(m,) power of the biosample-level t in ``design`` at a p of ``threshold`` for the true
    differences and the true spread between donors: the bound that the number of biosamples sets,
    whatever the test does with multiplicity."""
    shape = layout(design, design.lineages)
    scale = truth.spread * np.linalg.norm(shape.weights.mean(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.where(scale > 0, np.abs(truth.difference) / scale, 0.0)
    critical = stats.t.isf(threshold / 2, shape.df)
    wrong_side = np.nan_to_num(
        stats.nct.cdf(-critical, shape.df, centre)
    )  # scipy's is NaN for some that are all but 0
    return np.asarray(stats.nct.sf(critical, shape.df, centre) + wrong_side)


def scores(features: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """False discovery and power for the adjusted p of each test, one row per test.

    ``features``: alive features with columns planted (true sign), strong (bool), and for each test
    its q and the sign found: q_combined, sign_combined, q_published, sign_published, q_union
    (signless: any true difference counts).
    """
    rows = []
    truth = features.planted.to_numpy()
    strong = features.strong.to_numpy() & (truth != 0)
    for test in ("combined", "union", "published"):
        found = (features[f"q_{test}"] <= alpha).to_numpy()
        right = (
            truth != 0
            if test == "union"
            else (truth != 0) & (truth == features[f"sign_{test}"].to_numpy())
        )
        rows.append(
            {
                "test": test,
                "alive": len(features),
                "found": int(found.sum()),
                "true": int((truth != 0).sum()),
                "false": int((found & ~right).sum()),
                "false_discovery": _share(found & ~right, found),
                "wrong_sign": int((found & (truth != 0) & ~right).sum()),
                "power": _share(found & right, truth != 0),
                "strong": int(strong.sum()),
                "power_strong": _share(found & right, strong),
                "bound_strong": float(features.expected_power[strong].mean())
                if strong.any()
                else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def _share(part: np.ndarray, of: np.ndarray) -> float:
    return float((part & of).sum() / of.sum()) if of.any() else float("nan")
