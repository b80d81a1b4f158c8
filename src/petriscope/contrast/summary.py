"""Counts of context features per layer, published and corrected, for the model and its control
alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint


def layer_summary(features: pd.DataFrame, lineages: Sequence[str], alpha: float) -> pd.DataFrame:
    """One row per layer from the feature table of stage cds: counts, shares of alive with Wilson
    intervals.

    A published count is Bonferroni p < alpha of the window sign-flip, over all latents as
    published; its share is that of the alive ones, as every other share. A context feature has BH q
    < alpha of the combined biosample-level test, its family all alive features of all layers.
    """
    rows = []
    for layer, frame in features.groupby("layer"):
        alive = frame[frame.alive]
        found = int((alive.q_biosample < alpha).sum())
        low, high = proportion_confint(found, max(len(alive), 1), method="wilson")
        row = {
            "layer": layer,
            "latents": len(frame),
            "alive": len(alive),
            "published_count": int((frame.p_published_bonferroni < alpha).sum()),
            "published_share_of_alive": (alive.p_published_bonferroni < alpha).sum()
            / max(len(alive), 1),
            "published_same_sign": int(
                ((frame.p_published_bonferroni < alpha) & frame.sign_consistent).sum()
            ),
            "context_count": found,
            "context_fraction": found / max(len(alive), 1),
            "context_low": low,
            "context_high": high,
            "locus_count": int((alive.q_locus < alpha).sum()),
            "conjunction_count": int((alive.q_conjunction_biosample < alpha).sum()),
        }
        for name, column in (
            ("union_count", "q_union_biosample"),
            ("maxt_count", "p_maxt_all_biosample"),
        ):
            row[name] = int((alive[column] < alpha).sum()) if column in alive else 0
        stable = alive[alive.stable.fillna(False).astype(bool)] if "stable" in alive else alive[:0]
        measured = "stable" in alive and bool(alive.stable.notna().any())
        row["stable"] = len(stable) if measured else np.nan
        row["stable_context_count"] = (
            int((stable.q_biosample < alpha).sum()) if measured else np.nan
        )
        row["stable_context_fraction"] = row["stable_context_count"] / max(len(stable), 1)
        for lineage in lineages:
            row[f"{lineage}_count"] = int((alive[f"q_{lineage}_biosample"] < alpha).sum())
            row[f"{lineage}_fraction"] = row[f"{lineage}_count"] / max(len(alive), 1)
        rows.append(row)
    return pd.DataFrame(rows)


def rise(layers: pd.DataFrame, count: str, size: str) -> tuple[float, float, float] | None:
    """Share of the last layer minus that of the first with its Newcombe 95 % limits; None where not
    measured."""
    first, last = layers.iloc[0], layers.iloc[-1]
    if not np.isfinite([first[count], last[count]]).all():
        return None
    low, high = confint_proportions_2indep(
        last[count], max(last[size], 1), first[count], max(first[size], 1), method="newcomb"
    )
    return (
        last[count] / max(last[size], 1) - first[count] / max(first[size], 1),
        float(low),
        float(high),
    )


def summary_metrics(
    layers: pd.DataFrame, lineages: Sequence[str], reasons: list[str], alpha: float
) -> dict[str, Any]:
    """What the claims ledger reads: counts, shares, the rise from first to last layer with its
    Newcombe interval.

    Stated twice, among alive features and among those that are seed-stable too, which the verdict
    rests on.
    """
    first, last = layers.iloc[0], layers.iloc[-1]
    found = rise(layers, "context_count", "alive")
    assert found is not None
    change, low, high = found
    stable = rise(layers, "stable_context_count", "stable")
    testable = len(reasons) < len(lineages)
    rising = sum(bool(last[f"{x}_fraction"] > first[f"{x}_fraction"]) for x in lineages)
    numbers = layers.layer.tolist()
    shares = " -> ".join(f"{100 * value:.1f} %" for value in layers.context_fraction)
    published = " -> ".join(str(value) for value in layers.published_count)
    return {
        "testable": testable,
        "why_untestable": "; ".join(reasons) or None,
        "lineages_without_test": reasons,
        "alpha": alpha,
        "layer": numbers,
        "alive": layers.alive.tolist(),
        "published_count": layers.published_count.tolist(),
        "published_counts": f"{published} (layers {numbers[0]} to {numbers[-1]}); of alive "
        + " -> ".join(f"{100 * value:.0f} %" for value in layers.published_share_of_alive),
        "context_count": layers.context_count.tolist(),
        "context_fraction": np.round(layers.context_fraction, 6).tolist(),
        "context_fraction_text": f"{shares} of alive features (layers {numbers[0]} to "
        f"{numbers[-1]}); counts " + " -> ".join(str(value) for value in layers.context_count),
        "family": f"alive features of all layers ({int(layers.alive.sum())} tests)",
        "union_count": layers.union_count.tolist(),
        "maxt_count": layers.maxt_count.tolist(),
        "rise": change,
        "rise_low": low,
        "rise_high": high,
        "stability_measured": stable is not None,
        "stable": layers.stable.tolist() if stable else None,
        "stable_context_fraction": np.round(layers.stable_context_fraction, 6).tolist()
        if stable
        else None,
        "stable_rise_low": stable[1] if stable else None,
        "lineages_rising": rising,
        "rise_text": f"rise {_points(change, low, high)}; among seed-stable features "
        + (_points(*stable) if stable else "not measured (one seed)")
        + f"; rises in {rising} of {len(lineages)} lineages",
    }


def _points(change: float, low: float, high: float) -> str:
    return f"{100 * change:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
