"""DNA becomes tokens of six bases as Nucleotide Transformer cuts it, and every token keeps the
place of its bases.

A sequence of A, C, G, T and N is split at each N (a token of its own); each stretch between is cut
into six-mers from its left end, and what is left over (fewer than six) into single bases. So an N
or an insertion shifts the phase of all that follows. `<cls>` comes first, and there is no end
token.

Sources: `nucleotide_transformer/tokenizers.py` of instadeepai/nucleotide-transformer and
`EsmTokenizer` of Hugging Face transformers, which agree on A, C, G, T and N. On anything else
EsmTokenizer makes one `<unk>` of a whole run of unknown letters, soft-masked DNA included, and
starts a new phase after it; `tokenize(..., strict=True)` does the same, and `clean` is what keeps
such letters out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np

from petriscope.errors import UserError

Form = Literal["v1", "v2"]
"""Which Nucleotide Transformer: v1 (learned positions) or v2 (rotary, gated)."""
UNK, PAD, MASK, CLS = 0, 1, 2, 3
"""Ids that both vocabularies share."""
K = 6
"""Bases of a k-mer."""
BASES = "ATCG"
"""The order of the published vocabularies; N follows as the fifth single token."""
SPECIALS: dict[Form, tuple[str, ...]] = {
    "v1": ("<unk>", "<pad>", "<mask>", "<cls>"),
    "v2": ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>"),
}
LIMITS: dict[Form, int] = {"v1": 1000, "v2": 2048}
"""Tokens that the published models read at most, `<cls>` included."""
IUPAC = "RYSWKMBDHV"
"""Letters of ambiguity, which become N."""
PROTEIN = set("EFILPQZJO")
"""Letters of amino acids that stand for no base."""
_AT_ONCE = 1 << 22
"""Bases that are looked at together."""
_OTHER = 255
_CODE = np.full(256, _OTHER, np.uint8)
_CODE[list(b"ATCGN")] = np.arange(5)


class TokenTable(NamedTuple):
    """The tokens of one sequence.

    Examples
    --------
    >>> table = tokenize("ACGTACGTN", "v2")
    >>> table.width.tolist(), table.start.tolist()
    ([0, 6, 1, 1, 1], [0, 0, 6, 7, 8])
    """

    ids: np.ndarray
    """(T,) int64, `<cls>` first."""
    start: np.ndarray
    """(T,) int64 first base of each token, bp from the start of the sequence."""
    width: np.ndarray
    """(T,) int64 bases of each token: 0 for `<cls>`, 6 or 1 otherwise."""


class TokenTables(NamedTuple):
    """The tokens of many sequences, one after the other."""

    ids: np.ndarray
    start: np.ndarray
    width: np.ndarray
    offsets: np.ndarray
    """(sequences + 1,) int64: sequence i has the tokens ``offsets[i]`` to ``offsets[i + 1]``."""

    def of(self, sequence: int) -> TokenTable:
        """Those of one sequence."""
        rows = slice(self.offsets[sequence], self.offsets[sequence + 1])
        return TokenTable(self.ids[rows], self.start[rows], self.width[rows])


@dataclass(frozen=True)
class Vocabulary:
    """What each id stands for."""

    form: Form

    @property
    def first(self) -> int:
        """Id of the six-mer AAAAAA: the number of special tokens."""
        return len(SPECIALS[self.form])

    @property
    def single(self) -> int:
        """Id of the single base A; T, C, G and N follow."""
        return int(self.first + 4**K)

    def __len__(self) -> int:
        return self.single + 5

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The text of every id, in the order of the published vocab.txt: 4105 or 4107 of them."""
        kmers = map("".join, itertools.product(BASES, repeat=K))
        return (*SPECIALS[self.form], *kmers, *BASES, "N")

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every text."""
        return {word: number for number, word in enumerate(self.words)}


@cache
def vocabulary(form: Form) -> Vocabulary:
    """The vocabulary of a form. Raises `UserError` for another one."""
    if form not in get_args(Form):
        raise UserError(f"is {form!r}", field="model.form", remedy="Choose v1 or v2.")
    return Vocabulary(form)


class Cleaned(NamedTuple):
    """A sequence of A, C, G, T and N, and what was changed to make it one."""

    sequence: str
    lowered: int
    """letters that were lower case (soft-masked) and are upper case now"""
    ambiguous: int
    """IUPAC letters of ambiguity that are N now"""
    uracil: int
    """letters U that are T now"""


def clean(
    sequence: str, *, rna: bool = False, file: object = None, field: str = "sequence"
) -> Cleaned:
    """Upper-case a sequence and make every IUPAC letter of ambiguity an N, with counts.

    ``rna``: U is read as T. ``file`` and ``field`` are named in errors. Raises `UserError` for an
    empty sequence, for a typed special token (`<`), for U without ``rna`` or beside T, and for
    letters outside IUPAC.
    """

    def refuse(what: str, remedy: str) -> UserError:
        named = None if file is None else str(file)
        return UserError(what, file=named, field=field, remedy=remedy)

    if not sequence:
        raise refuse("is empty", "Remove it, or give its bases.")
    if "<" in sequence:
        what = f"has `<` at base {sequence.index('<') + 1:,}: a typed special token is no DNA"
        raise refuse(what, "Remove it.")
    upper = sequence.upper()
    lowered = sum(a != b for a, b in zip(sequence, upper)) if upper != sequence else 0
    uracil = upper.count("U")
    if uracil and not rna:
        raise refuse(f"has {uracil:,} U", "Give DNA, or --rna to read U as T.")
    if uracil and "T" in upper:
        raise refuse("has both T and U", "Give DNA or RNA, not a mixture.")
    upper = upper.replace("U", "T")
    bases = sum(map(upper.count, "ACGTN"))
    ambiguous = len(upper) - bases and sum(map(upper.count, IUPAC))
    if bases + ambiguous < len(upper):
        at = next(i for i, letter in enumerate(upper) if letter not in "ACGTN" + IUPAC)
        if upper[at] in PROTEIN and len(set(upper) & PROTEIN) > 2:
            raise refuse("is a protein sequence", "Give DNA.")
        what = f"has {sequence[at]!r} at base {at + 1:,}, which is no letter of IUPAC"
        raise refuse(what, "Use A, C, G, T and N.")
    if ambiguous:
        upper = upper.translate(dict.fromkeys(map(ord, IUPAC), "N"))
    return Cleaned(upper, lowered, ambiguous, uracil)


def tokenize(
    sequence: str, form: Form, *, strict: bool = False, limit: int | None = None
) -> TokenTable:
    """The tokens of one sequence and the place of each.

    Parameters
    ----------
    sequence : str
        A, C, G, T and N (see `clean`); with ``strict`` any text.
    form : {"v1", "v2"}
        Which vocabulary.
    strict : bool
        Read any text as `EsmTokenizer` does: one `<unk>` for each run of unknown letters, special
        tokens where they are typed, blanks dropped. Places are then those of the text's letters.
    limit : int, optional
        With ``strict``: keep this many tokens (`<cls>` included) and drop the rest in silence, as
        the original does.

    Raises
    ------
    UserError
        Without ``strict``, where a letter is none of A, C, G, T and N.

    Source: section 1 of the tokenizer's rule in this module's text.

    Examples
    --------
    >>> tokenize("TATAAGNA", "v1").ids.tolist()
    [3, 1095, 4104, 4100]
    >>> tokenize("TATAAGxyA", "v1", strict=True).ids.tolist()
    [3, 1095, 0, 4100]
    """
    if not strict:
        return tokenize_all([sequence], form).of(0)
    table = _strict(sequence, vocabulary(form))
    return TokenTable(*(column[:limit] for column in table))


def tokenize_all(sequences: Sequence[str], form: Form) -> TokenTables:
    """The tokens of many sequences of A, C, G, T and N, at array speed.

    Raises `UserError` that names the first sequence (by row) with another letter.
    """
    words, lengths = vocabulary(form), np.array([len(s) for s in sequences], np.int64)
    parts, first = [], 0
    ends = np.cumsum(lengths)
    while first < len(sequences):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
        parts.append(_some(sequences[first:last], lengths[first:last], words, first))
        first = last
    if not parts:
        none = np.zeros(0, np.int64)
        return TokenTables(none, none, none, np.zeros(1, np.int64))
    ids, start, width, counts = (np.concatenate(column) for column in zip(*parts))
    return TokenTables(ids, start, width, np.concatenate([[0], np.cumsum(counts)]))


def _some(
    sequences: Sequence[str], lengths: np.ndarray, words: Vocabulary, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids, starts, widths and tokens per sequence. A *run* is one N, or a stretch without one."""
    text = "".join(sequences).encode("ascii", "replace")
    code = _CODE[np.frombuffer(text, np.uint8)]
    origin = np.cumsum(lengths) - lengths
    if (code == _OTHER).any():
        at = int(np.argmax(code == _OTHER))
        row = int(np.searchsorted(origin, at, "right")) - 1
        letter = sequences[row][at - int(origin[row])]
        raise UserError(
            f"has {letter!r} at base {at - int(origin[row]) + 1:,}",
            field=f"sequence {first + row + 1}",
            remedy="Clean it first: the tokenizer reads A, C, G, T and N.",
        )
    begins = np.zeros(len(code), bool)
    n = code == 4
    begins[n] = True
    begins[1:] |= n[:-1]
    begins[origin[lengths > 0]] = True
    run = np.flatnonzero(begins)
    size = np.diff(run, append=len(code))
    of = np.searchsorted(origin, run, "right") - 1  # the sequence of each run
    sixes = size // K
    tokens = sixes + size % K
    counts = 1 + np.bincount(of, tokens, minlength=len(lengths)).astype(np.int64)  # with <cls>
    total = int(counts.sum())
    cls = np.cumsum(counts) - counts
    inside = np.ones(total, bool)
    inside[cls] = False
    which = np.repeat(np.arange(len(run)), tokens)  # the run of each token
    number = np.arange(len(which)) - np.repeat(np.cumsum(tokens) - tokens, tokens)
    six = number < sixes[which]
    place = run[which] + np.where(six, K * number, number + (K - 1) * sixes[which])
    found = words.single + code[place].astype(np.int64)
    if six.any():
        wide = np.zeros(int(six.sum()), np.int64)
        for base in range(K):
            wide = 4 * wide + code[place[six] + base]
        found[six] = words.first + wide
    ids = np.full(total, CLS, np.int64)
    start, width = np.zeros(total, np.int64), np.zeros(total, np.int64)
    ids[inside], start[inside], width[inside] = found, place - origin[of[which]], 1
    width[np.flatnonzero(inside)[six]] = K
    return ids, start, width, counts


