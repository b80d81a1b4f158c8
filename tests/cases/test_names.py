"""Kind 1: a name from a user's file is matched exactly, or refused with the nearest one.

Reference: each case's right value in the public report, or the rule that the file format states.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from petriscope.enrich.genes import read_genes
from petriscope.enrich.genesets import read_gmt
from petriscope.enrich.motifs import Motif, motifs_of, parse_motifs
from petriscope.enrich.states import read_segmentation
from petriscope.errors import UserError
from petriscope.files import read_csv, write_csv
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.stages import chromhmm
from petriscope.textfile import read_yaml_text

GENE = "chr1\tHAVANA\tgene\t11869\t14409\t.\t{}\t.\t{}\n"
REFFLAT = "DDX11L2\tNR_1\tchr1\t+\t11868\t14409\t14409\t14409\t2\t11868,12612,\t12227,14409,\n"
GENEPRED = "NR_1\tchr1\t+\t11868\t14409\t14409\t14409\t2\t11868,12612,\t12227,14409,\n"
EXTENDED = GENEPRED.rstrip("\n") + "\t0\tDDX11L2\tnone\tnone\t-1,-1,\n"


def rename(small: Any, factors: dict[str, Any], old: str, new: str) -> None:
    """Claim ``factors`` and write a MOTIF line of the motif file anew."""
    small.describe(lineage_factors=factors)
    text = small.read("motifs.meme")
    assert f"MOTIF {old}\n" in text
    small.write("motifs.meme", text.replace(f"MOTIF {old}\n", f"MOTIF {new}\n"))


@pytest.mark.parametrize(
    "line",
    [
        "MA0080.5 MA0080.5.SPI1",
        "MA0080.5 SPI1",
        "MA0080.5.SPI1",
        "M6119_1.02 (SPI1)_(Homo_sapiens)_(DBD_1.00)",
        "(SPI1)_(Homo_sapiens)",
        "SPI1_HUMAN.H11MO.0.A",
        "SPI1_MOUSE.H10MO.A",
        "SPI1.H12CORE.0.P.B",
        "SPI1.H13CORE.0.PS.A",
        "SPI1_full",
        "UP00085_1 Spi1_primary",
        "MA1.1 SPI1::IRF4",
        "MA1.1 IRF4::SPI1(var.2)",
        "Spi1",
    ],
)
def test_b11_a_factor_is_found_in_the_dialect_of_its_library(small, right, line):
    rename(small, {"blood": ["SPI1"]}, "MA0080.5 SPI1", line)
    row = next(row for row in right().splitlines() if row.startswith("blood    SPI1 "))
    assert "none" not in row


@pytest.mark.parametrize(
    ("factor", "line", "meant"),
    [
        ("SPI1", "MA0080.5 SPIB", "SP1"),  # another factor
        ("SPI1", "MA0080.5 SPI100", "SP1"),  # a longer name
        ("SPI", "MA0080.5 SPI1", "SPI1"),  # a part of one
        ("RELA", "MA0080.5 PRELA", "RELA"),  # not the end of one; RELA itself is there below
        ("FOS::JUNB", "MA0080.5 SPI1", "FOS::JUN"),  # one partner is not enough
    ],
)
def test_a_factor_is_not_found_in_another_name(small, wrong, factor, line, meant):
    rename(small, {"blood": [factor]}, "MA0080.5 SPI1", line)
    if factor == "RELA":
        small.write(
            "motifs.meme", small.read("motifs.meme").replace("MA0107.1 RELA", "MA0107.1 REL")
        )
        meant = "REL"
    wrong(f"lineage_factors.blood: {factor} names no motif of motifs.meme", "Did you mean", meant)


def test_every_factor_that_names_no_motif_is_listed_at_the_start(small, here):
    small.describe(lineage_factors={"blood": ["SPI1", "NOPE"], "liver": ["NADA", "HNF4A"]})
    answer = here(["data", "check", small.folder])
    assert answer.returncode == 2 and answer.stdout.count("wrong    ") == 2
    assert "NOPE names no motif" in answer.stdout and "NADA names no motif" in answer.stdout


def test_partners_of_a_heterodimer_come_in_any_order_and_composites_are_named_whole():
    both = [
        Motif(name, "A", np.full((1, 4), 0.25), 0.0)
        for name in ("FOS::JUN/MA0099.3", "ETS:RUNX(ETS,Runt)/x/Homer")
    ]
    assert (
        motifs_of("JUN::FOS", both) == motifs_of("Jun", both) == motifs_of("FOS", both) == both[:1]
    )
    assert motifs_of("MA0099.3", both) == both[:1] and motifs_of("ETS:RUNX", both) == both[1:]
    assert (
        not motifs_of("RUNX", both) and not motifs_of("Homer", both) and not motifs_of("JU", both)
    )


def test_homers_names_give_the_lineages_what_prefixes_gave(shared):
    """The bundled description claimed by prefix (`RUNX`, `PU.1`); now it names each factor."""
    old = {
        "blood": ("SPI1", "PU.1", "RUNX"),
        "liver": ("HNF4A", "FOXA2", "FOXA1"),
        "lymph": ("EBF", "PAX5"),
    }
    dataset = load_dataset(shared / "data")
    motifs = parse_motifs(dataset.motifs, dataset.motif_format)
    for lineage, prefixes in old.items():
        by_prefix = {m.name for m in motifs if m.name.upper().startswith(prefixes)}
        factors = dataset.lineage_factors[lineage]
        assert {m.name for factor in factors for m in motifs_of(factor, motifs)} == by_prefix


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lineage_factors": {"lymph": "HLF"}}, ("lineage_factors.lymph: must be a list", "Write [HLF]")),
        ({"lineage_factors": {"bloood": ["SPI1"]}}, ("lineage_factors.bloood", "Did you mean blood?")),
        ({"lineage_factors": ["SPI1"]}, ("lineage_factors: must be a mapping",)),
        ({"lineage_factors": {"blood": [["SPI1"]]}}, ("lineage_factors.blood[0]: must be a name",)),
        ({"annotation__blacklist": "blacklist.bed"}, ("annotation.blacklist", "belongs under genome")),
        ({"blacklist": "blacklist.bed"}, ("blacklist", "belongs under genome")),
        ({"genome__genes": "genes.bed"}, ("genome.genes", "belongs under annotation")),
        ({"license": "CC0"}, ("license: is not a field", "Did you mean licence?")),
        ({"lineage": ["blood"]}, ("lineage: is not a field", "Did you mean lineages?")),
        ({"Name": "x"}, ("Name: is not a field", "Did you mean name?")),
        ({"annotation__motif": {}}, ("annotation.motif: is not a field", "Did you mean motifs?")),
        ({"annotation__motifs": "motifs.meme"}, ("annotation.motifs: must be a mapping",)),
        ({"annotation__motifs": {"file": "motifs.meme", "format": "MEME"}}, ("annotation.motifs.format", "Did you mean meme?")),
        ({"annotation__motifs": {"file": "motifs.meme", "Format": "meme"}}, ("annotation.motifs.Format", "Did you mean format?")),
        ({"annotation__genesets": "go.gmt"}, ("annotation.genesets: must be a mapping",)),
        ({"annotation__genesets": {"GO": ["go.gmt"]}}, ("annotation.genesets.GO: must name a file",)),
        ({"annotation__genes": "Genes.bed"}, ("annotation.genes: names", "Did you mean genes.bed?")),
        ({"annotation__genes": None}, ("annotation.genes: is missing",)),
        ({"genome__fasta": "genome.fa"}, ("genome.fasta: must be a list", "Write [genome.fa]")),
        ({"lineages": "blood"}, ("lineages: must be a list", "Write [blood]")),
        ({"lineages": ["blood", "liver", "lymph", "blood"]}, ("lineages[3]: 'blood' appears twice",)),
        ({"biosamples": {"a": 1}}, ("biosamples: must be a list",)),
        ({"biosamples": ["K562"]}, ("biosamples[0]: must be a mapping",)),
        ({"format": "one"}, ("format: is one", "This version reads format 1")),
    ],
)  # fmt: skip
def test_b22_every_field_is_known_in_its_place(small, wrong, change, words):
    small.describe(**change)
    wrong("dataset.yaml", *words)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("chromHMM", "x.bed.gz", ("biosamples[0].chromHMM", "Did you mean chromhmm?")),
        ("Peaks", "x", ("biosamples[0].Peaks", "Did you mean peaks?")),
        ("tissue", "blood", ("biosamples[0].tissue: is not a field",)),
        ("lineage", "Blood", ("biosamples[0].lineage", "Did you mean blood?")),
        ("lineage", "blo", ("biosamples[0].lineage", "blo")),
        ("context", "in vitro", ("biosamples[0].context", "Did you mean in_vitro?")),
        ("context", "In_Vivo", ("biosamples[0].context", "Did you mean in_vivo?")),
        ("context", ["in_vivo"], ("biosamples[0].context: must be a text",)),
        ("format", "BAM", ("biosamples[0].format", "Did you mean bam?")),
        ("format", "fragment", ("biosamples[0].format", "Did you mean fragments?")),
        ("library_share", "half", ("biosamples[0].library_share: is half",)),
        ("library_share", "nan", ("biosamples[0].library_share: is nan",)),
        ("id", "", ("biosamples[0].id: is empty",)),
        ("id", None, ("biosamples[0].id: is missing",)),
        ("signal", "x" * 300, ("biosamples[0].signal: names",)),
        ("signal", ".", ("biosamples[0].signal: names",)),
    ],
)  # fmt: skip
def test_b22_every_field_of_a_biosample_is_known(small, wrong, field, value, words):
    samples = small.description()["biosamples"]
    samples[0][field] = value
    small.describe(biosamples=samples)
    wrong("dataset.yaml", *words)


@pytest.mark.parametrize(
    "written", ["101", "0012", "1e3", "1.0", "yes", "off", "2020-01-01", "12:30:45", "0x1F", "1_000", "+7", ".5", "'007'"]
)  # fmt: skip
def test_b23_an_id_that_looks_like_a_number_is_the_text_that_was_written(small, right, written):
    text = small.read("dataset.yaml").replace("- id: blood_vitro_1\n", f"- id: {written}\n")
    donors = [line for line in text.splitlines() if line.strip().startswith("donor:")]
    small.write("dataset.yaml", text.replace(f"{donors[0]}\n", "", 1))
    first = load_dataset(small.folder).biosamples[0]
    assert first.id == first.donor == written.strip("'")
    assert right().splitlines()[3].startswith(f"{first.id} ")
    frame = load_dataset(small.folder).biosample_table()
    frame.to_parquet(small.path("table.parquet"))  # text beside numbers was refused here
    assert frame.biosample[0] == first.id


def test_a_key_that_is_written_twice_and_text_for_a_number(small, wrong):
    small.write("dataset.yaml", small.read("dataset.yaml") + "name: other\n")
    wrong("dataset.yaml", "'name' is written twice")


@pytest.mark.parametrize(
    "text", ["- 1\n", "a: [1\n", "a: b: c\n", "&a [*a]\n", "!!python/object:os.system x\n", "? [1, 2]\n: x\n", "\t- x\n", "", "a: !!timestamp x\n", "<<: 5\n"]
)  # fmt: skip
def test_a_description_that_is_none_is_one_line(small, here, text):
    small.write("dataset.yaml", text)
    answer = here(["data", "check", small.folder])
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1


def test_b14_two_states_of_one_mnemonic_stay_two(tmp_path):
    path = tmp_path / "seg.bed"
    path.write_text(
        "chr1\t0\t200\t4_Strong_Enhancer\nchr1\t200\t600\t5_Strong_Enhancer\nchr1\t600\t800\t13_Heterochrom/lo\n"
    )
    found = read_segmentation(path)
    assert [state.name for state in found.states] == [
        "4_Strong_Enhancer",
        "5_Strong_Enhancer",
        "Heterochrom/lo",
    ]
    assert found.code.tolist() == [0, 1, 2] and found.vocabulary == "file"
    assert {state.group for state in found.states} == {"other"}


@pytest.mark.parametrize("labels", [range(1, 16), range(1, 19), range(1, 26), range(1, 13)])
def test_how_many_states_there_are_tells_no_vocabulary(tmp_path, labels):
    path = tmp_path / "seg.bed"
    path.write_text("".join(f"chr1\t{200 * i}\t{200 * i + 200}\tE{i}\n" for i in labels))
    assert read_segmentation(path).vocabulary == "file"


def in_states(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """A table of stage chromhmm: states and their groups in one lineage's bins."""
    row = {"kind": "lineage", "layer": 1, "group": "L1 blood", "targets": 500, "q": 0.5}
    return pd.DataFrame(
        [
            row | {"state": s, "state_group": g, "share": 0.5, "background_share": 0.1}
            for s, g in rows
        ]
    )


