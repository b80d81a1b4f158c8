"""A data set of sequences is a folder with `dataset.yaml` (`kind: sequences`), checked at the door,
after which the code trusts it.

Sequences come from a table (`sequences.tsv[.gz]` with a header), from FASTA with a file of classes,
or from BED with the genome; two files may be named by their classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.described import Described, shown
from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes, read_chunks
from petriscope.names import did_you_mean, exactly
from petriscope.studies.dna.data.lengths import Lengths, compare_lengths
from petriscope.studies.dna.model.tokens import clean
from petriscope.textfile import open_text

DOCS = "See docs/datasets.md for the format."
KIND = "sequences"
FIELDS = {
    "": (
        *("format", "kind", "name", "description", "licence", "simulation", "build"),
        *("sequences", "classes", "class_file", "upper", "rna", "trim"),
        *("genome", "contigs", "chrom_sizes", "tracks", "conservation", "genes", "genesets"),
        "truth",
    ),
    "classes": ("positive", "negative"),
}
COLUMNS = ("id", "sequence", "chrom", "start", "end", "strand", "class", "group", "gene")
"""What a table of sequences may hold; id and sequence it must."""
LOCUS = ("chrom", "start", "end")
LOWER = 0.05
"""Share of lower-case letters above which a data set must say what they are."""
BUILDS = {
    "hg38": {"chr1": 248_956_422},
    "grch38": {"chr1": 248_956_422},
    "hg19": {"chr1": 249_250_621},
    "hs1": {"chr1": 248_387_328},
    "mm10": {"chr1": 195_471_971},
    "mm39": {"chr1": 195_154_279},
}
"""bp that tell well-known builds apart (UCSC)."""
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
LETTERS = "ACGTN"


@dataclass(frozen=True)
class SequenceSet:
    """A checked `dataset.yaml`; every path exists."""

    name: str
    description: str
    licence: str
    source: Path
    """The description's own file, for error messages."""
    root: Path
    build: str
    sequences: pd.DataFrame
    """A row per sequence, in order: id; sequence (A, C, G, T and N); label (its class, or null);
    chrom, start, end, strand (null where unknown; 0-based half-open; the sequence is read on the
    strand); group (a text, or null); gene (null where unknown); file and line it came from."""
    positive: str | None
    """The class called positive; None where no sequence has a class."""
    negative: str | None
    notes: tuple[str, ...]
    """What was changed or left out on the way in, with counts."""
    tracks: Mapping[str, Path]
    """Name → BED or bigWig."""
    conservation: Path | None
    genes: Path | None
    genesets: Path | None
    genome: Path | None
    contigs: Path | None
    """FASTA of contiguous DNA, for k-mer counts."""
    chrom_sizes: Path | None
    truth: Path | None

    @property
    def lengths(self) -> Lengths | None:
        """The lengths of the two classes; None where there are none."""
        labeled = self.sequences[self.sequences.label.notna()]
        if labeled.empty:
            return None
        length = labeled.sequence.str.len().to_numpy()
        return compare_lengths(length, (labeled.label == self.positive).to_numpy())

    def gene_table(self) -> pd.DataFrame:
        """Columns id, gene, length (bp of the gene, NaN where unknown) of each sequence that has
        one."""
        if self.genes is not None:
            return _read_gene_file(self.genes)
        found = self.sequences.loc[self.sequences.gene.notna(), ["id", "gene"]]
        return found.assign(length=np.nan).reset_index(drop=True)

    def untestable(self) -> list[str]:
        """What this data set cannot support, one sentence each."""
        notes = []
        lengths = self.lengths
        if lengths is None:
            notes.append("no sequence has a class: nothing that compares classes can be tested")
        elif not lengths.overlap:
            notes.append(lengths.refusal(str(self.positive), str(self.negative)))
        for missing, what in (
            (not self.tracks, "no tracks: correlation with annotation cannot be tested"),
            (self.contigs is None, "no contiguous DNA: k-mers are counted in the sequences alone"),
            (self.conservation is None, "no conservation: it cannot be told from low entropy"),
            (self.genesets is None, "no gene sets: functional terms cannot be tested"),
            (self.truth is None, "no planted truth: recovery of what was planted has no score"),
        ):
            if missing:
                notes.append(what)
        return notes


