"""The planted truth says which features truly depend on context, where the simulator's elements are
known, and how the test fares.

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
generalizes over, and the mean over donors of an activation that is not linear in openness is not
its value at the mean openness: features that do differ between new donors counted as false.

The same donors give the spread between donors for the bound on power. A discovery is false where
the true difference is not there, or points the other way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

from petriscope.contrast.design import Design
from petriscope.contrast.effects import auroc_sparse
from petriscope.contrast.evidence import fit, layout
from petriscope.contrast.results import adjust
from petriscope.studies.chromatin.simulate.genome import CONDITIONS, programmes
from petriscope.studies.chromatin.units import CONTEXTS

STRONG = 0.8
"""AUROC of a strong match."""
LEAST_OVERLAP = 64
"""bp of an element that make a bin positive; bins touched by less are left out."""
SIGN = dict(zip(CONTEXTS, (-1, 1)))


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
    shape = layout(design, design.strata)
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
    shape = layout(design, design.strata)
    scale = truth.spread * np.linalg.norm(shape.weights.mean(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        center = np.where(scale > 0, np.abs(truth.difference) / scale, 0.0)
    critical = stats.t.isf(threshold / 2, shape.df)
    wrong_side = np.nan_to_num(
        stats.nct.cdf(-critical, shape.df, center)
    )  # scipy's is NaN for some that are all but 0
    return np.asarray(stats.nct.sf(critical, shape.df, center) + wrong_side)


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


def match_layer(
    codes: sparse.csr_matrix, bins: pd.DataFrame, truth: pd.DataFrame, biosamples: pd.DataFrame
) -> Match:
    """Best planted programme of every feature on the test windows, whose loci chose nothing.

    ``codes`` (W·S·T', m) of rows (window, biosample, bin); ``bins`` one row per (window, bin);
    ``truth`` the planted elements by bin.
    """
    samples = len(biosamples)
    per_window = len(bins) // bins.window.nunique()
    inside = truth[truth.overlap >= LEAST_OVERLAP].drop_duplicates(["chrom", "start"])
    programme = (
        bins[["chrom", "start"]]
        .merge(inside[["chrom", "start", "programme"]], how="left")
        .programme
    )
    chosen = np.flatnonzero((bins.split == "test").to_numpy() & programme.notna().to_numpy())
    order = {pair: i for i, pair in enumerate(CONDITIONS)}
    condition = [order[pair] for pair in zip(biosamples.lineage, biosamples.context)]
    activity = np.zeros((len(chosen), len(CONDITIONS), codes.shape[1]), np.float32)
    for s in range(samples):
        rows = (chosen // per_window * samples + s) * per_window + chosen % per_window
        activity[:, condition[s]] += codes[rows].toarray() / condition.count(condition[s])
    openness = {rule.name: rule.openness() == 1 for rule in programmes()}
    return planted_match(activity, programme.to_numpy(object)[chosen], openness)


def judge_layer(
    features: pd.DataFrame,
    means: np.ndarray,
    new: Design,
    match: Match,
    observed: Design,
    alpha: float,
) -> pd.DataFrame:
    """One row per feature of a layer: what is true of it, and what the tests said.

    ``features``: the layer's feature table by feature number; ``means`` (S, m) of the ``new``
    donors' libraries; ``observed`` the run's own design.
    """
    alive = features.alive.to_numpy()
    true = true_difference(means, new, alive, alpha=alpha)
    found = features.p_biosample[features.q_biosample <= alpha]
    threshold = float(found.max()) if len(found) else alpha / max(int(alive.sum()), 1)
    side = {rule.name: rule.contexts[0] for rule in programmes() if len(rule.contexts) == 1}
    follows = np.array([SIGN.get(side.get(name, ""), 0) for name in match.programme])
    return pd.DataFrame(
        {
            "layer": features.layer.to_numpy(),
            "feature": features.feature.to_numpy(),
            "alive": alive,
            "planted": true.sign,
            "planted_difference": true.difference,
            "donor_spread": true.spread,
            "programme": match.programme,
            "auroc": match.auroc,
            "strong": (match.auroc >= STRONG) & (follows != 0) & (follows == true.sign),
            "expected_power": expected_power(true, observed, threshold),
            "q_combined": features.q_biosample.to_numpy(),
            "sign_combined": np.sign(features.z_biosample.to_numpy()),
            "q_union": features.q_union_biosample.to_numpy(),
            "q_published": features.p_published_bonferroni.to_numpy(),
            "sign_published": np.sign(features.cds_published.to_numpy()),
        }
    )


def programme_aurocs(
    codes: sparse.csr_matrix,
    features: pd.DataFrame,
    bins: pd.DataFrame,
    truth: pd.DataFrame,
    biosamples: pd.DataFrame,
) -> pd.DataFrame:
    """One row per planted programme and feature of a layer: AUROC of its mean activation over the
    biosamples in which the programme is open, on the select and on the test windows."""
    windows, frames = bins.window.nunique(), []
    for programme, opening in programme_openings(truth).items():
        if programme == "shared":
            continue
        columns = programme_biosamples(opening, biosamples)
        activity = bin_activity(codes, columns, windows, len(biosamples))
        positive, used = programme_bins(bins, truth, programme)
        scores = {
            split: aurocs(activity, positive, used & (bins.split == split).to_numpy())
            for split in ("select", "test")
        }
        frames.append(
            pd.DataFrame(
                {
                    "programme": programme,
                    "layer": features.layer.to_numpy(),
                    "feature": features.feature.to_numpy(),
                    "context_feature": features.context.to_numpy(),
                    "auroc_select": scores["select"],
                    "auroc_test": scores["test"],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


class Opening(NamedTuple):
    """The conditions in which the elements of a programme are open."""

    lineages: tuple[str, ...]
    contexts: tuple[str, ...]


def programme_openings(truth: pd.DataFrame) -> dict[str, Opening]:
    """Programme → where it is open, as the truth table's columns lineages and contexts say."""
    rules = truth.drop_duplicates("programme").sort_values("programme")
    return {
        row.programme: Opening(tuple(row.lineages.split(",")), tuple(row.contexts.split(",")))
        for row in rules.itertuples()
    }


def programme_biosamples(opening: Opening, biosamples: pd.DataFrame) -> np.ndarray:
    """Rows of the biosamples in which a programme is open."""
    rows = biosamples.lineage.isin(opening.lineages) & biosamples.context.isin(opening.contexts)
    return np.flatnonzero(rows)


def bin_activity(
    codes: sparse.csr_matrix, columns: np.ndarray, windows: int, biosamples: int
) -> sparse.csr_matrix:
    """Mean activation over chosen biosamples per bin: (W·T', m) from codes of rows (window,
    biosample, bin)."""
    bins = codes.shape[0] // (windows * biosamples)
    row = np.arange(windows * bins)
    source = (
        (row // bins)[:, None] * biosamples * bins + columns[None] * bins + (row % bins)[:, None]
    )
    weights = np.full(source.size, 1 / len(columns), dtype=np.float32)
    average = sparse.csr_matrix(
        (weights, (np.repeat(row, len(columns)), source.ravel())), shape=(len(row), codes.shape[0])
    )
    return average @ codes


def programme_bins(
    bins: pd.DataFrame, truth: pd.DataFrame, programme: str
) -> tuple[np.ndarray, np.ndarray]:
    """(positive, used) bool per bin: bins of the programme's elements, against bins the programme
    does not touch."""
    mine = truth[truth.programme == programme].drop_duplicates(["chrom", "start"])
    overlap = (
        bins[["chrom", "start"]]
        .merge(mine[["chrom", "start", "overlap"]], on=["chrom", "start"], how="left")
        .overlap
    )
    positive = (overlap >= LEAST_OVERLAP).to_numpy()
    return positive, positive | overlap.isna().to_numpy()


def aurocs(activity: sparse.csr_matrix, positive: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(m,) AUROC of every feature on the used bins."""
    rows = np.flatnonzero(used)
    part = activity[rows]
    label = positive[rows]
    of_value = np.repeat(label, np.diff(part.indptr))
    return auroc_sparse(
        part.indices,
        part.data,
        of_value,
        n_positive=int(label.sum()),
        n_negative=int((~label).sum()),
        m=activity.shape[1],
    )


def _share(part: np.ndarray, of: np.ndarray) -> float:
    return float((part & of).sum() / of.sum()) if of.any() else float("nan")