def test_b14_without_knowledge_the_claim_cannot_be_tested():
    unknown = chromhmm.measured(
        in_states([("4_Strong_Enhancer", "other"), ("5_Strong_Enhancer", "other")]), 1, [], 0.05
    )
    assert (
        "no state is known to be active" in (unknown.untestable or "")
        and unknown.active_odds is None
    )
    known = chromhmm.measured(
        in_states([("4_Strong_Enhancer", "active"), ("Low", "inactive")]), 1, [], 0.05
    )
    assert known.untestable is None and known.active_share == {"L1 blood": 0.5}


def test_b14_a_column_group_says_what_is_active(small, right):
    lines = small.read("states.tsv").splitlines()
    rows = [f"{line}\t{'active' if i == 18 else 'inactive'}" for i, line in enumerate(lines[1:], 1)]
    small.write("states.tsv", "\n".join([lines[0] + "\tgroup", *rows]) + "\n")
    said = right()
    assert any(row.split()[-2:] == ["active", "Quies"] for row in said.splitlines())


def test_b14_unknown_states_are_said_at_the_start(small, right):
    small.describe(annotation__chromhmm_states=None)
    import gzip

    for path in small.path("chromhmm").iterdir():
        text = gzip.decompress(path.read_bytes()).decode()
        renamed = text.replace("_Tss", "_A").replace("_Enh", "_B")
        small.write(f"chromhmm/{path.name}", gzip.compress(renamed.encode()))
    assert "no state is known to be active" in right()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("number\tname\tcolour\tGroup\n1\tTssA\t1,2,3\tactive\n", ("column: is 'Group'", "Did you mean group?")),
        ("number\tname\tcolour\tgroup\n1\tTssA\t1,2,3\tActive\n", ("line 2, group: is 'Active'", "Did you mean active?")),
        ("number\tname\n1\tTssA\n", ("no column colour",)),
        ("number\tname\tcolour\n1\tTssA\t1,2,3\n1\tTx\t1,2,3\n", ("line 3: number 1 occurs twice",)),
        ("number\tname\tcolour\n1\t\t1,2,3\n", ("line 2: state 1 has no name",)),
        ("number\tname\tcolour\none\tTssA\t1,2,3\n", ("line 2", "number 'one'")),
        ("number,name,colour\n1,TssA,x\n", ("is not a table of states",)),
        ("", ("is not a table of states",)),
        ("name\tnumber\tcolour\nTssA\n", ("line 2: has no number",)),
        ("number\tname\tcolour\n1\tTssA\n", ("line 2: has no colour",)),
        ("number\tname\tcolour\tcolor\n1\tTssA\t1\t2\n", ("column colour occurs twice",)),
        ("number\tname\tcolour\n1\tTssA\t1,2,3\n2\tTssFlnk\t1,2,3\n", ("is not in the states file",)),
    ],
)  # fmt: skip
def test_a_table_of_states_is_exact(small, wrong, table, words):
    small.write("states.tsv", table)
    wrong("states.tsv" if "not in the states file" not in words[0] else ".bed.gz", *words)


