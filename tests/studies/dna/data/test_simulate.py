"""The planted world is where its truth says: held against the written files alone, with pyBigWig,
and with the groups that `find_groups` finds in the sequences themselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyBigWig
import pytest

from petriscope.enrich.genesets import read_gmt
from petriscope.errors import UserError
from petriscope.files import sha256
from petriscope.genome.fasta import Genome
from petriscope.genome.overlap import Intervals, overlaps, read_bed
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset, read_truth
from petriscope.studies.dna.data.groups import find_groups
from petriscope.studies.dna.data.simulate import simulate_demo

COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small world, made once for each set of arguments."""

    @cache
    def make(**more: Any) -> SequenceSet:
        folder = tmp_path_factory.mktemp("world") / "w"
        simulate_demo(folder, **{"sequences": 900, **more})
        return load_dataset(folder)

    return make


def differing(one: str, two: str) -> int:
    return sum(a != b for a, b in zip(one, two, strict=True))


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate_demo(tmp_path / name, seed=seed, sequences=120, tokens=32)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_every_element_is_in_its_sequence_and_on_its_contig(world: Any) -> None:
    dataset = world()
    truth = read_truth(dataset.truth)
    sequences = dataset.sequences.set_index("id")
    texts = {
        kind: truth.world["grammar"][group]
        for kind, group in zip(
            ("word", "anchor", "target", "motif"), ("words", "anchors", "targets", "motif")
        )
    }
    genome = Genome([dataset.genome])
    letters = np.array(list("ACGT"))
    for row in truth.elements.itertuples():
        number = 0 if row.kind == "motif" else int(row.name.split("_")[1]) - 1
        home = sequences.loc[row.id]
        found = home.sequence[row.start : row.end]
        assert differing(found, texts[row.kind][number]) == row.mutations
        assert row.start % 6 == row.phase
    for row in dataset.sequences.sample(60, random_state=0).itertuples():
        there = "".join(letters[genome.fetch_codes(row.chrom, int(row.start), int(row.end))])
        assert row.sequence == (there.translate(COMPLEMENT)[::-1] if row.strand == "-" else there)
    assert set(dataset.sequences.strand) == {"+", "-"}
    bases = (truth.elements.end - truth.elements.start).sum()
    assert 0.015 < truth.elements.mutations.sum() / bases < 0.025  # 2 % are mutated
    assert 0.05 < (truth.elements.phase > 0).mean() < 0.15


def test_the_tracks_are_the_elements_and_the_decoy_is_not(world: Any) -> None:
    dataset = world()
    truth = read_truth(dataset.truth).elements
    sequences = dataset.sequences.set_index("id")
    places = {}
    for name, kinds in (("words", ["word"]), ("motif", ["motif"]), ("rule", ["anchor", "target"])):
        bed, own = read_bed(dataset.tracks[name]), truth[truth.kind.isin(kinds)]
        home = sequences.loc[own.id]
        back = (home.strand == "-").to_numpy()
        low = np.where(back, home.end - own.end.to_numpy(), home.start + own.start.to_numpy())
        expected = sorted(zip(home.chrom, low, low + (own.end - own.start)))
        assert sorted(zip(bed.chrom, bed.start, bed.end)) == expected
        places[name] = bed
    decoy = read_bed(dataset.tracks["words_decoy"])
    contigs = Genome([dataset.contigs]).contigs
    total = (contigs.end - contigs.start).sum()
    words = (places["words"].end - places["words"].start).sum()
    both = overlaps(Intervals.of(decoy), Intervals.of(places["words"])).bases.sum()
    size = (decoy.end - decoy.start).sum()
    assert words - len(contigs) * 18 <= size <= words  # what a contig's end would cut is left out
    assert abs(both / size - words / total) < 0.03  # no more on words than any base


def test_conservation_is_high_in_elements(world: Any) -> None:
    dataset = world()
    words = read_bed(dataset.tracks["words"]).iloc[:200]
    with pyBigWig.open(str(dataset.conservation)) as handle:
        inside = np.concatenate(
            [
                handle.values(r.chrom, int(r.start), int(r.end), numpy=True)
                for r in words.itertuples()
            ]
        )
        spacer = handle.values("chr1", 0, 1000, numpy=True)
    assert abs(inside.mean() - 0.95) < 0.01
    assert abs(spacer.mean() - 0.7) < 0.02