@cache
def _pattern(form: Form) -> re.Pattern[str]:
    """The longest token at a place: a typed special, a six-mer or a single base; else the run up to
    the next blank or token."""
    special = "|".join(map(re.escape, SPECIALS[form]))
    known = f"{special}|[ACGT]{{{K}}}|[ACGTN]"
    return re.compile(f"(?P<known>{known})|(?:(?!{known})\\S)+")


def _strict(text: str, words: Vocabulary) -> TokenTable:
    found = list(_pattern(words.form).finditer(text))
    ids = [CLS, *(words.ids.get(match[0], UNK) for match in found)]
    start = [0, *(match.start() for match in found)]
    width = [0, *(match.end() - match.start() for match in found)]
    return TokenTable(*(np.array(column, np.int64) for column in (ids, start, width)))


def longest(limit: int) -> int:
    """Bases without an N that fit into ``limit`` tokens, `<cls>` included."""
    return K * (limit - 1)


def check_lengths(counts: np.ndarray, names: Sequence[str], limit: int) -> None:
    """Raise `UserError` for the first sequence of more than ``limit`` tokens (``counts`` with
    `<cls>`), with the limit in bp: nothing is ever cut in silence."""
    long = np.flatnonzero(np.asarray(counts) > limit)
    if len(long):
        raise UserError(
            f"has {int(counts[long[0]]):,} tokens, the model reads {limit:,}: "
            f"{longest(limit):,} bp without N, fewer with",
            field=f"sequence {names[long[0]]}",
            remedy="Shorten it, or set sequences.overlap to cut such sequences into pieces.",
        )


