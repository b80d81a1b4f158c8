"""Stage graph: the graph of sequences and features as published, under its controls, and corrected;
which features fire at other rates in the two classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.graph.export import write_graphml
from petriscope.graph.rate_test import RateTest
from petriscope.probe.tokens import Tokens
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import load_dataset, read_truth
from petriscope.studies.dna.data.lengths import compare_lengths
from petriscope.studies.dna.graph import top_both_ways
from petriscope.studies.dna.graph_tables import (
    MATCHED,
    NULL,
    SIDES,
    Coded,
    Comparable,
    Hubs,
    Matched,
    Naive,
    Tested,
    comparable,
    compare_rates,
    control_graphs,
    control_tests,
    cores_table,
    curves_table,
    draws_table,
    edge_table,
    features_table,
    graph_row,
    hubs,
    matched_graphs,
    motif_features,
    naive,
    neighbors,
    single_curves,
    spans_motif,
)
from petriscope.studies.dna.graph_tables import few as few_of
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import Sequences, load_sequences

DRAWN = ("as published", "corrected")
"""Graphs whose fragmentation and cores are written beside those of the length-matched draws."""


@dataclass(frozen=True)
class Found:
    """The numbers of the claims `kg-few` and `kg-diff`; by class where mappings have positive and
    negative."""

    untestable: str | None
    layer: int | None = None
    classes: dict[str, str] | None = None
    sequences: dict[str, int] | None = None
    duplicates: int | None = None
    """sequences with the bases of an earlier one, which are counted once"""
    length_shared: float | None = None
    cropped: int | None = None
    """tokens compared of each sequence where lengths do not overlap; None where all are"""
    random_init: bool | None = None
    # kg-few
    features_published: dict[str, int] | None = None
    density_published: dict[str, float] | None = None
    iterations: dict[str, int] | None = None
    """after which PageRank as published stopped"""
    matched: int | None = None
    """sequences of either class in a length-matched draw"""
    draws: int | None = None
    nulls: int | None = None
    features_matched: dict[str, float] | None = None
    """median over the draws"""
    features_fewer: dict[str, float] | None = None
    """features of the negative minus of the positive class, length-matched: median of the draws,
    low and high (2.5 and 97.5 %)"""
    features_fewer_null: dict[str, float] | None = None
    """the same with edges dealt out anew, every degree kept"""
    features_fewer_p: float | None = None
    """share of those at least as large as the median of the draws, (b + 1) / (n + 1)"""
    density_ratio: dict[str, float] | None = None
    """density of the negative over the positive class, length-matched: median and limits"""
    # kg-diff
    tested: int | None = None
    units: int | None = None
    """independent units in strata with both classes"""
    permutations: int | None = None
    significant: int | None = None
    """features with maxT p below alpha on splits train and select"""
    significant_held_out: int | None = None
    kept: dict[str, int | None] | None = None
    """of them, how many remain under each control of controls.csv"""
    significant_controls: dict[str, int] | None = None
    top: int | None = None
    """features on either side of a ranking"""
    truth: str | None = None
    """planted or held-out"""
    truth_features: int | None = None
    at_top: dict[str, float | None] | None = None
    """share of the true ones among the top of both sides"""
    precision_rate: float | None = None
    """of as many top features as are true, those that are; ranked by the rate test"""
    precision_in_degree: float | None = None
    precision_pagerank: float | None = None
    rho_pagerank_share: dict[str, float | None] | None = None
    """rank correlation with mean share, 1 by construction"""
    rho_pagerank_in_degree: dict[str, float | None] | None = None
    rho_differences: float | None = None
    """of fold changes by PageRank and by in-degree"""
    naive_named: int | None = None
    """features that the published fold change names, on both sides"""
    naive_special: int | None = None
    """of them, named by `<cls>` or single bases for the most part"""
    naive_unsupported: int | None = None
    """of them, not found by the rate test in that direction"""
    naive_flagged: bool | None = None
    """lengths do not overlap, or the published fold change names features of special tokens"""


class Parts(NamedTuple):
    """What the tables are written from, and the numbers read."""

    coded: Coded
    limits: Comparable
    tests: Tested
    graphs: dict[str, dict[str, sp.csr_matrix]]
    matched: Matched
    features: pd.DataFrame
    controls: pd.DataFrame
    ranked: Hubs
    named: Naive


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/graph/: features.csv, graphs.csv, fragmentation.csv, cores.csv, controls.csv,
    duplicates.csv, edges.parquet (all features), neighbors.parquet, graph.graphml (the features on
    either side of the forest)."""
    given, layers = load_sequences(workspace), encoded_layers(workspace.codes)
    layer = chosen_layer(params.layer, max(layers), "layer")
    if given.positive is None:
        why = "no sequence has a class"
        write_not_run(workspace.table("graph"), why)
        return Found(untestable=why)
    coded = read_coded(workspace, given, workspace.codes, layer)
    below = workspace.table("random_init") / "codes"
    random_init = read_coded(workspace, given, below, layer) if below.is_dir() else None
    stability = pd.read_parquet(workspace.sae / "stability.parquet")
    stable = stability[stability.layer == layer].sort_values("feature").stability.to_numpy()
    planted = planted_features(workspace, params, coded)
    parts = everything(params, coded, random_init, stable, planted)
    with atomic_folder(workspace.table("graph")) as out:
        write_tables(out, parts, params.graph.top)
    words = dict(zip(SIDES, (str(given.positive), str(given.negative))))
    numbers = measured(parts, words, params)
    return Found(layer=layer, classes=words, random_init=random_init is not None, **numbers)


