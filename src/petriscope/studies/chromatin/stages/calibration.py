"""Stage calibration: every test on contrasts where nothing differs, the published one beside, seed
by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.calibrate import (
    CORRECTED,
    FITTED,
    RECORD,
    REPLICATES,
    UNADJUSTED,
    Nulls,
    calibrate,
)
from petriscope.contrast.evidence import usable_lineages
from petriscope.contrast.null_runs import BLOCK_COVERAGE, COVERAGE_OF_MEAN, FAMILY_ERROR
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.cds import SPLIT
from petriscope.studies.chromatin.store import (
    chosen_layer,
    layer_numbers,
    load_design,
    load_moments,
    load_window_means,
    load_windows,
    split_rows,
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/calibration/: nulls.csv (rates with intervals, per seed) and p_values.csv
    (binned, for the figure)."""
    design = load_design(workspace, params)
    reasons = [r for r in (design.why_untestable(x, "biosample") for x in design.lineages) if r]
    layer = middle_layer(workspace)
    found = null_runs(workspace, params) if usable_lineages(design) else None
    nothing = pd.DataFrame(columns=["seed", "test", "null", "p", "share"])
    with atomic_folder(workspace.table("calibration")) as folder:
        write_csv(folder / "nulls.csv", found.rates if found else nothing)
        write_csv(folder / "p_values.csv", found.histogram if found else nothing)
    if found is None:
        names = (
            "share",
            "share_low",
            "share_high",
            "calibrated",
            "fwer",
            "coverage_low",
            "coverage_high",
        )
        texts = (
            "published_share",
            "replicate_share",
            "published_text",
            "corrected_text",
            "interval_text",
        )
        why = "no lineage has two biosamples a side: " + "; ".join(reasons)
        return {
            "testable": False,
            "why_untestable": why,
            "layer": layer,
            **dict.fromkeys(names + texts),
        }
    return {
        "testable": True,
        "why_untestable": None,
        "layer": layer,
        **metrics(found.rates, params.cds.alpha, layer),
    }


def middle_layer(workspace: Workspace) -> int:
    """The layer the tests are tried on."""
    return chosen_layer("middle", layer_numbers(workspace.codes)[-1], "calibration")


def null_runs(workspace: Workspace, params: Params) -> Nulls:
    """The null data sets of the middle layer, run through every test. Raises `UserError` where
    nothing can be tested."""
    windows, design = load_windows(workspace), load_design(workspace, params)
    if not usable_lineages(design):
        remedy = "Give replicates: two biosamples of each context in one lineage."
        raise UserError("no lineage has two biosamples a side", file="biosamples", remedy=remedy)
    rows, layer = split_rows(windows, SPLIT), middle_layer(workspace)
    everywhere = load_moments(workspace, layer)
    moments = everywhere.blocks(np.unique(windows.block.to_numpy()[rows]))
    alive = np.flatnonzero(moments.alive(params.cds.min_events))
    means = load_window_means(
        workspace, layer, rows, params.windows.length // 128 - 2 * params.windows.crop
    )
    return calibrate(
        moments.features(alive),
        everywhere.features(alive),
        means[:, :, alive],
        design,
        sets=params.calibration.nulls,
        seeds=[params.seed + i for i in range(params.calibration.seeds)],
        alpha=params.cds.alpha,
    )


def metrics(rates: pd.DataFrame, alpha: float, layer: int) -> dict[str, Any]:
    """What the ledger reads: the p of record over all seeds, the worst seed of each error rate
    beside it."""
    of_null = rates[rates.null == FITTED]
    record = of_null[of_null.test == RECORD]
    effective = record.effective.sum()
    spread = 1.96 * np.sqrt(alpha * (1 - alpha) / effective)
    share = float(np.average(record.share, weights=record.tests))
    fwer = of_null[of_null.what == f"{CORRECTED}, {FAMILY_ERROR}"]
    covered = of_null[of_null.what == f"{CORRECTED}, {COVERAGE_OF_MEAN}"]
    blocks = rates[rates.what == BLOCK_COVERAGE]
    published = rates[rates.test == "published"]
    between = rates[(rates.test == RECORD) & (rates.null == REPLICATES)]
    unadjusted = rates[rates.test == f"{UNADJUSTED}, permutation"]

    def each(frame: pd.DataFrame) -> str:
        return " ".join(f"{100 * value:.1f}" for value in frame.share)

    return {
        "share": share,
        "share_low": float(alpha - spread),
        "share_high": float(alpha + spread),
        "calibrated": bool(abs(share - alpha) <= spread),
        "seeds": len(record),
        "seeds_calibrated": int(record.calibrated.sum()),
        "fwer": float(np.average(fwer.share, weights=fwer.cases)),
        "fwer_worst": float(fwer.share.max()),
        "coverage_low": float(covered.share.min()),
        "coverage_high": float(covered.share.max()),
        "block_coverage_low": float(blocks.share.min()),
        "block_coverage_high": float(blocks.share.max()),
        "published_share": float(published.share.mean()),
        "replicate_share": float(between.share.mean()),
        "unadjusted_share": float(unadjusted.share.mean()) if len(unadjusted) else None,
        "published_text": f"{published.share.mean():.1%} of null p-values below {alpha:g} "
        f"(replicate contrasts)",
        "corrected_text": f"{share:.1%} of null p-values below {alpha:g} (seeds {each(record)}); "
        f"maxT family-wise error "
        f"{np.average(fwer.share, weights=fwer.cases):.1%} (seeds {each(fwer)}) over "
        f"{int(fwer.cases.sum())} null sets "
        f"(layer {layer})",
        "interval_text": f"expected {alpha:.1%} [{alpha - spread:.1%}, {alpha + spread:.1%}]; 95 "
        f"% intervals cover "
        f"{each(covered)} % (biosamples), {each(blocks)} % (blocks); replicate against replicate "
        f"{each(between)} %"
        + (
            f"; without adjusting for depth and FRiP {each(unadjusted)} %"
            if len(unadjusted)
            else ""
        ),
    }
