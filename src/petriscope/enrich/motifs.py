"""Transcription-factor motifs: the record, its scores and threshold, readers of HOMER, MEME and
JASPAR files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.names import did_you_mean
from petriscope.textfile import text_lines

DEFAULT_P = 1e-4
FLOOR = (
    0.001  # HOMER floors every probability here before taking the logarithm, without renormalizing
)
UNIFORM = (0.25, 0.25, 0.25, 0.25)
_GRID = 2.5e-4  # nat: width of a score class in the threshold's dynamic programme
# nat: a threshold at an attainable score lies this much below it, whatever order a scan sums in
_ROUNDING = 1e-9
_IUPAC = {
    frozenset(letters): code
    for code, letters in zip(
        "ACGTRYSWKMBDHVN",
        (
            "A",
            "C",
            "G",
            "T",
            "AG",
            "CT",
            "CG",
            "AT",
            "GT",
            "AC",
            "CGT",
            "AGT",
            "ACT",
            "ACG",
            "ACGT",
        ),
    )
}
_RECIPES = {
    "homer": "a '>consensus<TAB>name<TAB>threshold' line",
    "meme": "a 'MEME version' line",
    "jaspar": "'A [ ... ]'",
}


_ACCESSION = re.compile(r"(?:MA|UN|MF|PB|CN|PF|PH|PL|SD)\d{4}\.\d+|M\d+_\d+\.\d+")
"""How JASPAR and CIS-BP number their motifs."""
_LIBRARIES = (
    re.compile(rf"(?:{_ACCESSION.pattern})[._](.+)"),  # a name that begins with its accession
    re.compile(r"\(([^()]+)\)_\([^()]+\).*"),  # CIS-BP
    re.compile(r"(.+?)(?:_(?:HUMAN|MOUSE))?\.H\d+[A-Z]+(?:\.\d+)?(?:\.[A-Z]+)?\.[A-E]"),  # HOCOMOCO
    re.compile(r"(.+?)_(?:DBD|eDBD|full)(?:_\d+)?"),  # Jolma 2013
    re.compile(r"(.+?)_(?:primary|secondary)"),  # UniPROBE
)
"""How libraries write a factor's name into a motif's."""
_VARIANT = re.compile(r"\(.*")
"""What follows a factor: HOMER's '(ETS)' and '(NR),DR1', JASPAR's '(var.2)'."""


@dataclass(frozen=True, eq=False)
class Motif:
    """One position weight matrix. Names repeat in HOMER's library: ``key`` is what identifies a
    motif."""

    name: str
    consensus: str
    matrix: np.ndarray
    """(L, 4) float64 probabilities, columns A C G T."""
    threshold: float
    """Lowest log-odds score (nat, against 0.25 per letter) that is a hit."""

    @property
    def key(self) -> tuple[str, str]:
        """(name, consensus)."""
        return self.name, self.consensus

    @property
    def factor(self) -> str:
        """The short name: 'Gata6(Zf)' of 'Gata6(Zf)/HUG1N-GATA6-ChIP-Seq(GSE51936)/Homer'."""
        return self.name.split("/")[0]

    @property
    def factors(self) -> frozenset[str]:
        """Upper-case names of the factors it is a motif of, as its library writes them.

        'PU.1' of HOMER's 'PU.1(ETS)/…/Homer', 'SPI1' of JASPAR's 'SPI1/MA0080.5', CIS-BP's
        '(SPI1)_(Homo_sapiens)_(DBD_1.00)', HOCOMOCO's 'SPI1_HUMAN.H11MO.0.A' and
        'SPI1.H12CORE.0.P.B'; 'JUN', 'FOS' and both together of the heterodimer 'FOS::JUN'. A
        composite of two motifs (HOMER's 'ETS:RUNX') is named whole.
        """
        name = self.factor
        for library in _LIBRARIES:
            if found := library.fullmatch(name):
                name = found[1]
                break
        partners = [_VARIANT.sub("", part) for part in name.split("::")]
        alternatives = [one for part in partners for one in part.split("|")]
        names = {self.name, self.factor, "::".join(sorted(partners)), *alternatives}
        names |= {part for part in self.name.split("/") if _ACCESSION.fullmatch(part)}
        return frozenset(one.upper() for one in names if one)

    def log_odds(self) -> np.ndarray:
        """(L, 4) float64 scores ln(max(p, 0.001) / 0.25), HOMER's."""
        return np.log(np.maximum(self.matrix, FLOOR) / 0.25)

    def information(self) -> np.ndarray:
        """(L,) information content of each position in bits, 2 + Σ p log2 p."""
        p = self.matrix / self.matrix.sum(axis=1, keepdims=True)
        return 2.0 + np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1)


