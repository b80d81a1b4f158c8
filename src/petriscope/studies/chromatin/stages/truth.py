"""Stage truth: new libraries from the demo's simulator say which features truly depend on context.
Simulated data only."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import yaml
from statsmodels.stats.proportion import proportion_confint

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.genome.fasta import Genome
from petriscope.probe.tokens import Tokens, split_rows
from petriscope.run.scored import SPLIT, read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_layers
from petriscope.sae.encode import encoded_layers
from petriscope.studies.chromatin.controls import branch_statistics
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset, read_truth
from petriscope.studies.chromatin.data.tracks import motif_vectors
from petriscope.studies.chromatin.inputs import (
    Arrays,
    WindowInputs,
    bins_table,
    harvest_folds,
    load_windows,
)
from petriscope.studies.chromatin.model.choose import load_model
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, Libraries, simulate_libraries
from petriscope.studies.chromatin.truth import STRONG, judge_layer, match_layer, scores
from petriscope.studies.chromatin.units import design_of, load_biosamples, load_design

FEWEST = 5
"""Strong features without which their power says nothing."""


@dataclass(frozen=True)
class Strong:
    """Features that truly depend on context and follow a planted programme of that context."""

    untestable: str | None
    auroc: float = STRONG
    features: int | None = None


@dataclass(frozen=True)
class Found:
    """How the corrected test fares against planted truth, and the published one beside it."""

    untestable: str | None
    strong: Strong
    found: int | None = None
    wrong_sign: int | None = None
    false_discovery: float | None = None
    """share of the features found; between ``false_low`` and ``false_high`` (Clopper-Pearson)."""
    false_low: float | None = None
    false_high: float | None = None
    true: int | None = None
    power: float | None = None
    """share of all true ones that is found."""
    power_strong: float | None = None
    power_bound: float | None = None
    """what the number of biosamples and the donors' spread allow for the strong ones."""
    published_found: int | None = None
    published_wrong_sign: int | None = None
    published_false_discovery: float | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/truth/: features.parquet (true differences, best match) and scores.csv (false
    discovery, power)."""
    dataset, alpha = load_dataset(workspace.dataset(params.dataset)), params.cds.alpha
    simulation = yaml.safe_load(dataset.source.read_text(encoding="utf-8")).get("simulation")
    features, why = read_features(workspace, design_of(load_biosamples(workspace))), None
    if dataset.truth is None or simulation is None:
        why = "this data set was not simulated"
    elif features.evidence.iloc[0] != "biosample":
        why = "no lineage has two biosamples a side"
    elif not params.truth.run:
        why = "truth.run is false in params.yaml"
    if why or dataset.truth is None:
        with atomic_folder(workspace.table("truth")) as folder:
            write_csv(folder / "scores.csv", pd.DataFrame(columns=["test"]))
        return Found(why, Strong(why))
    config = DemoConfig(**{field.name: simulation[field.name] for field in fields(DemoConfig)})
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    rows = split_rows(windows, SPLIT)
    chosen = windows.iloc[rows].reset_index(drop=True)
    libraries = simulate_libraries(
        config, chosen, donors=params.truth.donors, alike=True, seed=params.seed
    )
    means = library_means(workspace, params, dataset, libraries, rows)
    observed, new = load_design(workspace, params), design_of(libraries.table, [])
    truth, bins = read_truth(dataset.truth), bins_table(Tokens.load(workspace.tokens))
    tables, encoded = [], encoded_layers(workspace.codes)
    for layer, frame in features.groupby("layer"):
        codes = encoded[layer].codes().scipy()
        match = match_layer(codes, bins, truth, biosamples)
        ordered = frame.sort_values("feature")
        tables.append(judge_layer(ordered, means[layer], new, match, observed, alpha))
    table = pd.concat(tables, ignore_index=True)
    result = scores(table[table.alive], alpha)
    with atomic_folder(workspace.table("truth")) as folder:
        write_parquet(folder / "features.parquet", table)
        write_csv(folder / "scores.csv", result)
    return summarize(result)


def library_means(
    workspace: Workspace, params: Params, dataset: Dataset, libraries: Libraries, rows: np.ndarray
) -> dict[int, np.ndarray]:
    """Layer → mean activation (S, m) of every library over the windows."""
    model = load_model(workspace, choose_device(params.device))
    activity = motif_vectors(dataset, libraries.peaks, Genome(dataset.fasta), params.tracks)
    sequence = np.asarray(Arrays.load(workspace.tracks).sequence[rows])
    inputs = WindowInputs(sequence, libraries.signal, activity, model.crop)
    found = branch_statistics(
        model,
        inputs,
        np.arange(len(rows)),
        saved_layers(workspace.sae, params.sae.seeds[0]),
        folds=harvest_folds(params),
        what="planted truth",
    )
    return {layer: moments.block_means().mean(0) for layer, moments in found.items()}


def summarize(result: pd.DataFrame) -> Found:
    """The numbers of `truth.scores` that the ledger reads."""
    by_test = result.set_index("test")
    planted, published = by_test.loc["combined"], by_test.loc["published"]
    low, high = proportion_confint(planted.false, max(planted.found, 1), method="beta")
    few = (
        f"{planted.strong:.0f} features follow a planted context programme (AUROC >= {STRONG:g}); "
        f"{FEWEST} are needed"
    )
    return Found(
        untestable=None,
        strong=Strong(few if planted.strong < FEWEST else None, features=int(planted.strong)),
        found=int(planted.found),
        wrong_sign=int(planted.wrong_sign),
        false_discovery=float(planted.false_discovery),
        false_low=float(low),
        false_high=float(high),
        true=int(planted.true),
        power=float(planted.power),
        power_strong=float(planted.power_strong),
        power_bound=float(planted.bound_strong),
        published_found=int(published.found),
        published_wrong_sign=int(published.wrong_sign),
        published_false_discovery=float(published.false_discovery),
    )
