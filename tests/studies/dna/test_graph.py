"""Reference: the fixture of the authors' program with each of its habits, their printed PageRank
values, networkx and gffutils; planted classes that differ in length or in a motif alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from petriscope.graph.bipartite import SILENT, strongest
from petriscope.graph.centrality import log_ratio, pagerank_iterated, shares
from petriscope.graph.rate_test import exchange, rate_test
from petriscope.run.fixtures import read_fixture
from petriscope.sae.codes import Codes
from petriscope.studies.dna.graph import (
    CORRECTED,
    PUBLISHED,
    Form,
    Record,
    TokenRows,
    annotations_of,
    deciles,
    kmer_counts,
    kmer_score,
    length_matched,
    lone_token_fold_change,
    node_link,
    overlap,
    printed_pagerank,
    sequence_graph,
    spearman,
    top_both_ways,
)
from petriscope.studies.dna.graph_tables import (
    Coded,
    class_weights,
    comparable,
    compare_rates,
    few,
    graph_row,
    hubs,
    matched_graphs,
    motif_features,
    naive,
    neighbors,
    spans_motif,
)
from petriscope.studies.dna.parity.graph import fixture_graphs


@pytest.fixture(scope="module")
def fixture(shared: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    golden = shared / "golden"
    return read_fixture(golden / "hsg_graph.json"), read_fixture(golden / "hsg_graph.npz")


# the habits of the published program, each alone


def triples(graph: Any) -> list[tuple[str, int, int]]:
    return [(graph.names[s], f, t) for s, f, t in zip(graph.sequence, graph.feature, graph.token)]


@pytest.mark.parametrize("name", ["special", "silent", "last", "replace"])
def test_each_habit_shows_in_the_fixture(fixture: Any, name: str) -> None:
    whole, without = fixture_graphs(*fixture), fixture_graphs(*fixture, Form(**{name: False}))
    for side in "PN":
        a, b = Counter(triples(whole[side])), Counter(triples(without[side]))
        if name == "special":  # one edge of each sequence that kept any is lost, and only those
            assert sum((a - b).values()) == len(np.unique(whole[side].sequence)) - _replaced_cls(
                whole[side]
            )
            assert not b - a
        elif name == "silent":
            lost = a - b
            assert lost and all(feature == 0 for _, feature, _ in lost) and not b - a
        elif name == "last":
            assert (b - a) and not a - b
        else:
            assert len(without[side].names) == len(whole[side].names) + 2
            assert without[side].lost < whole[side].lost
            assert sum(b.values()) > sum(a.values())


def _replaced_cls(graph: Any) -> int:
    """Sequences with edges whose `<cls>` edge went when a later one of the same name came."""
    return sum((graph.token[graph.sequence == s] != 3).all() for s in np.unique(graph.sequence))


def test_corrected_counts_every_firing_token_once(fixture: Any) -> None:
    graphs = fixture_graphs(*fixture, CORRECTED)
    wanted, latents = fixture
    for side, graph in graphs.items():
        for i in range(len(wanted["classes"][side]["sequences"])):
            rows = latents[f"{side}{i}_row"]
            assert (graph.sequence == i).sum() == len(np.unique(rows[rows > 0]))


def test_a_repeated_token_keeps_its_first_place_and_its_last_latent() -> None:
    rows = TokenRows(
        np.zeros(5, int), np.array([3, 8, 9, 8, 7]), np.array([4, 1, 2, 5, SILENT]),
        np.array([1, 0, 0, 0, 0], bool),
    )  # fmt: skip
    graph = sequence_graph(rows, ["a"], 6)
    assert list(zip(graph.token, graph.feature)) == [(3, 4), (8, 5), (9, 2), (7, 0)]
    corrected = sequence_graph(rows, ["a"], 6, CORRECTED)
    assert list(zip(corrected.token, corrected.feature)) == [(8, 1), (9, 2), (8, 5)]


def test_a_third_sequence_of_a_name_is_held_against_the_second() -> None:
    tokens = [[5, 6], [6, 7], [5, 7, 8]]
    rows = TokenRows(
        np.repeat([0, 1, 3], [2, 2, 3]),
        np.concatenate(tokens),
        np.arange(7),
        np.zeros(7, bool),
    )
    graph = sequence_graph(rows, ["a", "a", "b", "a"], 9)
    assert graph.names == ("a", "b")
    # the second leaves 7 alone; of the third, 5 is new again
    assert list(zip(graph.sequence, graph.token)) == [(0, 5), (0, 8)]
    assert graph.lost == 1


def test_node_link_is_networkxs(fixture: Any) -> None:
    graph = fixture_graphs(*fixture)["P"]
    words = [str(i) for i in range(5000)]
    written = node_link(graph, words)
    read = nx.node_link_graph(json.loads(json.dumps(written)), edges="edges")
    assert read.number_of_edges() == len(graph.sequence)
    again = nx.node_link_data(read, edges="edges")
    assert again["edges"] == written["edges"]
    assert again["nodes"] == written["nodes"]
    assert {k: again[k] for k in ("directed", "multigraph", "graph")} == {
        k: written[k] for k in ("directed", "multigraph", "graph")
    }
    plain = sequence_graph(
        TokenRows(np.zeros(1, int), np.ones(1, int), np.ones(1, int), np.zeros(1, bool)), ["x"], 2
    )
    assert node_link(plain, words)["nodes"][0] == {"type": "sequence", "id": "x"}


def test_annotations_are_gffutils_with_the_start_one_base_early() -> None:
    gffutils = pytest.importorskip("gffutils")
    places = [(100, 150), (101, 150), (120, 200), (120, 201), (99, 140)]
    text = "\n".join(
        f'chr1\tx\texon\t{a}\t{b}\t.\t+\t.\tgene_id "g"; transcript_id "t"; exon_id "e{i}";'
        for i, (a, b) in enumerate(places)
    )
    database = gffutils.create_db(
        text, ":memory:", from_string=True, disable_infer_genes=True, disable_infer_transcripts=True
    )
    expected = {
        one.attributes["exon_id"][0]
        for one in database.region(
            region=("chr1", 100, 200), strand="+", completely_within=True, featuretype=["exon"]
        )
    }
    records = [
        Record(f"exon_{i}", "chr1", a, b, "+", "exon", {"exon_id": f"e{i}"})
        for i, (a, b) in enumerate(places)
    ]
    name = "chr1:100-200(+)"
    assert set(annotations_of(records, name)) == expected == {"e0", "e1", "e2"}
    assert set(annotations_of(records, name, bed_start=False)) == {"e1", "e2"}
    assert not annotations_of(records, "chr1:100-200(-)")
    with pytest.raises(ValueError, match="strand"):
        annotations_of(records, "chr1:5")


# the printed values


def test_printed_pagerank_comes_back_to_twelve_digits(shared: Path) -> None:
    folder = shared / "data/hsg/published"
    graphs = pd.read_csv(folder / "graphs.tsv", sep="\t").set_index("graph")
    printed = {
        name: printed_pagerank(int(row.digraph_nodes), int(row.feature_nodes))
        for name, row in graphs.iterrows()
    }
    assert [printed[n].iterations for n in ("binding", "non_binding")] == [18, 16]
    values = pd.read_csv(folder / "pagerank_unique_features.tsv", sep="\t").set_index("feature")
    binding = values[values.graph == "binding"].pagerank
    for feature, tokens in ((581, 19), (10170, 19), (438, 18), (6142, 17)):
        found = printed["binding"].values(np.array(1 / tokens))
        assert f"{found:.12e}" == f"{binding[feature]:.12e}"
        assert 1 / printed["binding"].shares(binding[feature]) == pytest.approx(tokens, abs=1e-6)
    assert lone_token_fold_change(*printed.values(), (0, 0)) == pytest.approx(-0.030, abs=5e-4)
    lone = [
        (row.digraph_nodes - row.feature_nodes) ** 2 / row.multigraph_edges
        for _, row in graphs.iterrows()
    ]
    assert lone_token_fold_change(*printed.values(), tuple(lone)) == pytest.approx(0.736, abs=5e-4)


# planted classes


def world(
    lengths: tuple[tuple[int, int], tuple[int, int]],
    *,
    motif: bool,
    seed: int,
    sequences: int = 240,
) -> Coded:
    """`<cls>` names latent 1; each other token fires one of latents 2 to 19 at random, and on 6
    motif tokens of every positive latent 0 as well, more strongly. Sequences end in three single
    bases, on which latent 1 never fires."""
    rng = np.random.default_rng(seed)
    target = np.arange(sequences) % 2 == 0
    count = np.array([rng.integers(*lengths[0 if t else 1]) for t in target])
    sequence_of = np.repeat(np.arange(sequences), count + 1)
    n = len(sequence_of)
    place = np.arange(n) - np.searchsorted(sequence_of, sequence_of)
    latent = rng.integers(2, 20, n)
    dense = np.zeros((n, 20), np.float32)
    dense[np.arange(n), latent] = 1
    dense[place == 0] = 0
    dense[place == 0, 1] = 1
    if motif:
        dense[(place > 4) & (place < 11) & target[sequence_of], 0] = 2
    width = np.where(place == 0, 0, np.where(place > count[sequence_of] - 3, 1, 6))
    token = np.where(place == 0, 3, rng.integers(4, 400, n))
    matrix = sp.csr_matrix(dense)
    codes = Codes(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, 20)
    letters = ["".join(rng.choice(list("ACGT"), 6 * c)) for c in count]
    frame = pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(sequences)],
            "sequence": letters,
            "split": np.where(np.arange(sequences) % 4 < 3, "train", "test"),
            "group": np.arange(sequences),
        }
    )
    frame["split"] = rng.permutation(frame.split)
    frame["name"] = frame.id
    return Coded(frame, target, codes, sequence_of, token, width, 400)


OPTIONS: dict[str, Any] = {"permutations": 300, "seed": 3, "min_tokens": 5}
SAME, APART = ((34, 44), (34, 44)), ((20, 24), (80, 90))


def test_closure_trap() -> None:
    """Shares of the strongest latent make every background latent fall where the motif is; rates of
    firing do not."""
    coded = world(SAME, motif=True, seed=1)
    by_rate = compare_rates(coded, comparable(coded, 3), **OPTIONS).main
    strongest_only = Codes(
        np.arange(len(coded.token) + 1),
        coded.rows.latent.astype(np.int32),
        np.ones(len(coded.token), np.float32),
        20,
    )
    of_shares = Coded(
        coded.frame, coded.target, strongest_only, coded.sequence_of, coded.token, coded.width, 400
    )
    by_share = compare_rates(of_shares, comparable(coded, 3), **OPTIONS).main
    background = slice(2, 20)
    assert by_rate.p_maxt[0] < 0.01 and by_share.p_maxt[0] < 0.01
    assert abs(np.mean(by_rate.t[background])) < 0.5
    assert np.mean(by_share.t[background]) < -1
    assert (by_share.t[background] < by_rate.t[background]).mean() > 0.8


def test_lengths_alone_make_a_published_difference_and_are_flagged() -> None:
    coded = world(APART, motif=False, seed=2)
    limits = comparable(coded, 3)
    assert limits.shared == 0 and limits.cropped == coded.length.min() == 20
    assert limits.keep is not None
    kept = np.bincount(coded.sequence_of[limits.keep & (coded.width > 0)])
    assert (kept == 20).all()
    weights = class_weights(coded, PUBLISHED)
    change = log_ratio(*(pagerank_iterated(weights[s]).feature for s in ("positive", "negative")))
    assert np.nanargmax(np.abs(change)) == 1  # `<cls>`
    expected = [len(weights[s].indptr) - 1 for s in ("positive", "negative")]
    assert change[1] > 0.35 and expected == [120, 120]
    tests = compare_rates(coded, limits, **OPTIONS)
    assert np.isnan(tests.main.t[1])  # a special token is not counted
    assert (tests.main.p_maxt[2:] > 0.05).all()
    table = pd.DataFrame({"fold_change_published": change, **tests.main.frame()})
    found = naive(coded, table, k=3, alpha=0.05)
    assert found.special >= 1 and found.unsupported == found.named == 6
    assert few(matched_graphs(coded, draws=2, nulls=2, seed=0)) is None


def test_a_motif_is_found_with_equal_lengths_and_ranked_by_rate() -> None:
    coded = world(SAME, motif=True, seed=4)
    limits = comparable(coded, 3)
    assert limits.cropped is None and limits.shared > 0.9
    tests = compare_rates(coded, limits, **OPTIONS)
    assert np.flatnonzero(tests.main.p_maxt < 0.05).tolist() == [0]
    assert np.flatnonzero(tests.held_out.p_maxt < 0.05).tolist() == [0]
    found = hubs(coded, tests, None, k=2, alpha=0.05)
    assert (found.truth, found.features, found.rate, found.rate_at_k) == ("held-out", 1, 1.0, 1.0)
    assert found.in_degree == found.pagerank == 1.0  # though in one graph only
    assert found.rho_differences is not None and found.rho_differences > 0.5
    for side in ("positive", "negative"):
        assert found.rho_share[side] == pytest.approx(1)
    planted = hubs(coded, tests, np.zeros(0, int), k=2, alpha=0.05)
    assert planted.truth == "planted" and planted.rate is None


def test_duplicates_count_once() -> None:
    coded = world(SAME, motif=False, seed=5, sequences=40)
    frame = coded.frame.copy()
    frame.loc[2, "sequence"] = frame.loc[0, "sequence"]
    double = Coded(frame, coded.target, *(getattr(coded, n) for n in
                   ("codes", "sequence_of", "token", "width", "vocabulary")))  # fmt: skip
    assert double.first.sum() == 39 and not double.first[2]
    weights = class_weights(double, CORRECTED, double.first)
    assert weights["positive"].shape[0] == 19 and weights["negative"].shape[0] == 20


def test_length_matched_draws() -> None:
    coded = world(((30, 50), (40, 70)), motif=False, seed=6)
    drawn = matched_graphs(coded, draws=4, nulls=3, seed=1)
    found = few(drawn)
    assert found is not None and len(drawn.sizes) == 4 and len(drawn.null_sizes) == 3
    assert (
        found.features_fewer == {"median": 0, "low": 0, "high": 0} and found.features_fewer_p == 1
    )
    rng = np.random.default_rng(0)
    rows = length_matched(coded.length, coded.target, rng)
    for one in np.unique(coded.length):
        inside = coded.target[rows][coded.length[rows] == one]
        sides = [(coded.length[s] == one).sum() for s in (coded.target, ~coded.target)]
        assert inside.sum() == (~inside).sum() == min(sides)
    other = length_matched(coded.length, coded.target, rng)
    assert len(other) == len(rows) and (other != rows).any()


def test_graph_row_counts_parallel_edges_apart() -> None:
    row = graph_row("g", "positive", sp.csr_matrix([[2, 1], [0, 3]], dtype=np.int32))
    assert (row["edges"], row["parallel_edges"], row["nodes"]) == (3, 6, 4)
    assert (row["density"], row["density_multigraph"]) == (3 / 12, 6 / 12)


def test_composition() -> None:
    shares_of = kmer_counts(["ACGTNACG", "A"], 2)
    assert shares_of[0].sum() == pytest.approx(1) and not shares_of[1].any()
    assert shares_of[0, 1] == pytest.approx(2 / 5)  # AC
    rng = np.random.default_rng(0)
    target = rng.random(300) < 0.5
    sequences = [
        "".join(rng.choice(list("ACGT"), 60, p=[0.2, 0.3, 0.3, 0.2] if t else [0.25] * 4))
        for t in target
    ]
    score = kmer_score(sequences, target, np.arange(300), seed=1)
    assert score[target].mean() > score[~target].mean() + 0.1
    copies = rng.permutation(np.repeat(np.arange(150), 2))
    noise = kmer_score(["ACGT" * 5] * 300, target, copies, seed=1)
    assert np.ptp(noise) < 1e-9
    assert np.bincount(deciles(np.arange(100.0))).tolist() == [10] * 10


def test_rankings() -> None:
    score = np.array([np.nan, 3, -1, 3, 0, -2])
    assert top_both_ways(score, 2).tolist() == [1, 3, 2, 5]
    assert top_both_ways(score, 9).tolist() == [1, 3, 2, 5]
    assert overlap(np.array([1, 2]), np.array([2, 7, 9])) == 0.5
    assert overlap(np.array([1]), np.zeros(0, int)) is None
    assert spearman(np.array([1, 2, 3, np.nan]), np.array([5, 6, 9, 1])) == pytest.approx(1)
    assert spearman(np.ones(4), np.arange(4)) is None


def test_motif_tokens_and_their_features() -> None:
    coded = world(SAME, motif=True, seed=8, sequences=40)
    place = np.arange(len(coded.token)) - np.searchsorted(coded.sequence_of, coded.sequence_of)
    start = np.maximum(place - 1, 0) * 6
    motif = pd.DataFrame(
        {"id": [*coded.frame.id[coded.target], "other"], "start": 4 * 6 + 2, "end": 10 * 6 - 2}
    )
    inside = spans_motif(coded, start, motif)
    expected = (place > 4) & (place < 11) & coded.target[coded.sequence_of]
    np.testing.assert_array_equal(inside, expected)
    found = motif_features(coded.counted(), coded.counted(inside), min_tokens=5)
    assert found.tolist() == [0]


def test_neighbors() -> None:
    coded = world(SAME, motif=True, seed=9, sequences=40)
    found = coded.counted()
    table = neighbors(found, coded.frame.id.tolist())
    counts = found.counts.toarray()
    mine = table[(table.feature == 3) & (table.kind == "sequence")]
    assert mine["rank"].tolist() == list(range(1, 11))
    assert mine.value.tolist() == sorted(counts[:, 3], reverse=True)[:10]
    assert [counts[int(i[1:]), 3] for i in mine.other] == mine.value.tolist()
    assert set(table.kind) == {"sequence", "feature"}


def test_published_shares_are_what_pagerank_is_made_of() -> None:
    coded = world(SAME, motif=False, seed=10, sequences=30)
    weights = class_weights(coded, PUBLISHED)["positive"]
    dense = weights.toarray()
    np.testing.assert_allclose(shares(weights), (dense / dense.sum(1, keepdims=True)).sum(0))
    assert strongest(coded.codes).max() < 20
    plan = exchange(coded.target, [coded.length // 3])
    assert rate_test(coded.counted(), plan, **OPTIONS).tested > 0
