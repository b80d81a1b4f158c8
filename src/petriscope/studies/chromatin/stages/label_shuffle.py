"""Stage label_shuffle: how many features pass, layer by layer, when context labels are shuffled or
only replicates differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from petriscope.contrast.cds import cds_meandiff
from petriscope.contrast.moments import Design, Moments
from petriscope.contrast.multiplicity import adjust
from petriscope.contrast.null_runs import biosample_nulls
from petriscope.contrast.nulls import replicates, shuffled
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.parallel import in_processes
from petriscope.run.params import Cds
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages.cds import SPLIT
from petriscope.studies.chromatin.store import (
    layer_numbers,
    load_design,
    load_moments,
    load_window_means,
    load_windows,
    read_features,
    split_rows,
)

PUBLISHED_PERMUTATIONS = 1000
"""Of the published test, whose p has no +1 and may be 0: fewer make it no more conservative under
Bonferroni."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/label_shuffle/: layers.csv (per null and layer) and draws.csv (per null, draw
    and layer)."""
    design = load_design(workspace, params)
    why = (
        None if params.controls.label_shuffle else "controls.label_shuffle is false in params.yaml"
    )
    reasons = [
        reason
        for reason in (design.why_untestable(x, "biosample") for x in design.lineages)
        if reason
    ]
    if why is None and len(reasons) == len(design.lineages):
        why = "no lineage has two biosamples a side: " + "; ".join(reasons)
    if why:
        write_not_run(workspace.table("label_shuffle"), why)
        return {
            "run": False,
            "why_not": why,
            "text": f"label shuffles not run: {why}",
            "shuffled_fraction_high": [],
        }
    windows = load_windows(workspace)
    rows = split_rows(windows, SPLIT)
    blocks = np.unique(windows.block.to_numpy()[rows])
    bins = params.windows.length // 128 - 2 * params.windows.crop
    draws = params.controls.label_shuffle_draws
    nulls = {
        "labels shuffled": list(shuffled(design, draws, params.seed)),
        "replicate against replicate": list(replicates(design, draws, params.seed)),
    }

    def one(layer: int) -> list[pd.DataFrame]:
        moments = load_moments(workspace, layer).blocks(blocks)
        means = load_window_means(workspace, layer, rows, bins)
        found = {
            name: null_p(moments, means, designs, params.cds, params.seed)
            for name, designs in nulls.items()
        }
        return [
            frame.assign(layer=layer, null=name)
            for name, frame in found.items()
            if frame is not None
        ]

    layers = in_processes(one, layer_numbers(workspace.codes), "label shuffles", unit="layer")
    counts = null_counts(
        pd.concat(list(chain.from_iterable(layers)), ignore_index=True), params.cds.alpha
    )
    table = beside_observed(counts, read_features(workspace), params.cds.alpha)
    with atomic_folder(workspace.table("label_shuffle")) as folder:
        write_csv(folder / "draws.csv", counts)
        write_csv(folder / "layers.csv", table)
    return _metrics(table, draws)


def null_p(
    moments: Moments, window_means: np.ndarray, designs: Sequence[Design], cds: Cds, seed: int
) -> pd.DataFrame | None:
    """Columns draw, feature, p, published: both tests of the alive features of one layer under each
    null's labels.

    ``moments`` of the layer, ``window_means`` (W, S, m). p is that of the combined biosample-level
    test: by relabelling where a null's biosamples resolve it as finely as the observed ones, else
    of the combined t's. ``published`` is adjusted by Bonferroni over all latents. None where the
    nulls have too few biosamples for any test.
    """
    alive = np.flatnonzero(moments.alive(cds.min_events))
    means = moments.biosample_means()[:, alive]
    found = biosample_nulls(
        ((means, null) for null in designs),
        permutations=cds.permutations,
        seed=seed,
        alpha=cds.alpha,
    )
    if len(found.p) < len(designs):
        return None
    fine = all(_balanced(null) for null in designs)
    frames = []
    for draw, null in enumerate(designs):
        published = cds_meandiff(window_means, null, permutations=PUBLISHED_PERMUTATIONS, seed=seed)
        frames.append(
            pd.DataFrame(
                {
                    "draw": draw,
                    "feature": alive,
                    "p": (found.p_permutation if fine else found.p)[draw],
                    "published": published.adjusted["bonferroni"][alive],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _balanced(design: Design) -> bool:
    """Whether every lineage has two biosamples a side, as the observed contrast needs."""
    return all(min(len(side) for side in design.sides(lineage)) > 1 for lineage in design.lineages)


def null_counts(p: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Columns null, draw, layer, alive, count, published: BH over all layers of a draw, as for the
    observed labels."""
    family = p.groupby(["null", "draw"]).p
    p = p.assign(q=family.transform(lambda values: adjust(values.to_numpy(), "bh")))
    rows = p.groupby(["null", "draw", "layer"], sort=False)
    return rows.agg(
        alive=("feature", "size"),
        count=("q", lambda values: int((values < alpha).sum())),
        published=("published", lambda values: int((values < alpha).sum())),
    ).reset_index()


def beside_observed(counts: pd.DataFrame, observed: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Columns null, layer, draws, alive; for count, fraction and published the mean, low, high (2.5
    and 97.5 % over draws) and the observed value."""
    counts = counts.assign(fraction=counts["count"] / counts.alive.clip(lower=1))
    rows = []
    for (null, layer), frame in counts.groupby(["null", "layer"], sort=False):
        mine = observed[observed.layer == layer]
        passed = int((mine.context & mine.alive).sum())
        real = {
            "count": passed,
            "fraction": passed / max(int(mine.alive.sum()), 1),
            "published": int((mine.p_published_bonferroni < alpha).sum()),
        }
        row: dict[str, object] = {
            "null": null,
            "layer": layer,
            "draws": len(frame),
            "alive": int(frame.alive.iloc[0]),
        }
        for name, value in real.items():
            low, high = np.quantile(frame[name], [0.025, 0.975])
            row |= {
                name: frame[name].mean(),
                f"{name}_low": low,
                f"{name}_high": high,
                f"{name}_observed": value,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _metrics(table: pd.DataFrame, draws: int) -> dict[str, Any]:
    shuffles = table[table.null == "labels shuffled"]
    between = table[table.null == "replicate against replicate"]

    def text(frame: pd.DataFrame, column: str) -> str:
        return " -> ".join(f"{value:.1f}" for value in frame[column]) or "no replicates to compare"

    return {
        "run": True,
        "why_not": None,
        "draws": draws,
        "shuffled_count": shuffles["count"].tolist(),
        "shuffled_fraction": shuffles.fraction.round(6).tolist(),
        "shuffled_fraction_high": shuffles.fraction_high.round(6).tolist(),
        "shuffled_published": shuffles.published.tolist(),
        "replicate_count": between["count"].tolist(),
        "replicate_published": between.published.tolist(),
        "text": f"features that pass, mean of {draws} draws by layer: labels shuffled "
        f"{text(shuffles, 'count')} (published "
        f"test {text(shuffles, 'published')}); replicate against replicate "
        f"{text(between, 'count')} (published test "
        f"{text(between, 'published')})",
    }
