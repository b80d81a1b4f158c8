"""Stage genesets: processes of the genes near the bins where features fire, against the genes near all bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.annotation.families import CONTROLS, for_disk, share_of_draws, with_q
from petriscope.annotation.genes import link_genes, read_genes
from petriscope.annotation.genesets import enrich_gene_sets, read_gmt
from petriscope.annotation.intervals import Intervals
from petriscope.data.dataset import load_dataset
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.params import Params
from petriscope.store import layer_of_claims, load_foregrounds
from petriscope.workspace import Workspace

COLUMNS = (
    *("rank", "term", "ln_p", "q", "fold", "overlap", "set_size", "query", "adjusted_ln_p", "adjusted_q"),
    *("region_ln_p", "region_q", "collection"),
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/genesets/enrichment.csv: groups x terms of every collection, q over all of them."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    fore = load_foregrounds(workspace)
    genes = read_genes(dataset.genes)
    links = link_genes(Intervals.of(fore.bins), genes.frame)
    smallest, largest = params.annotation.geneset_sizes
    inside = fore.strata.code >= 0
    names = fore.groups.group.to_numpy()
    groups = fore.groups.drop(columns=["size", "dropped"])
    tables, terms, notes = [], {}, []
    for collection, path in dataset.genesets.items():
        try:
            found = enrich_gene_sets(
                fore.matrix, links, read_gmt(path), features=names, universe=inside, min_size=smallest, max_size=largest
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
    for test in ("adjusted", "region"):
        table = with_q(table, sum(terms.values()), ln_p=f"{test}_ln_p", q=f"{test}_q")
    family = int((~fore.groups.kind.isin(CONTROLS)).sum()) * sum(terms.values())
    with atomic_folder(workspace.table("genesets")) as folder:
        write_csv(folder / "enrichment.csv", for_disk(table))
    metrics = _metrics(table, layer_of_claims(workspace, params), params.annotation.random_draws)
    return {"terms": terms, "notes": notes, "family": family, **metrics}


def _metrics(table: pd.DataFrame, layer: int, draws: int) -> dict[str, Any]:
    """Significant terms of the lineage groups at the claims' layer; random bins as control.

    Genes are the units, adjusted for how many bins reach each gene. The region test stands second: bins cluster, so as
    units they overstate what is known. The published form is the plain gene test, uncorrected.
    """
    chosen = table[(table.kind == "lineage") & (table.layer == layer)]
    if chosen.empty:
        return _untestable("no context features fire near a gene of any tested process")
    by_group = chosen.sort_values("adjusted_ln_p", kind="stable").groupby("group", sort=True)
    significant = chosen[chosen.adjusted_q < 0.05].groupby("group").size()
    share = share_of_draws(table, draws, "adjusted_q")
    best = "; ".join(
        f"{name}: {f.iloc[0].term} (q {f.iloc[0].adjusted_q:.2g}, fold {f.iloc[0].fold:.1f})" for name, f in by_group
    )
    nominal = "; ".join(f"{name}: {int((f.ln_p < np.log(0.05)).sum())} terms" for name, f in by_group)
    regions = int((chosen.region_q < 0.05).sum())
    return {
        "testable": True,
        "why_untestable": None,
        "significant_groups": len(significant),
        "random_significant_share": share,
        "random_region_share": share_of_draws(table, draws, "region_q"),
        "random_plain_share": share_of_draws(table, draws),
        "published_text": f"at p < .05, uncorrected: {nominal}",
        "corrected_text": best,
        "interval_text": f"{int(significant.sum())} terms at q < .05 in {len(significant)} of {len(by_group)} lineage groups "
        f"({regions} by regions); random draws with a significant term: {share:.0%} of {draws}"
        if share is not None
        else "no random draws",
    }


def _untestable(why: str) -> dict[str, Any]:
    """Metrics where no term could be tested."""
    names = ("significant_groups", "random_significant_share", "random_region_share", "random_plain_share")
    texts = ("published_text", "corrected_text", "interval_text")
    return {"testable": False, "why_untestable": why, **dict.fromkeys((*names, *texts))}