class Truth(NamedTuple):
    """What was planted."""

    world: dict[str, Any]
    """truth.json: the world's parameters, its vocabulary (`grammar`), the rule, which tracks and
    gene sets are true."""
    elements: pd.DataFrame
    """A row per element: id (of its sequence), kind (word, motif, anchor, target), name, start, end
    (bp in the sequence as it is read), mutations, phase (bp off the frame of the tokens), obeys
    (targets: yes or no)."""


def read_truth(path: str | Path) -> Truth:
    """The planted truth, from the file that dataset.yaml names as `truth`."""
    path = Path(path)
    world = json.loads(path.read_text(encoding="utf-8"))
    elements = pd.read_csv(path.parent / world["elements"], sep="\t", keep_default_na=False)
    return Truth(world, elements)


def load_dataset(path: str | Path) -> SequenceSet:
    """Read and check a data set, its sequences whole.

    Parameters: ``path`` — a folder with `dataset.yaml`, or that file. Raises `UserError` naming
    file, line, field and remedy.
    """
    path = Path(path)
    source = path if path.is_file() else path / "dataset.yaml"
    if not source.is_file():
        what = "holds no dataset.yaml" if path.is_dir() else "no such data set"
        remedy = "Run `petriscope data demo-dna`, or give the folder that holds dataset.yaml."
        raise UserError(what, file=path, remedy=remedy)
    return _parse(Described(source, source.parent, FIELDS, DOCS))


def _parse(r: Described) -> SequenceSet:
    kind = r.text(r.raw, "kind", "chromatin")
    if kind != KIND:
        remedy = "Give a data set of sequences, or name the study that reads this one (--study)."
        raise r.fail("kind", f"is {kind!r}, not {KIND!r}", remedy)
    r.known(r.raw, "", "")
    if (version := r.text(r.raw, "format")) != "1":
        raise r.fail("format", f"is {version}", "This version reads format 1.")
    genome = r.file(r.raw, "genome", optional=True)
    chrom_sizes = r.file(r.raw, "chrom_sizes", optional=True)
    sizes = {} if chrom_sizes is None else read_sizes(chrom_sizes)
    _check_build(r, sizes)
    classes = _classes(r)
    frame, notes = _checked(r, _raw_sequences(r, genome, sizes), classes)
    _check_loci(r, frame, {**sizes, **_whole(genome)})
    frame, trimmed = _trimmed(r, frame)
    tracks = r.files("tracks")
    conservation = r.file(r.raw, "conservation", optional=True)
    if frame.chrom.isna().all() and (tracks or conservation):
        raise r.fail(
            "tracks" if tracks else "conservation",
            "annotates a genome, but no sequence has a place on one",
            "Give the sequences chrom, start and end, or leave the annotation out.",
        )
    genes = r.file(r.raw, "genes", optional=True)
    if genes is not None:
        frame = _with_genes(frame, genes)
    genesets = r.file(r.raw, "genesets", optional=True)
    if genesets is not None and frame.gene.isna().all():
        raise r.fail(
            "genesets",
            "is given, but no sequence has a gene",
            "Give a column `gene`, or a table id, gene as `genes`.",
        )
    labeled = frame.label.notna().any()
    return SequenceSet(
        name=r.text(r.raw, "name"),
        description=r.text(r.raw, "description", ""),
        licence=r.text(r.raw, "licence", ""),
        source=r.source,
        root=r.root,
        build=r.text(r.raw, "build", ""),
        sequences=frame,
        positive=classes[0] if labeled and classes else None,
        negative=classes[1] if labeled and classes else None,
        notes=tuple([*notes, *trimmed]),
        tracks=tracks,
        conservation=conservation,
        genes=genes,
        genesets=genesets,
        genome=genome,
        contigs=r.file(r.raw, "contigs", optional=True),
        chrom_sizes=chrom_sizes,
        truth=r.file(r.raw, "truth", optional=True),
    )


def _classes(r: Described) -> tuple[str, str] | None:
    """The positive and the negative class."""
    if r.raw.get("classes") is None:
        return None
    given = r.mapping(r.raw, "classes")
    r.known(given, "classes", "classes")
    positive, negative = (r.text(given, f"classes.{side}") for side in FIELDS["classes"])
    if positive == negative:
        raise r.fail("classes.negative", f"is {negative!r} like the positive", "Name two classes.")
    return positive, negative


def read_sizes(path: Path) -> dict[str, int]:
    """Chromosome → bp, of a table without header (`chrom.sizes`)."""
    found: dict[str, int] = {}
    for number, line in open_text(path):
        if not line.strip():
            continue
        name, _, size = line.partition("\t")
        if not size.split("\t")[0].isdecimal():
            raise UserError(
                f"{line[:40]!r} is no chromosome and its length",
                file=path,
                field=f"line {number}",
                remedy="Write the name, a tab and the bp.",
            )
        found[name] = int(size.split("\t")[0])
    return found


