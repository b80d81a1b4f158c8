"""Stage chromhmm: odds of each chromatin state where features fire, against a matched
background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.states import pooled_odds, read_segmentation, tested_states
from petriscope.enrich.tails import for_disk, share_of_draws, with_q
from petriscope.files import atomic_folder, write_csv
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.foregrounds import layer_of_claims
from petriscope.studies.chromatin.params import Params

ACTIVE = ("promoter", "enhancer")
SHIFTS = 200
"""Circular shifts of the states, for the p that clustered firing cannot fool."""
COLUMNS = (
    "group kind layer feature lineage context state state_group colour odds_ratio low high ln_p q "
    "share background_share targets shift_p segmentation vocabulary"
)


@dataclass(frozen=True)
class ActiveStates:
    """Active against all other states in the lineages' groups of the claims' layer."""

    notes: list[str]
    untestable: str | None = None
    active_share: dict[str, float] | None = None
    """Group → share of its bins in active states."""
    active_odds: dict[str, float] | None = None
    low: dict[str, float] | None = None
    high: dict[str, float] | None = None
    active_odds_low: float | None = None
    """The lowest of ``low``."""
    random_significant_share: float | None = None
    """Of the tests of random bins."""
    random_draws_with_a_state: float | None = None


def run(workspace: Workspace, params: Params) -> ActiveStates:
    """Write results/chromhmm/enrichment.csv: one row per group and state of its own lineage's
    segmentation."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    fore = Foregrounds.load(workspace.table("foregrounds"))
    own = np.array([dataset.segmentation(g.lineage, g.context) for g in fore.groups.itertuples()])
    rng, sizes = np.random.default_rng(params.seed), known_sizes(Genome(dataset.fasta).contigs)
    frames, notes = [], []
    for path in sorted({path for path in own if path is not None}):
        segmentation = read_segmentation(path, dataset.chromhmm_states, sizes)
        notes += [f"{path.name}: {note}" for note in segmentation.notes]
        rows = np.flatnonzero(own == path)
        table = tested_states(fore, rows, segmentation, rng=rng, n_shifts=SHIFTS)
        frames.append(table.assign(segmentation=path.name, vocabulary=segmentation.vocabulary))
    enrichment = pd.DataFrame(columns=COLUMNS.split())
    if frames:
        enrichment = with_q(fore.about().merge(pd.concat(frames, ignore_index=True), on="group"))
    with atomic_folder(workspace.table("chromhmm")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(enrichment))
    return measured(enrichment, layer_of_claims(workspace, params), notes, params.cds.alpha)


def measured(table: pd.DataFrame, layer: int, notes: list[str], alpha: float) -> ActiveStates:
    """The numbers of the claim, of the whole table."""
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    random = table[table.kind == "random"]
    draws = share_of_draws(table, random.group.nunique(), alpha=alpha)
    if chosen.empty:
        why = "no segmentation for any lineage with context features"
        return ActiveStates(notes, why, random_draws_with_a_state=draws)
    active = pooled_odds(chosen[chosen.state_group.isin(ACTIVE)])
    return ActiveStates(
        notes=notes,
        active_share=active.share.to_dict(),
        active_odds=active.odds.to_dict(),
        low=active.low.to_dict(),
        high=active.high.to_dict(),
        active_odds_low=float(active.low.min()),
        random_significant_share=float((random.q < alpha).mean()) if len(random) else None,
        random_draws_with_a_state=draws,
    )
