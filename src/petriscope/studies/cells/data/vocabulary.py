"""The vocabularies of the two models say which token stands for which gene.

Geneformer knows genes by Ensembl id; old ids, symbols and synonyms lead there through a table of
aliases, after upper-casing (`geneformer/tokenizer.py:sum_ensembl_ids`). scGPT knows symbols, letter
by letter (`scgpt/tasks/cell_emb.py:embed_data`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.textfile import open_text

FORMAT = "Write the columns in the first line, separated by tabs."
UNKNOWN = -1
"""Token of a gene that a vocabulary does not have."""


@dataclass(frozen=True, eq=False)
class RankVocabulary:
    """Geneformer's vocabulary; V genes."""

    file: Path
    token: np.ndarray
    """int64 (V,) token id"""
    ensembl: np.ndarray
    """object (V,) Ensembl id"""
    median: np.ndarray
    """float64 (V,) median over the corpus of the non-zero values, counts per ten thousand"""
    symbol: np.ndarray
    """object (V,) symbol, "" where there is none"""
    aliases: Mapping[str, str]
    """other name, upper case → Ensembl id; empty: the symbols serve"""
    pad: int
    mask: int
    cls: int | None
    eos: int | None
    """Special tokens; the first series of models has neither <cls> nor <eos>."""

    @classmethod
    def load(cls, tokens: str | Path, aliases: str | Path | None = None) -> RankVocabulary:
        """Read a table ``token``, ``ensembl_id``, ``median``, ``symbols`` (special tokens have
        their name in the place of the id), and one ``alias``, ``ensembl_id``; plain or gzip.

        Raises `UserError` naming file and line.
        """
        path = Path(tokens)
        rows = list(_table(path, ("token", "ensembl_id", "median", "symbols")))
        special = {name: _number(path, line, n) for line, n, name, *_ in rows if _special(name)}
        genes = [row for row in rows if not _special(row[2])]
        for name in ("<pad>", "<mask>"):
            _needs(path, name, special)
        token = np.array([_number(path, line, n) for line, n, *_ in genes], np.int64)
        _once(path, [*token.tolist(), *special.values()], "token")
        ensembl = [name.upper() for _, _, name, *_ in genes]
        _once(path, ensembl, "ensembl_id")
        return cls(
            file=path,
            token=token,
            ensembl=np.array(ensembl, object),
            median=np.array([_median(path, line, text) for line, _, _, text, _ in genes]),
            symbol=np.array([symbol for *_, symbol in genes], object),
            aliases={} if aliases is None else _aliases(Path(aliases), set(ensembl)),
            pad=special["<pad>"],
            mask=special["<mask>"],
            cls=special.get("<cls>"),
            eos=special.get("<eos>"),
        )

    def __len__(self) -> int:
        """Number of token ids, special ones included: rows of the embedding."""
        special = [one for one in (self.pad, self.mask, self.cls, self.eos) if one is not None]
        return int(max([*special, int(self.token.max(initial=0))])) + 1

    @cached_property
    def mapping(self) -> dict[str, int]:
        """Name in upper case → row; an alias goes before an id of that name."""
        row = {name: i for i, name in enumerate(self.ensembl)}
        symbols = {} if self.aliases else {s.upper(): i for i, s in enumerate(self.symbol) if s}
        return {**symbols, **row, **{alias: row[name] for alias, name in self.aliases.items()}}

    def rows_of(self, genes: pd.DataFrame) -> np.ndarray:
        """int64 (G,) row of each gene, or -1: by Ensembl id, by name where it has none.

        genes: columns ensembl and name.
        """
        asked = genes.ensembl.where(genes.ensembl != "", genes.name)
        return np.array([self.mapping.get(one.upper(), UNKNOWN) for one in asked], np.int64)

    def tokens_of(self, genes: pd.DataFrame) -> np.ndarray:
        """int64 (G,) token of each gene, or -1."""
        return _taken(self.token, self.rows_of(genes), UNKNOWN)

    def medians_of(self, genes: pd.DataFrame) -> np.ndarray:
        """float64 (G,) median of each gene, NaN where it has no token."""
        return _taken(self.median, self.rows_of(genes), np.nan)

    def published_rows_of(self, genes: pd.DataFrame) -> np.ndarray:
        """The same as `rows_of` by what bio-sae looks up (`src/01_extract_activations.py`): the
        symbol, letter by letter, in the dictionary of names alone."""
        by_symbol = {symbol: i for i, symbol in enumerate(self.symbol) if symbol}
        asked = genes.symbol.where(genes.symbol != "", genes.name)
        return np.array([by_symbol.get(one, UNKNOWN) for one in asked], np.int64)


