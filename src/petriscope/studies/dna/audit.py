"""The audit of Hidden State Genomics recomputes from the authors' released tables what their paper
states, and what the same tables say beyond it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.enrich.genesets import GeneSets, enrich_genes, read_gmt
from petriscope.errors import UserError
from petriscope.graph.centrality import DAMPING, TOLERANCE, iterate
from petriscope.run.released import UNCHANGED, read_released
from petriscope.studies.dna.graph import Printed, lone_token_fold_change, printed_pagerank
from petriscope.textfile import text_lines

GRAPHS = ("binding", "non_binding")
LISTS = {"binding": "genes_pos_multiedge.txt", "non-binding": "genes_neg_multiedge.txt"}
ONTOLOGIES = ("BP", "CC", "MF")
NUMBERS = {
    "graphs.tsv": (
        *("multigraph_nodes", "multigraph_edges", "digraph_nodes", "digraph_edges"),
        "feature_nodes",
    ),
    "pagerank_unique_features.tsv": ("feature", "pagerank"),
    "pagerank_logfc_top.tsv": ("feature", "log10_fold_change"),
    "cnn_heads_by_layer.tsv": (
        *("layer", "accuracy", "precision", "recall", "n_non_binding", "n_binding"),
    ),
    "interventions.tsv": (
        *("feature", "min_act", "act_factor", "accuracy", "auc", "baseline_accuracy"),
        *("baseline_auc", "n_non_binding", "n_binding"),
    ),
    "onehot_classifier_runs.tsv": ("auc",),
    "feature_firing_20_sequences.tsv": ("feature", "mean", "nonzero_percent"),
    **{f"go_neg_{x}.tsv.gz": ("pvalue", "qvalue") for x in ONTOLOGIES},
}
"""Released table → its columns of numbers that are used."""
WORDS = {
    "graphs.tsv": ("graph",),
    "pagerank_unique_features.tsv": ("graph",),
    "cnn_heads_by_layer.tsv": ("head",),
    "interventions.tsv": ("folder",),
    "onehot_classifier_runs.tsv": ("log", "run"),
    **{f"go_neg_{x}.tsv.gz": ("BgRatio",) for x in ONTOLOGIES},
}
FILES = (*NUMBERS, *LISTS.values())
SEQUENCES = "cisplatin_100bp.tsv.gz"
"""The short sequences, beside the tables or one folder above; not every copy has them."""
CLAMPED_FEATURES = (407, 6445)
"""The two edited features whose firing was printed."""
STRONG = 10
"""The clamp and the factor of the strongest setting of the interventions."""
GO_Q = 0.01


class Ranked(NamedTuple):
    """One published graph, and where its PageRank stopped."""

    nodes: int
    sequences: int
    features: int
    tokens: float
    """distinct tokens of a sequence, a mean"""
    printed: Printed
    """what its PageRank values say of shares"""
    moving: float
    """share of the mass that the last step still moved"""


@dataclass
class Rows:
    """The table while it grows."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, claim: str, stated: float | str, recomputed: float | str, how: str) -> None:
        """One line."""
        self.rows.append({"claim": claim, "stated": stated, "recomputed": recomputed, "how": how})


def audit(
    tables: Mapping[str, pd.DataFrame],
    genes: Mapping[str, Sequence[str]],
    sequences: pd.DataFrame | None = None,
    sets: GeneSets | None = None,
) -> pd.DataFrame:
    """Recompute the published quantities.

    Parameters: ``tables`` — the released tables by file name; ``genes`` — the released gene lists,
    binding and non-binding; ``sequences`` — the table of short sequences; ``sets`` — a collection
    to test the gene lists for. Returns columns claim, stated, recomputed, how.
    """
    rows = Rows()
    graphs = {name: ranked(tables["graphs.tsv"], name) for name in GRAPHS}
    _graphs(rows, tables["graphs.tsv"], graphs)
    _pagerank(rows, tables, graphs)
    _heads(rows, tables["cnn_heads_by_layer.tsv"])
    _interventions(rows, tables["interventions.tsv"], tables["feature_firing_20_sequences.tsv"])
    _rivals(rows, tables["onehot_classifier_runs.tsv"], sequences)
    _terms(rows, tables, genes, sets)
    return pd.DataFrame(rows.rows)