def everything(
    params: Params,
    coded: Coded,
    random_init: Coded | None,
    stable: np.ndarray,
    planted: np.ndarray | None,
) -> Parts:
    """All that is computed."""
    alpha, top = params.cds.alpha, params.graph.top
    options: dict[str, Any] = {
        "permutations": params.cds.permutations,
        "seed": params.seed,
        "min_tokens": params.cds.min_events,
    }
    limits = comparable(coded, params.graph.length_bin)
    tests = compare_rates(coded, limits, **options)
    graphs = dict(control_graphs(coded, random_init))
    draws, nulls = params.graph.draws, params.graph.curveball
    matched = matched_graphs(coded, draws=draws, nulls=nulls, seed=params.seed)
    features = features_table(tests, graphs["as published"], stable)
    controls = control_tests(coded, limits, tests.main, random_init, alpha=alpha, **options)
    ranked = hubs(coded, tests, planted, k=top, alpha=alpha)
    named = naive(coded, features, k=top, alpha=alpha)
    return Parts(coded, limits, tests, graphs, matched, features, controls, ranked, named)


def write_tables(out: Path, parts: Parts, top: int) -> None:
    """Write all tables into a folder."""
    graphs, matched = parts.graphs, parts.matched
    rows = [graph_row(n, side, one) for n, pair in graphs.items() for side, one in pair.items()]
    drawn = [draws_table(MATCHED, matched.sizes), draws_table(NULL, matched.null_sizes)]
    write_csv(out / "graphs.csv", pd.concat([pd.DataFrame(rows), *drawn], ignore_index=True))
    curves = [single_curves(name, graphs[name]) for name in DRAWN]
    curves += [curves_table(MATCHED, matched.curves), curves_table(NULL, matched.null_curves)]
    write_csv(out / "fragmentation.csv", pd.concat(curves, ignore_index=True))
    cores = [cores_table(name, graphs[name]) for name in DRAWN]
    write_csv(out / "cores.csv", pd.concat(cores, ignore_index=True))
    write_csv(out / "controls.csv", parts.controls)
    write_csv(out / "features.csv", parts.features)
    write_csv(out / "duplicates.csv", duplicates(parts.coded))
    write_edges(out, parts.coded, parts.tests, parts.features, top)


def measured(parts: Parts, words: dict[str, str], params: Params) -> dict[str, Any]:
    """The numbers of the claims."""
    coded, features, controls = parts.coded, parts.features, parts.controls
    main, ranked, named, alpha = parts.tests.main, parts.ranked, parts.named, params.cds.alpha
    cropped, few = parts.limits.cropped, few_of(parts.matched)
    lengths = compare_lengths(coded.frame.sequence.str.len().to_numpy(), coded.target)
    refusal = lengths.refusal(words["positive"], words["negative"])
    published = {side: graph_row("", side, w) for side, w in parts.graphs["as published"].items()}
    names = ("rate", "in_degree", "pagerank")
    return {
        "untestable": refusal if cropped is not None else why_not(main, few is not None),
        "sequences": dict(zip(SIDES, (int(coded.target.sum()), int((~coded.target).sum())))),
        "duplicates": int((~coded.first).sum()),
        "length_shared": parts.limits.shared,
        "cropped": cropped,
        "features_published": {side: row["features"] for side, row in published.items()},
        "density_published": {side: row["density_multigraph"] for side, row in published.items()},
        "iterations": features.attrs["iterations"],
        "draws": params.graph.draws,
        "nulls": params.graph.curveball,
        **({} if few is None else few._asdict()),
        "tested": main.tested,
        "units": main.units,
        "permutations": main.permutations,
        "significant": int((features.p_maxt < alpha).sum()),
        "significant_held_out": int((features.p_maxt_held_out < alpha).sum()),
        "kept": {
            r.control: None if pd.isna(r.kept) else int(r.kept) for r in controls.itertuples()
        },
        "significant_controls": dict(zip(controls.control, map(int, controls.significant))),
        "top": ranked.k,
        "truth": ranked.truth,
        "truth_features": ranked.features,
        **{f"precision_{name}": getattr(ranked, name) for name in names},
        "at_top": {name: getattr(ranked, f"{name}_at_k") for name in names},
        "rho_pagerank_share": ranked.rho_share,
        "rho_pagerank_in_degree": ranked.rho_in_degree,
        "rho_differences": ranked.rho_differences,
        "naive_named": named.named,
        "naive_special": named.special,
        "naive_unsupported": named.unsupported,
        "naive_flagged": cropped is not None or named.special > 0,
    }


