"""The tables of stage graph: both classes' graphs, as published and under each control, and what
tells features of one class from those of the other.

The comparison of classes rests on counts of tokens (`petriscope.graph.rate_test`). PageRank,
in-degree and mean share of the published graph stand beside it, so that nobody reads them as
evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.graph.bipartite import (
    Incidence,
    degrees,
    density,
    incidence,
    size,
    strongest,
)
from petriscope.graph.centrality import log_ratio, pagerank, pagerank_iterated, shares
from petriscope.graph.coactivation import firing_correlation, strongest_pairs
from petriscope.graph.cores import core_numbers, core_sizes
from petriscope.graph.curveball import curveball
from petriscope.graph.fragmentation import fragmentation, removal_order
from petriscope.graph.rate_test import PSEUDO, Exchange, RateTest, exchange, rate_test
from petriscope.sae.codes import Codes
from petriscope.studies.dna.graph import (
    CORRECTED,
    PUBLISHED,
    Form,
    TokenRows,
    deciles,
    kmer_score,
    length_matched,
    overlap,
    sequence_graph,
    spearman,
    top_both_ways,
)

SIDES = ("positive", "negative")
K = 6
"""Bases of a whole token."""
CONTROL_PERMUTATIONS = 1000
OVERLAP = 0.1
"""Share of either class that must lie in length bins with both classes."""
NEIGHBORS = 10
MATCHED, NULL = "length matched", "curveball of length matched"


@dataclass(frozen=True)
class Coded:
    """The labeled sequences of a run and the codes of their tokens."""

    frame: pd.DataFrame
    """id, sequence, split, group, name (of the published graph)"""
    target: np.ndarray
    """bool (sequences,): of the positive class"""
    codes: Codes
    """of their tokens"""
    sequence_of: np.ndarray
    """int (n,) row of ``frame`` of each token, ascending"""
    token: np.ndarray
    """int (n,) id in the vocabulary"""
    width: np.ndarray
    """int (n,) bases, 0 for a special token"""
    vocabulary: int = field(default=0)
    """ids there are"""

    @cached_property
    def rows(self) -> TokenRows:
        """Each token with its strongest latent."""
        return TokenRows(self.sequence_of, self.token, strongest(self.codes), self.width == 0)

    @cached_property
    def first(self) -> np.ndarray:
        """bool (sequences,): not the same bases as an earlier one."""
        return ~self.frame.sequence.duplicated().to_numpy()

    @cached_property
    def length(self) -> np.ndarray:
        """int (sequences,) tokens that cover bases."""
        return np.bincount(self.sequence_of[self.width > 0], minlength=len(self.frame))

    def counted(self, keep: np.ndarray | None = None) -> Incidence:
        """How often latents fire, special tokens excluded, and others where ``keep`` (n,) says."""
        kept = (self.width > 0) if keep is None else (self.width > 0) & keep
        return incidence(self.codes, self.sequence_of, len(self.frame), kept)

    def token_identity(self) -> Coded:
        """The same with a token's id in the place of its latents."""
        n = len(self.token)
        ids = Codes(
            np.arange(n + 1), self.token.astype(np.int32), np.ones(n, np.float32), self.vocabulary
        )
        return Coded(
            self.frame, self.target, ids, self.sequence_of, self.token, self.width, self.vocabulary
        )

    def place_in_sequence(self) -> np.ndarray:
        """int (n,) how many tokens with bases come before each one of its sequence."""
        covers = self.width > 0
        before: np.ndarray = np.cumsum(covers) - covers
        start = np.searchsorted(self.sequence_of, np.arange(len(self.frame)))
        base = np.r_[before, 0][np.minimum(start, len(before))]
        return before - base[self.sequence_of]


class Comparable(NamedTuple):
    """Whether the classes' lengths allow a comparison, and which tokens are compared."""

    shared: float
    """of the sequences of a class, those in length bins with both: the smaller share"""
    cropped: int | None
    """tokens of each sequence that are compared where lengths do not overlap; all where they do"""
    keep: np.ndarray | None
    """bool (n,) those tokens"""
    bins: np.ndarray
    """int (sequences,) length bin; one for all where cropped"""


