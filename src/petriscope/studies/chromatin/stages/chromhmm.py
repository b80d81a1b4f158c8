"""Stage chromhmm: odds of each chromatin state where features fire, against a matched
background."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.enrich.background import MatchedBackground
from petriscope.enrich.families import for_disk, share_of_draws, with_q
from petriscope.enrich.states import majority_state, read_segmentation, shift_p, state_enrichment
from petriscope.files import atomic_folder, write_csv
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.genome.overlap import Intervals
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import layer_of_claims, load_foregrounds

ACTIVE = ("promoter", "enhancer")
SHIFTS = 200
"""Circular shifts of the states, for the p that clustered firing cannot fool."""
COLUMNS = (
    "group kind layer feature lineage context state state_group colour odds_ratio low high ln_p q "
    "share "
    "background_share targets shift_p segmentation vocabulary"
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/chromhmm/enrichment.csv: one row per group and state of its own lineage's
    segmentation."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    fore = load_foregrounds(workspace)
    own = fore.groups.apply(
        lambda group: segmentation_of(dataset, group.lineage, group.context), axis=1
    )
    chromosome = pd.factorize(fore.bins.chrom)[0]
    rng = np.random.default_rng(params.seed)
    sizes = known_sizes(Genome(dataset.fasta).contigs)
    frames, notes = [], []
    for path in sorted({path for path in own if path is not None}):
        segmentation = read_segmentation(path, dataset.chromhmm_states, sizes)
        notes += [f"{path.name}: {note}" for note in segmentation.notes]
        rows = np.flatnonzero((own == path).to_numpy())
        states = majority_state(Intervals.of(fore.bins), segmentation)
        background = MatchedBackground(fore.matrix[rows], fore.strata)
        found = state_enrichment(fore.matrix[rows], states, len(segmentation.states), background)
        names = [state.name for state in segmentation.states]
        table = found.table(names, features=fore.groups.group.to_numpy()[rows])
        by_name = {state.name: state for state in segmentation.states}
        shifted = shift_p(
            fore.matrix[rows], states, len(names), chromosome, rng=rng, n_shifts=SHIFTS
        )
        table["shift_p"] = shifted[np.repeat(found.tested, len(names)).reshape(shifted.shape)]
        table["state_group"] = [by_name[name].group for name in table.state]
        table["colour"] = [by_name[name].colour for name in table.state]
        frames.append(table.assign(segmentation=path.name, vocabulary=segmentation.vocabulary))
    enrichment = pd.DataFrame(columns=COLUMNS.split())
    if frames:
        table = pd.concat(frames, ignore_index=True).rename(columns={"feature": "group"})
        enrichment = fore.groups.drop(columns=["size", "dropped"]).merge(table, on="group")
        enrichment = with_q(enrichment)
    with atomic_folder(workspace.table("chromhmm")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(enrichment))
    alpha = params.cds.alpha
    draws = enrichment[enrichment.kind == "random"].group.nunique()
    share = share_of_draws(enrichment, draws, alpha=alpha)
    metrics = _metrics(enrichment, layer_of_claims(workspace, params), notes, alpha)
    return {**metrics, "random_draws_with_a_state": share}


def segmentation_of(dataset: Dataset, lineage: str, context: str) -> Any:
    """The segmentation a group is held against: its own lineage and context, else its lineage; else
    None."""
    for wanted in (context, None):
        for biosample in dataset.biosamples:
            if (
                biosample.lineage == lineage
                and biosample.chromhmm
                and wanted in (None, biosample.context)
            ):
                return biosample.chromhmm
    return None


def _metrics(
    enrichment: pd.DataFrame, layer: int, notes: list[str], alpha: float
) -> dict[str, Any]:
    """Active against all other states in the lineage groups of the claims' layer."""
    chosen = enrichment[(enrichment.kind == "lineage") & (enrichment.layer == layer)]
    random = enrichment[enrichment.kind == "random"]
    if chosen.empty:
        blank = dict.fromkeys(("proportion_text", "odds_text", "interval_text", "active_odds_low"))
        why = "no segmentation for any lineage with context features"
        return {
            "testable": False,
            "why_untestable": why,
            "random_significant_share": None,
            "notes": notes,
            **blank,
        }
    active = chosen[chosen.state_group.isin(ACTIVE)].groupby("group")
    share, background = active.share.sum(), active.background_share.sum()
    targets = active.targets.first()
    odds, low, high = _odds(share, background, targets)
    significant = float((random.q < alpha).mean()) if len(random) else None
    return {
        "testable": True,
        "why_untestable": None,
        "notes": notes,
        "active_odds": odds.tolist(),
        "active_odds_low": float(low.min()),
        "random_significant_share": significant,
        "proportion_text": "; ".join(
            f"{name}: {value:.0%} of bins in active states" for name, value in share.items()
        ),
        "odds_text": "; ".join(f"{name}: odds {value:.2f}" for name, value in odds.items()),
        "interval_text": "; ".join(
            f"{name} [{low[name]:.2f}, {high[name]:.2f}]" for name in odds.index
        )
        + (
            "; no random bins were drawn"
            if significant is None
            else f"; random bins significant in {significant:.1%} of tests"
        ),
    }


def _odds(
    share: pd.Series, background: pd.Series, targets: pd.Series
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Haldane–Anscombe odds ratio with Woolf's 95 % interval, background as large as the foreground
    (conservative)."""
    a, c = share * targets + 0.5, background * targets + 0.5
    b, d = (1 - share) * targets + 0.5, (1 - background) * targets + 0.5
    log_odds, error = np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return np.exp(log_odds), np.exp(log_odds - 1.96 * error), np.exp(log_odds + 1.96 * error)