def read_coded(workspace: Workspace, given: Sequences, codes: Path, layer: int) -> Coded:
    """The labeled sequences with the codes of one layer below a folder."""
    places, window = load_places(workspace), Tokens.load(workspace.tokens).window
    labeled = given.frame.label.notna().to_numpy()
    frame = given.frame[labeled].reset_index(drop=True)
    here = frame.chrom.notna()
    strand = frame.strand.where(frame.strand.notna(), "+")
    place = frame.chrom.astype(str) + ":" + frame.start.astype("Int64").astype(str)
    place += "-" + frame.end.astype("Int64").astype(str) + "(" + strand.astype(str) + ")"
    frame = frame.assign(name=place.where(here, frame.id.astype(str)))
    number, kept = np.cumsum(labeled) - 1, labeled[window]
    every = encoded_layers(codes)[layer].codes()
    chosen = every if kept.all() else rows_of(every, kept)
    side = (frame.label == given.positive).to_numpy(bool)
    token, width = places.id.to_numpy()[kept], places.width.to_numpy()[kept]
    return Coded(frame, side, chosen, number[window[kept]], token, width, int(token.max()) + 1)


def rows_of(codes: Codes, kept: np.ndarray) -> Codes:
    """The codes of some rows (bool)."""
    counts = np.diff(codes.indptr)
    entries = np.repeat(kept, counts)
    indptr = np.r_[0, np.cumsum(counts[kept])]
    indices, values = np.asarray(codes.indices)[entries], np.asarray(codes.values)[entries]
    return Codes(indptr, indices, values, codes.m)


def why_not(main: RateTest, matched: bool) -> str | None:
    """Why the classes cannot be compared."""
    if not main.tested:
        return "no feature fires often enough in sequences that may be compared"
    return None if matched else "no two sequences of different class have the same length"


def planted_features(workspace: Workspace, params: Params, coded: Coded) -> np.ndarray | None:
    """The features of the planted motif; none where labels are random, None where nothing is
    planted."""
    path = load_dataset(workspace.dataset(params.dataset)).truth
    if path is None:
        return None
    truth = read_truth(path)
    if truth.world["label"] != "motif":
        return np.zeros(0, np.int64)
    start = load_places(workspace).start.to_numpy()
    labels = load_sequences(workspace).frame.label.notna().to_numpy()
    labeled = labels[Tokens.load(workspace.tokens).window]
    motif = truth.elements[truth.elements.kind == "motif"]
    inside = spans_motif(coded, start[labeled], motif)
    return motif_features(coded.counted(), coded.counted(inside), min_tokens=params.cds.min_events)


def duplicates(coded: Coded) -> pd.DataFrame:
    """Columns id, same_as: sequences with the bases of an earlier one."""
    first = coded.frame.groupby("sequence", sort=False).id.transform("first")
    table = pd.DataFrame({"id": coded.frame.id, "same_as": first})
    return table[~coded.first].reset_index(drop=True)


def write_edges(out: Path, coded: Coded, tests: Tested, features: pd.DataFrame, top: int) -> None:
    """The corrected graph for other programs, and the neighbors of each feature."""
    ids = coded.frame.id.astype(str).tolist()
    write_parquet(out / "edges.parquet", edge_table(tests.found, ids))
    write_parquet(out / "neighbors.parquet", neighbors(tests.found, ids))
    shown = top_both_ways(features.t.to_numpy(), top)
    edges = edge_table(tests.found, ids, shown)
    table = features.iloc[np.sort(shown)]
    kept = np.isin(ids, edges.source.unique())
    sides = np.where(coded.target, *SIDES)
    nodes = [
        pd.DataFrame(
            {"id": np.asarray(ids, object)[kept], "type": "sequence", "side": sides[kept]}
        ),
        pd.DataFrame({"id": table.feature.map("f{}".format), "type": "feature"}).assign(
            log_ratio=table.log_ratio, t=table.t, p_maxt=table.p_maxt
        ),
    ]
    edges = edges.assign(target=edges.target.map("f{}".format))
    write_graphml(out / "graph.graphml", pd.concat(nodes, ignore_index=True), edges)