def _whole(genome: Path | None) -> dict[str, int]:
    return {} if genome is None else known_sizes(Genome([genome]).contigs)


def _raw_sequences(r: Described, genome: Path | None, sizes: Mapping[str, int]) -> pd.DataFrame:
    """Every sequence as it was written: `COLUMNS`, and file and line; null where there is none."""
    given = r.value(r.raw, "sequences")
    if isinstance(given, dict):
        parts = [
            _read_file(r, path, genome, sizes).assign(**{"class": name})
            for name, path in r.files("sequences").items()
        ]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    elif isinstance(given, str):
        frame = _read_file(r, r.existing(given, "sequences"), genome, sizes)
    else:
        what = f"must be a file, or class: file, not {shown(given)}"
        raise r.fail("sequences", what)
    if frame.empty:
        raise r.fail("sequences", "holds no sequence", "Give at least one.")
    class_file = r.file(r.raw, "class_file", optional=True)
    return frame if class_file is None else _with_classes(frame, class_file)


def _read_file(
    r: Described, path: Path, genome: Path | None, sizes: Mapping[str, int]
) -> pd.DataFrame:
    """A table, FASTA or BED, told by its first line."""
    _, first = next(iter(open_text(path)), (0, ""))
    if first.startswith(">"):
        frame = pd.DataFrame(_fasta_records(path), columns=["id", "sequence", "line"])
    elif "sequence" in first.split("\t"):
        frame = read_table(path, ("id", "sequence"))
    elif len(fields := first.split("\t")) > 2 and fields[1].isdecimal() and fields[2].isdecimal():
        if genome is None:
            remedy = "Name the FASTA of the genome, from which the sequences are cut."
            raise r.fail("genome", f"is missing, but {path.name} is a BED file", remedy)
        frame = _cut(path, genome, sizes)
    else:
        raise UserError(
            f"begins with {first[:40]!r}: neither a table with a column `sequence`, nor FASTA, "
            "nor BED",
            file=path,
            field="line 1",
            remedy=DOCS,
        )
    return frame.reindex(columns=[*COLUMNS, "line"]).assign(file=path.name)


def read_table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A table with a header as text, with its line numbers; empty cells are null."""
    lines = open_text(path)
    _, head = next(lines, (0, ""))
    names = head.split("\t")
    for name in needed:
        if name not in names:
            remedy = f"Name the columns in the first line: {', '.join(needed)}."
            raise UserError(f"has no column {name!r}", file=path, field="line 1", remedy=remedy)
    for name in names:
        near = did_you_mean(name, COLUMNS)
        if names.count(name) > 1 or (name not in COLUMNS and near.startswith("Did you mean")):
            what = f"{name!r} twice" if names.count(name) > 1 else f"an unknown column {name!r}"
            raise UserError(f"has {what}", file=path, field="line 1", remedy=near)
    rows, numbers = [], []
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(names):
            if not line.strip():
                continue
            what = f"has {len(fields)} columns where the first line has {len(names)}"
            remedy = "Separate the columns by tabs, as many on each line."
            raise UserError(what, file=path, field=f"line {number}", remedy=remedy)
        rows.append(fields)
        numbers.append(number)
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    blank = frame.columns.intersection([c for c in COLUMNS if c != "sequence"])
    frame[blank] = frame[blank].where(frame[blank] != "", None)
    return frame.assign(line=numbers)


def _fasta_records(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, sequence and line of the header of each record."""
    name, begun = "", 0
    parts: list[str] = []
    for number, line in open_text(path):
        if line.startswith(">"):
            if begun:
                yield name, "".join(parts), begun
            words = line[1:].split()
            if not words:
                raise UserError(
                    "a record without a name",
                    file=path,
                    field=f"line {number}",
                    remedy="Write its name after `>`.",
                )
            name, parts, begun = words[0], [], number
        else:
            parts.append(line.strip())
    yield name, "".join(parts), begun


