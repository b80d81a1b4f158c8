"""Stage calibration: both tests on contrasts where nothing differs, and against the planted truth where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.calibration import ErrorRate, Uniformity, table, uniformity
from petriscope.contrast.moments import Design
from petriscope.contrast.null_runs import biosample_nulls, published_nulls
from petriscope.contrast.nulls import gaussian, independent_sets, replicates
from petriscope.files import atomic_folder, write_csv
from petriscope.params import Params
from petriscope.stages.cds import SPLIT
from petriscope.store import (
    chosen_layer,
    layer_numbers,
    load_biosamples,
    load_moments,
    load_window_means,
    load_windows,
    split_rows,
)
from petriscope.workspace import Workspace

PERMUTATIONS = 499
PUBLISHED_SETS = 20


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/calibration/: nulls.csv (rates with intervals) and p_values.csv (binned, for the figure)."""
    windows, design = load_windows(workspace), Design.from_frame(load_biosamples(workspace))
    reasons = [r for r in (design.why_untestable(x, "biosample") for x in design.lineages) if r]
    layers = layer_numbers(workspace.codes)
    layer = chosen_layer("middle", layers[-1], "calibration")
    rows = split_rows(windows, SPLIT)
    moments = load_moments(workspace, layer).blocks(np.unique(windows.block.to_numpy()[rows]))
    alive = np.flatnonzero(moments.alive(params.cds.min_density))
    means = moments.biosample_means()[:, alive]
    window_means = load_window_means(workspace, layer, rows, params.windows.length // 128 - 2 * params.windows.crop)
    alpha, sets, seed = params.cds.alpha, params.calibration.nulls, params.seed
    summaries: list[Uniformity | ErrorRate] = []
    histograms = []
    corrected = between = fwer = published = None
    if len(reasons) < len(design.lineages):
        cases = ((null, design) for null in gaussian(means, design, sets, seed))
        model = biosample_nulls(cases, permutations=PERMUTATIONS, seed=seed, alpha=alpha)
        summaries += model.summaries("corrected", "no contrast, fitted to the data", alpha=alpha)
        designs = ((means, null) for null in replicates(design, sets, seed))
        replicate = biosample_nulls(designs, permutations=PERMUTATIONS, seed=seed, alpha=alpha)
        name = "replicate versus replicate"
        summaries += replicate.summaries(
            "corrected", name, alpha=alpha, independent=independent_sets(design, "replicates")
        )
        between = uniformity(replicate.p_permutation, test="corrected, permutation", null=name, alpha=alpha)
        corrected = uniformity(model.p_permutation, test="corrected, permutation", null="no contrast", alpha=alpha)
        fwer = next(s for s in summaries if isinstance(s, ErrorRate) and "family-wise" in s.what)
        histograms += [
            _histogram("corrected", model.p_permutation),
            _histogram("corrected, replicates", replicate.p_permutation),
        ]
        p = published_nulls(
            window_means[:, :, alive],
            replicates(design, PUBLISHED_SETS, seed),
            permutations=1000,
            seed=seed,
        )
        published = uniformity(p, test="published", null=name, alpha=alpha)
        summaries.append(published)
        histograms.append(_histogram("published", p))
    with atomic_folder(workspace.table("calibration")) as folder:
        write_csv(
            folder / "nulls.csv", table(summaries) if summaries else pd.DataFrame(columns=["test", "null", "share"])
        )
        write_csv(
            folder / "p_values.csv",
            pd.concat(histograms) if histograms else pd.DataFrame(columns=["test", "p", "share"]),
        )
    return _metrics(layer, reasons, corrected, between, fwer, published)


def _histogram(test: str, p: np.ndarray, bins: int = 20) -> pd.DataFrame:
    """Share of p-values per bin of width 1/bins."""
    values = p[np.isfinite(p)]
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return pd.DataFrame({"test": test, "p": (edges[:-1] + edges[1:]) / 2, "share": counts / max(len(values), 1)})


def _metrics(
    layer: int,
    reasons: list[str],
    corrected: Uniformity | None,
    between: Uniformity | None,
    fwer: ErrorRate | None,
    published: Uniformity | None,
) -> dict[str, Any]:
    testable = corrected is not None and fwer is not None and published is not None
    nothing = "no lineage has two biosamples a side: " + "; ".join(reasons)
    if not (corrected and between and fwer and published):
        blank = dict.fromkeys(
            ("share", "share_low", "share_high", "calibrated", "fwer", "published_share", "replicate_share")
        )
        texts = dict.fromkeys(("published_text", "corrected_text", "interval_text"))
        return {"testable": testable, "why_untestable": nothing, "layer": layer, **blank, **texts}
    return {
        "testable": testable,
        "why_untestable": None,
        "layer": layer,
        "share": corrected.share,
        "share_low": corrected.low,
        "share_high": corrected.high,
        "calibrated": corrected.calibrated,
        "fwer": fwer.share,
        "published_share": published.share,
        "published_text": f"{published.share:.1%} of null p-values below {published.alpha:g} "
        f"({published.sets} replicate contrasts)",
        "corrected_text": f"{corrected.share:.1%} of null p-values below {corrected.alpha:g}; maxT family-wise error "
        f"{fwer.share:.1%} [{fwer.low:.1%}, {fwer.high:.1%}] over {corrected.sets} null sets (layer {layer})",
        "replicate_share": between.share,
        "interval_text": f"expected {corrected.alpha:.1%} [{corrected.low:.1%}, {corrected.high:.1%}]; replicate "
        f"against replicate {between.share:.1%}",
    }