@pytest.mark.parametrize("name", ["NA", "nan", "None", "null", "N/A", "-", "#N/A", "true", "1"])
@pytest.mark.parametrize("last", ["", "\tdescription"])
def test_b26_a_state_called_na_is_called_na(tmp_path, name, last):
    states, path = tmp_path / "states.tsv", tmp_path / "seg.bed"
    states.write_text(
        f"number\tname\tcolour{last}\n18\t{name}\t255,255,255{'	' if last else ''}\n"
    )
    path.write_text(f"chr1\t0\t200\t18_{name}\nchr1\t200\t400\t18\n")
    (state,) = read_segmentation(path, states).states
    assert (state.name, state.description) == (name, name)
    table = tmp_path / "enrichment.csv"
    write_csv(table, pd.DataFrame({"state": [name, "x"], "odds_ratio": [np.nan, 2.0]}))
    back = read_csv(table)
    assert back.state.tolist() == [name, "x"] and np.isnan(back.odds_ratio[0])


@pytest.mark.parametrize(
    "name", ["genes.gff3", "genes.GTF", "genes.gtf.txt", "genes.bed", "genes", "genes.gtf.bgz"]
)
@pytest.mark.parametrize(
    "text",
    [
        GENE.format("+", "ID=g;gene_id=g;gene_name=DDX11L2"),
        GENE.format("+", 'gene_id "ENSG1"; ref_gene_name "WRONG"; gene_name "DDX11L2";'),
        GENE.format("+", 'gene_id "ENSG1"; note "gene_name X; y"; gene_name "DDX11L2"'),
        GENE.format("+", "ID=gene:ENSG1;Name=DDX11L2;biotype=x"),
        GENE.format("+", "ID=gene-DDX11L2;Dbxref=GeneID:84771;Name=DDX11L2;gene=DDX11L2"),
        GENE.format(".", "gene_id DDX11L2"),
        GENE.format("+", "ID=gene:DDX11L2").replace("\t", " "),
        "##gff-version 3\n" + GENE.format("+", "Name=DDX11L2") + "##FASTA\n>chr1\nACGTACGT\n",
        GENE.format("+", 'gene_id "g"; gene_name "DDX11L2";').replace("\tgene\t", "\ttranscript\t"),
        "#geneName\tname\tchrom\tstrand\n" + REFFLAT,
        GENEPRED.replace("NR_1", "DDX11L2"),
        EXTENDED,
        "585\t" + EXTENDED,
        "chr1\t11868\t14409\tDDX11L2\t0\t+\t11868\t11868\t0\t2\t359,1797\t0,744\n",
        "track name=x\nchr1\t11868\t14409\tDDX11L2\n",
        "chr1 11868 14409 DDX11L2 0 plus\r\n",
        "chr1\t11868\t14409\tddx11l2\t0\t.\n",
    ],
)
def test_b16_the_format_of_genes_is_told_by_their_content(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, newline="")
    (gene,) = read_genes(path).frame.itertuples()
    assert (gene.gene, gene.chrom, gene.tss, gene.strand) == ("DDX11L2", "chr1", 11868, "+")


