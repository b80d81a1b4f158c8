"""Groups against the released table's own column, and against every pair of a small set counted
with Python's sets."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from petriscope.studies.dna.data.groups import (
    canonical_kmers,
    deal_groups,
    find_groups,
    homologous_pairs,
    near_pairs,
)

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def reverse(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def words(text: str, k: int = 20) -> set[str]:
    every = (text[i : i + k] for i in range(len(text) - k + 1))
    return {min(word, reverse(word)) for word in every if "N" not in word}


def family(rng: np.random.Generator) -> list[str]:
    """Unrelated sequences, copies with mutations on either strand, and short ones."""
    found = []
    for _ in range(12):
        text = "".join(rng.choice(list("ACGT"), 120))
        found.append(text)
        for mutations in (1, 2, 4, 12):
            copy = list(text)
            for at in rng.integers(0, 120, mutations):
                copy[at] = "ACGTN"[rng.integers(0, 5)]
            one = "".join(copy)
            found.append(reverse(one) if rng.random() < 0.5 else one)
        found.append(text[: rng.integers(5, 60)])
    return found


def test_homologues_are_those_of_a_count_of_every_pair() -> None:
    texts = family(np.random.default_rng(1))
    sets = [words(text) for text in texts]
    expected = {
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if sets[i] and sets[j] and len(sets[i] & sets[j]) >= 0.5 * min(len(sets[i]), len(sets[j]))
    }
    assert len(expected) > 20
    assert set(map(tuple, homologous_pairs(texts).tolist())) == expected


def test_a_kmer_of_many_sequences_is_not_looked_at() -> None:
    texts = ["ACGTTGCAAT" * 3] * 6
    assert len(homologous_pairs(texts, common=6)) == 15
    assert len(homologous_pairs(texts, common=5)) == 0


def test_kmers_never_span_two_sequences() -> None:
    owner, kmer = canonical_kmers(["ACGTA", "CC", "ACGNACG"], k=3)
    assert owner.tolist() == [0, 0, 0, 2, 2]
    assert kmer[3] == kmer[4] == min(0b000110, 0b011011)


def test_neighbors_reach_past_a_long_one_that_holds_others() -> None:
    loci = pd.DataFrame(
        {
            "chrom": ["a", "a", "a", "a", "b", None],
            "start": pd.array([0, 100, 5500, 8000, 5500, None], "Int64"),
            "end": pd.array([5000, 200, 5600, 8100, 5600, None], "Int64"),
        }
    )
    groups = find_groups(["A" * 5] * 6, loci)
    assert groups.tolist() == [0, 0, 0, 1, 2, 3]
    assert len(near_pairs(loci.assign(chrom=None))) == 0


def test_given_groups_are_joined_by_homology() -> None:
    rng = np.random.default_rng(2)
    one, two = ("".join(rng.choice(list("ACGT"), 60)) for _ in range(2))
    groups = find_groups([one, two, one, two], None, ["x", "y", "y", None])
    assert groups.tolist() == [0, 0, 0, 0]
    assert find_groups([one, two], None, ["x", "y"]).tolist() == [0, 1]


def test_the_released_groups_come_back(shared: Path) -> None:
    frame = pd.read_csv(shared / "data" / "hsg" / "cisplatin_100bp.tsv.gz", sep="\t")
    found = find_groups(frame.sequence.tolist(), frame[["chrom", "start", "end"]])
    assert (found == pd.factorize(frame.group)[0]).all()  # the same partition of 14,488 groups
    assert found.max() + 1 == 14_488


def test_groups_are_the_components_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    texts = family(rng)
    graph = nx.Graph(map(tuple, homologous_pairs(texts).tolist()))
    graph.add_nodes_from(range(len(texts)))
    loci = pd.DataFrame(
        {"chrom": "a", "start": rng.integers(0, 60_000, len(texts)), "end": 0}
    ).assign(end=lambda x: x.start + 120)
    for i, j in combinations(range(len(texts)), 2):
        gap = max(loci.start[i], loci.start[j]) - min(loci.end[i], loci.end[j])
        if gap < 1000:
            graph.add_edge(i, j)
    groups = find_groups(texts, loci)
    expected = np.zeros(len(texts), int)
    for number, part in enumerate(nx.connected_components(graph)):
        expected[list(part)] = number
    assert (pd.factorize(expected)[0] == groups).all()


def test_a_split_gets_its_share_of_either_class_in_whole_groups() -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(400), rng.integers(1, 8, 400))
    positive = (rng.random(len(group)) < 0.3) * 1.0
    positive[rng.random(len(group)) < 0.1] = np.nan
    shares = {"train": 0.5, "select": 0.25, "test": 0.25}
    split = deal_groups(group, positive, shares, 1)
    assert (pd.Series(split).groupby(group).nunique() == 1).all()
    for name, share in shares.items():
        assert abs((split == name).mean() - share) < 0.01
        assert abs(np.nanmean(positive[split == name]) - np.nanmean(positive)) < 0.03
    assert (split == deal_groups(group, positive, shares, 1)).all()
    assert (split != deal_groups(group, positive, shares, 2)).any()