def ranked(graphs: pd.DataFrame, name: str) -> Ranked:
    """PageRank of a published graph, as far as its counts tell: in a graph whose edges all lead
    from a sequence to a feature it is a recursion in two numbers.

    The sequences are those with a token that no earlier edge replaced (the nodes of the collapsed
    graph that are no features).
    """
    row = graphs.set_index("graph").loc[name]
    nodes, features = int(row.digraph_nodes), int(row.feature_nodes)
    sequences = nodes - features
    found = iterate(sequences, features)
    previous_mass = (nodes * found.sequence - (1 - DAMPING)) / DAMPING
    moving = sequences * abs(found.sequence - found.before) + abs(found.features - previous_mass)
    tokens = row.multigraph_edges / sequences
    return Ranked(nodes, sequences, features, tokens, printed_pagerank(nodes, features), moving)


def _graphs(rows: Rows, table: pd.DataFrame, graphs: Mapping[str, Ranked]) -> None:
    """Densities, sequences lost, features removed."""
    of = table.set_index("graph")
    density = of.multigraph_edges / (of.multigraph_nodes * (of.multigraph_nodes - 1))
    for name, stated in zip(GRAPHS, (4.01e-3, 2.16e-2)):
        edges, nodes = int(of.multigraph_edges[name]), int(of.multigraph_nodes[name])
        rows.add(
            f"graph {name}: density",
            stated,
            float(density[name]),
            f"{edges:,} edges / ({nodes:,} x {nodes - 1:,}), parallel edges counted",
        )
    rows.add(
        "graph: density, non-binding over binding",
        "ten-fold",
        float(density["non_binding"] / density["binding"]),
        "of sequences about five times as long",
    )
    for name, stated, removed in zip(GRAPHS, (2071, 3039), (1000, 2000)):
        graph = graphs[name]
        rows.add(
            f"graph {name}: features", stated, graph.features, f"of {graph.sequences:,} sequences"
        )
        rows.add(
            f"graph {name}: distinct tokens per sequence",
            "not stated",
            graph.tokens,
            f"{int(of.multigraph_edges[name]):,} edges / {graph.sequences:,} sequences with one",
        )
        lost = int(of.multigraph_nodes[name] - of.digraph_nodes[name])
        rows.add(
            f"graph {name}: nodes lost when edges are summed",
            "not stated",
            lost,
            "sequences all of whose tokens had an edge before",
        )
        rows.add(
            f"graph {name}: share of features removed before the k-core picture, %",
            "approximately 50",
            100 * removed / graph.features,
            f"{removed:,} of {graph.features:,}",
        )


