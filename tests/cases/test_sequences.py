"""Kind 10: a data set of sequences that cannot be what it says is refused in one line, with file,
line, field and remedy; one that merely looks odd is read, and what was done to it is said.

A case damages one file of a valid set, and names the words of the refusal.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import yaml

from petriscope.errors import UserError
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset
from petriscope.studies.dna.data.prepare import prepare, why_untestable

COMPLEMENT = str.maketrans("ACGT", "TGCA")
SHARES = {"train": 0.5, "select": 0.25, "test": 0.25}
LOCI = (
    ("s1", "chr1", 100, 160, "+", "in"),
    ("s2", "chr1", 2000, 2060, "-", "out"),
    ("s3", "chr1", 4000, 4060, "+", "in"),
    ("s4", "chr2", 50, 110, "+", "out"),
    ("s5", "chr2", 2050, 2110, "-", "in"),
    ("s6", "chr2", 4050, 4110, "+", "out"),
)
HEAD = "id\tsequence\tchrom\tstart\tend\tstrand\tclass\tgene"


class Set:
    """A valid data set of six sequences on two contigs, which a case damages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(5)
        self.genome = {c: "".join(rng.choice(list("ACGT"), 6000)) for c in ("chr1", "chr2")}
        self.write("genome.fa", "".join(f">{c}\n{text}\n" for c, text in self.genome.items()))
        self.rows = [HEAD]
        for name, chrom, start, end, strand, label in LOCI:
            text = self.genome[chrom][start:end]
            text = text.translate(COMPLEMENT)[::-1] if strand == "-" else text
            cells = (name, text, chrom, start, end, strand, label, f"G{name[1]}")
            self.rows.append("\t".join(map(str, cells)))
        self.table()
        self.write("peaks.bed", "chr1\t110\t150\nchr2\t2000\t2100\n")
        self.write("terms.gmt", "TERM\tx\tG1\tG3\nOTHER\tx\tG2\tZ\n")
        self.fields: dict[str, Any] = {
            "format": 1,
            "kind": "sequences",
            "name": "small",
            "build": "b1",
            "sequences": "s.tsv",
            "classes": {"positive": "in", "negative": "out"},
            "genome": "genome.fa",
            "contigs": "genome.fa",
            "tracks": {"peaks": "peaks.bed"},
            "genesets": "terms.gmt",
        }
        self.describe()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def table(self) -> None:
        self.write("s.tsv", "\n".join(self.rows) + "\n")

    def describe(self, **fields: Any) -> None:
        """Set fields of dataset.yaml; None takes one out."""
        self.fields |= fields
        kept = {key: value for key, value in self.fields.items() if value is not None}
        self.write("dataset.yaml", yaml.safe_dump(kept, sort_keys=False))

    def cell(self, line: int, column: str, value: str) -> None:
        """Change one cell of the table; ``line`` as an editor counts."""
        cells = self.rows[line - 1].split("\t")
        cells[HEAD.split("\t").index(column)] = value
        self.rows[line - 1] = "\t".join(cells)
        self.table()

    def sequence(self, line: int) -> str:
        return self.rows[line - 1].split("\t")[1]

    def load(self) -> SequenceSet:
        return load_dataset(self.folder)


@pytest.fixture
def given(tmp_path: Path) -> Set:
    (tmp_path / "set").mkdir()
    return Set(tmp_path / "set")


@pytest.fixture
def wrong_set(given: Set, here: Any) -> Callable[..., str]:
    """`petriscope data check --study dna` must end with status 2 and one line with these words."""

    def check(*words: str) -> str:
        answer = here(["data", "check", given.folder, "--study", "dna"])
        (line,) = answer.stderr.strip().splitlines()
        assert answer.returncode == 2, answer.stdout
        for word in words:
            assert word in line, line
        return str(line)

    return check