@dataclass(frozen=True, eq=False)
class BinVocabulary:
    """scGPT's vocabulary."""

    file: Path
    ids: Mapping[str, int]
    """symbol → token id, special tokens included"""

    @classmethod
    def load(cls, path: str | Path) -> BinVocabulary:
        """Read a table ``symbol``, ``id`` (plain or gzip) or the `vocab.json` of a checkpoint.

        Special tokens that are not in it are appended: <pad>, <cls>, <eoc> (`cell_emb.py:207`).
        Raises `UserError` naming file and line.
        """
        path = Path(path)
        if path.suffix == ".json":
            found = read_json(path)
            if not isinstance(found, dict) or not all(type(n) is int for n in found.values()):
                raise UserError("is no mapping of symbols to ids", file=path, remedy=FORMAT)
            ids = dict(found)
        else:
            rows = list(_table(path, ("symbol", "id")))
            _once(path, [symbol for _, symbol, _ in rows], "symbol")
            ids = {symbol: _number(path, line, text) for line, symbol, text in rows}
        _once(path, list(ids.values()), "id")
        for name in ("<pad>", "<cls>", "<eoc>"):
            ids.setdefault(name, max(ids.values(), default=-1) + 1)
        return cls(path, ids)

    def __len__(self) -> int:
        """Number of token ids, special ones included."""
        return max(self.ids.values()) + 1

    @property
    def pad(self) -> int:
        """Id of padding."""
        return self.ids["<pad>"]

    @property
    def cls(self) -> int:
        """Id of the token that stands for the cell."""
        return self.ids["<cls>"]

    def tokens_of(self, genes: pd.DataFrame) -> np.ndarray:
        """int64 (G,) token of each gene, or -1: by symbol, letter by letter, by name where it has
        none. genes: columns symbol and name."""
        asked = genes.symbol.where(genes.symbol != "", genes.name)
        return np.array([self.ids.get(one, UNKNOWN) for one in asked], np.int64)


class Vocabularies(NamedTuple):
    """Those of the two models; None where a data set has none."""

    geneformer: RankVocabulary | None = None
    scgpt: BinVocabulary | None = None

    def known(self) -> Iterator[tuple[str, RankVocabulary | BinVocabulary]]:
        """Family and vocabulary of those that are there."""
        for family, vocabulary in zip(self._fields, self):
            if vocabulary is not None:
                yield family, vocabulary


def _taken(values: np.ndarray, rows: np.ndarray, missing: float) -> np.ndarray:
    return np.where(rows < 0, missing, values[rows]) if len(values) else np.full(len(rows), missing)


def _special(name: str) -> bool:
    return name.startswith("<") and name.endswith(">")


def _table(path: Path, names: tuple[str, ...]) -> Iterator[tuple]:
    """Line number and the named columns of each line."""
    lines = open_text(path)
    _, head = next(lines, (0, ""))
    columns = head.split("\t")
    for name in names:
        if name not in columns:
            has = f", but {', '.join(columns)[:80]}" if head else ": is empty"
            remedy = f"Write {', '.join(names)} in the first line, separated by tabs."
            raise UserError(f"has no column {name!r}{has}", file=path, field="line 1",
                            remedy=remedy)  # fmt: skip
    places = [columns.index(name) for name in names]
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            if not line:
                continue
            what = f"has {len(cells)} columns where the first line has {len(columns)}"
            raise UserError(what, file=path, field=f"line {number}", remedy=FORMAT)
        yield (number, *(cells[place] for place in places))


def _aliases(path: Path, known: set[str]) -> dict[str, str]:
    found = {}
    for line, alias, name in _table(path, ("alias", "ensembl_id")):
        if name.upper() not in known:
            what = f"leads {alias!r} to {name!r}, which has no token"
            remedy = "Leave the line out, or give the tokens of the same release."
            raise UserError(what, file=path, field=f"line {line}", remedy=remedy)
        found[alias.upper()] = name.upper()
    return found


def _number(path: Path, line: int, text: str) -> int:
    if not text.isdecimal():
        what = f"{text!r} is no token id"
        raise UserError(what, file=path, field=f"line {line}", remedy="Give a number from 0.")
    return int(text)


def _median(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 < value < np.inf:
        what = f"{text!r} is no median"
        raise UserError(what, file=path, field=f"line {line}", remedy="Give a number above 0.")
    return value


def _needs(path: Path, name: str, special: Mapping[str, int]) -> None:
    if name not in special:
        remedy = "Give its line, with the name in the column ensembl_id."
        raise UserError(f"has no token {name}", file=path, remedy=remedy)


def _once(path: Path, values: Iterable[object], field: str) -> None:
    """Raise `UserError` where a value occurs twice."""
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{value!r} occurs twice", file=path, field=field, remedy="Keep one.")
        seen.add(value)