def _cut(path: Path, genome: Path, sizes: Mapping[str, int]) -> pd.DataFrame:
    """The intervals of a BED file, cut from the genome and read on their strand."""
    from petriscope.genome.intervals import Lines

    opened = Genome([genome])
    held = {str(chrom): rows for chrom, rows in opened.contigs.groupby("chrom")}
    columns = Lines(path, {1: "start", 2: "end"}, {}, {}).columns
    text = {i: name for i, name in ((3, "name"), (5, "strand")) if i < columns}
    rows = []
    for chunk in read_chunks(path, text=text, closed=False):
        for i, row in enumerate(chunk.frame.itertuples(index=False)):
            line = chunk.lines.number(chunk.first + i)
            chrom, start, end = str(row.chrom), int(row.start), int(row.end)
            where = f"{chrom}:{start}-{end}"
            strand = getattr(row, "strand", ".")
            _check_locus(path, line, where, start, end, strand)
            own = held.get(chrom, pd.DataFrame(columns=["start", "end", "whole"]))
            if not ((own.start.to_numpy() <= start) & (own.end.to_numpy() >= end)).any():
                size = sizes.get(chrom) or next(iter(own.end[own.whole.astype(bool)]), None)
                reach = "" if size is None else f" ({chrom} has {size:,} bp)"
                raise UserError(
                    f"{where} lies outside the genome in {genome.name}{reach}",
                    file=path,
                    field=f"line {line}",
                    remedy="Use intervals of the genome's build.",
                )
            cut = "".join(LETTERS[code] for code in opened.fetch_codes(chrom, start, end))
            sequence = cut.translate(COMPLEMENT)[::-1] if strand == "-" else cut
            name = getattr(row, "name", ".")
            name = name if name not in ("", ".") else f"{where}({strand})"
            rows.append((name, sequence, chrom, str(start), str(end), strand, line))
    return pd.DataFrame(rows, columns=["id", "sequence", *LOCUS, "strand", "line"])


def _check_locus(path: Path, line: int, where: str, start: int, end: int, strand: str) -> None:
    field = f"line {line}"
    if not 0 <= start < end:
        what = f"{where} starts at or after its end" if start >= 0 else f"{where} starts before 0"
        remedy = "Give 0-based half-open places with start < end."
        raise UserError(what, file=path, field=field, remedy=remedy)
    if strand not in ("+", "-", "."):
        remedy = "Write + or -, or . where it is unknown."
        raise UserError(f"strand is {strand!r}", file=path, field=field, remedy=remedy)