def comparable(coded: Coded, width: int) -> Comparable:
    """Length bins of ``width`` tokens; where they hold hardly any sequence of both classes, the
    first tokens of every sequence, as many as the shortest has."""
    bins = coded.length // width
    counts = [np.bincount(bins[s], minlength=bins.max() + 1) for s in (coded.target, ~coded.target)]
    both = (counts[0] > 0) & (counts[1] > 0)
    shared = min(float(count[both].sum() / max(count.sum(), 1)) for count in counts)
    if shared >= OVERLAP:
        return Comparable(shared, None, None, bins)
    shortest = int(coded.length.min())
    return Comparable(
        shared, shortest, coded.place_in_sequence() < shortest, np.zeros(len(bins), np.int64)
    )


def class_weights(
    coded: Coded, form: Form, rows: np.ndarray | None = None, tokens: np.ndarray | None = None
) -> dict[str, sp.csr_matrix]:
    """Weights (sequences, m) of the graph of each class, of all sequences or of some (bool), by all
    tokens or by some (bool)."""
    found = {}
    for name, side in zip(SIDES, (coded.target, ~coded.target)):
        chosen = side if rows is None else side & rows
        number = np.cumsum(chosen) - 1
        kept = (
            chosen[coded.rows.sequence]
            if tokens is None
            else (chosen[coded.rows.sequence] & tokens)
        )
        mine = coded.rows.where(kept)
        mine = mine._replace(sequence=number[mine.sequence])
        names = coded.frame.name[chosen].tolist()
        found[name] = sequence_graph(mine, names, coded.codes.m, form).weights
    return found


def graph_row(graph: str, side: str, weights: sp.csr_matrix) -> dict[str, Any]:
    """A row of graphs.csv. ``density_multigraph`` is the published one: parallel edges count."""
    found = size(weights)
    core = np.concatenate(core_numbers(weights)) if weights.nnz else np.zeros(1, np.int64)
    edges = int(weights.sum())
    return {
        "graph": graph,
        "class": side,
        **{n: getattr(found, n) for n in ("sequences", "features", "nodes", "edges", "density")},
        "parallel_edges": edges,
        "density_multigraph": density(found.nodes, edges),
        "components": found.components,
        "largest": found.largest,
        "core": int(core.max()),
        "core_nodes": int((core == core.max()).sum()),
    }


def control_graphs(
    coded: Coded, random_init: Coded | None
) -> Iterator[tuple[str, dict[str, sp.csr_matrix]]]:
    """Name and weights by class of each graph of graphs.csv that is one graph, not many draws."""
    yield "as published", class_weights(coded, PUBLISHED)
    yield "corrected", class_weights(coded, CORRECTED, coded.first)
    counts = coded.counted().counts
    yield (
        "corrected, every firing latent",
        {
            name: sp.csr_matrix(counts[side & coded.first])
            for name, side in zip(SIDES, (coded.target, ~coded.target))
        },
    )
    yield "without <cls>", class_weights(coded, Form(special=False))
    yield "six-mers only", class_weights(coded, Form(special=False), tokens=coded.width == K)
    yield "<cls> only", class_weights(coded, PUBLISHED, tokens=coded.width == 0)
    yield "token identity", class_weights(coded.token_identity(), CORRECTED, coded.first)
    if random_init is not None:
        yield "random init", class_weights(random_init, CORRECTED, random_init.first)


class Matched(NamedTuple):
    """The two classes' graphs on length-matched subsamples, and the same after their edges were
    dealt out anew; lists by draw of rows by class."""

    sequences: int
    """of either class"""
    sizes: list[dict[str, dict[str, Any]]]
    null_sizes: list[dict[str, dict[str, Any]]]
    curves: list[dict[str, pd.DataFrame]]
    null_curves: list[dict[str, pd.DataFrame]]


