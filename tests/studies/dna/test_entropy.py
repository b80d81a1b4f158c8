"""References: the golden (naive counts, checked with an FM-index), and counting with str here."""

from __future__ import annotations

import numpy as np
import pytest

from petriscope.errors import UserError
from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna import entropy
from petriscope.studies.dna.entropy import (
    Scan,
    codes_of,
    held_out,
    published_bits,
    published_entropy,
    reverse_complement,
    windows,
)
from petriscope.studies.dna.parity import entropy as parity

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def text(rng: np.random.Generator, n: int, letters: str = "ACGT") -> str:
    return "".join(rng.choice(list(letters), n))


def occurrences(texts: list[str], word: str) -> int:
    return sum(t.startswith(word, i) for t in texts for i in range(len(t)))


def left_out(texts: list[str], which: int, at: int, k: int) -> tuple[float, int]:
    """Surprisal of a base and other occurrences of its context, both strands, by looking at every
    place but its own."""
    context, base = texts[which][at - k : at], texts[which][at]
    counts = dict.fromkeys("ACGT", 0)
    for row, one in enumerate(texts):
        for i in range(k, len(one)):
            forward = one[i - k : i + 1]
            if "N" in forward or (row, i) == (which, at):
                continue
            for word in (forward, forward[::-1].translate(COMPLEMENT)):
                if word[:-1] == context:
                    counts[word[-1]] += 1
    total = sum(counts.values())
    return -np.log2((counts[base] + 0.25) / (total + 1)), total


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_leaving_out_is_looking_at_every_other_place(k, dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(entropy, "DENSE", 1)
    rng = np.random.default_rng(k)
    # repeats and palindromes, so that the other strand gives an occurrence its own context
    texts = [text(rng, 40) + "ACGTACGTTTAAACCGGNTATATATA" + text(rng, 20, "AT"), text(rng, 30)]
    codes = codes_of(texts)
    found = Scan.of(codes, k).dirichlet(codes, own=True)
    offset = 0
    for which, one in enumerate(texts):
        for at in range(len(one)):
            place = offset + at
            if at < k or "N" in one[at - k : at + 1]:
                assert np.isnan(found.surprisal[place]) and found.others[place] == -1
                continue
            surprisal, others = left_out(texts, which, at, k)
            assert found.others[place] == others
            assert found.surprisal[place] == pytest.approx(surprisal, abs=1e-12)
        offset += len(one) + 1


@pytest.mark.parametrize("dense", [True, False])
def test_published_counts_are_those_of_str(dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(entropy, "DENSE", 1)
    rng = np.random.default_rng(7)
    texts = [text(rng, 60) + "NN" + text(rng, 30, "AC") + "NACNN", text(rng, 25, "AC")]
    codes = codes_of(texts)
    for k in (1, 3, 4):
        found = published_entropy(codes, k)
        row = 0
        for one in texts:
            for at in range(k, len(one)):
                context = one[at - k : at]
                following = [occurrences(texts, context + a) for a in "ACGT"]
                assert found.seen[row] == occurrences(texts, context)
                assert found.next[row].tolist() == following
                p = np.array([n for n in following if n]) / found.seen[row]
                assert found.entropy[row] == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-12)
                row += 1
        assert row == len(found.seen)
        np.testing.assert_array_equal(
            np.isnan(published_bits(codes, k)),
            ~np.isin(np.arange(len(codes)), entropy.scanned(codes, k)),
        )


def test_defects_of_the_published_entropy():
    codes = codes_of(["ACGTTGCAAT"])
    found = published_entropy(codes, 4)
    assert (found.seen == 1).all()  # the scanned base is its context's only one: certainty
    assert (found.entropy == 0).all()
    corrected = Scan.of(codes, 4, both=False).dirichlet(codes, own=True)
    assert (corrected.surprisal[4:-1] == 2).all()  # nothing else is known: two bits
    ended = published_entropy(codes_of(["AAC", "AAN", "AA", "AAG"]), 2, np.array([2]))
    assert ended.seen[0] == 4 and ended.next[0].tolist() == [0, 1, 1, 0]
    assert ended.entropy[0] == pytest.approx(2 * 0.25 * 2)  # shares add up to 1/2
    absent = published_entropy(codes, 4, index=codes_of(["TTTTTTTT"]))
    assert (absent.seen == 0).all() and (absent.entropy == 0).all()


def test_the_other_strand_gives_the_same_surprisal_to_a_reversed_genome():
    rng = np.random.default_rng(1)
    codes = codes_of([text(rng, 300)])
    there, back = Scan.of(codes, 3), Scan.of(reverse_complement(codes), 3)
    a, b = (s.dirichlet(codes, own=False).surprisal for s in (there, back))
    np.testing.assert_array_equal(a, b)


def test_k_is_chosen_on_other_dna():
    rng = np.random.default_rng(2)
    words = [text(rng, 8) for _ in range(12)]
    one, other = (["".join(rng.choice(words, 200)) for _ in range(3)] for _ in range(2))
    chosen = held_out(codes_of(one), codes_of(other), [1, 6, 16])
    assert chosen.best == 6
    assert chosen.seen[0] == 1 > chosen.seen[2]
    random = [text(rng, 1500)]
    assert held_out(codes_of(random), codes_of([text(rng, 1500)]), [1, 4, 8]).best == 1


@pytest.mark.parametrize(("k", "what"), [(0, "is 0"), (17, "is 17"), (5, "longest sequence has 5")])
def test_a_k_that_does_not_fit_is_refused(k, what):
    with pytest.raises(UserError, match=what):
        Scan.of(codes_of(["ACG", "ACGTA"]), k)
    with pytest.raises(UserError, match=what):
        published_entropy(codes_of(["ACG", "ACGTA"]), k)


def test_letters_that_are_no_bases_are_refused():
    with pytest.raises(UserError, match=r"'E'.*no letter"):
        codes_of(["ACGT", "MEEP"])


def test_positions_without_a_context_are_refused():
    with pytest.raises(UserError, match="no 3 letters"):
        published_entropy(codes_of(["ACGTACGT"]), 3, np.array([2]))


def test_windows_do_not_cross_breaks():
    key, good = windows(codes_of(["ACG", "T", "GGN", "TTT"]), 2)
    assert good.tolist() == [0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0]
    assert key[good].tolist() == [1, 6, 10, 15, 15]


def test_counts_are_those_of_an_fm_index():
    fm_index = pytest.importorskip("fm_index")
    rng = np.random.default_rng(3)
    one = text(rng, 4000)
    index, at = fm_index.FMIndex(one), rng.integers(12, 4000, 50)
    for k in (2, 6, 12):
        found = published_entropy(codes_of([one]), k, at)
        assert found.seen.tolist() == [index.count(one[i - k : i]) for i in at]


def test_the_golden_is_met_and_a_damaged_one_is_not(shared):
    path = shared / "golden" / "hsg_entropy.json"
    entries = read_fixture(path)
    found = parity.compare(path, entries)
    assert len(found) == 6
    assert all(one.error <= one.allowed for one in found), found
    for column, name in ((2, "count"), (4, "published entropy")):
        rows = [list(row) for row in entries["rows"]]
        rows[5][column] += 1e-9 if column == 4 else 1
        worse = parity.compare(path, {**entries, "rows": rows})
        assert [one.array for one in worse if one.error > one.allowed] == [name]