def _pagerank(rows: Rows, tables: Mapping[str, pd.DataFrame], graphs: Mapping[str, Ranked]) -> None:
    """Where PageRank stopped, the shares behind the printed values, and fold changes."""
    unique = tables["pagerank_unique_features.tsv"]
    for name, graph in graphs.items():
        limit = f"L1 change below {graph.nodes:,} x {TOLERANCE:g}"
        rows.add(
            f"PageRank {name}: iterations",
            "not stated",
            graph.printed.iterations,
            f"stops at {limit}",
        )
        rows.add(
            f"PageRank {name}: mass still moving at the stop, %",
            "not stated",
            100 * graph.moving,
            "of the last step",
        )
        rows.add(
            f"PageRank {name}: value of every sequence",
            "not stated",
            graph.printed.sequence,
            f"converged 1 / (N + {DAMPING} S) = "
            f"{1 / (graph.nodes + DAMPING * graph.sequences):.5g}",
        )
        mine = unique[unique.graph == name]
        inverse = 1 / graph.printed.shares(mine.pagerank.to_numpy())
        near = np.abs(inverse - np.round(inverse)) < 1e-6
        for value in sorted(set(np.round(inverse[near & (inverse > 1.5)])), reverse=True):
            chosen = near & (np.round(inverse) == value)
            features = ", ".join(str(int(x)) for x in mine.feature[chosen])
            off = np.abs(inverse[chosen] - value).max()
            rows.add(
                f"PageRank {name}: 1 / share of feature {features}",
                "a hub",
                round(value),
                f"one token of one sequence with {int(value)} distinct tokens; off by {off:.0e}",
            )
    binding, other = (graphs[name] for name in GRAPHS)
    rows.add(
        "PageRank: log10 fold change of a feature equally rare in both graphs",
        "0",
        math.log10(binding.printed.sequence / other.printed.sequence),
        "the two graphs have different constants",
    )
    top = tables["pagerank_logfc_top.tsv"].sort_values(
        "log10_fold_change", ascending=False, kind="stable"
    )
    once = (binding.sequences / binding.tokens, other.sequences / other.tokens)
    fold_change = lone_token_fold_change(binding.printed, other.printed, once)
    first, second = (f"{r.log10_fold_change:g} (f{int(r.feature)})" for r in top[:2].itertuples())
    rows.add(
        "PageRank: log10 fold change of a feature that is strongest at <cls> alone",
        f"largest {first}, then {second}",
        f"{fold_change:.3f}",
        f"one token of {binding.tokens:.1f} against one of {other.tokens:.1f}",
    )


def _heads(rows: Rows, table: pd.DataFrame) -> None:
    """The heads by layer: their errors are those of a length detector."""
    of = {name: part.set_index("layer") for name, part in table.groupby("head")}
    embedding, feature = of["Embedding"], of["Feature"]
    both = embedding.accuracy.to_frame("embedding").join(feature.accuracy.rename("feature"))
    called = embedding.recall * embedding.n_binding / embedding.precision
    wrong = (called - embedding.recall * embedding.n_binding).round()
    last = int(embedding.index.max())
    rows.add(
        "heads: accuracy of the embedding head, %",
        "96-99",
        f"{100 * embedding.accuracy.min():.1f}-{100 * embedding.accuracy.max():.1f}",
        f"best at layer {int(embedding.accuracy.idxmax())}",
    )
    rows.add(
        "heads: embedding heads with recall 1",
        "not stated",
        int((embedding.recall == 1).sum()),
        f"of {len(embedding)}: no binding sequence is missed among "
        f"{int(embedding.n_binding.iloc[0]):,}",
    )
    rows.add(
        f"heads: false positives of layer {last}",
        "not stated",
        int(wrong[last]),
        f"recall x positives x (1 / precision - 1); {int(wrong.min())}-{int(wrong.max())} over "
        f"layers, of {int(embedding.n_non_binding.iloc[0]):,}",
    )
    for name, part in of.items():
        rho = float(stats.spearmanr(part.index, part.accuracy).statistic)
        rows.add(
            f"heads: Spearman of accuracy with depth, {name.lower()} head",
            "not stated",
            f"{rho:.2f}",
            f"{len(part)} layers",
        )
    rows.add(
        "heads: layers in which the feature head is above the embedding head",
        "not stated",
        int((both.feature > both.embedding).sum()),
        f"of {len(both)}; closest at layer {int((both.feature - both.embedding).idxmax())}",
    )


