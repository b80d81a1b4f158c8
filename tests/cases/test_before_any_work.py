"""Kind 2: every file is looked at before any work, its names and its ends against the genome.

Reference: each case's right value in the public report; where a file lies on the genome is known
from the tiny data set.
"""

from __future__ import annotations

import bz2
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pysam
import pytest

from petriscope.enrich.genes import read_genes
from petriscope.enrich.genesets import read_gmt
from petriscope.enrich.motifs import parse_motifs
from petriscope.enrich.states import read_segmentation, read_states
from petriscope.errors import UserError
from petriscope.run.stage import run_stage
from petriscope.run.workspace import create_workspace
from petriscope.studies.chromatin.data import sampled
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.data.preflight import check_dataset
from petriscope.textfile import open_text

TABLES = ("blacklist.bed", "genes.bed", "signal/blood_vitro_1.fragments.tsv.gz")
TABLES += ("peaks/liver_vivo_2.narrowPeak.gz", "chromhmm/lymph_in_vivo.bed.gz")
Edit = Callable[[str], str]


def edit(small: Any, name: str, change: Edit) -> None:
    """Change the text of a file, gzipped or not."""
    raw = small.path(name).read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    text = change((gzip.decompress(raw) if packed else raw).decode())
    small.write(name, gzip.compress(text.encode()) if packed else text)


def sizes(small: Any) -> dict[str, int]:
    """Chromosome → bp of the tiny genome."""
    with pysam.FastaFile(str(small.path("genome.fa"))) as genome:
        return dict(zip(genome.references, genome.lengths))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (lambda text: text.replace("chr", ""), ("Did you mean chr1 for 1?",)),
        (lambda text: text.replace("chr", "Chr"), ("Did you mean chr1 for Chr1?",)),
        (lambda text: text.replace("chr", "NC_00000"), ("the file says NC_000001",)),
    ],
)
def test_b27_a_file_without_a_name_of_the_genome_is_named(small, wrong, name, rename, words):
    edit(small, name, rename)
    wrong(f"/{name}: ", "no interval lies on the genome", *words)


def test_a_genome_of_other_names_is_refused_with_each_file(small, here):
    small.write("genome.fa", small.read("genome.fa").replace(">chr", ">"))
    small.write("genome.fa.fai", small.read("genome.fa.fai").replace("chr", ""))
    small.path("genome.fa.fai").unlink()
    answer = here(["data", "check", small.folder])
    assert answer.returncode == 2 and "Did you mean 1 for chr1?" in answer.stderr
    assert answer.stdout.count("no interval lies on the genome") > 20  # every table, not the first


@pytest.mark.parametrize("name", TABLES)
def test_names_that_match_in_part_are_listed(small, right, name):
    def foreign(text: str) -> str:
        last = text.rstrip("\n").split("\n")[-1].split("\t")
        last[3:4] = ["LONE"] if name == "genes.bed" else last[3:4]
        return text + "\t".join(["chr9", *last[1:]]) + "\n"

    edit(small, name, foreign)
    assert f"note     {name}: chromosome names not the genome's (1): chr9" in right()


@pytest.mark.parametrize("name", TABLES)
def test_the_last_record_must_lie_inside_its_chromosome(small, wrong, name):
    size = sizes(small)["chr4"]

    def beyond(text: str) -> str:
        *before, last = text.rstrip("\n").split("\n")
        fields = last.split("\t")
        place = ["chr4", str(size + 5_000), str(size + 9_000)]
        return "\n".join([*before, last, "\t".join(place + fields[3:])]) + "\n"

    edit(small, name, beyond)
    wrong(f"/{name}: ", "chr4", f"{size:,} bp" if "peaks" not in name else "")


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("signal/blood_vitro_1.fragments.tsv.gz", "chr4\tten\t20", ("start is 'ten'",)),
        ("signal/blood_vitro_1.fragments.tsv.gz", "chr4\t30\t20", ("is empty",)),
        ("signal/blood_vitro_1.fragments.tsv.gz", "chr4\t30", ("2 columns",)),
        ("chromhmm/lymph_in_vivo.bed.gz", "chr4\t0.5\t200\t1_TssA", ("start is '0.5'",)),
        ("chromhmm/lymph_in_vivo.bed.gz", "chr4\t0\t200\t99_New\t0\t.\t0\t200\t1,2,3", ("'99_New' is not in the states file",)),
        ("genes.bed", "chr4\t10\t20\tA\t0\tx", ("the strand of A",)),
        ("go.gmt", "TERM without tabs", ("'TERM without tabs'",)),
        ("motifs.meme", "MOTIF A\nletter-probability matrix: w= 2\n 1 0 0 0\n", ("declares w= 2",)),
    ],
)  # fmt: skip
def test_a_wrong_last_record_is_found_before_any_work(small, wrong, name, line, words):
    edit(small, name, lambda text: f"{text.rstrip()}\n{line}\n")
    wrong(f"/{name}: ", *words)


