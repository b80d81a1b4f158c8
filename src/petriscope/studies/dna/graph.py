"""The graph of sequences and features, as Hidden State Genomics built it and in corrected form.

As published, every token names the latent that is strongest on it, and a sequence is joined to what
its tokens name. Four habits of that program are entries of `Form`, so that the graph without them
comes from the same function. What is corrected beyond that keeps what the strongest latent hides:
the number of tokens on which each latent fires (`petriscope.graph.bipartite.incidence`).

Source: `hsg/featureanalysis/seqfeatKG.py` of ek775/Hidden-State-Genomics at 05bb746, and
`notebook_stash/KG_feature_diff.ipynb`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.graph.bipartite import SILENT, edge_weights
from petriscope.graph.centrality import DAMPING, iterate

NAME = re.compile(r"(?P<chrom>[^:]+):(?P<start>\d+)-(?P<end>\d+)\((?P<strand>[+-])\)")
"""How the published graph names a sequence."""
ANNOTATED = ("gene", "transcript", "exon", "CDS", "start_codon", "stop_codon", "3UTR", "5UTR")
"""Kinds of GTF record that a published node lists."""


@dataclass(frozen=True)
class Form:
    """What of the published program is kept."""

    special: bool = True
    """`<cls>` is a token like others, so every sequence has an edge for it."""
    silent: bool = True
    """A token on which no latent fires names feature 0 (argmax of zeros); else it names none."""
    last: bool = True
    """Of a token that a sequence repeats only the last place counts; else all do."""
    replace: bool = True
    """A sequence with an earlier one's name replaces its edges by those of its tokens that the
    earlier one lacks; else a sequence is its row, whatever its name."""


PUBLISHED = Form()
CORRECTED = Form(special=False, silent=False, last=False, replace=False)


class TokenRows(NamedTuple):
    """The tokens of all sequences in order; arrays (n,)."""

    sequence: np.ndarray
    """int, ascending"""
    token: np.ndarray
    """int: its id in the vocabulary"""
    latent: np.ndarray
    """int: the strongest latent on it, `SILENT` where none fires"""
    special: np.ndarray
    """bool: it covers no base"""

    def where(self, keep: np.ndarray) -> TokenRows:
        """Some of the tokens."""
        return TokenRows(*(column[keep] for column in self))


@dataclass(frozen=True)
class SequenceGraph:
    """Edges from sequences to features, parallel ones included, in the order they were made."""

    names: tuple[str, ...]
    """of the sequence nodes"""
    sequence: np.ndarray
    """int (E,) which of them"""
    feature: np.ndarray
    """int (E,)"""
    token: np.ndarray
    """int (E,) the token that names the feature"""
    m: int
    """latents"""

    @property
    def weights(self) -> sp.csr_matrix:
        """(names, m): parallel edges as one with their number as its weight."""
        return edge_weights(self.sequence, self.feature, (len(self.names), self.m))

    @property
    def lost(self) -> int:
        """Sequence nodes without an edge, which the weighted graph lacks."""
        return len(self.names) - len(np.unique(self.sequence))


def sequence_graph(
    rows: TokenRows, names: Sequence[str], m: int, form: Form = PUBLISHED
) -> SequenceGraph:
    """Join sequences (``names``, by row) to the latents that their tokens name."""
    if not form.special:
        rows = rows.where(~rows.special)
    if form.silent:
        rows = rows._replace(latent=np.where(rows.latent == SILENT, 0, rows.latent))
    else:
        rows = rows.where(rows.latent != SILENT)
    sequence, token, latent = rows.sequence, rows.token, rows.latent
    if form.last:  # a dict: the place of a token's first occurrence, the latent of its last
        key = sequence.astype(np.int64) * (int(token.max(initial=0)) + 1) + token
        _, first, of = np.unique(key, return_index=True, return_inverse=True)
        last = np.zeros(len(first), np.int64)
        np.maximum.at(last, of, np.arange(len(key)))
        order = np.argsort(first)
        sequence, token = sequence[first[order]], token[first[order]]
        latent = latent[last[order]]
    nodes = tuple(names)
    if form.replace:
        nodes = tuple(dict.fromkeys(names))
        number = {name: i for i, name in enumerate(nodes)}
        node = np.array([number[name] for name in names], np.int64)
        kept = _replaced(sequence, token, node)
        sequence, token, latent = node[sequence[kept]], token[kept], latent[kept]
        order = np.argsort(sequence, kind="stable")
        sequence, token, latent = sequence[order], token[order], latent[order]
    return SequenceGraph(nodes, sequence, latent, token, m)


def _replaced(sequence: np.ndarray, token: np.ndarray, node: np.ndarray) -> np.ndarray:
    """bool (E,): edges that stay when a later sequence of a node replaces the earlier one's tokens
    by its new ones."""
    kept = np.ones(len(sequence), bool)
    repeated = np.flatnonzero(np.bincount(node, minlength=1)[node] > 1)
    begin = np.searchsorted(sequence, repeated)
    end = np.searchsorted(sequence, repeated, "right")
    current: dict[int, np.ndarray] = {}
    for row, first, last in zip(repeated, begin, end):
        mine = np.arange(first, last)
        if (earlier := current.get(node[row])) is not None:
            fresh = ~np.isin(token[mine], token[earlier])
            kept[earlier] = False
            kept[mine[~fresh]] = False
            mine = mine[fresh]
        current[node[row]] = mine
    return kept


class Record(NamedTuple):
    """A line of a GTF file."""

    id: str
    chrom: str
    start: int
    """first base, counted from 1"""
    end: int
    strand: str
    featuretype: str
    attributes: Mapping[str, str]


def annotations_of(
    records: Iterable[Record], name: str, *, bed_start: bool = True
) -> dict[str, dict[str, Any]]:
    """Records that lie whole within a named sequence, on its strand: what a published node lists.

    ``bed_start``: the start of the name, which counts from 0, is taken for a place that counts from
    1, so that a record one base too early is listed too. Either way a record longer than the
    sequence, such as nearly every gene, is not.
    """
    place = NAME.match(name)
    if place is None:
        raise ValueError(f"{name} is no chrom:start-end(strand)")
    start = int(place["start"]) + (0 if bed_start else 1)
    found = {}
    for one in records:
        if (
            one.featuretype in ANNOTATED
            and (one.chrom, one.strand) == (place["chrom"], place["strand"])
            and start <= one.start
            and one.end <= int(place["end"])
        ):
            own = f"{one.featuretype}_id"
            key = one.attributes.get(own, f"{one.id}:{one.start}-{one.end}")
            found[key] = {
                **one.attributes,
                "featuretype": one.featuretype,
                "strand": one.strand,
                "start": one.start,
                "end": one.end,
            }
    return found


def node_link(
    graph: SequenceGraph,
    words: Sequence[str],
    annotations: Callable[[str], dict[str, dict[str, Any]]] = lambda _: {},
) -> dict[str, Any]:
    """The published file: `networkx.node_link_data(graph, edges="edges")` of the multigraph.

    ``words``: the text of each token id. A sequence whose name gives no place has type and id only.
    """
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    seen: set[int] = set()
    bounds = np.searchsorted(graph.sequence, np.arange(len(graph.names) + 1))
    for i, name in enumerate(graph.names):
        nodes.append({**_place(name, annotations), "id": name})
        parallel: dict[int, list[int]] = {}
        for e in range(bounds[i], bounds[i + 1]):
            parallel.setdefault(int(graph.feature[e]), []).append(int(graph.token[e]))
        for feature, tokens in parallel.items():  # networkx lists parallel edges together
            if feature not in seen:
                seen.add(feature)
                nodes.append({"type": "feature", "id": feature})
            edges += (
                {"token": words[token], "source": name, "target": feature, "key": key}
                for key, token in enumerate(tokens)
            )
    return {"directed": True, "multigraph": True, "graph": {}, "nodes": nodes, "edges": edges}


def _place(name: str, annotations: Callable[[str], dict[str, dict[str, Any]]]) -> dict[str, Any]:
    place = NAME.fullmatch(name)
    if place is None:
        return {"type": "sequence"}
    return {
        "type": "sequence",
        "chrom": place["chrom"],
        "start": int(place["start"]),
        "end": int(place["end"]),
        "strand": place["strand"],
        "annotations": annotations(name),
    }


class Printed(NamedTuple):
    """What the node counts of a published graph say about its printed PageRank values."""

    iterations: int
    """steps after which the default tolerance stopped it"""
    sequence: float
    """value of every sequence"""
    level: float
    """value of a feature with no share: the additive constant"""
    slope: float
    """what a share of 1 adds"""

    def shares(self, values: np.ndarray) -> np.ndarray:
        """The summed shares x_f that printed ``values`` stand for."""
        return (np.asarray(values, np.float64) - self.level) / self.slope

    def values(self, shares: np.ndarray) -> np.ndarray:
        """The values that shares x_f print as."""
        return self.level + self.slope * np.asarray(shares, np.float64)


def printed_pagerank(nodes: int, features: int) -> Printed:
    """The default power iteration of a graph of which only the numbers of nodes and of features are
    known: a recursion in two numbers."""
    found = iterate(nodes - features, features)
    return Printed(found.iterations, found.sequence, found.sequence, DAMPING * found.before)


def lone_token_fold_change(
    positive: Printed, negative: Printed, shares: tuple[float, float]
) -> float:
    """log10 fold change of a feature whose summed share is ``shares`` (positive, negative): of a
    latent that `<cls>` alone names, the number of sequences over their mean number of tokens."""
    values = [one.values(np.array(x)) for one, x in zip((positive, negative), shares)]
    return float(np.log10(values[0] + 1e-10) - np.log10(values[1] + 1e-10))


def length_matched(length: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a random subsample with as many sequences of either class at every ``length`` (in
    tokens), ascending; empty where the classes share no length."""
    order = rng.permutation(len(length))
    order = order[np.argsort(length[order], kind="stable")]
    lengths, which = np.unique(length, return_inverse=True)
    per_class = [np.bincount(which[side], minlength=len(lengths)) for side in (target, ~target)]
    wanted = np.minimum(*per_class)
    rows = []
    for side in (target, ~target):
        mine = order[side[order]]
        start = np.searchsorted(length[mine], length[mine])
        rows.append(mine[np.arange(len(mine)) - start < wanted[which[mine]]])
    return np.sort(np.concatenate(rows))


