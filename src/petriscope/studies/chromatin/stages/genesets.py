"""Stage genesets: processes of the genes near the bins where features fire, against the genes near
all bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.enrich.families import CONTROLS, below, for_disk, share_of_draws, with_q
from petriscope.enrich.genes import link_genes, read_genes
from petriscope.enrich.genesets import enrich_gene_sets, read_gmt
from petriscope.enrich.tails import benjamini_hochberg
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.genome.overlap import Intervals
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import layer_of_claims, load_foregrounds

NO_POWER = (
    "no power on a genome this small: the planted elements themselves (positive control) give "
    "{terms} terms corrected "
    "alone and none in the features' family of {family:,} tests"
)
COLUMNS = (
    *(
        "rank",
        "term",
        "ln_p",
        "q",
        "fold",
        "overlap",
        "set_size",
        "query",
        "adjusted_ln_p",
        "adjusted_q",
    ),
    *("region_ln_p", "region_q", "ranked_ln_p", "ranked_q", "collection"),
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/genesets/enrichment.csv: groups x terms of every collection, q over all of
    them."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    fore = load_foregrounds(workspace)
    genes = read_genes(dataset.genes, known_sizes(Genome(dataset.fasta).contigs))
    links = link_genes(Intervals.of(fore.bins), genes.frame)
    smallest, largest = params.annotation.geneset_sizes
    inside = fore.strata.code >= 0
    names = fore.groups.group.to_numpy()
    groups = fore.groups.drop(columns=["size", "dropped"])
    tables, terms = [], {}
    notes = [f"{dataset.genes.name}: {note}" for note in genes.notes]
    for collection, path in dataset.genesets.items():
        sets = read_gmt(path)
        notes += [f"{path.name}: {note}" for note in sets.notes]
        try:
            found = enrich_gene_sets(
                fore.matrix,
                links,
                sets,
                features=names,
                universe=inside,
                min_size=smallest,
                max_size=largest,
            )
        except UserError as error:  # too few genes for one collection must not hide the others
            notes.append(f"{collection}: {error}")
            continue
        tables.append(found.table.assign(collection=collection))
        terms[collection] = len(found.terms)
    if not tables:
        with atomic_folder(workspace.table("genesets")) as folder:
            write_csv(folder / "enrichment.csv", pd.DataFrame(columns=[*groups.columns, *COLUMNS]))
        return {
            "terms": terms,
            "notes": notes,
            "family": 0,
            **_untestable("; ".join(notes) or "no gene sets are given"),
        }
    table = pd.concat(tables, ignore_index=True).rename(columns={"feature": "group"})
    table = with_q(groups.merge(table, on="group"), sum(terms.values()))
    for test in ("adjusted", "region", "ranked"):
        table = with_q(table, sum(terms.values()), ln_p=f"{test}_ln_p", q=f"{test}_q")
    family = int((~fore.groups.kind.isin(CONTROLS)).sum()) * sum(terms.values())
    with atomic_folder(workspace.table("genesets")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(table))
    layer, draws = layer_of_claims(workspace, params), params.annotation.random_draws
    metrics = _metrics(table, layer, draws, family, params.cds.alpha)
    return {"terms": terms, "notes": notes, "family": family, **metrics}


def _metrics(
    table: pd.DataFrame, layer: int, draws: int, family: int, alpha: float
) -> dict[str, Any]:
    """Significant terms of the lineage groups at the claims' layer; random bins and the positive
    control beside them.

    Genes are the units, ranked by how many of their bins fire beyond expectation: bins cluster, so
    as units they overstate what is known. Where planted elements are known they are the positive
    control: where the truth itself, at the same number of bins and corrected for as many tests,
    gives no term, the claim cannot be tested. The published form is the plain gene test,
    uncorrected.
    """
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    if chosen.empty:
        return _untestable("no context features fire near a gene of any tested process")
    significant = significant_terms(chosen, alpha)
    planted = table[table.kind == "planted"]
    in_planted = significant_terms(planted, alpha)
    by_group = chosen.sort_values("ranked_ln_p", kind="stable").groupby("group", sort=True)
    share = share_of_draws(table, draws, alpha=alpha, q="ranked_q")
    best = "; ".join(f"{name}: {_best(f)}" for name, f in by_group)
    nominal = "; ".join(
        f"{name}: {int((f.ln_p < np.log(alpha)).sum())} terms" for name, f in by_group
    )
    groups = chosen.group.nunique()
    text = f"{int(significant.sum())} terms at {below(alpha)} in {int((significant > 0).sum())} of {groups} lineage groups"
    text += f" ({int((chosen.region_q < alpha).sum())} by regions)"
    text += (
        f"; random draws with a significant term: {share:.1%} of {draws}"
        if share is not None
        else ""
    )
    if len(planted):
        control = "; ".join(f"{name}: {count}" for name, count in in_planted.items())
        text += f"; positive control, terms of the planted elements themselves: {control}"
    judged_alike = benjamini_hochberg(planted.ranked_ln_p.to_numpy(float), family=family)
    no_power = len(planted) > 0 and not (judged_alike < alpha).any() and not significant.sum()
    return {
        "testable": True,
        "powered": not no_power,
        "why_untestable": NO_POWER.format(terms=int(in_planted.sum()), family=family)
        if no_power
        else None,
        "significant_groups": int((significant > 0).sum()),
        "random_significant_share": share,
        "random_region_share": share_of_draws(table, draws, alpha=alpha, q="region_q"),
        "random_plain_share": share_of_draws(table, draws, alpha=alpha),
        "planted_terms": int(in_planted.sum()) if len(planted) else None,
        "control_agreement": agreement(table, layer),
        "published_text": f"at {below(alpha, 'p')}, uncorrected: {nominal}",
        "corrected_text": best,
        "interval_text": text,
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


def _best(rows: pd.DataFrame) -> str:
    """The first row in words."""
    row = rows.iloc[0]
    return f"{row.term} (q {row.ranked_q:.2g}, fold {row.fold:.1f})"


def _untestable(why: str) -> dict[str, Any]:
    """Metrics where no term could be tested."""
    names = (
        "powered",
        "significant_groups",
        "random_significant_share",
        "random_region_share",
        "random_plain_share",
    )
    texts = (
        "planted_terms",
        "control_agreement",
        "published_text",
        "corrected_text",
        "interval_text",
    )
    return {"testable": False, "why_untestable": why, **dict.fromkeys((*names, *texts))}