def test_b27_gene_sets_of_other_symbols_are_named(small, wrong):
    small.write("go.gmt", "GO:1\tx\t7157\t4609\nGO:2\ty\t6688\n")
    wrong("go.gmt: no gene of its sets is in genes.bed", "4609", "the genes are")


READERS: dict[str, Callable[[Path], Any]] = {
    "genes.bed": read_genes,
    "go.gmt": read_gmt,
    "motifs.meme": lambda path: parse_motifs(path, "meme"),
    "states.tsv": read_states,
    "chromhmm/lymph_in_vivo.bed.gz": read_segmentation,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: gzip.compress(raw)[: len(gzip.compress(raw)) // 2],
        lambda raw: gzip.compress(raw)[:-4],
        lambda raw: gzip.compress(raw)[:30] + b"\xff" * 40 + gzip.compress(raw)[70:],
        lambda raw: gzip.compress(raw)[:5],
        lambda raw: raw.replace(b"\n", b"\xe9\n", 3),
        lambda raw: raw[:50] + b"\0" * 100 + raw[50:],
        lambda raw: raw.decode().encode("utf-16"),
        bz2.compress,
    ],
    ids=["half", "tail", "middle", "head", "latin1", "zeros", "utf16", "bzip2"],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_b17_a_damaged_file_is_one_line_that_names_it(small, name, damage, ending):
    raw = small.path(name).read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    path = small.write(name + ending, damage(raw))
    with pytest.raises(UserError) as caught:
        READERS[name](path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    assert any(words in text for words in ("damaged or truncated", "UTF-8", "bzip2", "holds"))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ending", ["", ".gz", ".txt", ".bgz"])
def test_b17_gzip_is_told_by_its_first_bytes(small, name, packed, ending):
    raw = small.path(name).read_bytes()
    plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    path = small.write(f"other/{name}{ending}", gzip.compress(plain) if packed else plain)
    READERS[name](path)


def test_b17_the_reports_file(small, wrong):
    """`gzip -c motifs.meme | head -c 3000 > motifs.meme.gz`"""
    small.write("motifs.meme.gz", gzip.compress(small.path("motifs.meme").read_bytes())[:3000])
    small.describe(annotation__motifs={"file": "motifs.meme.gz", "format": "meme"})
    wrong("motifs.meme.gz: gzip damaged or truncated")


def test_a_bgzip_file_that_was_cut_between_blocks_is_damaged(tmp_path):
    path = tmp_path / "sets.gmt.gz"
    with pysam.BGZFile(str(path), "w", None) as handle:
        handle.write(b"TERM\tx\tTP53\n")
    assert list(open_text(path)) == [(1, "TERM\tx\tTP53")]
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(UserError, match=r"sets.gmt.gz: .*truncated \(bgzip end marker"):
        read_gmt(path)


@pytest.mark.parametrize("what", ["missing", "folder", "empty"])
def test_what_is_no_file_is_named(tmp_path, what):
    path = tmp_path / "genes.gtf"
    if what == "folder":
        path.mkdir()
    if what == "empty":
        path.write_text("")
    for read in READERS.values():
        with pytest.raises(UserError, match=r"genes\.gtf: "):
            read(path)


def to_bam(small: Any, lengths: dict[str, int], index: bool = True, paired: bool = True) -> None:
    """Make the first biosample's signal a BAM of one pair a chromosome."""
    path = small.path("one.bam")
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": k, "LN": v} for k, v in lengths.items()],
    }
    with pysam.AlignmentFile(str(path), "wb", header=header) as handle:
        for number, size in enumerate(lengths.values()):
            for flag, at, mate in ((99, size - 400, size - 300), (147, size - 300, size - 400)):
                read = pysam.AlignedSegment(handle.header)
                read.query_name, read.mapping_quality = f"r{number}", 60
                read.flag = flag if paired else flag & 0x10
                read.reference_id = read.next_reference_id = number
                read.reference_start, read.next_reference_start = at, mate
                read.query_sequence, read.cigarstring = "A" * 50, "50M"
                handle.write(read)
    if index:
        pysam.index(str(path))
    samples = small.description()["biosamples"]
    samples[0] |= {"signal": "one.bam", "format": "bam"}
    small.describe(biosamples=samples)


def test_both_ends_of_alignments_are_looked_at(small, right):
    lengths = sizes(small)
    to_bam(small, lengths)
    first, last = lengths["chr1"] - 400, lengths["chr4"] - 300
    row = next(row for row in right().splitlines() if row.startswith("one.bam"))
    assert f"chr1:{first:,}-{first + 50:,}" in row and f"chr4:{last:,}-{last + 50:,}" in row
    assert "8 reads" in row and "4 of 4" in row


@pytest.mark.parametrize("index", ["none", "of another file"])
def test_alignments_without_an_index_of_their_own_are_read_and_said(small, right, index):
    to_bam(small, {**sizes(small), "chrEBV": 5_000}, index=index != "none")
    if index != "none":
        stale = small.path("one.bam.bai").read_bytes()
        to_bam(small, sizes(small), index=False)
        small.write("one.bam.bai", stale)
    said = right()
    assert "one.bam: no index of its own, so its end was not looked at" in said


def test_alignments_of_single_reads_are_refused(small, wrong):
    to_bam(small, sizes(small), paired=False)
    wrong("one.bam: first 8 reads: holds single reads, not pairs")


@pytest.mark.parametrize(
    ("change", "index", "words"),
    [
        (lambda name, size: (name.removeprefix("chr"), size), True, ("Did you mean chr1 for 1?",)),
        (lambda name, size: (name, size + 1), True, ("chr1 has", "genome build")),
        (lambda name, size: (name.removeprefix("chr"), size), False, ("Did you mean chr1 for 1?",)),
    ],
)
def test_alignments_of_another_genome_are_refused(small, wrong, change, index, words):
    to_bam(small, dict(change(*item) for item in sizes(small).items()), index)
    wrong("one.bam: ", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name, size: (name, size), ()),
        (lambda name, size: (name.removeprefix("chr"), size), ("Did you mean chr1 for 1?",)),
        (lambda name, size: (name, size - 7), ("chr1 has", "genome build")),
    ],
)
def test_a_bigwig_of_another_genome_is_refused(small, wrong, right, change, words):
    lengths = dict(change(*item) for item in sizes(small).items())
    with pyBigWig.open(str(small.path("one.bw")), "w") as handle:
        handle.addHeader(list(lengths.items()))
        handle.addEntries([next(iter(lengths))], [10], ends=[20], values=[1.0])
    samples = small.description()["biosamples"]
    samples[0] |= {"signal": "one.bw", "format": "bigwig"}
    small.describe(biosamples=samples)
    if words:
        wrong("one.bw: ", *words)
    else:
        assert "one.bw" in right()