def matched_graphs(coded: Coded, *, draws: int, nulls: int, seed: int) -> Matched:
    """Draw one-to-one subsamples of the corrected graph, equal in number of tokens.

    The null keeps every sequence's number of features and every feature's number of sequences, over
    both classes together: how many features a class has then follows from those alone.
    """
    rows = np.flatnonzero(coded.first)
    weights = sequence_graph(
        coded.rows, coded.frame.name.tolist(), coded.codes.m, CORRECTED
    ).weights
    found = Matched(0, [], [], [], [])
    for draw in range(max(draws, nulls)):
        rng = np.random.default_rng([seed, draw])
        chosen = rows[length_matched(coded.length[rows], coded.target[rows], rng)]
        if not len(chosen):
            return found
        found = found._replace(sequences=len(chosen) // 2)
        cases = [(weights[chosen], found.sizes, found.curves)] if draw < draws else []
        if draw < nulls:
            dealt = curveball(sp.csr_matrix(weights[chosen]), int(rng.integers(1 << 31)))
            cases.append((dealt, found.null_sizes, found.null_curves))
        for one, sizes, curves in cases:
            sides = {
                name: sp.csr_matrix(one[side])
                for name, side in zip(SIDES, (coded.target[chosen], ~coded.target[chosen]))
            }
            sizes.append({name: graph_row("", name, side) for name, side in sides.items()})
            curves.append({name: _curve(side) for name, side in sides.items()})
    return found


def _curve(weights: sp.csr_matrix) -> pd.DataFrame:
    return fragmentation(weights, removal_order(weights))


def draws_table(graph: str, draws: Sequence[Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Rows of graphs.csv: median, 2.5 % and 97.5 % of the draws, by class."""
    rows = []
    for side in SIDES if draws else ():
        table = pd.DataFrame([draw[side] for draw in draws]).drop(columns=["graph", "class"])
        for suffix, at in (("median", 0.5), ("low", 0.025), ("high", 0.975)):
            quantiles = table.quantile(at).to_dict()
            rows.append({"graph": f"{graph}, {suffix}", "class": side, **quantiles})
    return pd.DataFrame(rows)


def curves_table(graph: str, draws: Sequence[Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Rows of fragmentation.csv: median over draws with 2.5 and 97.5 % of components, as far as
    every draw's curve goes."""
    parts = []
    for side in SIDES if draws else ():
        curves = [draw[side] for draw in draws]
        shortest = min(map(len, curves))
        stacked = np.stack(
            [c[["components", "density", "edges"]].to_numpy()[:shortest] for c in curves]
        )
        middle = np.median(stacked, axis=0)
        low, high = np.quantile(stacked[:, :, 0], [0.025, 0.975], axis=0)
        frame = pd.DataFrame(middle, columns=["components", "density", "edges"])
        frame = frame.assign(components_low=low, components_high=high)
        frame.insert(0, "removed", np.arange(shortest))
        parts.append(frame.assign(graph=graph, **{"class": side}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def cores_table(graph: str, weights: Mapping[str, sp.csr_matrix]) -> pd.DataFrame:
    """Rows of cores.csv: sequences and features in the k-core of each class, for every k."""
    parts = []
    for side, one in weights.items():
        sequences, features = (core_sizes(core) for core in core_numbers(one))
        top = max(len(sequences), len(features))
        frame = pd.DataFrame({"k": np.arange(top)})
        for name, values in (("sequences", sequences), ("features", features)):
            frame[name] = np.pad(values, (0, top - len(values)))
        parts.append(frame.assign(graph=graph, **{"class": side}))
    return pd.concat(parts, ignore_index=True)


class Tested(NamedTuple):
    """The comparison of classes: on sequences that were not held out, and on those that were."""

    found: Incidence
    """of all sequences, duplicates among them; the tests count those once"""
    main: RateTest
    """on splits train and select"""
    held_out: RateTest
    """on split test"""


def compare_rates(
    coded: Coded,
    limits: Comparable,
    *,
    permutations: int,
    seed: int,
    min_tokens: float,
) -> Tested:
    """Compare rates within length bins and groups."""
    counted, held = coded.counted(limits.keep), (coded.frame.split == "test").to_numpy()
    options: dict[str, Any] = {
        "permutations": permutations,
        "seed": seed,
        "min_tokens": min_tokens,
    }
    main = _compare(coded, counted, [limits.bins], ~held, **options)
    return Tested(counted, main, _compare(coded, counted, [limits.bins], held, **options))


def _compare(
    coded: Coded,
    counted: Incidence,
    strata: list[np.ndarray],
    chosen: np.ndarray,
    *,
    permutations: int,
    seed: int,
    min_tokens: float,
) -> RateTest:
    rows = np.flatnonzero(chosen & coded.first)
    plan: Exchange = exchange(
        coded.target[rows],
        [one[rows] for one in strata],
        coded.frame.group.to_numpy()[rows],
    )
    return rate_test(
        counted.of(rows), plan, permutations=permutations, seed=seed, min_tokens=min_tokens
    )


def control_tests(
    coded: Coded,
    limits: Comparable,
    main: RateTest,
    random_init: Coded | None,
    *,
    alpha: float,
    permutations: int,
    seed: int,
    min_tokens: float,
) -> pd.DataFrame:
    """controls.csv: the same test with more held fixed, on fewer tokens or on other features.

    Columns: control, tested, units, strata, significant (maxT), kept (of the features significant
    in the main test, those that still are), largest (absolute t).
    """
    frame = coded.frame
    chosen = (frame.split != "test").to_numpy()
    options: dict[str, Any] = {
        "permutations": min(permutations, CONTROL_PERMUTATIONS),
        "seed": seed,
        "min_tokens": min_tokens,
    }
    six = coded.width == K if limits.keep is None else (coded.width == K) & limits.keep
    phase = frame.sequence.str.len().to_numpy() % K
    gc = frame.sequence.map(lambda s: (s.count("G") + s.count("C")) / max(len(s), 1)).to_numpy()
    score = kmer_score(frame.sequence.tolist(), coded.target, frame.group.to_numpy(), seed=seed)
    counted, whole = coded.counted(limits.keep), coded.counted(six)
    bins = limits.bins
    significant = np.flatnonzero(main.p_maxt < alpha)
    cases = [
        ("length bins and groups", coded, counted, [bins]),
        ("six-mers only", coded, whole, [bins]),
        ("six-mers only, phase fixed", coded, whole, [bins, phase]),
        ("GC tenths fixed", coded, counted, [bins, deciles(gc)]),
        ("4-mer score tenths fixed", coded, counted, [bins, deciles(score)]),
    ]
    others = [("token identity", coded.token_identity())]
    if random_init is not None:
        others.append(("random init", random_init))
    cases += [(name, other, other.counted(limits.keep), [bins]) for name, other in others]
    rows = []
    for name, other, counts, strata in cases:
        found = _compare(other, counts, strata, chosen, **options)
        passes = np.flatnonzero(found.p_maxt < alpha)
        same = other is coded
        rows.append(
            {
                "control": name,
                "tested": found.tested,
                "units": found.units,
                "strata": found.strata,
                "significant": len(passes),
                "kept": len(np.intersect1d(passes, significant)) if same else None,
                "largest": _largest(found.t),
            }
        )
    return pd.DataFrame(rows)


def _largest(t: np.ndarray) -> float | None:
    known = np.abs(t[np.isfinite(t)])
    return float(known.max()) if len(known) else None


def features_table(
    tests: Tested, published: Mapping[str, sp.csr_matrix], stability: np.ndarray | None
) -> pd.DataFrame:
    """features.csv: the rate test, its repetition on held-out sequences, and what the published
    graph says of each feature in each class."""
    main, held = tests.main.frame(), tests.held_out.frame()
    m = len(main)
    total = np.asarray(tests.found.counts.sum(0)).ravel()
    table = pd.DataFrame({"feature": np.arange(m), "tokens": total})
    renamed = {"target": "rate_positive", "reference": "rate_negative"}
    table = pd.concat([table, main.rename(columns=renamed)], axis=1)
    for name in ("log_ratio", "t", "p", "p_maxt"):
        table[f"{name}_held_out"] = held[name]
    iterations = {}
    for side in SIDES:
        weights = published[side]
        sequences, features = degrees(weights)
        table[f"in_degree_{side}"] = features
        table[f"mean_share_{side}"] = shares(weights) / max(int((sequences > 0).sum()), 1)
        table[f"pagerank_{side}"] = pagerank(weights).feature
        iterated = pagerank_iterated(weights)
        table[f"pagerank_published_{side}"] = iterated.feature
        iterations[side] = iterated.iterations
    table.attrs["iterations"] = iterations
    table["fold_change_published"] = log_ratio(
        table.pagerank_published_positive.to_numpy(), table.pagerank_published_negative.to_numpy()
    )
    if stability is not None:
        table["stability"] = stability
    return table


class Hubs(NamedTuple):
    """Which ranking finds the features that differ."""

    k: int
    """features on either side"""
    truth: str
    """planted, or held-out"""
    features: int
    """that are true"""
    rate: float | None
    """precision: of as many top features as are true, those that are; None where none is"""
    in_degree: float | None
    pagerank: float | None
    rate_at_k: float | None
    """share of the true ones among the top k of both sides"""
    in_degree_at_k: float | None
    pagerank_at_k: float | None
    rho_share: dict[str, float | None]
    """rank correlation of converged PageRank with mean share, by class: 1 by construction"""
    rho_in_degree: dict[str, float | None]
    """of converged PageRank with in-degree, by class"""
    rho_differences: float | None
    """of the fold changes by PageRank and by in-degree"""


def hubs(coded: Coded, tests: Tested, planted: np.ndarray | None, *, k: int, alpha: float) -> Hubs:
    """Compare three rankings made without the held-out sequences: the rate test's t, the log ratio
    of in-degrees and the log ratio of PageRank as published, each centered at its median.

    A feature of one graph only, which has no published fold change, is given what it would have
    with no share in the other (in-degree: half a sequence), or the rankings could not be compared.
    ``planted``: features that carry the label in a planted world; else the truth is what the rate
    test finds in held-out sequences.
    """
    weights = class_weights(coded, PUBLISHED, (coded.frame.split != "test").to_numpy())
    inside = {side: degrees(one)[1].astype(np.float64) for side, one in weights.items()}
    known = (inside["positive"] > 0) | (inside["negative"] > 0)
    iterated = []
    for side in SIDES:
        ranks = pagerank_iterated(weights[side])
        absent = np.where(known, ranks.sequence, np.nan)
        iterated.append(np.where(np.isfinite(ranks.feature), ranks.feature, absent))
    converged = {side: pagerank(one).feature for side, one in weights.items()}
    linked = {side: np.where(one > 0, one, np.nan) for side, one in inside.items()}
    padded = [np.where(known, inside[side] + PSEUDO, np.nan) for side in SIDES]
    scores = {
        "rate": tests.main.t,
        "in_degree": log_ratio(padded[0], padded[1]),
        "pagerank": log_ratio(iterated[0], iterated[1]),
    }
    found = np.flatnonzero(tests.held_out.p_maxt < alpha)
    truth = found if planted is None else planted
    precision = {n: overlap(_strongest(s, len(truth)), truth) for n, s in scores.items()}
    at_k = {f"{n}_at_k": overlap(top_both_ways(s, k), truth) for n, s in scores.items()}
    share = {side: np.where(inside[side] > 0, shares(one), np.nan) for side, one in weights.items()}
    return Hubs(
        k=k,
        truth="held-out" if planted is None else "planted",
        features=len(truth),
        **precision,
        **at_k,
        rho_share={side: spearman(converged[side], share[side]) for side in SIDES},
        rho_in_degree={side: spearman(converged[side], linked[side]) for side in SIDES},
        rho_differences=spearman(scores["pagerank"], scores["in_degree"]),
    )


def _strongest(score: np.ndarray, count: int) -> np.ndarray:
    known = np.flatnonzero(np.isfinite(score))
    if not len(known):
        return known
    away = np.abs(score[known] - np.median(score[known]))
    return known[np.lexsort((known, -away))][:count]


class Naive(NamedTuple):
    """What is wrong with the features that the published fold change names."""

    named: int
    """top features of both sides"""
    special: int
    """of them, those named by `<cls>` or single bases on most of their edges"""
    unsupported: int
    """of them, those that the rate test does not find, in that direction"""


def naive(coded: Coded, table: pd.DataFrame, *, k: int, alpha: float) -> Naive:
    """Look at the ``k`` features on either side of the published fold change."""
    top = top_both_ways(table.fold_change_published.to_numpy(), k)
    latent = np.maximum(coded.rows.latent, 0)
    every = np.bincount(latent, minlength=coded.codes.m)
    odd = np.bincount(latent[coded.width != K], minlength=coded.codes.m)
    chosen = table.iloc[top]
    found = (chosen.p_maxt < alpha) & (chosen.t * chosen.fold_change_published > 0)
    return Naive(len(top), int((odd[top] > every[top] / 2).sum()), int((~found).sum()))


def motif_features(
    counted: Incidence, on_motif: Incidence, *, min_tokens: float, share: float = 0.5
) -> np.ndarray:
    """Features that fire on enough tokens, more than ``share`` of them tokens of the planted
    motif."""
    total = np.asarray(counted.counts.sum(0)).ravel()
    inside = np.asarray(on_motif.counts.sum(0)).ravel()
    return np.flatnonzero((total >= max(min_tokens, 1)) & (inside > share * total))


def spans_motif(coded: Coded, start: np.ndarray, motif: pd.DataFrame) -> np.ndarray:
    """bool (n,) tokens at ``start`` (n,) bp that share a base with an element of ``motif`` (columns
    id, start, end)."""
    row = pd.Series(np.arange(len(coded.frame)), index=coded.frame.id)
    motif = motif[motif.id.isin(row.index)]
    inside = np.zeros(len(start), bool)
    begin = np.searchsorted(coded.sequence_of, np.arange(len(coded.frame) + 1))
    for sequence, low, high in zip(row[motif.id], motif.start, motif.end):
        tokens = slice(begin[sequence], begin[sequence + 1])
        first, width = start[tokens], coded.width[tokens]
        inside[tokens] |= (first < high) & (first + width > low) & (width > 0)
    return inside


class Few(NamedTuple):
    """Whether the positive class has fewer features in length-matched draws."""

    matched: int
    features_matched: dict[str, float]
    features_fewer: dict[str, float]
    features_fewer_null: dict[str, float]
    features_fewer_p: float
    density_ratio: dict[str, float]


def few(drawn: Matched) -> Few | None:
    """The draws of `matched_graphs` in numbers; None where the classes share no length."""
    if not drawn.sizes or not drawn.null_sizes:
        return None
    fewer, null = (
        np.array([one["negative"]["features"] - one["positive"]["features"] for one in sizes])
        for sizes in (drawn.sizes, drawn.null_sizes)
    )
    ratio = np.array(
        [
            one["negative"]["density"] / max(one["positive"]["density"], 1e-300)
            for one in drawn.sizes
        ]
    )
    middle = float(np.median(fewer))
    return Few(
        drawn.sequences,
        {side: float(np.median([one[side]["features"] for one in drawn.sizes])) for side in SIDES},
        _limits(fewer),
        _limits(null),
        float((1 + (null >= middle).sum()) / (1 + len(null))),
        _limits(ratio),
    )


def _limits(values: np.ndarray) -> dict[str, float]:
    middle, low, high = np.quantile(values, [0.5, 0.025, 0.975])
    return {"median": float(middle), "low": float(low), "high": float(high)}


def single_curves(graph: str, weights: Mapping[str, sp.csr_matrix]) -> pd.DataFrame:
    """Rows of fragmentation.csv of one graph."""
    parts = [_curve(one).assign(graph=graph, **{"class": side}) for side, one in weights.items()]
    return pd.concat(parts, ignore_index=True)


def neighbors(found: Incidence, ids: Sequence[str]) -> pd.DataFrame:
    """What a page about a feature shows around it: columns feature, kind (sequence or feature),
    other (id or feature), value, rank.

    Sequences by the tokens on which it fires, then by activation; features by the correlation of
    firing over sequences.
    """
    counts = found.counts.tocoo()
    edges = pd.DataFrame(
        {
            "feature": counts.col,
            "other": np.asarray(ids, object)[counts.row],
            "value": counts.data.astype(np.float64),
            "activation": found.total.tocoo().data,
        }
    ).sort_values(["feature", "value", "activation", "other"], ascending=[True, False, False, True])
    sequences = edges.groupby("feature").head(NEIGHBORS).drop(columns="activation")
    fired = sp.csr_matrix(
        (np.ones(counts.nnz, np.int64), found.counts.indices, found.counts.indptr),
        found.counts.shape,
    )
    together = firing_correlation(sp.csr_matrix(fired.T @ fired), len(ids))
    pairs = strongest_pairs(together, NEIGHBORS).astype({"other": object})
    parts = [sequences.assign(kind="sequence"), pairs.assign(kind="feature")]
    table = pd.concat(parts, ignore_index=True)
    table["other"] = table.other.map(str)
    table["rank"] = table.groupby(["feature", "kind"]).cumcount() + 1
    return table[["feature", "kind", "other", "value", "rank"]]


def edge_table(
    found: Incidence, ids: Sequence[str], features: np.ndarray | None = None
) -> pd.DataFrame:
    """Columns source (id of the sequence), target (feature), tokens, activation; of all features or
    of some."""
    counts = found.counts.tocoo()
    edges = pd.DataFrame(
        {
            "source": np.asarray(ids, object)[counts.row],
            "target": counts.col.astype(np.int64),
            "tokens": counts.data.astype(np.int64),
            "activation": found.total.tocoo().data,
        }
    )
    return edges if features is None else edges[edges.target.isin(features)].reset_index(drop=True)
