"""Geneformer's dictionaries are pickles. They are read here without executing anything in them, and
written as the tables that a data set of cells names.

A pickle may call any function of the machine it is read on. Dictionaries of text and numbers need
none; medians are scalars of NumPy, for whose two names stand-ins answer that only unpack eight or
four bytes. Whatever else a file asks for is refused.
"""

from __future__ import annotations

import gzip
import math
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from petriscope.errors import UserError
from petriscope.files import atomic_path

LARGEST = 1 << 26
"""Bytes of a dictionary at most: the released ones have up to four million."""
POINTER = b"version https://git-lfs"
"""How the file begins that Git leaves where LFS is not installed."""
AGAIN = "Fetch the official file again."
RELEASE = "Give the dictionaries of one release."
BROKEN = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError),
    *(TypeError, ValueError, OverflowError, MemoryError, RecursionError, struct.error),
)
"""What the standard library raises for bytes that are no pickle, or a damaged one."""


class Dictionaries(NamedTuple):
    """Where the four of a release lie."""

    tokens: Path
    medians: Path
    names: Path
    aliases: Path


class _Number:
    """Stands for a data type of NumPy: which bytes a scalar of it has."""

    LETTERS: ClassVar[Mapping[str, str]] = {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}
    __slots__ = ("letter", "order")

    def __init__(self, code: str) -> None:
        if type(code) is not str or code not in self.LETTERS:
            raise pickle.UnpicklingError("it holds a NumPy scalar that is no plain number")
        self.letter, self.order = self.LETTERS[code], "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">"):
            raise pickle.UnpicklingError("it holds a NumPy scalar of no byte order")
        self.order = state[1]


class _TypeCalled:
    """Stands for `numpy.dtype`."""

    __slots__ = ()

    def __call__(self, code: str, *_: object) -> _Number:
        return _Number(code)


class _ScalarCalled:
    """Stands for `numpy.core.multiarray.scalar`."""

    __slots__ = ()

    def __call__(self, kind: _Number, raw: bytes) -> float:
        if type(kind) is not _Number:
            raise pickle.UnpicklingError("it holds a NumPy scalar without a type")
        return struct.unpack(kind.order + kind.letter, raw)[0]


class _Plain(pickle.Unpickler):
    """Reads dictionaries of text and numbers; nothing in the file is imported or called."""

    ANSWERS: ClassVar[Mapping[tuple[str, str], Callable[..., Any]]] = {
        ("numpy", "dtype"): _TypeCalled(),
        ("numpy.core.multiarray", "scalar"): _ScalarCalled(),
        ("numpy._core.multiarray", "scalar"): _ScalarCalled(),
    }

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in; `UnpicklingError` for every other name, which is not looked up."""
        if (module, name) not in self.ANSWERS:
            asked = ascii(f"{module}.{name}")[1:-1]
            raise pickle.UnpicklingError(f"it asks for {asked:.60}; code in a file is never run")
        return self.ANSWERS[module, name]


def is_pointer(path: Path) -> bool:
    """Whether Git left its own few lines in the place of a large file."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def read_dictionary(path: Path, kind: type) -> dict[str, Any]:
    """A pickled dictionary of text → ``kind`` (int, float or str), without running anything in it.

    Raises
    ------
    UserError
        For a file that is not there, is larger than `LARGEST`, a pointer of Git LFS, damaged, asks
        for code, or holds anything else.
    """
    if not path.is_file():
        raise UserError("no such file", file=path, remedy="Name the folder of the official files.")
    size = path.stat().st_size
    if size > LARGEST:
        what = f"has {size:,} bytes, more than any dictionary"
        raise UserError(what, file=path, remedy=AGAIN)
    if is_pointer(path):
        remedy = "Run `git lfs pull` in its repository."
        raise UserError("is a pointer of Git LFS, not the file", file=path, remedy=remedy)
    with path.open("rb") as file:
        try:
            found = _Plain(file).load()
        except BROKEN as error:
            what = f"cannot be read as a plain dictionary ({str(error) or type(error).__name__})"
            raise UserError(what, file=path, remedy=AGAIN) from None
    if type(found) is not dict:
        raise UserError(f"holds a {type(found).__name__}", file=path, remedy=AGAIN)
    for name, value in found.items():
        if type(name) is not str or any(mark in name for mark in "\t\r\n"):
            raise UserError("has a key that is no name of a gene", file=path, remedy=AGAIN)
        if type(value) is not kind:
            what = f"is {type(value).__name__}, not {kind.__name__}"
            raise UserError(what, file=path, field=name, remedy=AGAIN)
    return found


@dataclass(frozen=True)
class RankTables:
    """Geneformer's vocabulary as lines of the two tables, headers included."""

    tokens: list[str]
    aliases: list[str]

    @classmethod
    def read(cls, files: Dictionaries) -> RankTables:
        """Read the four dictionaries. Raises `UserError` where they do not belong together."""
        tokens = read_dictionary(files.tokens, int)
        medians = read_dictionary(files.medians, float)
        symbol: dict[str, str] = {}
        for one, name in read_dictionary(files.names, str).items():
            symbol.setdefault(name, one)
        for name in ("<pad>", "<mask>"):
            if name not in tokens:
                raise UserError("has no such token", file=files.tokens, field=name, remedy=AGAIN)
        if len(set(tokens.values())) < len(tokens) or min(tokens.values()) < 0:
            what = "gives a token twice, or one below 0"
            raise UserError(what, file=files.tokens, remedy=AGAIN)
        lines = ["token\tensembl_id\tmedian\tsymbols"]
        for name, token in sorted(tokens.items(), key=lambda item: item[1]):
            if name.startswith("<"):
                lines.append(f"{token}\t{name}\t\t")
                continue
            median = medians.get(name, math.nan)
            if not 0 < median < math.inf:
                what = f"is {median!r}" if name in medians else "has no median"
                raise UserError(what, file=files.medians, field=name, remedy=RELEASE)
            lines.append(f"{token}\t{name}\t{median!r}\t{symbol.get(name, '')}")
        others = read_dictionary(files.aliases, str)
        known = {alias: name for alias, name in others.items() if name in tokens and alias != name}
        if not known:
            raise UserError("names no gene that has a token", file=files.aliases, remedy=RELEASE)
        pairs = [f"{alias}\t{name}" for alias, name in sorted(known.items())]
        return cls(lines, ["alias\tensembl_id", *pairs])

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write geneformer.tsv.gz and aliases.tsv.gz, the same bytes for the same content."""
        paths = folder / "geneformer.tsv.gz", folder / "aliases.tsv.gz"
        for path, lines in zip(paths, (self.tokens, self.aliases), strict=True):
            text = "".join(f"{line}\n" for line in lines)
            with atomic_path(path) as temporary:
                temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        return paths
