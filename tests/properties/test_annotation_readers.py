"""Genes, motifs, gene sets, states and descriptions: any text is read as an independent reader
reads it, or refused in one line that names the file.

Reference: gffutils for GTF and GFF3, the csv module, PyYAML's loader that leaves scalars alone, and
readers of a few lines for BED, MEME and GMT.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from properties_of import reads

from petriscope.enrich.genes import read_genes
from petriscope.enrich.genesets import read_gmt
from petriscope.enrich.motifs import parse_motifs
from petriscope.enrich.states import GROUPS, read_segmentation, read_states
from petriscope.errors import UserError
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.data.sampled import sample

FOLDER = Path(tempfile.mkdtemp(prefix="readers."))
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\";=,%#>/'&"),
    min_size=1,
    max_size=8,
).filter(lambda name: name.strip() == name)
ODD = st.sampled_from(list('\t\n\r \0"\\;=#,.-+0159aAZ|:/>\u2028\x85\x0c\ufeff\u00e9'))
DAMAGE = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("cir"), ODD), max_size=4)


def damaged(text: str, edits: list[tuple[int, str, str]]) -> str:
    """The text cut, or with a letter put in or replaced, at some places."""
    for at, how, letter in edits:
        at %= len(text) + 1
        text = {
            "c": text[:at],
            "i": text[:at] + letter + text[at:],
            "r": text[:at] + letter + text[at + 1 :],
        }[how]
    return text


def write(name: str, text: str) -> Path:
    path = FOLDER / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def one_line(error: UserError, path: Path) -> bool:
    return str(error).startswith(f"{path}: ") and "\n" not in str(error)


def refused(path: Path, read: Any) -> bool:
    """Whether the file is refused, in one line that names it; any other exception is a fault."""
    try:
        read(path)
    except UserError as error:
        assert one_line(error, path), str(error)
        return True
    return False


class Gene(dict[str, Any]):
    """A line of an annotation."""


@st.composite
def annotations(draw: Any) -> tuple[str, bool]:
    """A GTF or GFF3."""
    gff3 = draw(st.booleans())
    lines = draw(st.lists(st.sampled_from(["#!genome-build x", "", "#c\tgene\t1"]), max_size=2))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(1, 10**6))
        end = start + draw(st.integers(0, 10**5))
        keys = ["ID", "Name", "gene_id", "gene_name", "gene", "ref_gene_name", "Parent"]
        pairs = {
            key: draw(NAMES)
            for key in draw(st.lists(st.sampled_from(keys), max_size=4, unique=True))
        }
        if gff3:
            column = ";".join(f"{k}={v}" for k, v in pairs.items())
        else:
            column = " ".join(f'{k} "{v}";' for k, v in pairs.items())
        kind = draw(
            st.sampled_from(["gene", "transcript", "mRNA", "exon", "pseudogene", "CDS", "genes"])
        )
        chrom, strand = (
            draw(st.sampled_from(["chr1", "2", "chrX_alt"])),
            draw(st.sampled_from("+-.?")),
        )
        lines.append(f"{chrom}\tHAVANA\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{column or '.'}")
    return "\n".join(lines) + "\n", gff3


ORDER = {True: ("gene_name", "gene_symbol", "gene", "Name", "gene_id", "ID")}
ORDER[False] = ("gene_name", "gene_symbol", "gene", "gene_id", "Parent", "Name", "ID")


def by_gffutils(text: str) -> dict[str, tuple[str, int, str]] | None:
    """Symbol → chromosome, TSS, strand; None where a gene has no name."""
    reference = pytest.importorskip(
        "gffutils.feature", reason="gffutils, the reference, comes with `pip install -e .[dev]`"
    )
    rows: dict[bool, list[tuple[str, str, int, str]]] = {True: [], False: []}
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        feature = reference.feature_from_line(line)
        is_gene = feature.featuretype in ("gene", "pseudogene", "ncRNA_gene")
        if not is_gene and feature.featuretype not in ("transcript", "mRNA"):
            continue
        names = [feature.attributes[k][0] for k in ORDER[is_gene] if feature.attributes.get(k)]
        if not names:
            return None
        tss = feature.end - 1 if feature.strand == "-" else feature.start - 1
        rows[is_gene].append((names[0].upper(), feature.seqid, tss, feature.strand))
    found: dict[str, tuple[str, int, str]] = {}
    for gene, chrom, tss, strand in sorted(
        rows[True] or rows[False], key=lambda r: (r[1], -r[2] if r[3] == "-" else r[2])
    ):
        found.setdefault(gene, (chrom, tss, "-" if strand == "-" else "+"))
    return found or None


@reads(annotations(), DAMAGE)
def genes_of_an_annotation(drawn: tuple[str, bool], edits: list[tuple[int, str, str]]) -> None:
    text, _ = drawn
    path = write("genes.txt", text)
    expected = by_gffutils(text)
    if expected is None:
        assert refused(path, read_genes)
    else:
        rows = read_genes(path).frame.itertuples()
        assert {row.gene: (row.chrom, row.tss, row.strand) for row in rows} == expected
    refused(write("genes.txt", damaged(text, edits)), read_genes)


test_genes_of_an_annotation, test_genes_of_an_annotation_at_length = genes_of_an_annotation


@st.composite
def beds(draw: Any) -> list[list[str]]:
    """Lines of a BED4, BED6 or BED12."""
    width, rows = draw(st.sampled_from([4, 5, 6, 12])), []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 10**6))
        end = start + draw(st.integers(1, 3000))
        strand = draw(st.sampled_from("+-."))
        tail = [
            draw(NAMES),
            str(draw(st.integers(0, 1000))),
            strand,
            str(start),
            str(end),
            "0",
            "1",
            f"{end - start},",
            "0,",
        ]
        rows.append(
            [draw(st.sampled_from(["chr1", "1", "chrUn_1"])), str(start), str(end), *tail][:width]
        )
    return rows


@reads(beds(), DAMAGE)
def genes_of_a_bed(rows: list[list[str]], edits: list[tuple[int, str, str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in rows)
    expected: dict[str, tuple[str, int, str]] = {}
    for row in sorted(rows, key=lambda r: r[0]):
        start, end = int(row[1]), int(row[2])
        strand = "-" if row[5:6] == ["-"] else "+"
        tss = (start + end) // 2 if end - start <= 1000 else end - 1 if strand == "-" else start
        tss = start if end - start == 1 else tss
        before = expected.get(row[3].upper())
        upstream = -tss if strand == "-" else tss
        if before is None or (
            before[0] == row[0] and upstream < (-before[1] if before[2] == "-" else before[1])
        ):
            expected[row[3].upper()] = (row[0], tss, strand)
    found = read_genes(write("genes.gtf", text)).frame.itertuples()
    assert {row.gene: (row.chrom, row.tss, row.strand) for row in found} == expected
    refused(write("genes.gtf", damaged(text, edits)), read_genes)


test_genes_of_a_bed, test_genes_of_a_bed_at_length = genes_of_a_bed


@st.composite
def motif_files(draw: Any) -> tuple[str, list[tuple[str, np.ndarray]]]:
    """A MEME file and what is in it: names and matrices."""
    lines = ["MEME version 4", ""]
    lines += draw(
        st.sampled_from(
            [
                [],
                ["ALPHABET= ACGT"],
                ["ALPHABET = ACGT", ""],
                ['ALPHABET "DNA" DNA-LIKE', "A ~ T", "C ~ G", "N = ACGT", "END ALPHABET"],
            ]
        )
    )
    lines += draw(
        st.sampled_from(
            [
                [],
                ["strands: + -", ""],
                ["Background letter frequencies", "A 0.25 C 0.25 G 0.25 T 0.25"],
            ]
        )
    )
    held = []
    for number in range(draw(st.integers(1, 3))):
        name = f"M{number}" + draw(NAMES)
        other = draw(st.none() | NAMES.filter(lambda n: not n.startswith("width")))
        lines.append(
            f"MOTIF {name}"
            + (f" {other}" if other else "")
            + draw(st.sampled_from(["", "\twidth = 3 sites = 9", " "]))
        )
        width = draw(st.integers(1, 5))
        counts = np.array(
            draw(
                st.lists(
                    st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any),
                    min_size=width,
                    max_size=width,
                )
            ),
            float,
        )
        matrix = np.round(counts / counts.sum(1, keepdims=True), 4)
        head = draw(
            st.sampled_from(["", " alength= 4 w= {w} nsites= 20 E= 0", " w= {w}", " alength= 4"])
        )
        lines += ["", "letter-probability matrix:" + head.format(w=width)]
        spaces = draw(st.sampled_from(["  ", "\t", " "]))
        lines += [spaces + spaces.join(f"{p:g}" for p in row) for row in matrix]
        lines += draw(st.sampled_from([[""], ["", "URL http://x.org"], []]))
        held.append(
            (name if other in (None, name) else f"{other.removeprefix(name + '.')}/{name}", matrix)
        )
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + "\n", held


@reads(motif_files(), DAMAGE)
def motifs_of_a_file(
    drawn: tuple[str, list[tuple[str, np.ndarray]]], edits: list[tuple[int, str, str]]
) -> None:
    text, held = drawn
    found = parse_motifs(write("m.meme", text), "meme")
    assert [motif.name for motif in found] == [name for name, _ in held]
    assert all(np.array_equal(motif.matrix, matrix) for motif, (_, matrix) in zip(found, held))
    assert all(
        name.split("/")[-1].upper() in motif.factors or "/" in name
        for motif, (name, _) in zip(found, held)
    )
    for kind in ("meme", "homer", "jaspar", None):
        refused(
            write("m.meme", damaged(text, edits)), lambda path, kind=kind: parse_motifs(path, kind)
        )


test_motifs_of_a_file, test_motifs_of_a_file_at_length = motifs_of_a_file


@st.composite
def homer_files(draw: Any) -> tuple[str, str, list[str]]:
    """A HOMER and a JASPAR file of the same names."""
    homer, jaspar, names = [], [], []
    for number in range(draw(st.integers(1, 3))):
        names.append(f"{draw(NAMES)}{number}")
        homer += [
            f">AC\t{names[-1]}\t{draw(st.sampled_from(['5.5', '', '-1']))}\t0",
            "1\t0\t0\t0",
            "0.1\t0.2\t0.3\t0.4",
        ]
        jaspar += [f">{names[-1]}", "A [ 1 2 ]", "C  [3 4]", "G [5 6 ]", "T [ 7 8]"]
    return "\n".join(homer) + "\n", "\n".join(jaspar) + "\n", names


@reads(homer_files(), DAMAGE)
def motifs_of_other_libraries(
    drawn: tuple[str, str, list[str]], edits: list[tuple[int, str, str]]
) -> None:
    homer, jaspar, names = drawn
    for text, kind in ((homer, "homer"), (jaspar, "jaspar")):
        found = parse_motifs(write("m.txt", text))
        assert [motif.name for motif in found] == names
        assert all(np.allclose(motif.matrix.sum(1), 1) for motif in found)
        refused(
            write("m.txt", damaged(text, edits)), lambda path, kind=kind: parse_motifs(path, kind)
        )


test_motifs_of_other_libraries, test_motifs_of_other_libraries_at_length = motifs_of_other_libraries

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), max_size=6)


@reads(st.lists(st.lists(FIELDS, min_size=1, max_size=6), min_size=1, max_size=5), DAMAGE)
def gene_sets(rows: list[list[str]], edits: list[tuple[int, str, str]]) -> None:
    """Whatever the fields hold: separators of other systems belong to a name."""
    text = "".join("\t".join(row) + "\n" for row in rows)
    path = write("sets.gmt", text)
    rows[0][0] = rows[0][0].removeprefix("\ufeff")
    filled = [row for row in rows if "\t".join(row).strip()]
    expected: dict[str, list[str]] = {}
    for row in filled:
        symbols = [field.split(",")[0].strip().upper() for field in row[2:] if field.strip()]
        expected.setdefault(row[0].strip(), []).extend(symbols)
    expected = {term: list(dict.fromkeys(genes)) for term, genes in expected.items() if genes}
    if any(len(row) < 2 or not row[0].strip() for row in filled) or not expected:
        assert refused(path, read_gmt)
    else:
        assert {term: list(genes) for term, genes in read_gmt(path).sets.items()} == expected
    refused(write("sets.gmt", damaged(text, edits)), read_gmt)


test_gene_sets, test_gene_sets_at_length = gene_sets


@st.composite
def state_tables(draw: Any) -> str:
    columns = draw(
        st.permutations(
            ["number", "name", "colour", *draw(st.sampled_from([[], ["group"], ["description"]]))]
        )
    )
    lines = ["\t".join(columns)]
    for number in draw(st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True)):
        row = {
            "number": str(number),
            "name": draw(NAMES | st.sampled_from(["NA", "nan", "Enh", "TssA", "1"])),
        }
        row |= {
            "colour": "1,2,3",
            "group": draw(st.sampled_from(["", *GROUPS])),
            "description": draw(st.just("") | NAMES),
        }
        lines.append("\t".join(row[column] for column in columns))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


@reads(state_tables(), DAMAGE)
def tables_of_states(text: str, edits: list[tuple[int, str, str]]) -> None:
    path = write("states.tsv", text)
    rows = sorted(
        csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE),
        key=lambda r: int(r["number"]),
    )
    states = read_states(path)
    assert [(s.number, s.name) for s in states] == [(int(r["number"]), r["name"]) for r in rows]
    assert all(s.description == (r.get("description") or r["name"]) for s, r in zip(states, rows))
    assert all(s.group == r["group"] for s, r in zip(states, rows) if r.get("group"))
    lines = [
        f"chr1\t{200 * i}\t{200 * i + 200}\t{s.number}_{s.name}\n" for i, s in enumerate(states)
    ]
    found = read_segmentation(write("seg.bed", "".join(lines)), path)
    assert len({state.name for state in found.states}) == len(states)
    assert found.code.tolist() == list(range(len(states)))
    refused(write("states.tsv", damaged(text, edits)), read_states)
    refused(write("seg.bed", damaged("".join(lines), edits)), read_segmentation)


test_tables_of_states, test_tables_of_states_at_length = tables_of_states

SCALARS = st.sampled_from(["101", "0012", "1e3", "yes", "~", "null", "2020-01-01", "blood", "in_vivo", "", "''", '"a"', "[]", "{}", "x.fa", "!!int 5", "- 1", "*a", "&a b", "a: b", "\u2028"])  # fmt: skip


@reads(st.lists(st.tuples(st.integers(0, 200), SCALARS), max_size=3), DAMAGE)
def descriptions(values: list[tuple[int, str]], edits: list[tuple[int, str, str]]) -> None:
    """The shipped format with some values and letters replaced."""
    for name in ("g.fa", "s.tsv", "genes.bed", "go.gmt", "m.meme"):
        (FOLDER / name).touch()
    lines = [
        "format: 1",
        "name: n",
        "licence: l",
        "genome:",
        "  build: b",
        "  fasta: [g.fa]",
        "lineages: [blood, liver]",
        "biosamples:",
        "- id: a",
        "  lineage: blood",
        "  context: in_vivo",
        "  signal: s.tsv",
        "  format: fragments",
        "- {id: b, lineage: liver, context: in_vitro, donor: d, signal: s.tsv, format: fragments, library_share: 0.5}",
        "annotation:",
        "  genes: genes.bed",
        "  genesets: {GO: go.gmt}",
        "  motifs: {file: m.meme, format: meme}",
        "lineage_factors:",
        "  blood: [SPI1]",
        "",
    ]
    for at, value in values:
        at %= len(lines)
        if ": " in lines[at] and "{" not in lines[at]:
            lines[at] = lines[at].split(": ")[0] + ": " + value
    text = damaged("\n".join(lines), edits)
    path = write("dataset.yaml", text)
    if not refused(path, load_dataset):
        raw = yaml.load(text.removeprefix("\ufeff"), Loader=yaml.BaseLoader)
        found = load_dataset(path)
        assert [b.id for b in found.biosamples] == [item["id"] for item in raw["biosamples"]]
        assert all(
            b.donor == (item.get("donor") or b.id)
            for b, item in zip(found.biosamples, raw["biosamples"])
        )
        assert list(found.lineages) == raw["lineages"]
        assert {k: list(v) for k, v in found.lineage_factors.items()} == (
            raw.get("lineage_factors") or {}
        )


test_descriptions, test_descriptions_at_length = descriptions


@reads(
    st.lists(
        st.sampled_from(["chr1\t1\t2", "chr2\t5\t9\tx", "#c", "", "chr10\t3\t4", "track a"]),
        max_size=600,
    ),
    st.sampled_from(["", "\n"]),
)
def samples_of_a_table(rows: list[str], end: str) -> None:
    """What is looked at of a small file: true lines under their true numbers, both ends."""
    path = write("table.tsv", "\n".join(rows) + end)
    kept = [(i, row) for i, row in enumerate(rows, 1) if row and not row.startswith(("#", "track"))]
    if not kept:
        assert refused(path, sample)
        return
    found = sample(path)
    seen = [(int(line.where().removeprefix("line ")), line.text) for line in found.lines]
    assert set(seen) <= set(kept) and seen == sorted(seen)
    assert seen[0] == kept[0] and seen[-1] == kept[-1]
    assert {text.split("\t")[0] for _, text in seen} == {text.split("\t")[0] for _, text in kept}


test_samples_of_a_table, test_samples_of_a_table_at_length = samples_of_a_table