@pytest.mark.parametrize(
    ("rule", "prevalence", "obeyed"), [("learnt", 1, 1), ("rare", 0.1, 1), ("absent", 1, 0.25)]
)
def test_the_rule_is_as_prevalent_as_asked(
    world: Any, rule: str, prevalence: float, obeyed: float
) -> None:
    truth = read_truth(world(rule=rule).truth)
    kinds = truth.elements[truth.elements.kind.isin(["anchor", "target"])]
    pairs = kinds.pivot(index="id", columns="kind", values=["start", "name"])
    distance = (pairs["start"].target - pairs["start"].anchor) / 6
    assert distance.between(34, 45).all() and distance.nunique() == 12
    same = pairs["name"].anchor.str[-2:] == pairs["name"].target.str[-2:]
    assert abs(len(pairs) / 900 - prevalence) < 0.05
    assert abs(same.mean() - obeyed) < 0.06
    told = truth.elements[truth.elements.kind == "target"].set_index("id").obeys == "yes"
    assert (told == same.loc[told.index]).all()


def test_the_motif_is_the_label_or_means_nothing(world: Any) -> None:
    for on in (True, False):
        dataset = world(motif=on)
        truth = read_truth(dataset.truth)
        carries = dataset.sequences.id.isin(
            truth.elements.id[truth.elements.kind == "motif"]
        ).to_numpy()
        bound = (dataset.sequences.label == "bound").to_numpy()
        agreement = (carries == bound).mean()
        assert agreement == 1 if on else abs(agreement - 0.5) < 0.06
        assert truth.world["genesets"]["true"] == (["TERM_01"] if on else [])
        sets = read_gmt(dataset.genesets).sets
        rich = dataset.sequences.gene.isin(sets["TERM_01"]).to_numpy()
        assert bound[rich].mean() > 0.85 if on else abs(bound[rich].mean() - 0.5) < 0.2


def test_under_the_confound_only_lengths_and_the_motif_differ(world: Any) -> None:
    dataset = world(confound=True)
    truth = read_truth(dataset.truth).elements
    sequences = dataset.sequences
    tokens = sequences.sequence.str.len() // 6
    bound = sequences.label == "bound"
    assert tokens[bound].between(34, 43).all() and tokens[~bound].between(52, 64).all()
    assert not dataset.lengths.overlap
    assert "do not overlap" in dataset.untestable()[0]
    for kind in ("word", "anchor", "target"):
        count = sequences.id.map(truth[truth.kind == kind].id.value_counts()).fillna(0)
        rates = [count[side].sum() / tokens[side].sum() for side in (bound, ~bound)]
        assert abs(rates[0] / rates[1] - 1) < 0.08, kind


def test_groups_are_those_of_the_sequences_themselves(world: Any) -> None:
    for more in ({}, {"motif": False, "rule": "absent"}):
        frame = world(**more).sequences
        found = find_groups(frame.sequence.tolist(), frame[["chrom", "start", "end"]])
        assert (found == frame.group.astype(int)).all()
        assert not frame.sequence.duplicated().any()
        assert frame.groupby("group").gene.nunique().max() > 1  # copies join two clusters


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rule": "learned"}, "rule: is 'learned'. Did you mean learnt?"),
        ({"sequences": 3}, "sequences: is 3. Give a number of at least 60."),
        ({"tokens": 8}, "tokens: is 8"),
        ({"seed": -1}, "seed: is -1"),
    ],
)
def test_a_world_that_cannot_be(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        simulate_demo(tmp_path / "w", **more)
    assert words in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_the_shares_of_bases_are_those_of_the_background(world: Any) -> None:
    dataset = world()
    spacer = Genome([dataset.genome]).fetch_codes("chr1", 0, 1008)
    shares = np.bincount(spacer, minlength=4) / len(spacer)
    assert np.abs(shares - [0.29, 0.21, 0.21, 0.29]).max() < 0.05
    table = dataset.gene_table()
    assert isinstance(table, pd.DataFrame) and table.length.notna().all()