def deciles(values: np.ndarray, parts: int = 10) -> np.ndarray:
    """int (n,) which tenth of the values each lies in, 0 to ``parts`` - 1."""
    cuts = np.quantile(values, np.arange(1, parts) / parts) if len(values) else np.zeros(0)
    return np.searchsorted(cuts, values, side="right")


def kmer_counts(sequences: Sequence[str], k: int) -> np.ndarray:
    """float64 (sequences, 4^k) shares of each k-mer of A, C, G and T."""
    code = np.full(256, 4, np.int64)
    code[list(b"ACGT")] = np.arange(4)
    found = np.zeros((len(sequences), 4**k))
    for row, sequence in enumerate(sequences):
        bases = code[np.frombuffer(sequence.encode("ascii"), np.uint8)]
        if len(bases) < k:
            continue
        window = np.lib.stride_tricks.sliding_window_view(bases, k)
        window = window[(window < 4).all(axis=1)]
        if len(window):
            number = window @ 4 ** np.arange(k - 1, -1, -1)
            found[row] = np.bincount(number, minlength=4**k) / len(window)
    return found


def kmer_score(
    sequences: Sequence[str],
    target: np.ndarray,
    group: np.ndarray,
    *,
    seed: int,
    k: int = 4,
    folds: int = 5,
) -> np.ndarray:
    """(sequences,) what the composition alone says of the class: ridge regression of the label on
    the shares of k-mers, always fitted on other groups."""
    shares = kmer_counts(sequences, k)
    shares -= shares.mean(0)
    groups, of = np.unique(group, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(groups))[of] % folds
    score = np.zeros(len(target))
    penalty = max(float((shares**2).sum()) / shares.shape[1], 1e-12) * 0.1
    for one in range(folds):
        train, test = fold != one, fold == one
        if not test.any() or not train.any():
            continue
        x, y = shares[train], target[train] - target[train].mean()
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        score[test] = shares[test] @ weight
    return score


def top_both_ways(score: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` largest and the ``k`` smallest of ``score`` (m,), each at most half of the finite
    ones; the lower number first among equals."""
    known = np.flatnonzero(np.isfinite(score))
    k = min(k, len(known) // 2)
    order = known[np.lexsort((known, -score[known]))]
    return np.r_[order[:k], order[len(order) - k :]]


def overlap(chosen: np.ndarray, truth: np.ndarray) -> float | None:
    """Share of ``truth`` among ``chosen``, of as many as could be; None where nothing is true."""
    possible = min(len(chosen), len(truth))
    return len(np.intersect1d(chosen, truth)) / possible if possible else None


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Rank correlation over entries that are finite in both; None for fewer than three or a
    constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return None
    return float(pd.Series(a[both]).corr(pd.Series(b[both]), method="spearman"))
