"""The published graph as `seqfeatKG.py` makes it of given latents, and what the notebook and
networkx compute of it: edges, weights, PageRank, fold changes, cores and fragmentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.graph.bipartite import density, strongest
from petriscope.graph.centrality import log_ratio, pagerank, pagerank_iterated
from petriscope.graph.cores import core_numbers
from petriscope.graph.fragmentation import fragmentation
from petriscope.run.fixtures import Compared, FixtureKind, read_fixture, worst
from petriscope.sae.codes import Codes
from petriscope.studies.dna.graph import (
    PUBLISHED,
    Form,
    Record,
    SequenceGraph,
    TokenRows,
    annotations_of,
    node_link,
    sequence_graph,
)
from petriscope.studies.dna.model.tokens import LIMITS, tokenize, vocabulary
from petriscope.studies.dna.model.tokens import Form as Vocabulary

FORM: Vocabulary = "v1"
CONVERGED, ITERATED = 1e-12, 1e-9
"""Largest absolute errors of PageRank; what counts is exact."""
SUFFIX = {".json": ".npz", ".npz": ".json"}


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each value of the two files beside ours; the other one lies beside the one given."""
    other = path.with_suffix(SUFFIX[path.suffix])
    if not other.is_file():
        remedy = f"Put {other.name} beside it: graph and latents are two files of one name."
        raise UserError("lacks its other half", file=path, remedy=remedy)
    both = {path.suffix: entries, other.suffix: read_fixture(other)}
    return list(_compared(both[".json"], both[".npz"]))


def fixture_graphs(
    wanted: Mapping[str, Any], latents: Mapping[str, Any], form: Form = PUBLISHED
) -> dict[str, SequenceGraph]:
    """The graph of each class of a fixture."""
    m = int(wanted["latents"])
    return {
        name: _graph(one["sequences"], name, latents, m, form)
        for name, one in wanted["classes"].items()
    }


def _graph(
    sequences: list[dict[str, str]], name: str, latents: Mapping[str, Any], m: int, form: Form
) -> SequenceGraph:
    parts = []
    for i, one in enumerate(sequences):
        table = tokenize(one["sequence"], FORM, strict=True, limit=LIMITS[FORM])
        shape = tuple(int(x) for x in latents[f"{name}{i}_shape"])
        place = (latents[f"{name}{i}_row"], latents[f"{name}{i}_col"])
        codes = sp.csr_matrix((latents[f"{name}{i}_val"], place), shape=shape)
        codes.sort_indices()
        latent = strongest(Codes(codes.indptr, codes.indices, codes.data, m))
        n = min(len(latent), len(table.ids))  # the original trims tokens to the rows of latents
        parts.append(TokenRows(np.full(n, i), table.ids[:n], latent[:n], table.width[:n] == 0))
    rows = TokenRows(*(np.concatenate(column) for column in zip(*parts)))
    return sequence_graph(rows, [one["description"] for one in sequences], m, form)


def _compared(wanted: Mapping[str, Any], latents: Mapping[str, Any]) -> Iterator[Compared]:
    graphs = fixture_graphs(wanted, latents)
    ranks = {}
    for name, graph in graphs.items():
        ours = _Class(graph)
        ranks[name] = ours.named(pagerank_iterated(ours.weights))
        yield from _class(name, ours, ranks[name], wanted["classes"][name])
    first, second = (ranks[name] for name in list(graphs)[:2])
    shared = [node for node in first if node in second]
    values = [np.array([one[node] for node in shared]) for one in (first, second)]
    ratio = log_ratio(values[0], values[1])
    expected = wanted["log10_fold_change_shared"]
    yield Compared("log10_fold_change_shared", _worst(dict(zip(shared, ratio)), expected), ITERATED)
    for name, other in zip(graphs, reversed(list(graphs))):
        alone = Counter(str(node) for node in ranks[name] if node not in ranks[other])
        differ = alone - Counter(map(str, wanted["unique"][name]))
        missing = Counter(map(str, wanted["unique"][name])) - alone
        yield Compared(f"unique.{name}", float(differ.total() + missing.total()), 0.0)


class _Class:
    """One class's graph, its nodes by the names they have in a fixture."""

    def __init__(self, graph: SequenceGraph) -> None:
        self.graph, self.weights = graph, graph.weights
        self.joined = np.flatnonzero(np.diff(self.weights.indptr))
        self.features = np.unique(self.weights.indices)
        self.nodes = len(self.joined) + len(self.features)

    def named(self, found: Any) -> dict[Any, float]:
        """Value of every node: of `Ranks`, or of two arrays."""
        if hasattr(found, "iterations"):
            found = (np.full(len(self.graph.names), found.sequence), found.feature)
        values = {self.graph.names[i]: float(found[0][i]) for i in self.joined}
        return values | {int(f): float(found[1][f]) for f in self.features}