def test_the_valid_set_is_right(given: Set, here: Any) -> None:
    answer = here(["data", "check", given.folder, "--study", "dna"])
    assert answer.returncode == 0, answer.stderr
    assert "6 of 6 sequences equal it" in answer.stdout
    assert "nothing wrong" in answer.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (str.lower, ["s.tsv: line 3: sequence", "lower case", "`upper: true`"]),
        (lambda s: s.replace("T", "U"), ["line 3: sequence: s2 has U", "`rna: true`"]),
        (lambda s: s.replace("T", "U", 1), ["line 3: sequence: s2 has both T and U", "mixture"]),
        (lambda s: "*" + s[1:], ["line 3: sequence", "'*' at base 1", "Use A, C, G, T and N"]),
        (lambda s: s[:5] + "-" + s[6:], ["line 3: sequence", "'-' at base 6", "IUPAC"]),
        (lambda s: "MKLEFIPQRLLGS" * 4, ["line 3: sequence", "protein", "Give DNA"]),
        (lambda s: "<cls>" + s[5:], ["line 3: sequence", "`<` at base 1", "Remove it"]),
        (lambda s: "", ["line 3: sequence", "is empty", "give its bases"]),
        (lambda s: s[:-1], ["line 3: chr1:2000-2060 has 60 bp", "its sequence 59"]),
    ],
)
def test_a_sequence_that_is_no_dna(
    given: Set, wrong_set: Callable[..., str], change: Callable[[str], str], words: list[str]
) -> None:
    given.cell(3, "sequence", change(given.sequence(3)))
    wrong_set(*words)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("id", "s1", ["line 3: id 's1' has another sequence than on line 2", "its own id"]),
        ("id", "", ["line 3: id is empty"]),
        ("start", "2061", ["line 3: chr1:2061-2060 starts at or after its end", "start < end"]),
        ("start", "-3", ["line 3: start is '-3'", "plain digits"]),
        ("start", "2e3", ["line 3: start is '2e3'"]),
        ("end", "", ["line 3: end is missing", "or none of them"]),
        ("strand", "*", ["line 3: strand is '*'", "Write + or -"]),
        ("class", "In", ["line 3: class: is 'In'. Did you mean in?"]),
        ("chrom", "chr2", ["line 3: s2 is not what genome.fa holds", "build or strand"]),
        ("strand", "+", ["line 3: s2 is not what genome.fa holds", "5 of 6"]),
    ],
)
def test_a_cell_that_cannot_be(
    given: Set, wrong_set: Callable[..., str], column: str, value: str, words: list[str]
) -> None:
    given.cell(3, column, value)
    wrong_set("s.tsv", *words)


def test_an_end_past_its_chromosome_is_of_another_build(
    given: Set, wrong_set: Callable[..., str]
) -> None:
    given.write("sizes", "chr1\t4050\nchr2\t6000\n")
    given.describe(chrom_sizes="sizes", genome=None, contigs=None)
    wrong_set("s.tsv: line 4: chr1:4000-4060 ends past chr1, which has 4,050 bp", "another genome")
    given.write("sizes", "chr1 4050\n")
    wrong_set("sizes: line 1", "no chromosome and its length")


def test_one_sequence_in_both_classes(given: Set, wrong_set: Callable[..., str]) -> None:
    given.rows.append(f"s7\t{given.sequence(2)}\t\t\t\t\tout\t")
    given.table()
    wrong_set("line 8: s7 (out) has the sequence of s1 (in, line 2", "remove one")


def test_one_class(given: Set, wrong_set: Callable[..., str]) -> None:
    for line in (3, 5, 7):
        given.cell(line, "class", "in")
    wrong_set("dataset.yaml: classes: there is one class only: no sequence is 'out'")


def test_classes_must_be_named_and_be_there(given: Set, wrong_set: Callable[..., str]) -> None:
    given.describe(classes=None)
    wrong_set("classes: is missing, but sequences have classes (in, out)")
    given.describe(classes={"positive": "in", "negative": "in"})
    wrong_set("classes.negative: is 'in' like the positive")
    for line in range(2, 8):
        given.cell(line, "class", "")
    given.describe(classes={"positive": "in", "negative": "out"})
    wrong_set("classes: are named, but no sequence has a class")


def test_an_unlabeled_set_says_what_it_cannot_support(given: Set) -> None:
    for line in range(2, 8):
        given.cell(line, "class", "")
    given.describe(classes=None)
    dataset = given.load()
    assert dataset.positive is None and why_untestable(dataset) == "no sequence has a class"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": 2}, ["format: is 2"]),
        ({"kind": "sequence"}, ["kind: is 'sequence', not 'sequences'"]),
        ({"kind": None}, ["kind: is 'chromatin'"]),
        ({"genset": "x"}, ["genset: is not a field of a data set", "Did you mean genesets?"]),
        ({"sequences": "t.tsv"}, ["sequences: names", "does not exist", "Did you mean s.tsv?"]),
        ({"sequences": ["s.tsv"]}, ["sequences: must be a file, or class: file"]),
        ({"upper": "yes"}, ["upper: is 'yes'", "true, false"]),
        ({"trim": 5}, ["trim: is 5"]),
        ({"trim": 900}, ["trim: is 900, more than any sequence has"]),
        (
            {"genome": None, "sequences": "peaks.bed"},
            ["genome: is missing, but peaks.bed is a BED"],
        ),
        ({"sequences": "terms.gmt"}, ["terms.gmt: line 1: begins with", "nor BED"]),
    ],
)
def test_a_description_that_cannot_be(
    given: Set, wrong_set: Callable[..., str], fields: dict[str, Any], words: list[str]
) -> None:
    given.describe(**fields)
    wrong_set(*words)


