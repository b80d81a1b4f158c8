"""Stage genesets: processes of the genes near the bins where features fire, against the genes near
all bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.genes import link_genes, read_genes
from petriscope.enrich.genesets import enrich_collections
from petriscope.enrich.tails import CONTROLS, benjamini_hochberg, for_disk, share_of_draws
from petriscope.files import atomic_folder, write_csv
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.genome.overlap import Intervals
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.foregrounds import layer_of_claims
from petriscope.studies.chromatin.params import Params

NO_POWER = (
    "no power on a genome this small: the planted elements themselves (positive control) give "
    "{terms} terms corrected alone and none in the features' family of {family:,} tests"
)


@dataclass(frozen=True)
class Processes:
    """Terms of the lineages' groups at the claims' layer; random bins and the positive control
    beside them."""

    terms: dict[str, int]
    """Collection → terms tested."""
    notes: list[str]
    family: int
    """Tests corrected together."""
    untestable: str | None = None
    powered: bool | None = None
    """Whether the planted elements, where they are known, give a term in the features' family."""
    nominal: dict[str, int] | None = None
    """Group → terms of the plain gene test with p below alpha, uncorrected: the published form."""
    best: dict[str, dict[str, Any]] | None = None
    """Group → its best term, q, fold."""
    significant_terms: int | None = None
    significant_groups: int | None = None
    lineage_groups: int | None = None
    region_terms: int | None = None
    """Terms with q below alpha by regions alone."""
    draws: int | None = None
    random_significant_share: float | None = None
    """Of the draws of random bins: with a significant term, genes ranked."""
    random_region_share: float | None = None
    random_plain_share: float | None = None
    planted: dict[str, int] | None = None
    """Group of planted elements → significant terms."""
    planted_terms: int | None = None
    control_agreement: dict[str, float] | None = None


def run(workspace: Workspace, params: Params) -> Processes:
    """Write results/genesets/enrichment.csv: groups x terms of every collection, q over all of
    them."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    fore = Foregrounds.load(workspace.table("foregrounds"))
    genes = read_genes(dataset.genes, known_sizes(Genome(dataset.fasta).contigs))
    links = link_genes(Intervals.of(fore.bins), genes.frame)
    found = enrich_collections(fore, links, dataset.genesets, *params.annotation.geneset_sizes)
    with atomic_folder(workspace.table("genesets")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(found.table))
    notes = [*(f"{dataset.genes.name}: {note}" for note in genes.notes), *found.notes]
    family = int((~fore.groups.kind.isin(CONTROLS)).sum()) * sum(found.terms.values())
    if not found.terms:
        return Processes(found.terms, notes, 0, "; ".join(notes) or "no gene sets are given")
    layer, draws = layer_of_claims(workspace, params), params.annotation.random_draws
    numbers = measured(found.table, layer, draws, family, params.cds.alpha)
    return Processes(found.terms, notes, family, **numbers)


def measured(
    table: pd.DataFrame, layer: int, draws: int, family: int, alpha: float
) -> dict[str, Any]:
    """The numbers of the claim.

    Genes are the units, ranked by how many of their bins fire beyond expectation: bins cluster, so
    as units they overstate what is known. Where planted elements are known they are the positive
    control: where the truth itself, at the same number of bins and corrected for as many tests,
    gives no term, the claim cannot be tested. The published form is the plain gene test,
    uncorrected.
    """
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    if chosen.empty:
        return {"untestable": "no context features fire near a gene of any tested process"}
    significant = significant_terms(chosen, alpha)
    planted = table[table.kind == "planted"]
    in_planted = significant_terms(planted, alpha)
    judged_alike = benjamini_hochberg(planted.ranked_ln_p.to_numpy(float), family=family)
    no_power = len(planted) > 0 and not (judged_alike < alpha).any() and not significant.sum()
    why = NO_POWER.format(terms=int(in_planted.sum()), family=family)
    best = chosen.sort_values(["group", "ranked_ln_p"], kind="stable").drop_duplicates("group")
    best = best.set_index("group")[["term", "ranked_q", "fold"]].rename(columns={"ranked_q": "q"})
    nominal = (chosen.ln_p < np.log(alpha)).groupby(chosen.group).sum()
    return {
        "untestable": why if no_power else None,
        "powered": not no_power,
        "nominal": nominal.astype(int).to_dict(),
        "best": best.to_dict("index"),
        "significant_terms": int(significant.sum()),
        "significant_groups": int((significant > 0).sum()),
        "lineage_groups": chosen.group.nunique(),
        "region_terms": int((chosen.region_q < alpha).sum()),
        "draws": draws,
        "random_significant_share": share_of_draws(table, draws, alpha=alpha, q="ranked_q"),
        "random_region_share": share_of_draws(table, draws, alpha=alpha, q="region_q"),
        "random_plain_share": share_of_draws(table, draws, alpha=alpha),
        "planted": in_planted.astype(int).to_dict() if len(planted) else None,
        "planted_terms": int(in_planted.sum()) if len(planted) else None,
        "control_agreement": agreement(table, layer),
    }


def significant_terms(table: pd.DataFrame, alpha: float) -> pd.Series:
    """Terms with q below ``alpha`` by genes and by regions, per group."""
    both = (table.ranked_q < alpha) & (table.region_q < alpha)
    return both.groupby(table.group).sum()


def agreement(table: pd.DataFrame, layer: int) -> dict[str, float]:
    """Spearman's ρ over terms between a lineage's features and its positive control: planted
    elements, else raw peaks."""
    kinds = ["planted"] if (table.kind == "planted").any() else ["peaks"]
    found = {}
    for lineage, group in table[(table.kind == "lineage") & (table.layer == layer)].groupby(
        "lineage"
    ):
        control = (
            table[table.kind.isin(kinds) & (table.lineage == lineage)]
            .groupby("term")
            .ranked_ln_p.mean()
        )
        pair = pd.concat([group.set_index("term").ranked_ln_p, control], axis=1, join="inner")
        found[str(lineage)] = float(pair.corr("spearman").iloc[0, 1])
    return found