def pieces(sequence: str, form: Form, limit: int, overlap: int) -> Iterator[tuple[int, str]]:
    """Cut a sequence into pieces of at most ``limit`` tokens: the first base of each and its bases.

    Each piece is as long as fits, at a token's end; the next begins ``overlap`` bp before it ends.
    With an overlap that is a multiple of 6 and without N, pieces keep the phase of the whole.
    Raises `UserError` where the overlap leaves no step.
    """
    at = 0
    while True:
        table = tokenize(sequence[at : at + longest(limit)], form)
        size = int((table.start + table.width)[:limit].max())
        yield at, sequence[at : at + size]
        if at + size >= len(sequence):
            return
        if overlap >= size:
            raise UserError(
                f"is {overlap:,} bp, a piece of {size:,} bp would not advance",
                field="sequences.overlap",
                remedy=f"Give less than {size:,}.",
            )
        at += size - overlap


def expand(values: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Values per token (T, ...) repeated over the bases of each: (bp, ...). `<cls>` has none."""
    return np.repeat(values, width, axis=0)


def by_length(counts: np.ndarray, size: int, *, mixed: bool = False) -> list[np.ndarray]:
    """Places in ``counts`` (n,) in groups of at most ``size`` sequences of one number of tokens,
    which run without padding.

    ``mixed``: what fills no group joins others nearly as long, so that groups are full and few are
    padded.
    """
    order = np.argsort(counts, kind="stable")
    whole: list[np.ndarray] = []
    left: list[np.ndarray] = []
    for same in np.split(order, np.flatnonzero(np.diff(counts[order])) + 1):
        for part in np.split(same, np.arange(size, len(same), size)):
            (whole if len(part) == size or not mixed else left).append(part)
    if left:
        merged = np.concatenate(left)
        left = np.split(merged, np.arange(size, len(merged), size))
    return [part for part in whole + left if len(part)]