def test_annotation_without_the_dna(given: Set, wrong_set: Callable[..., str]) -> None:
    for line in range(2, 8):
        for column in ("chrom", "start", "end", "strand"):
            given.cell(line, column, "")
    wrong_set("tracks: annotates a genome, but no sequence has a place on one", "chrom, start")


def test_gene_sets_of_other_genes(given: Set, wrong_set: Callable[..., str]) -> None:
    given.write("terms.gmt", "TERM\tx\tENSG1\tENSG2\n")
    wrong_set("terms.gmt: no gene of its sets is one of the sequences' genes", "ENSG1", "G1")
    for line in range(2, 8):
        given.cell(line, "gene", "")
    wrong_set("genesets: is given, but no sequence has a gene", "`gene`")


def test_a_table_of_genes(given: Set, wrong_set: Callable[..., str]) -> None:
    given.describe(genes="g.tsv")
    given.write("g.tsv", "id\tgene\tlength\ns1\tG1\t900\ns9\tG9\t10\n")
    assert given.load().gene_table().length.tolist() == [900, 10]
    given.write("g.tsv", "id\tgene\tlength\ns1\tG1\t9kb\n")
    wrong_set("g.tsv: line 2: length: is '9kb'")
    given.write("g.tsv", "id\tgene\nx1\tG1\n")
    wrong_set("g.tsv: id: names no sequence")
    given.write("g.tsv", "id\tgene\ns1\t\n")
    wrong_set("g.tsv: line 2: a cell is empty")
    given.write("g.tsv", "id\tgen\ns1\tG1\n")
    wrong_set("g.tsv: line 1: has no column 'gene'")


def test_tracks_of_another_genome(given: Set, wrong_set: Callable[..., str]) -> None:
    given.write("peaks.bed", "1\t110\t150\n")
    wrong_set("peaks.bed", "no interval lies on the genome", "Did you mean chr1 for 1?")
    given.write("peaks.bed", "chr1\t110\t15000\n")
    wrong_set("peaks.bed: chr1:110-15000 ends past the chromosome")
    given.write("peaks.bed", "chr1\t200\t150\n")
    wrong_set("peaks.bed: line 1: interval chr1:200-150 is empty or negative")


def test_conservation_of_another_build(given: Set, wrong_set: Callable[..., str]) -> None:
    with pyBigWig.open(str(given.folder / "c.bw"), "w") as out:
        out.addHeader([("chr1", 6001)])
        out.addEntries("chr1", 0, values=[1.0] * 100, span=1, step=1)
    given.describe(conservation="c.bw")
    wrong_set("c.bw: chr1 has 6,001 bp in the file but 6,000 in the genome")
    shutil.copy(given.folder / "peaks.bed", given.folder / "c.bw")
    wrong_set("c.bw: cannot be opened as bigWig")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chr3\t10\t70\tx\t0\t+", ["line 2: chr3:10-70 lies outside the genome"]),
        ("chr1\t5990\t6050\tx\t0\t+", ["chr1:5990-6050 lies outside", "(chr1 has 6,000 bp)"]),
        ("chr1\t700\t600\tx\t0\t+", ["line 2: chr1:700-600 starts at or after its end"]),
        ("chr1\t600\t700\tx\t0\tF", ["line 2: strand is 'F'"]),
        ("chr1\t6e2\t700\tx\t0\t+", ["line 2", "start"]),
    ],
)
def test_a_bed_that_the_genome_does_not_hold(
    given: Set, wrong_set: Callable[..., str], line: str, words: list[str]
) -> None:
    given.write("in.bed", f"chr1\t100\t160\ta\t0\t+\n{line}\n")
    given.write("out.bed", "chr1\t2000\t2060\tb\t0\t-\n")
    given.describe(sequences={"in": "in.bed", "out": "out.bed"}, genesets=None)
    wrong_set("in.bed", *words)