def _class(
    name: str, ours: _Class, iterated: dict[Any, float], wanted: Mapping[str, Any]
) -> Iterator[Compared]:
    graph, weights = ours.graph, ours.weights
    records = list(_records(wanted["nodes"]))
    found = node_link(graph, vocabulary(FORM).words, lambda node: annotations_of(records, node))
    yield Compared(f"{name}.nodes", _differing(found["nodes"], wanted["nodes"]), 0.0)
    edges = [[edge["source"], edge["target"], edge["token"]] for edge in found["edges"]]
    yield Compared(f"{name}.edges", _differing(edges, wanted["edges"]), 0.0)
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    triples = zip(rows, weights.indices, weights.data)
    summed = sorted([graph.names[i], int(j), int(v)] for i, j, v in triples)
    yield Compared(f"{name}.weighted", _differing(summed, sorted(wanted["weighted"])), 0.0)
    many = len(graph.names) + len(ours.features)
    sizes = {
        "multigraph": (many, len(edges), density(many, len(edges))),
        "digraph": (ours.nodes, weights.nnz, density(ours.nodes, weights.nnz)),
    }
    for kind, size in sizes.items():
        yield Compared(f"{name}.{kind}", worst(size, wanted[kind]), CONVERGED)
    converged = ours.named(pagerank(weights))
    for kind, values, allowed in (
        ("pagerank_default_tol", iterated, ITERATED),
        ("pagerank_converged", converged, CONVERGED),
        ("core_number", ours.named(core_numbers(weights)), 0.0),
    ):
        yield Compared(f"{name}.{kind}", _worst(values, wanted[kind]), allowed)
    order = np.array(wanted["fragmentation_order"], np.int64)
    yield Compared(f"{name}.fragmentation_order", _order_error(order, converged), CONVERGED)
    curve = fragmentation(weights, order)[["removed", "components", "density", "edges"]]
    yield Compared(f"{name}.fragmentation", worst(curve, wanted["fragmentation"]), CONVERGED)


def _order_error(order: np.ndarray, converged: Mapping[Any, float]) -> float:
    """By how much an order of removal is not that of falling PageRank, equals by number."""
    features = sorted(node for node in converged if isinstance(node, int))
    if sorted(order.tolist()) != features:
        return float("inf")
    values = np.array([converged[int(f)] for f in order])
    rise = np.diff(values).max(initial=0.0)
    level = np.abs(np.diff(values)) < CONVERGED / 10
    return float("inf") if (np.diff(order)[level] < 0).any() else max(float(rise), 0.0)


def _records(nodes: list[dict[str, Any]]) -> Iterator[Record]:
    """The annotation database, as far as a fixture's nodes tell it."""
    own = ("featuretype", "strand", "start", "end")
    for node in nodes:
        for key, one in node.get("annotations", {}).items():
            attributes = {k: v for k, v in one.items() if k not in own}
            name = key.removesuffix(f":{one['start']}-{one['end']}")
            place = (node["chrom"], one["start"], one["end"], one["strand"])
            yield Record(name, *place, one["featuretype"], attributes)


def _differing(found: list[Any], wanted: list[Any]) -> float:
    """How many entries of two lists differ, place by place."""
    different = sum(a != b for a, b in zip(found, wanted))
    return float(different + abs(len(found) - len(wanted)))


def _worst(found: Mapping[Any, float], wanted: Mapping[str, float]) -> float:
    """The largest difference of values by node; infinite where the nodes are others."""
    named = {str(node): value for node, value in found.items()}
    if set(named) != set(wanted):
        return float("inf")
    return worst([named[node] for node in wanted], list(wanted.values()))


SOURCE = "ek775/Hidden-State-Genomics seqfeatKG.py and KG_feature_diff.ipynb, networkx"
KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "sequence-feature graph",
        SOURCE,
        frozenset({"latents", "classes", "log10_fold_change_shared", "unique"}),
        compare,
    ),
    FixtureKind(
        "latents of a sequence-feature graph",
        SOURCE,
        frozenset({"P0_shape", "P0_row", "P0_col", "P0_val"}),
        compare,
    ),
)