def test_symbols_become_upper_case_as_in_gene_sets(tmp_path):
    """A ligature is two letters in upper case; the column's own `upper` kept it."""
    path, sets = tmp_path / "genes.bed", tmp_path / "sets.gmt"
    path.write_text("chr1\t10\t11\t\ufb00\n")
    sets.write_text("TERM\t\t\ufb00\n")
    assert read_genes(path).frame.gene.tolist() == ["FF"] == list(read_gmt(sets).sets["TERM"])


def test_a_bed_whose_symbols_and_scores_are_numbers_is_no_gtf(tmp_path):
    path = tmp_path / "entrez.bed"
    path.write_text("chr1\t11868\t14409\t84771\t100\t-\t11868\t14409\t0\n")
    (gene,) = read_genes(path).frame.itertuples()
    assert (gene.gene, gene.tss) == ("84771", 14408)


@pytest.mark.parametrize(
    ("strand", "tss"), [("+", 10), ("-", 4999), ("+1", 10), ("-1", 4999), ("plus", 10), ("minus", 4999), ("forward", 10), ("reverse", 4999), (".", 10), ("*", 10)]
)  # fmt: skip
def test_strands_of_every_dialect(tmp_path, strand, tss):
    path = tmp_path / "genes.bed"
    path.write_text(f"chr1\t10\t5000\tA\t0\t{strand}\n")
    assert read_genes(path).frame.tss.tolist() == [tss]