def consensus_of(matrix: np.ndarray) -> str:
    """IUPAC consensus of an (L, 4) probability matrix: every letter with at least half the
    probability of the best."""
    best = matrix.max(axis=1, keepdims=True)
    return "".join(
        _IUPAC[frozenset(np.array(list("ACGT"))[row].tolist())] for row in matrix >= 0.5 * best
    )


def reverse_complement(matrix: np.ndarray) -> np.ndarray:
    """The (L, 4) matrix, probabilities or scores, read on the other strand."""
    return matrix[::-1, ::-1]


def log_odds_threshold(
    motif: Motif | np.ndarray, p: float = DEFAULT_P, background: tuple[float, ...] = UNIFORM
) -> float:
    """Score that a random placement on one strand reaches with probability at most ``p``.

    The exact distribution of the score under independent letters drawn from ``background`` (4,) is
    built position by position (Staden 1989) on classes of 2.5e-4 nat, from the highest score down
    and only as far as ``p`` needs. A class is known to L/2 classes (rounding); the threshold lies
    where no word beyond ``p`` can reach it and, if the scores leave room, every word within ``p``
    does. Where even the best word is likelier than ``p``, its score is returned: a short motif then
    hits its best words only.
    """
    if not 0 < p < 1:
        raise UserError(f"the threshold's p is {p}", remedy="Give a probability between 0 and 1")
    scores = motif.log_odds() if isinstance(motif, Motif) else np.asarray(motif, dtype=np.float64)
    frequency = np.asarray(background, dtype=np.float64)
    frequency = frequency / frequency.sum()
    best = scores.max(axis=1, keepdims=True)
    deficit = np.rint((best - scores) / _GRID).astype(np.int64)
    reach = 1 << 15
    while True:
        tail = np.zeros(reach)
        tail[0] = 1.0
        for row in deficit:
            longer = np.zeros(reach)
            for letter in range(4):
                d = row[letter]
                if d < reach:
                    longer[d:] += frequency[letter] * tail[: reach - d]
            tail = longer
        mass = np.cumsum(tail)
        if mass[-1] > p or reach > deficit.max(axis=1).sum():
            break
        reach *= 4
    within = int(
        np.searchsorted(mass, p, side="right")
    )  # classes 0 .. within-1 hold at most p together
    top = float(best.sum()) - _ROUNDING
    if within == 0:
        return top
    last = int(
        np.flatnonzero(tail[:within])[-1]
    )  # words of this class are within p, those of the next are not
    following = within + int(np.flatnonzero(tail[within:])[0])
    rounding = 0.5 * len(scores)
    return min(top, top - _GRID * min(last + rounding, following - rounding))


def with_threshold(
    motif: Motif, p: float = DEFAULT_P, background: tuple[float, ...] = UNIFORM
) -> Motif:
    """The motif with its threshold set at tail probability ``p``."""
    return replace(motif, threshold=log_odds_threshold(motif, p, background))