def test_what_is_no_bigwig_is_refused(small, wrong):
    samples = small.description()["biosamples"]
    samples[0] |= {"format": "bigwig"}
    small.describe(biosamples=samples)
    wrong("blood_vitro_1.fragments.tsv.gz: cannot be opened as bigWig")


def test_one_signal_for_two_biosamples_is_said(small, right):
    samples = small.description()["biosamples"]
    samples[1]["signal"] = samples[0]["signal"]
    small.describe(biosamples=samples)
    assert "no replicates of each other" in right()


@pytest.mark.parametrize("kind", ["plain", "bgzip", "gzip"])
@pytest.mark.parametrize("wrong_line", [None, 0, -1])
def test_of_a_large_file_both_ends_are_looked_at(tmp_path, monkeypatch, kind, wrong_line):
    """Gzip without blocks cannot be entered at its end, which is then not looked at."""
    monkeypatch.setattr(sampled, "WHOLE", 1000)
    rng = np.random.default_rng(1)
    rows = [
        f"chr{1 + i // 30_000}\t{s}\t{s + 100}\n"
        for i, s in enumerate(rng.integers(1, 10**6, 90_000))
    ]
    if wrong_line is not None:
        rows[wrong_line] = "chrWRONG\t1\t2\n"
    text, path = "".join(rows).encode(), tmp_path / "f.tsv"
    if kind == "bgzip":
        with pysam.BGZFile(str(path), "w", None) as handle:
            handle.write(text)
    else:
        path.write_bytes(text if kind == "plain" else gzip.compress(text))
    found = sampled.sample(path)
    names = {line.text.split("\t")[0] for line in found.lines}
    assert not found.counted and found.to_the_end == (kind != "gzip")
    assert 0.5 < found.records / 90_000 < 2
    seen = wrong_line == 0 or (wrong_line == -1 and kind != "gzip")
    assert ("chrWRONG" in names) == seen
    assert names - {"chrWRONG"} >= ({"chr1"} if kind == "gzip" else {"chr1", "chr2", "chr3"})
    assert {line.text + "\n" for line in found.lines} <= set(rows)
    path.write_bytes(path.read_bytes()[:-1000])
    if kind == "bgzip":
        with pytest.raises(UserError, match="truncated"):
            sampled.sample(path)