def test_table_fasta_and_bed_give_the_same_sequences(given: Set) -> None:
    table = given.load().sequences
    beds: dict[str, list[str]] = {"in": [], "out": []}
    fasta, classes = [], ["id\tclass"]
    for (name, chrom, start, end, strand, label), text in zip(LOCI, table.sequence, strict=True):
        beds[label].append(f"{chrom}\t{start}\t{end}\t{name}\t0\t{strand}\n")
        fasta.append(f">{name} more words\n{text[:31]}\n{text[31:]}\n")
        classes.append(f"{name}\t{label}")
    for label, lines in beds.items():
        given.write(f"{label}.bed", "".join(lines))
    columns = ["id", "sequence", "label", "chrom", "start", "end", "strand"]
    given.describe(sequences={"in": "in.bed", "out": "out.bed"}, genesets=None)
    found = given.load().sequences.sort_values("id")
    assert found[columns].to_numpy().tolist() == table[columns].to_numpy().tolist()
    (given.folder / "s.fa.gz").write_bytes(gzip.compress("".join(fasta).encode()))
    given.write("classes.tsv", "\n".join(classes) + "\n")
    given.describe(sequences="s.fa.gz", class_file="classes.tsv", tracks=None)
    found = given.load().sequences
    columns = ["id", "sequence", "label"]
    assert found[columns].to_numpy().tolist() == table[columns].to_numpy().tolist()
    given.write("classes.tsv", "\n".join([*classes, "s8\tin"]) + "\n")
    with pytest.raises(UserError, match=r"classes\.tsv: line 8: 's8' is the id of no"):
        given.load()


def test_letters_are_mended_and_counted(given: Set) -> None:
    text = given.sequence(2)
    given.cell(2, "sequence", text[:5].lower() + text[5:])
    given.describe(genome=None, contigs=None)
    assert given.load().notes == ("5 lower-case letters read as upper case",)
    given.cell(2, "sequence", "RYSW" + text[4:])
    dataset = given.load()
    assert dataset.notes == ("4 letters for an unknown base read as N",)
    assert dataset.sequences.sequence[0] == "NNNN" + text[4:]
    given.describe(upper=True)
    given.cell(2, "sequence", text.lower())
    assert given.load().sequences.sequence[0] == text
    given.describe(rna=True)
    given.cell(2, "sequence", text.replace("T", "U"))
    dataset = given.load()
    assert dataset.sequences.sequence[0] == text
    assert "U read as T" in dataset.notes[0]


def test_a_line_that_repeats_a_sequence_is_read_once(given: Set) -> None:
    given.rows.append(given.rows[1])
    given.table()
    dataset = given.load()
    assert len(dataset.sequences) == 6
    assert dataset.notes == ("1 lines repeat a sequence under its own id: read once",)


def test_lengths_that_tell_the_classes_refuse_the_comparison(given: Set, here: Any) -> None:
    for line, (_, chrom, start, end, strand, label) in enumerate(LOCI, start=2):
        if label == "out":
            text = given.genome[chrom][start : end + 40]
            text = text.translate(COMPLEMENT)[::-1] if strand == "-" else text
            given.cell(line, "sequence", text)
            given.cell(line, "end", str(end + 40))
    dataset = given.load()
    why = why_untestable(dataset)
    assert why is not None and "in (60 to 60 bp) and out (100 to 100 bp) do not overlap" in why
    assert "`trim: 60`" in why
    answer = here(["data", "check", given.folder, "--study", "dna"])
    assert answer.returncode == 0 and "do not overlap" in answer.stdout
    given.describe(trim=60)  # what was offered
    dataset = given.load()
    assert why_untestable(dataset) is None
    answer = here(["data", "check", given.folder, "--study", "dna"])
    assert "6 of 6 sequences equal it" in answer.stdout  # places moved with the bases


def test_longer_than_the_model_reads(given: Set) -> None:
    long = "".join(np.random.default_rng(6).choice(list("ACGT"), 6900))
    given.rows.append(f"s7\t{long}\t\t\t\t\tin\t")
    given.table()
    dataset = given.load()
    with pytest.raises(UserError, match=r"sequence s7: has 1,151 tokens.*5,994 bp"):
        prepare(dataset, "v1", None, SHARES, 1)
    prepare(dataset, "v2", None, SHARES, 1)
    frame = prepare(dataset, "v1", 594, SHARES, 1)
    cut = frame[frame.piece]
    assert cut.id.tolist() == ["s7:0-5994", "s7:5400-6900"]
    assert cut.group.nunique() == 1 and cut.n_tokens.max() == 1000


def test_a_split_without_a_class(given: Set) -> None:
    given.rows = given.rows[:4]
    given.table()
    with pytest.raises(UserError, match=r"split \w+ has no sequence of class .* more groups"):
        prepare(given.load(), "v1", None, SHARES, 1)
