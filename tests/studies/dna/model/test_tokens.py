"""The tokenizer against the published vocabularies' digest, Hugging Face's EsmTokenizer (fixture)
and a loop that cuts one base at a time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from dna_toy import random_sequences

from petriscope.errors import UserError
from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna.model.tokens import (
    CLS,
    LIMITS,
    Form,
    by_length,
    check_lengths,
    clean,
    expand,
    longest,
    pieces,
    tokenize,
    tokenize_all,
    vocabulary,
)
from petriscope.studies.dna.parity import tokenizer

FORMS: tuple[Form, ...] = ("v1", "v2")


def naive(sequence: str, form: Form) -> list[tuple[int, int, int]]:
    """The rule of the original, one stretch between N at a time."""
    ids, found, at = vocabulary(form).ids, [(CLS, 0, 0)], 0
    for number, stretch in enumerate(sequence.split("N")):
        if number:
            found.append((ids["N"], at, 1))
            at += 1
        whole = len(stretch) // 6 * 6
        words = [stretch[i : i + 6] for i in range(0, whole, 6)] + list(stretch[whole:])
        for word in words:
            found.append((ids[word], at, len(word)))
            at += len(word)
    return found


def test_the_vocabularies_are_the_published_ones() -> None:
    text = "\n".join(vocabulary("v2").words).encode()
    digest = "c00e0ad166d6ab3f7540ebc92270392e581bb3106763412f29034b49323e1052"
    assert len(text) == 28_718 and hashlib.sha256(text).hexdigest() == digest
    assert [len(vocabulary(form)) for form in FORMS] == [4105, 4107]
    left_out = [w for w in vocabulary("v2").words if w not in ("<eos>", "<bos>")]
    assert list(vocabulary("v1").words) == left_out


@pytest.mark.parametrize("form", FORMS)
def test_many_sequences_are_cut_as_one_by_one(form: Form) -> None:
    sequences = [*random_sequences(3, 200), "N", "NN", "A", "ACGTAC", "NACGTACN", ""]
    tables = tokenize_all(sequences, form)
    for number, sequence in enumerate(sequences):
        found = tables.of(number)
        assert list(zip(*(column.tolist() for column in found))) == naive(sequence, form)
        bases = expand(np.arange(len(found.ids)), found.width)
        assert len(bases) == len(sequence)  # every base has one token, in order
        assert (found.start[bases] + found.width[bases] > np.arange(len(sequence))).all()
        assert (found.start[bases] <= np.arange(len(sequence))).all()


def test_long_sequences_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = random_sequences(5, 40)
    whole = tokenize_all(sequences, "v1")
    monkeypatch.setattr("petriscope.studies.dna.model.tokens._AT_ONCE", 100)
    for a, b in zip(tokenize_all(sequences, "v1"), whole):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_strict_reads_any_text_as_the_original(shared: Path, form: Form) -> None:
    cases = read_fixture(shared / "golden" / "nt_tokenizer.json")["cases"]
    for case in cases:
        found = tokenize(case["sequence"], form, strict=True, limit=LIMITS[form])
        assert found.ids.tolist() == case[f"{form}_ids"], case["why"]
    six_thousand = next(c for c in cases if len(c["sequence"]) == 6000)["sequence"]
    assert len(tokenize(six_thousand, "v1").ids) == 1001  # what the authors' 6-kb chunks lose


def test_the_fixture_agrees_and_a_damaged_one_does_not(shared: Path) -> None:
    path = shared / "golden" / "nt_tokenizer.json"
    entries = read_fixture(path)
    assert all(row.error <= row.allowed for row in tokenizer.compare(path, entries))
    entries["cases"][7]["v2_ids"][-1] -= 1
    wrong = {row.array for row in tokenizer.compare(path, entries) if row.error > row.allowed}
    assert wrong == {"v2_ids", "v2_ids of A, C, G, T and N"}


def test_an_insertion_shifts_the_phase_of_all_that_follows() -> None:
    plain, shifted = tokenize("ACGTAC" * 4, "v2").ids, tokenize("G" + "ACGTAC" * 4, "v2").ids
    assert set(plain[1:]).isdisjoint(shifted[1:5])
    after = tokenize("ACGTACNACGTAC", "v2").ids
    assert after[1] == after[3]  # a new phase after N


def test_cleaning_counts_what_it_changes() -> None:
    assert clean("ACGTN") == ("ACGTN", 0, 0, 0)
    assert clean("acGTRYn") == ("ACGTNNN", 5 - 2 + 0, 2, 0)
    assert clean("ACGU", rna=True) == ("ACGT", 0, 0, 1)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("", "is empty"),
        ("ACGT<mask>ACG", "has `<` at base 5"),
        ("ACGU", "has 1 U. Give DNA, or --rna"),
        ("ACGTXA", "has 'X' at base 5"),
        ("ACG-TA", "has '-' at base 4"),
        ("MKLVEFIQPL", "is a protein sequence"),
    ],
)
def test_what_is_no_dna_is_refused(sequence: str, message: str) -> None:
    with pytest.raises(UserError, match=r"a\.fa: record 3: ") as told:
        clean(sequence, file="a.fa", field="record 3")
    assert message in str(told.value)


def test_a_mixture_of_rna_and_dna_is_refused() -> None:
    with pytest.raises(UserError, match="both T and U"):
        clean("ACGTU", rna=True)


def test_other_letters_are_never_tokens_by_accident() -> None:
    with pytest.raises(UserError, match="sequence 2: has 'a' at base 3"):
        tokenize_all(["ACGT", "ACaT"], "v1")
    with pytest.raises(UserError, match="sequence 1: has 'é' at base 2"):
        tokenize("Aé", "v1")
    with pytest.raises(UserError, match=r"model.form: is 'v3'. Choose v1 or v2"):
        tokenize("A", "v3")  # type: ignore[arg-type]


def test_longer_than_the_model_is_refused_with_the_limit_in_bp() -> None:
    assert longest(1000) == 5994
    counts = np.diff(tokenize_all(["A" * 5994, "A" * 5995], "v1").offsets)
    with pytest.raises(
        UserError, match=r"sequence b: has 1,001 tokens, the model reads 1,000: 5,9"
    ):
        check_lengths(counts, ["a", "b"], 1000)
    check_lengths(counts[:1], ["a"], 1000)


def test_pieces_overlap_and_cover_all() -> None:
    rng = np.random.default_rng(8)
    for overlap in (0, 6, 13):
        sequence = "".join(rng.choice(list("ACGTN"), 500, p=[0.24] * 4 + [0.04]))
        covered = np.zeros(len(sequence), int)
        last = 0
        for start, part in pieces(sequence, "v2", 20, overlap):
            assert sequence[start : start + len(part)] == part
            assert len(tokenize(part, "v2").ids) <= 20
            assert start == 0 or last - start == overlap
            covered[start : start + len(part)] += 1
            last = start + len(part)
        assert last == len(sequence) and (covered >= 1).all()
    with pytest.raises(UserError, match=r"sequences.overlap: is 120 bp"):
        list(pieces("ACGT" * 100, "v2", 11, 120))


def test_groups_of_one_length_hold_each_sequence_once() -> None:
    counts = np.array([3, 5, 3, 3, 5, 9, 3, 3])
    groups = by_length(counts, 2)
    assert sorted(np.concatenate(groups)) == list(range(8))
    assert all(len(g) <= 2 and len(set(counts[g])) == 1 for g in groups)
    mixed = by_length(counts, 2, mixed=True)
    assert sorted(np.concatenate(mixed)) == list(range(8)) and len(mixed) == 4
    assert by_length(np.zeros(0, int), 2) == []


def test_a_hundred_thousand_sequences_take_seconds() -> None:
    sequences = random_sequences(1, 50, 384) * 400
    started = time.process_time()
    tokenize_all(sequences, "v2")
    assert time.process_time() - started < 5  # .3 s on an idle core for these 20,000