def read_motifs(
    path: str | Path, format: str | None = None, threshold_p: float = DEFAULT_P
) -> list[Motif]:
    """Read a motif file, plain or gzipped, in HOMER, MEME (minimal or full text) or JASPAR format.

    ``format`` None looks at the first lines. MEME and JASPAR matrices carry no threshold and get
    the one at ``threshold_p`` in uniform DNA; a HOMER motif without threshold gets it too, with a
    warning that names it. Raises UserError naming file and line.
    """
    kind, motifs = _parsed(Path(path), format)
    bare = [motif.name for motif in motifs if np.isnan(motif.threshold)]
    if kind == "homer" and bare:
        warnings.warn(
            f"{path}: {len(bare)} motif(s) without a threshold, first '{bare[0]}': set at p "
            f"{threshold_p:g}",
            stacklevel=2,
        )
    return [with_threshold(m, threshold_p) if np.isnan(m.threshold) else m for m in motifs]


def parse_motifs(path: str | Path, format: str | None = None) -> list[Motif]:
    """The motifs of a file as it holds them: the threshold is NaN where it gives none."""
    return _parsed(Path(path), format)[1]


def _parsed(path: Path, format: str | None) -> tuple[str, list[Motif]]:
    """The format and the motifs of a file."""
    lines = text_lines(path)
    kind = format or _guess(lines, path)
    if kind not in _READERS:
        raise UserError(
            f"unknown motif format '{kind}'",
            file=path,
            field="format",
            remedy=did_you_mean(kind, _READERS, kind="Formats"),
        )
    motifs = list(_READERS[kind](lines, path))
    if not motifs:
        raise UserError(
            f"no motif found reading it as {kind}",
            file=path,
            remedy=f"A {kind} motif begins with {_RECIPES[kind]}",
        )
    seen: dict[tuple[str, str], int] = {}
    for motif in motifs:
        seen[motif.key] = seen.get(motif.key, 0) + 1
    if twice := [key for key, count in seen.items() if count > 1]:
        raise UserError(
            f"motif '{twice[0][0]}' with consensus {twice[0][1]} occurs {seen[twice[0]]} times",
            file=path,
            remedy="Keep one of each name and consensus",
        )
    return kind, motifs


def motifs_of(factor: str, motifs: Iterable[Motif]) -> list[Motif]:
    """The motifs of one factor, by its exact name (`Motif.factors`): letters may be upper or lower
    case, as symbols of one gene differ between species, and a heterodimer's partners come in any
    order."""
    wanted = "::".join(sorted(factor.strip().upper().split("::")))
    return [motif for motif in motifs if wanted in motif.factors or factor == motif.name]


def write_homer(path: str | Path, motifs: Sequence[Motif]) -> None:
    """Write motifs in HOMER's format, atomically."""
    blocks = []
    for motif in motifs:
        rows = ["\t".join(f"{p:.6f}" for p in row) for row in motif.matrix]
        blocks.append(
            "\n".join([f">{motif.consensus}\t{motif.name}\t{motif.threshold:.6f}\t0\t0\t", *rows])
        )
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(blocks) + "\n", encoding="utf-8")


def _guess(lines: list[str], path: Path) -> str:
    """Format by the first lines."""
    filled = [line for line in lines if line.strip()][:8]
    if any(line.startswith("MEME version") for line in filled):
        return "meme"  # after the banner of MEME's own full text
    if filled and filled[0].startswith(">"):
        return "jaspar" if len(filled) > 1 and re.match(r"\s*A\s*\[", filled[1]) else "homer"
    raise UserError(
        f"neither HOMER, MEME nor JASPAR (begins with '{filled[0][:30] if filled else ''}')",
        file=path,
        field="line 1",
        remedy="A HOMER file begins with '>', a MEME file with 'MEME version'",
    )


def _matrix(rows: list[list[float]], first_line: int, path: Path, name: str) -> np.ndarray:
    """Check and stack probability rows."""
    where = f"line {first_line}"
    if not rows:
        raise UserError(
            f"motif '{name}' has no rows",
            file=path,
            field=where,
            remedy="Give one row of four probabilities each",
        )
    matrix = np.array(rows, dtype=np.float64)
    bad = np.flatnonzero(
        ~np.isfinite(matrix).all(axis=1)
        | (matrix < 0).any(axis=1)
        | (np.abs(matrix.sum(axis=1) - 1) > 0.05)
    )
    if bad.size:
        raise UserError(
            f"row {bad[0] + 1} of motif '{name}' is not four probabilities that sum to 1",
            file=path,
            field=f"line {first_line + int(bad[0])}",
            remedy="Divide counts by their sum",
        )
    return matrix


