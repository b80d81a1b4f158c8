"""Counts of context features per layer, published and corrected, for the model and its control alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint


def layer_summary(features: pd.DataFrame, lineages: Sequence[str], alpha: float) -> pd.DataFrame:
    """One row per layer from the feature table of stage cds: counts, shares of alive with Wilson intervals.

    A published count is Bonferroni p < alpha of the window sign-flip; a context feature has BH q < alpha of the
    combined biosample-level test, its family all alive features of all layers.
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
            "published_share_of_alive": (frame.p_published_bonferroni < alpha).sum() / max(len(alive), 1),
            "published_same_sign": int(((frame.p_published_bonferroni < alpha) & frame.sign_consistent).sum()),
            "context_count": found,
            "context_fraction": found / max(len(alive), 1),
            "context_low": low,
            "context_high": high,
            "locus_count": int((alive.q_locus < alpha).sum()),
            "conjunction_count": int((alive.q_conjunction_biosample < alpha).sum()),
        }
        for lineage in lineages:
            row[f"{lineage}_count"] = int((alive[f"q_{lineage}_biosample"] < alpha).sum())
            row[f"{lineage}_fraction"] = row[f"{lineage}_count"] / max(len(alive), 1)
        rows.append(row)
    return pd.DataFrame(rows)


def summary_metrics(layers: pd.DataFrame, lineages: Sequence[str], reasons: list[str], alpha: float) -> dict[str, Any]:
    """What the claims ledger reads: counts, shares, the rise from first to last layer with its Newcombe interval."""
    first, last = layers.iloc[0], layers.iloc[-1]
    rise = last.context_fraction - first.context_fraction
    low, high = confint_proportions_2indep(
        last.context_count, max(last.alive, 1), first.context_count, max(first.alive, 1), method="newcomb"
    )
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
        "context_fraction_text": f"{shares} of alive features (layers {numbers[0]} to {numbers[-1]}); counts "
        + " -> ".join(str(value) for value in layers.context_count),
        "rise": rise,
        "rise_low": float(low),
        "rise_high": float(high),
        "lineages_rising": rising,
        "rise_text": f"rise {100 * rise:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]; rises in {rising} of "
        f"{len(lineages)} lineages",
    }