def _interventions(rows: Rows, table: pd.DataFrame, firing: pd.DataFrame) -> None:
    """Edits of the ten features: collapses, baselines, the strongest setting, firing."""
    main = table[table.folder.isin(["positive", "negative"])]
    share = main.n_binding / (main.n_binding + main.n_non_binding)
    one_class = np.isclose(main.accuracy, share) | np.isclose(main.accuracy, 1 - share)
    count = {name: int(one_class[main.folder == name].sum()) for name in ("positive", "negative")}
    size = main.folder.value_counts()
    sides = ("positive", "negative")
    exact = stats.fisher_exact([[count[x], int(size[x]) - count[x]] for x in sides]).pvalue
    for name, claim, said in (
        ("positive", "binding", "a dimmer"),
        ("negative", "non-binding", "an off switch"),
    ):
        rows.add(
            f"edits of {claim} features: settings in which one class is predicted for all",
            said,
            count[name],
            f"of {int(size[name])}; accuracy is a class's share; Fisher p of both {exact:.2f}",
        )
    always = [
        f"f{int(name)}"
        for name, part in main.assign(one=one_class).groupby("feature")
        if part.one.all()
    ]
    rows.add(
        "edits: features that collapse in all their settings",
        "off switches",
        ", ".join(always) or "none",
        f"of {main.feature.nunique()}",
    )
    process = main[["folder", "min_act", "act_factor"]].drop_duplicates()
    sizes = "/".join(str(int(main[f"n_{x}"].iloc[0])) for x in ("non_binding", "binding"))
    rows.add(
        "edits: different baseline AUCs",
        "one baseline",
        int(main.baseline_auc.nunique()),
        f"of {len(process)} processes; {main.baseline_accuracy.nunique()} accuracies; all on "
        f"{sizes} sequences",
    )
    strong = main[(main.min_act == STRONG) & (main.act_factor == STRONG)]
    auc = {name: strong[strong.folder == name].auc.to_numpy() for name in sides}
    separate = float(stats.mannwhitneyu(auc["positive"], auc["negative"], method="exact").pvalue)
    ranges = [f"{v.min():.3f}-{v.max():.3f}" for v in auc.values()]
    floor = 2 / math.comb(sum(map(len, auc.values())), len(auc["positive"]))
    rows.add(
        f"edits: AUC at clamp {STRONG}, factor {STRONG}, binding against non-binding features",
        "the two differ",
        " against ".join(ranges),
        f"exact p {separate:.4f}, its floor {floor:.4f}",
    )
    known = firing.set_index("feature").reindex(CLAMPED_FEATURES).dropna()
    rows.add(
        "edits: firing of edited features, % of binding tokens",
        "sparse",
        ", ".join(f"f{int(f)} {r.nonzero_percent:.0f}" for f, r in known.iterrows()),
        "mean activation " + ", ".join(f"{x:.1f}" for x in known["mean"]),
    )
    percent = firing.nonzero_percent
    rows.add(
        "features: firing, % of the tokens of 20 binding sequences",
        "sparse, monosemantic",
        f"{percent.min():.0f}-{percent.max():.0f}",
        f"{len(firing)} features shown",
    )


def _rivals(rows: Rows, runs: pd.DataFrame, sequences: pd.DataFrame | None) -> None:
    """One-hot classifiers with and without duplicates, and the sequences they read."""
    auc = {name: part.sort_values("run").auc for name, part in runs.groupby("log")}
    for name, claim, value, how in (
        ("log_test", "with duplicates", auc["log_test"].median(), "median"),
        ("log_test_nodup", "without duplicates", auc["log_test_nodup"].iloc[-1], "the last"),
        ("log_shuffled", "labels shuffled", auc["log_shuffled"].median(), "median"),
    ):
        flat = int((auc[name] < 0.51).sum())
        rows.add(
            f"one-hot CNN, {claim}: AUC",
            "not stated",
            f"{value:.3f}",
            f"{how} of {len(auc[name])} runs, {flat} of them at chance",
        )
    if sequences is None:
        rows.add("sequences of 100 bp", "not stated", "not recomputed", f"no {SEQUENCES} here")
        return
    label = sequences.label.to_numpy() == 1
    text = sequences.sequence
    rows.add(
        "sequences of 100 bp: rows",
        "not stated",
        len(sequences),
        f"{int(label.sum()):,} binding; {sequences.group.nunique():,} groups of loci and "
        f"homologues; {int(text.duplicated().sum()):,} repeat an earlier one",
    )
    gc = (text.str.count("G") + text.str.count("C")) / text.str.len()
    for name, score in (("GC content", gc), ("authors' one-hot CNN", sequences.onehot_cnn_score)):
        rank = stats.rankdata(score)[label].sum() - label.sum() * (label.sum() + 1) / 2
        area = rank / (label.sum() * (~label).sum())
        rows.add(
            f"sequences of 100 bp: AUC of {name}",
            "not stated",
            f"{area:.3f}",
            "all of one length, which tells nothing",
        )