def _numbers(line: str, number: int, path: Path, name: str) -> list[float]:
    """Four numbers from one line."""
    fields = line.split()
    try:
        if len(fields) != 4:
            raise ValueError
        return [float(field) for field in fields]
    except ValueError:
        raise UserError(
            f"motif '{name}' needs four numbers (A C G T), found '{line.strip()[:60]}'",
            file=path,
            field=f"line {number}",
            remedy="Write four numbers separated by spaces, or remove the motif",
        ) from None


def _read_homer(lines: list[str], path: Path) -> Iterator[Motif]:
    """``>consensus<TAB>name<TAB>threshold...`` then one row of four probabilities per position."""
    starts = [i for i, line in enumerate(lines) if line.startswith(">")]
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        fields = lines[start][1:].rstrip("\n").split("\t")
        if len(fields) < 2 or not fields[1].strip():
            raise UserError(
                "a HOMER header needs '>consensus<TAB>name<TAB>threshold'",
                file=path,
                field=f"line {start + 1}",
                remedy="Separate the fields with tabs",
            )
        name = fields[1].strip()
        rows = [
            _numbers(lines[i], i + 1, path, name) for i in range(start + 1, end) if lines[i].strip()
        ]
        try:
            threshold = float(fields[2]) if len(fields) > 2 and fields[2].strip() else np.nan
            if np.isinf(threshold):
                raise ValueError
        except ValueError:
            raise UserError(
                f"threshold '{fields[2]}' of motif '{name}' is not a number",
                file=path,
                field=f"line {start + 1}",
                remedy="The third tab-separated field is the log-odds threshold",
            ) from None
        matrix = _matrix(rows, start + 2, path, name)
        yield Motif(name, fields[0].strip() or consensus_of(matrix), matrix, threshold)


def _named(identifier: str, alternative: str = "") -> str:
    """`alternative/identifier`; an alternative that repeats the identifier loses it, as in JASPAR's
    `MOTIF MA0080.5 MA0080.5.SPI1`."""
    short = alternative.strip().removeprefix(f"{identifier}.")
    return identifier if short in ("", identifier) else f"{short}/{identifier}"


def _check_alphabet(lines: list[str], start: int, path: Path) -> int:
    """Refuse an alphabet other than A, C, G, T; returns the line that its definition ends at.

    One line (`ALPHABET= ACGT`), or a block of symbols up to `END ALPHABET` (`ALPHABET "DNA"
    DNA-LIKE`), in which `N = ACGT` defines no letter of the matrix.
    """
    header = lines[start].removeprefix("ALPHABET").strip()
    end, core = start, re.sub(r"[\s=]", "", header).upper()
    if header.startswith('"') or re.fullmatch(r"(?:DNA|RNA|PROTEIN)-LIKE", core):
        stop = (i for i in range(start, len(lines)) if lines[i].split()[:2] == ["END", "ALPHABET"])
        end = next(stop, len(lines))
        if end == len(lines):
            raise UserError(
                "the definition of the alphabet has no end",
                file=path,
                field=f"line {start + 1}",
                remedy="Write END ALPHABET after its letters.",
            )
        symbols = [line.split() for line in lines[start + 1 : end] if line.strip()]
        plain = [words for words in symbols if "=" not in words and not words[0].startswith("#")]
        letters = [one for words in plain for one in (words[0], *_paired(words))]
        core = "".join(sorted(set(letters))).upper()
    if core not in ("", "ACGT"):
        raise UserError(
            f"alphabet is '{core}'",
            file=path,
            field=f"line {start + 1}",
            remedy="Only ACGT motifs are read",
        )
    return end