@pytest.mark.parametrize("strand", ["1", "0", "−", "r", "-strand", "+-", "Minus", "W", "antisense"])
def test_a_strand_is_not_guessed_from_a_letter(tmp_path, strand):
    """1 is + in Ensembl's habit and - in HOMER's."""
    path = tmp_path / "genes.bed"
    path.write_text(f"chr1\t10\t5000\tA\t0\t{strand}\n")
    with pytest.raises(UserError, match=r"genes.bed: the strand of A is .*Write \+ or -"):
        read_genes(path)
    path.write_text("chr1\t10\t5000\tA\t0\t1\nchr1\t10\t5000\tB\t0\t-1\n")
    assert read_genes(path).frame.sort_values("gene").tss.tolist() == [10, 4999]


def test_strands_are_not_lost_where_a_line_has_fewer_columns(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text("chr1\t10\t5000\tA\t0\t-\nchr1\t10\t5000\tB\n")
    with pytest.raises(UserError, match=r"genes.bed: line 2"):
        read_genes(path)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_a_line_ends_where_it_ends(tmp_path, mark):
    path = tmp_path / "sets.gmt"
    path.write_text(f"TERM{mark}ONE\tabout{mark}it\tTP53\tMYC\r\nTWO\t\tSPI1\n")
    sets = read_gmt(path).sets
    assert list(sets.values()) == [("TP53", "MYC"), ("SPI1",)]


MEME = """\
MEME version 5.5.5 (Release date: Thu Sep 7 2023)

{alphabet}

strands: + -

Background letter frequencies (from uniform background):
A 0.25000 C 0.25000 G 0.25000 T 0.25000

MOTIF {name}

letter-probability matrix: {header}
 0.0 0.0 1.0 0.0
 0.0 0.0 1.0 0.0
 1.0 0.0 0.0 0.0

URL http://example.org/A
"""
DNA = 'ALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "Thymine" 008000\nC "Cytosine" 0000CC ~ G "Guanine" FFB300\nN "Any base" = ACGT\nX = ACGT\n. = ACGT\nV "Not T" = ACG\nEND ALPHABET'


@pytest.mark.parametrize(
    "alphabet",
    ["ALPHABET= ACGT", "ALPHABET = ACGT", "ALPHABET ACGT", "", DNA, DNA.replace('"DNA" ', "")],
)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("GGAAR MEME-1\twidth =   3  sites =  25  llr = 9  E-value = 1.2e-005", "MEME-1/GGAAR"),
        ("1\twidth =    3   sites =  25", "1"),
        ("MA0080.5 SPI1", "SPI1/MA0080.5"),
        ("MA0080.5 MA0080.5.SPI1", "SPI1/MA0080.5"),
        ("SPI1", "SPI1"),
        ("SPI1 SPI1", "SPI1"),
    ],
)
@pytest.mark.parametrize(
    "header",
    ["alength= 4 w= 3 nsites= 20 E= 0", "alength= 4 w= 3", "nsites= 20", "", "alength=4 w=3"],
)
def test_b18_every_habit_of_meme(tmp_path, alphabet, name, read, header):
    path = tmp_path / "m.meme"
    text = MEME.format(alphabet=alphabet, name=name, header=header)
    for ending in ("\n", "\r\n"):
        path.write_text(text.replace("\n", ending), newline="")
        (motif,) = parse_motifs(path, "meme")
        assert motif.name == read and motif.consensus == "GGA"