def _with_classes(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of a file of classes put beside the sequences, by id."""
    table = read_table(path, ("id", "class"))
    known = set(frame.id)
    for row in table.itertuples():
        if row.id not in known:
            remedy = did_you_mean(row.id, known, kind="Sequences")
            what = f"{row.id!r} is the id of no sequence"
            raise UserError(what, file=path, field=f"line {row.line}", remedy=remedy)
    twice = table[table.id.duplicated()]
    if len(twice):
        where = f"line {twice.line.iloc[0]}"
        what = f"{twice.id.iloc[0]!r} appears twice"
        raise UserError(what, file=path, field=where, remedy="Give each id one line.")
    for name in ("class", "group", "gene"):
        if name in table:
            frame[name] = frame.id.map(dict(zip(table.id, table[name], strict=True)))
    return frame


def _checked(
    r: Described, raw: pd.DataFrame, classes: tuple[str, str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Sequences cleaned and every field checked; what was changed."""
    frame = raw.rename(columns={"class": "label"})
    rna, upper = r.yes("rna"), r.yes("upper")
    counts = dict.fromkeys(("lower", "ambiguous", "uracil"), 0)
    texts, first_lower = [], 0
    for row in frame.itertuples():
        path, where = r.root / row.file, f"line {row.line}: sequence"
        if row.id is None or not row.id.strip():
            raise UserError("id is empty", file=path, field=f"line {row.line}", remedy="Give one.")
        upper_case = row.sequence.upper()
        if "U" in upper_case and "T" not in upper_case and not rna:
            what = f"{row.id} has U where DNA has T"
            remedy = "Give DNA, or write `rna: true` in dataset.yaml to read U as T."
            raise UserError(what, file=path, field=where, remedy=remedy)
        if "U" in upper_case and "T" in upper_case:
            what = f"{row.id} has both T and U"
            remedy = "Give DNA or RNA, not a mixture."
            raise UserError(what, file=path, field=where, remedy=remedy)
        cleaned = clean(row.sequence, rna=rna, file=path, field=where)
        texts.append(cleaned.sequence)
        if cleaned.lowered and not first_lower:
            first_lower = row.Index + 1
        counts["lower"] += cleaned.lowered
        counts["ambiguous"] += cleaned.ambiguous
        counts["uracil"] += cleaned.uracil
    total = sum(map(len, texts))
    if not upper and counts["lower"] > LOWER * total:
        row = frame.iloc[first_lower - 1]
        raise UserError(
            f"{counts['lower'] / total:.0%} of all letters are lower case (a soft-masked genome?)",
            file=r.root / row.file,
            field=f"line {row.line}: sequence",
            remedy="Write `upper: true` in dataset.yaml to read them as the bases they are.",
        )
    frame["sequence"] = texts
    words = {
        "lower": "lower-case letters read as upper case",
        "ambiguous": "letters for an unknown base read as N",
        "uracil": "U read as T",
    }
    notes = [f"{counts[key]:,} {text}" for key, text in words.items() if counts[key]]
    frame = _check_places(r, frame)
    frame, dropped = _check_ids(r, frame)
    _check_labels(r, frame, classes)
    if dropped:
        notes.append(f"{dropped:,} lines repeat a sequence under its own id: read once")
    return frame.reset_index(drop=True), notes


def _check_places(r: Described, frame: pd.DataFrame) -> pd.DataFrame:
    """Places become numbers; half a place, or one of another length than the sequence, is
    refused."""
    start: list[int | None] = []
    end: list[int | None] = []
    for row in frame.itertuples():
        given = [isinstance(getattr(row, name), str) for name in LOCUS]
        path, field = r.root / row.file, f"line {row.line}"
        if not any(given):
            start.append(None)
            end.append(None)
            continue
        for name in LOCUS:
            text = getattr(row, name)
            if not isinstance(text, str):
                remedy = "Give chrom, start and end, or none of them."
                raise UserError(f"{name} is missing", file=path, field=field, remedy=remedy)
            if name != "chrom" and not (text.isascii() and text.isdecimal()):
                remedy = "Give 0-based half-open places in plain digits."
                raise UserError(f"{name} is {text!r}", file=path, field=field, remedy=remedy)
        low, high = int(row.start), int(row.end)
        where = f"{row.chrom}:{low}-{high}"
        strand = row.strand if isinstance(row.strand, str) else "."
        _check_locus(path, row.line, where, low, high, strand)
        if high - low != len(row.sequence):
            what = f"{where} has {high - low:,} bp, but its sequence {len(row.sequence):,}"
            remedy = "Give the place of exactly this sequence (0-based, half-open)."
            raise UserError(what, file=path, field=field, remedy=remedy)
        start.append(low)
        end.append(high)
    frame = frame.assign(start=pd.array(start, "Int64"), end=pd.array(end, "Int64"))
    frame["strand"] = frame.strand.where(frame.strand.isin(["+", "-"]), None)
    return frame


def _check_ids(r: Described, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """One id stands for one sequence; a line that repeats both is dropped."""
    again = frame.id.duplicated()
    own = frame.drop_duplicates("id").set_index("id")
    for row in frame[again].itertuples():
        first = own.loc[row.id]
        if first.sequence != row.sequence or not (first.label == row.label or pd.isna(first.label)):
            differs = "sequence" if first.sequence != row.sequence else "class"
            raise UserError(
                f"id {row.id!r} has another {differs} than on line {first.line} of {first.file}",
                file=r.root / row.file,
                field=f"line {row.line}",
                remedy="Give each sequence its own id.",
            )
    return frame[~again], int(again.sum())


def _check_labels(r: Described, frame: pd.DataFrame, classes: tuple[str, str] | None) -> None:
    """Two classes, both there, and no sequence in both."""
    labeled = frame[frame.label.notna()]
    if labeled.empty:
        if classes is not None:
            remedy = "Give a column `class`, or a class_file."
            raise r.fail("classes", "are named, but no sequence has a class", remedy)
        return
    if classes is None:
        names = ", ".join(sorted(labeled.label.unique())[:4])
        remedy = "Write classes: {positive: NAME, negative: NAME}."
        raise r.fail("classes", f"is missing, but sequences have classes ({names})", remedy)
    for row in labeled[~labeled.label.isin(classes)].itertuples():
        exactly(
            row.label,
            classes,
            file=r.root / row.file,
            field=f"line {row.line}: class",
            kind="Classes",
        )
    for name in classes:
        if not (labeled.label == name).any():
            what = f"there is one class only: no sequence is {name!r}"
            raise r.fail("classes", what, "Give sequences of both classes.")
    first = labeled.drop_duplicates("sequence").set_index("sequence")
    other = labeled[labeled.label.to_numpy() != first.label.loc[labeled.sequence].to_numpy()]
    for row in other.itertuples():
        twin = first.loc[row.sequence]
        raise UserError(
            f"{row.id} ({row.label}) has the sequence of {twin.id} ({twin.label}, line "
            f"{twin.line} of {twin.file})",
            file=r.root / row.file,
            field=f"line {row.line}",
            remedy="One sequence cannot be of both classes: remove one, or both.",
        )


def _check_build(r: Described, sizes: Mapping[str, int]) -> None:
    """The lengths of chromosomes are those of the named build, where it is a well-known one."""
    name = r.text(r.raw, "build", "")
    build = BUILDS.get(name.lower())
    for chrom, size in (build or {}).items():
        if sizes.get(chrom, size) != size:
            other = next((b for b, known in BUILDS.items() if known[chrom] == sizes[chrom]), None)
            what = f"is {name}, whose {chrom} has {size:,} bp, but chrom_sizes says "
            what += f"{sizes[chrom]:,}" + (f" ({other})" if other else "")
            raise r.fail("build", what, "Name the build that all files are of.")


def _check_loci(r: Described, frame: pd.DataFrame, sizes: Mapping[str, int]) -> None:
    """No sequence lies past the end of its chromosome: the mark of another build."""
    limit = frame.chrom.map(dict(sizes))
    past = frame[(frame.end > limit).fillna(False).astype(bool)]
    for row in past.itertuples():
        raise UserError(
            f"{row.chrom}:{row.start}-{row.end} ends past {row.chrom}, which has "
            f"{sizes[row.chrom]:,} bp ({len(past):,} such sequences)",
            file=r.root / row.file,
            field=f"line {row.line}",
            remedy="The places are of another genome build: lift them over, or change the genome.",
        )


def _trimmed(r: Described, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The middle of every sequence where `trim` asks for it; shorter ones are left out."""
    text = r.text(r.raw, "trim", None)
    if text is None:
        return frame, []
    if not text.isdecimal() or int(text) < 12:
        raise r.fail("trim", f"is {text}", "Give bp, at least 12.")
    if r.raw.get("truth") is not None:
        what = "would cut sequences whose planted truth is of the whole"
        raise r.fail("trim", what, "Leave out `trim` or `truth`.")
    size = int(text)
    length = frame.sequence.str.len()
    kept = frame[length >= size].reset_index(drop=True)
    if kept.empty:
        raise r.fail("trim", f"is {size:,}, more than any sequence has", "Give fewer bp.")
    front = (kept.sequence.str.len() - size) // 2
    kept["sequence"] = [s[i : i + size] for s, i in zip(kept.sequence, front, strict=True)]
    # on the other strand the front of the sequence is the far end of its place
    kept["start"] = kept.start.where(kept.strand != "-", kept.end - front - size) + front.where(
        kept.strand != "-", 0
    )
    kept["end"] = kept.start + size
    left = len(frame) - len(kept)
    notes = [f"every sequence cut to its middle {size:,} bp"]
    return kept, [*notes, f"{left:,} shorter ones left out"] if left else notes


def _read_gene_file(path: Path) -> pd.DataFrame:
    """id, gene, length (NaN where the table has none)."""
    table = read_table(path, ("id", "gene"))
    missing = table[table.gene.isna() | table.id.isna()]
    if len(missing):
        where = f"line {missing.line.iloc[0]}"
        remedy = "Give id and gene on each line; leave out sequences without a gene."
        raise UserError("a cell is empty", file=path, field=where, remedy=remedy)
    lengths = [np.nan] * len(table)
    if "length" in table:
        for i, (text, line) in enumerate(zip(table.length, table.line, strict=True)):
            if not text.isdecimal() or not int(text):
                remedy = "Give the gene's length in bp."
                where = f"line {line}: length"
                raise UserError(f"is {text!r}", file=path, field=where, remedy=remedy)
            lengths[i] = float(text)
    return table[["id", "gene"]].assign(length=lengths)


def _with_genes(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The gene of each sequence, from the table of genes."""
    table = _read_gene_file(path)
    strange = table[~table.id.isin(set(frame.id))]
    if len(strange) == len(table):
        remedy = did_you_mean(table.id.iloc[0], frame.id, kind="Sequences") if len(table) else ""
        raise UserError(
            "names no sequence of the data set", file=path, field="id", remedy=remedy or DOCS
        )
    return frame.assign(gene=frame.id.map(table.drop_duplicates("id").set_index("id").gene))
