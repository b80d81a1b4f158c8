"""Stage ablation: what the prediction loses when context features are removed, against every
control arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.causal.ablation import AblationArms, ablate
from petriscope.causal.ablation_tests import (
    PublishedEffect,
    against_random,
    against_random_by_lineage,
    curves,
    dose_response,
    published_arms,
    published_effect,
)
from petriscope.causal.bases import context_order, principal_components
from petriscope.causal.feature_sets import usable_ks
from petriscope.causal.scaling import scaled_feature_effects
from petriscope.causal.specificity import single_feature_effects
from petriscope.contrast.effects import LEAST_BLOCKS
from petriscope.files import atomic_folder, write_csv
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.rows import condition_rows, hold, spread
from petriscope.studies.chromatin.store import (
    chosen_layer,
    load_biosamples,
    load_inputs,
    load_model,
    load_sae,
    load_windows,
    read_features,
    sample_hidden,
    split_rows,
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/ablation/: curve.csv, tests.csv, lineages.csv, dose.csv, features.csv and
    scaling.csv (single features)."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    model = load_model(workspace)
    layer = chosen_layer(params.ablation.layer, model.n_layers, "ablation.layer")
    pairs = condition_rows(biosamples, list(dict.fromkeys(biosamples.lineage)))
    if pairs.empty:
        return _untestable(layer, "no lineage has both contexts")
    columns = pairs[["vitro", "vivo"]].to_numpy().ravel()
    chosen = spread(split_rows(windows, "test"), params.ablation.windows)
    inputs = load_inputs(workspace, model)
    states = hold(
        model,
        inputs,
        windows,
        chosen,
        biosamples,
        columns,
        layer,
        params.ablation.mask_fold,
        params.seed,
    )
    prediction = states.prediction.reshape(len(chosen), -1, 2, states.prediction.shape[1])
    toward = (prediction[:, :, ::-1] - prediction).reshape(states.prediction.shape)
    features = read_features(workspace)
    mine = features[(features.layer == layer) & features.alive].sort_values("rank")
    sae = load_sae(workspace, layer, params.sae.seeds[0])
    sample, biosample_of = sample_hidden(workspace, layer, split_rows(windows, "select"))
    basis = principal_components(sample)
    means = np.stack([sample[biosample_of == s].mean(0) for s in range(len(biosamples))])
    scale = ((sample - sample.mean(0)) @ basis.basis.numpy().T).std(0)
    order = context_order(basis, means, (biosamples.context == "in_vivo").to_numpy(), scale)
    arms = AblationArms(
        usable_ks(params.ablation.ks, len(mine)), params.ablation.random_sets, seed=params.seed
    )
    result = ablate(
        model,
        sae,
        states,
        mine.feature.to_numpy(),
        arms,
        toward=toward,
        components=basis.basis.numpy()[order],
    )
    curve, tests = curves(result, seed=params.seed), against_random(result, seed=params.seed)
    single = single_feature_effects(
        model, sae, states, mine.feature.to_numpy()[: max(arms.ks)], seed=params.seed
    )
    scaled = scaled_feature_effects(
        model, sae, states, mine.feature.to_numpy()[: max(arms.ks)], seed=params.seed
    )
    per_lineage = against_random_by_lineage(result, pairs.lineage.tolist(), seed=params.seed)
    with atomic_folder(workspace.table("ablation")) as folder:
        write_csv(folder / "curve.csv", curve.assign(layer=layer))
        write_csv(folder / "tests.csv", tests.assign(layer=layer))
        write_csv(
            folder / "shift.csv",
            against_random(result, measure="shift", seed=params.seed).assign(layer=layer),
        )
        write_csv(folder / "lineages.csv", per_lineage.assign(layer=layer))
        write_csv(folder / "dose.csv", dose_response(result, seed=params.seed).assign(layer=layer))
        write_csv(folder / "features.csv", single.assign(layer=layer))
        write_csv(folder / "scaling.csv", scaled.assign(layer=layer))
    return _metrics(
        layer, curve, tests, published_effect(*published_arms(result)), len(chosen), single
    )


def _metrics(
    layer: int,
    curve: pd.DataFrame,
    tests: pd.DataFrame,
    as_run: PublishedEffect,
    windows: int,
    single: pd.DataFrame,
) -> dict[str, Any]:
    """The claims: read at the largest k of half the curve's length, named in the text."""
    by_arm = curve.pivot_table(index="k", columns="arm", values="effect")
    ks = [k for k in by_arm.index if k > 0]
    k = ks[len(ks) // 2]
    cds = tests[(tests.arm == "cds") & (tests.k == k)].iloc[0]
    top = tests[(tests.arm == "top_activation") & (tests.k == k)].iloc[0]
    published, published_random = (
        by_arm.published[ks].to_numpy(),
        by_arm.published_random[ks].to_numpy(),
    )

    def series(arm: str) -> list[float]:
        return [float(value) for value in by_arm[arm][ks]]

    def text(arm: str) -> str:
        return " ".join(f"{value:.3g}" for value in series(arm))

    told = single.null_percentile.dropna()
    testable = bool(cds.blocks >= LEAST_BLOCKS)
    return {
        "testable": testable,
        "why_untestable": None
        if testable
        else f"the test split has {int(cds.blocks)} blocks, {LEAST_BLOCKS} are needed",
        "layer": layer,
        "k": int(k),
        "ks": ks,
        "windows": windows,
        "blocks": int(cds.blocks),
        "g": cds.g_av,
        "g_low": cds.g_av_low,
        "g_high": cds.g_av_high,
        "random_percentile": 100 * (1 - cds.p_rank),
        "excess_low": cds.excess_low,
        "curve_cds": series("cds"),
        "curve_random": series("random"),
        "curve_top_activation": series("top_activation"),
        "published_text": f"d = {as_run.d:.2f}, p = {as_run.p:.1e} over {as_run.pairs} "
        f"pseudo-pairs "
        f"(targeted {published.mean():.3g}, random "
        f"{published_random.mean():.3g}, error injected)",
        "effect_text": f"layer {layer}, k = {k}: mean change {cds.value:.3g} against "
        f"{cds.random:.3g} of matched "
        f"random sets; Hedges g_av {cds.g_av:.2f}",
        "interval_text": f"g_av [{cds.g_av_low:.2f}, {cds.g_av_high:.2f}] over {int(cds.blocks)} "
        f"blocks; more than one random "
        f"set by {cds.excess_low:.3g} to {cds.excess_high:.3g} over blocks and sets; stronger than "
        f"{100 * (1 - cds.p_rank):.0f} % of {int(cds.random_sets)} random sets; top-activation "
        f"{top.value:.3g}",
        "published_curve_text": f"targeted {text('published')}; random {text('published_random')} "
        f"at k = " + " ".join(map(str, ks)),
        "curve_text": f"cds {text('cds')}; random {text('random')}; top-activation "
        f"{text('top_activation')} at k = " + " ".join(map(str, ks)),
        "control_text": f"at k = {' '.join(map(str, ks))}: matched random sets {text('random')}; "
        f"top-activation "
        f"{text('top_activation')}; random directions of equal norm {text('random_direction')}; "
        f"PCA {text('pca')}; "
        f"reconstruction only {by_arm.reconstruction[0]:.3g}; mean norm of the edit at k = {k} "
        f"{cds.edit:.3g}, of its "
        f"matched random sets {cds.edit_random:.3g}; of {len(told)} single features "
        f"that fire here {100 * float((told >= 95).mean()) if len(told) else 0:.0f} % change "
        f"their own bins more than every one of the "
        "random directions of equal size",
        "curve_interval_text": f"random directions of equal norm {text('random_direction')}; PCA "
        f"{text('pca')}; "
        f"reconstruction only {by_arm.reconstruction[0]:.3g}",
    }


def _untestable(layer: int, why: str) -> dict[str, Any]:
    """Metrics of a data set without a pair."""
    numbers = (
        "g",
        "g_low",
        "g_high",
        "random_percentile",
        "excess_low",
        "curve_cds",
        "curve_random",
        "curve_top_activation",
    )
    texts = (
        "published",
        "effect",
        "interval",
        "published_curve",
        "curve",
        "curve_interval",
        "control",
    )
    names = (*numbers, *(f"{text}_text" for text in texts))
    return {"testable": False, "why_untestable": why, "layer": layer, **dict.fromkeys(names)}