@pytest.mark.parametrize(
    "alphabet",
    [
        "ALPHABET= ACGU",
        "ALPHABET= ACDEFGHIKLMNPQRSTVWY",
        'ALPHABET "RNA" RNA-LIKE\nA ~ U\nC ~ G\nEND ALPHABET',
        DNA.replace("C \"Cytosine\"", 'm "5-Methylcytosine" 0000CC\nC "Cytosine"'),
        DNA.replace("\nEND ALPHABET", ""),
    ],
)  # fmt: skip
def test_another_alphabet_is_refused(tmp_path, alphabet):
    path = tmp_path / "m.meme"
    path.write_text(MEME.format(alphabet=alphabet, name="A", header="w= 3"))
    with pytest.raises(UserError, match=r"m.meme: line 3: (alphabet is|the definition)"):
        parse_motifs(path, "meme")


def test_a_full_text_of_meme_is_told_by_its_content(tmp_path):
    banner = "*" * 80 + "\nMEME - Motif discovery tool\n" + "*" * 80 + "\n"
    path = tmp_path / "meme.txt"
    path.write_text(banner + MEME.format(alphabet="ALPHABET= ACGT", name="A", header="w= 3"))
    assert [motif.name for motif in parse_motifs(path)] == ["A"]


def test_names_of_a_description_survive_where_it_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(textwrap.dedent("name: 0012\nlicence: no\nempty:\nquoted: '~'\n"))
    assert read_yaml_text(path) == {"name": "0012", "licence": "no", "empty": None, "quoted": "~"}


def test_nothing_changes_for_the_data_set_as_it_is(right: Callable[[], str]) -> None:
    said = right()
    assert "nothing wrong" in said and "note     " not in said