def test_every_chromosome_of_a_sorted_file_is_seen(tmp_path):
    """One record of a chromosome among a hundred thousand."""
    path = tmp_path / "f.tsv"
    rows = [f"chr1\t{i}\t{i + 5}\n" for i in range(70_000)] + ["chrM\t1\t2\n"]
    path.write_text("#c\n" + "".join(rows + [f"chr2\t{i}\t{i + 5}\n" for i in range(30_000)]))
    found = sampled.sample(path)
    assert {line.text.split("\t")[0] for line in found.lines} == {"chr1", "chrM", "chr2"}
    assert found.records == 100_001 and found.counted
    (lone,) = (line for line in found.lines if line.text.startswith("chrM"))
    assert lone.where() == "line 70002"
    assert (found.lines[0].where(), found.lines[-1].where()) == ("line 2", "line 100002")


def test_no_stage_runs_on_a_data_set_that_is_wrong(small, refused, tmp_path):
    edit(small, "genes.bed", lambda text: text.replace("chr", ""))
    workspace = tmp_path / "w"
    refused(
        ["reproduce", "--dataset", small.folder, "--workspace", workspace],
        "genes.bed",
        "chr1 for 1",
    )
    assert not list((workspace / "results").rglob("*.json"))


def test_the_first_stage_refuses_by_itself(small, tmp_path):
    workspace = create_workspace(tmp_path / "w", small.folder)
    edit(small, "go.gmt", lambda text: text.replace("\t", " "))
    with pytest.raises(UserError, match=r"go\.gmt: line 1"):
        run_stage("windows", workspace)
    assert not workspace.windows.exists()


def test_the_look_takes_seconds_and_touches_nothing(small, right):
    before = {path: path.stat().st_mtime_ns for path in small.folder.rglob("*")}
    said = right()
    assert {path: path.stat().st_mtime_ns for path in small.folder.rglob("*")} == before
    report = check_dataset(load_dataset(small.folder))
    assert report.seconds < 5 and len(report.files) == 37
    assert all(row[3] in ("4", "4 of 4", "") for row in report.files)
    for name in small.folder.rglob("*.gz"):
        assert str(name.relative_to(small.folder)) in said


def test_a_description_alone_may_be_checked(small, here):
    shutil.copyfile(small.path("dataset.yaml"), small.path("other.yaml"))
    assert here(["data", "check", small.path("other.yaml")]).returncode == 0
    assert here(["data", "check", small.path("none")]).returncode == 2