def _terms(
    rows: Rows,
    tables: Mapping[str, pd.DataFrame],
    genes: Mapping[str, Sequence[str]],
    sets: GeneSets | None,
) -> None:
    """Enriched terms as released, and in the universe of the genes that could be drawn."""
    for name in ONTOLOGIES:
        released = tables[f"go_neg_{name}.tsv.gz"]
        universe = released.BgRatio.iloc[0].split("/")[-1]
        rows.add(
            f"GO {name}, non-binding: terms released",
            "functional terms",
            len(released),
            f"universe {universe}, all annotated genes",
        )
    both = set(genes["binding"]) & set(genes["non-binding"])
    rows.add(
        "gene lists: genes in both",
        "not stated",
        len(both),
        " and ".join(f"{len(names):,} {name}" for name, names in genes.items()),
    )
    if sets is None:
        return
    annotated = {symbol for symbols in sets.sets.values() for symbol in symbols}
    drawn = {gene.upper() for names in genes.values() for gene in names} & annotated
    if not drawn:
        what = "none of its genes is in the released lists"
        raise UserError(what, field="--genesets", remedy="Give gene sets of human gene symbols.")
    for words, universe in (("all annotated genes", annotated), ("the two lists", drawn)):
        for name, names in genes.items():
            table = enrich_genes(names, sets, universe)
            rows.add(
                f"gene list {name}: terms at q < {GO_Q:g}, universe {words}",
                "functional terms" if universe is annotated else "not stated",
                int((table.q < GO_Q).sum()),
                f"hypergeometric over {len(universe):,} genes, BH over {len(table):,} terms",
            )


def read_tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The released tables. Raises `UserError` naming a file, line or column that is wrong."""
    folder = Path(folder)
    tables = {
        name: read_released(folder / name, numbers, WORDS.get(name, ()))
        for name, numbers in NUMBERS.items()
    }
    for name, column, values in (
        ("graphs.tsv", "graph", GRAPHS),
        ("pagerank_unique_features.tsv", "graph", GRAPHS),
        ("cnn_heads_by_layer.tsv", "head", ("Embedding", "Feature")),
        ("interventions.tsv", "folder", ("positive", "negative")),
        ("onehot_classifier_runs.tsv", "log", ("log_test", "log_test_nodup", "log_shuffled")),
    ):
        absent = [value for value in values if value not in set(tables[name][column])]
        if absent:
            what = f"has no row of {absent[0]}"
            raise UserError(what, file=folder / name, field=column, remedy=UNCHANGED)
    return tables


def read_genes(folder: str | Path) -> dict[str, list[str]]:
    """The released gene lists, a symbol a line. Raises `UserError` for an empty one."""
    lists = {}
    for name, file in LISTS.items():
        lists[name] = [line.strip() for line in text_lines(Path(folder) / file) if line.strip()]
        if not lists[name]:
            raise UserError("holds no gene", file=Path(folder) / file, remedy=UNCHANGED)
    return lists


def audit_folder(folder: Path, genesets: Path | None) -> pd.DataFrame:
    """`audit` of the tables in ``folder``."""
    path = next((p for p in (folder / SEQUENCES, folder.parent / SEQUENCES) if p.is_file()), None)
    numbers = ("label", "group", "onehot_cnn_score")
    sequences = None if path is None else read_released(path, numbers, ("sequence",))
    sets = None if genesets is None else read_gmt(genesets)
    return audit(read_tables(folder), read_genes(folder), sequences, sets)
