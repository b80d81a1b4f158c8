"""Stage truth: new libraries from the demo's simulator say which features truly depend on context.
Simulated data only."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import yaml
from statsmodels.stats.proportion import proportion_confint

from petriscope.contrast.moments import Design
from petriscope.contrast.truth import Match, expected_power, planted_match, scores, true_difference
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.controls.branch import branch_statistics
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset, read_truth
from petriscope.studies.chromatin.inputs import WindowInputs
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.simulate.dataset import DemoConfig
from petriscope.studies.chromatin.simulate.elements import CONDITIONS, programmes
from petriscope.studies.chromatin.simulate.libraries import Libraries, simulate_libraries
from petriscope.studies.chromatin.stages.cds import SPLIT
from petriscope.studies.chromatin.stages.recovery import LEAST_OVERLAP
from petriscope.studies.chromatin.stages.tracks import motif_vectors
from petriscope.studies.chromatin.store import (
    bins_table,
    harvest_folds,
    layer_codes,
    load_arrays,
    load_autoencoders,
    load_biosamples,
    load_design,
    load_model,
    load_windows,
    read_features,
    split_rows,
)

STRONG, FEWEST = 0.8, 5
"""AUROC of a strong match; strong features without which their power says nothing."""
CONTEXT_SIGN = {"in_vitro": -1, "in_vivo": 1}


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/truth/: features.parquet (true differences, best match) and scores.csv (false
    discovery, power)."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    simulation = yaml.safe_load(dataset.source.read_text()).get("simulation")
    features = read_features(workspace)
    why = None
    if dataset.truth is None or simulation is None:
        why = "this data set was not simulated"
    elif features.evidence.iloc[0] != "biosample":
        why = "no lineage has two biosamples a side"
    elif not params.truth.run:
        why = "truth.run is false in params.yaml"
    if why:
        with atomic_folder(workspace.table("truth")) as folder:
            write_csv(folder / "scores.csv", pd.DataFrame(columns=["test"]))
        numbers = ("false_discovery", "power", "power_strong", "power_bound")
        texts = ("fdr_text", "fdr_published_text", "fdr_interval", "power_text", "power_interval")
        untested = {
            "testable": False,
            "why_untestable": why,
            "power_testable": False,
            "power_why_untestable": why,
        }
        return untested | dict.fromkeys(numbers + texts)
    assert dataset.truth is not None
    config = DemoConfig(**{field.name: simulation[field.name] for field in fields(DemoConfig)})
    windows = load_windows(workspace)
    rows = split_rows(windows, SPLIT)
    chosen = windows.iloc[rows].reset_index(drop=True)
    libraries = simulate_libraries(
        config, chosen, donors=params.truth.donors, alike=True, seed=params.seed
    )
    means = library_means(workspace, params, dataset, libraries, rows)
    match = _matches(workspace, params, read_truth(dataset.truth))
    observed, new = load_design(workspace, params), Design.from_frame(libraries.table, [])
    table = pd.concat(
        [
            _layer(
                layer,
                frame.sort_values("feature"),
                means[layer],
                new,
                match[layer],
                observed,
                params,
            )
            for layer, frame in features.groupby("layer")
        ],
        ignore_index=True,
    )
    result = scores(table[table.alive], params.cds.alpha)
    with atomic_folder(workspace.table("truth")) as folder:
        write_parquet(folder / "features.parquet", table)
        write_csv(folder / "scores.csv", result)
    return _metrics(result)


def library_means(
    workspace: Workspace, params: Params, dataset: Dataset, libraries: Libraries, rows: np.ndarray
) -> dict[int, np.ndarray]:
    """Layer → mean activation (S, m) of every library over the windows."""
    model = load_model(workspace, choose_device(params.device))
    activity = motif_vectors(dataset, libraries.peaks, Genome(dataset.fasta), params.tracks)
    sequence = np.asarray(load_arrays(workspace).sequence[rows])
    inputs = WindowInputs(sequence, libraries.signal, activity, model.crop)
    found = branch_statistics(
        model,
        inputs,
        np.arange(len(rows)),
        load_autoencoders(workspace, params),
        folds=harvest_folds(params),
        what="planted truth",
    )
    return {layer: statistics.mean().mean(0) for layer, statistics in found.items()}


def _matches(workspace: Workspace, params: Params, truth: pd.DataFrame) -> dict[int, Match]:
    """Layer → best planted programme of every feature on the test windows, whose loci chose
    nothing."""
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    bins = bins_table(windows, params)
    inside = truth[truth.overlap >= LEAST_OVERLAP].drop_duplicates(["chrom", "start"])
    programme = (
        bins[["chrom", "start"]]
        .merge(inside[["chrom", "start", "programme"]], how="left")
        .programme
    )
    chosen = np.flatnonzero((bins.split == "test").to_numpy() & programme.notna().to_numpy())
    per_window, samples = len(bins) // len(windows), len(biosamples)
    order = {pair: i for i, pair in enumerate(CONDITIONS)}
    condition = [order[pair] for pair in zip(biosamples.lineage, biosamples.context)]
    openness = {rule.name: rule.openness() == 1 for rule in programmes()}
    found = {}
    for layer in sorted(load_autoencoders(workspace, params)):
        codes = layer_codes(workspace, layer).scipy()
        activity = np.zeros((len(chosen), len(CONDITIONS), codes.shape[1]), np.float32)
        for s in range(samples):
            rows = (chosen // per_window * samples + s) * per_window + chosen % per_window
            activity[:, condition[s]] += codes[rows].toarray() / condition.count(condition[s])
        found[layer] = planted_match(activity, programme.to_numpy(object)[chosen], openness)
    return found


def _layer(
    layer: int,
    features: pd.DataFrame,
    means: np.ndarray,
    new: Design,
    match: Match,
    observed: Design,
    params: Params,
) -> pd.DataFrame:
    """One row per feature of a layer."""
    alive = features.alive.to_numpy()
    true = true_difference(means, new, alive, alpha=params.cds.alpha)
    found = features.p_biosample[features.q_biosample <= params.cds.alpha]
    threshold = float(found.max()) if len(found) else params.cds.alpha / max(int(alive.sum()), 1)
    direction = {
        rule.name: side
        for rule in programmes()
        for side in CONTEXT_SIGN
        if rule.contexts == (side,)
    }
    follows = np.array([CONTEXT_SIGN.get(direction.get(name, ""), 0) for name in match.programme])
    return pd.DataFrame(
        {
            "layer": layer,
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


def _metrics(result: pd.DataFrame) -> dict[str, Any]:
    by_test = result.set_index("test")
    planted, published = by_test.loc["combined"], by_test.loc["published"]
    bound = float(planted.bound_strong)
    return {
        "testable": True,
        "why_untestable": None,
        "power_testable": bool(planted.strong >= FEWEST),
        "power_why_untestable": None
        if planted.strong >= FEWEST
        else f"{planted.strong:.0f} features follow a planted context programme (AUROC >= "
        f"{STRONG:g}); {FEWEST} are needed",
        "false_discovery": planted.false_discovery,
        "power": planted.power,
        "power_strong": planted.power_strong,
        "power_bound": bound,
        "published_false_discovery": published.false_discovery,
        "fdr_text": f"{planted.false_discovery:.1%} of {planted.found:.0f} context features are "
        f"false "
        f"({planted.wrong_sign:.0f} point the wrong way)",
        "fdr_published_text": f"{published.false_discovery:.1%} of {published.found:.0f} features "
        f"are false "
        f"({published.wrong_sign:.0f} point the wrong way)",
        "fdr_interval": "limits "
        + "[{:.1%}, {:.1%}]".format(
            *proportion_confint(planted.false, max(planted.found, 1), method="beta")
        )
        + "; BH at 5 %, all layers one family",
        "power_text": f"{planted.power_strong:.0%} of {planted.strong:.0f} features with a "
        f"planted match of AUROC >= "
        f"{STRONG:g}; {planted.power:.0%} of all {planted.true:.0f} true ones",
        "power_interval": f"bound from the number of biosamples and the donors' spread: "
        f"{bound:.0%}",
    }