def _paired(words: list[str]) -> list[str]:
    """The complement that a line of an alphabet defines with its letter: `A ... ~ T ...`."""
    return words[words.index("~") + 1 :][:1] if "~" in words else []


def _read_meme(lines: list[str], path: Path) -> Iterator[Motif]:
    """``MOTIF name [alternative]`` then ``letter-probability matrix: ... w= L`` then L rows."""
    name: str | None = None
    i = 0
    while i < len(lines):
        line = lines[i]
        first_word = line.split(maxsplit=1)[0] if line.strip() else ""
        if re.match(r"ALPHABET\b", line):
            i = _check_alphabet(lines, i, path)
        elif first_word == "MOTIF":
            # MEME's own text goes on: `MOTIF GGAAR MEME-1<TAB>width = 4 sites = 5 ...`
            fields = re.split(r"\s+width\s*=", line)[0].split(maxsplit=2)
            if len(fields) < 2:
                raise UserError(
                    "MOTIF without a name",
                    file=path,
                    field=f"line {i + 1}",
                    remedy="Write 'MOTIF name'",
                )
            name = _named(*fields[1:])
        elif line.startswith("letter-probability matrix"):
            if name is None:
                raise UserError(
                    "matrix before any MOTIF line",
                    file=path,
                    field=f"line {i + 1}",
                    remedy="Name the motif first",
                )
            declared = re.search(r"\bw=\s*(\d+)", line)
            rows: list[list[float]] = []
            first = i + 2
            while (
                i + 1 < len(lines)
                and re.match(r"\s*[-+.\d]", lines[i + 1])
                and (not declared or len(rows) < int(declared[1]))
            ):
                i += 1
                rows.append(_numbers(lines[i], i + 1, path, name))
            if declared and len(rows) != int(declared[1]):
                raise UserError(
                    f"motif '{name}' declares w= {declared[1]} but has {len(rows)} rows",
                    file=path,
                    field=f"line {first - 1}",
                    remedy=f"Write w= {len(rows)}, or give the rows that are missing",
                )
            matrix = _matrix(rows, first, path, name)
            yield Motif(name, consensus_of(matrix), matrix, np.nan)
            name = None
        i += 1


def _read_jaspar(lines: list[str], path: Path) -> Iterator[Motif]:
    """``>id name`` then ``A [ counts ]`` to ``T [ counts ]``; a pseudocount of 0.25 a letter is
    added to the counts."""
    filled = [(i, line) for i, line in enumerate(lines) if line.strip()]
    for first in range(0, len(filled), 5):
        number, header = filled[first]
        body = filled[first + 1 : first + 5]
        parts = header[1:].split(maxsplit=1) if header.startswith(">") else []
        name = _named(*parts) if parts else ""
        counts = [line.split("[", 1)[-1].rstrip().removesuffix("]").split() for _, line in body]
        letters = [line.split("[", 1)[0].strip() for _, line in body]
        try:
            table = np.array(counts, dtype=np.float64)
        except ValueError:
            table = np.zeros(0)
        if (
            not name
            or letters != list("ACGT")
            or table.ndim != 2
            or table.shape[1] == 0
            or not np.isfinite(table).all()
            or (table < 0).any()
        ):
            raise UserError(
                f"JASPAR motif '{name or header[:30]}' is not a '>' line and four rows A C G T of "
                f"equal length",
                file=path,
                field=f"line {number + 1}",
                remedy="Write `>ID NAME` and rows A, C, G and T, or remove the motif",
            )
        matrix = (table.T + 0.25) / (table.T + 0.25).sum(axis=1, keepdims=True)
        yield Motif(name, consensus_of(matrix), matrix, np.nan)


_READERS: dict[str, Callable[[list[str], Path], Iterator[Motif]]] = {
    "homer": _read_homer,
    "meme": _read_meme,
    "jaspar": _read_jaspar,
}
