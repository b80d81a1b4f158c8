"""What every part of the export reads: the atlas, its features in order, and how they are cut into
blocks that processes write on their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from petriscope.atlas.filters import FLAGS, Clause
from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE
from petriscope.enrich.kinds import KINDS

ENRICHED = "NOT COALESCE({q}, 0) >= ?"
"""As the filter language has it: at most alpha, or chosen by a stage that gives no q."""
BITS = {"alive": 1, "context": 2, "stable": 4, "causal": 8, "annotated": 16, "tested": 32}
"""Of a feature's flags (in step with format.ts); tested: it has a q."""


class Source:
    """An atlas to export."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.atlas = Atlas(path)
        found = self.atlas.select("SELECT id FROM features ORDER BY id")
        self.ids = np.array([i for (i,) in found], np.int64)
        """Of the features in the order of the columns."""

    @contextmanager
    def opened(self) -> Iterator[Atlas]:
        """The atlas for a worker, which cannot use its parent's connection."""
        atlas = Atlas(self.path)
        try:
            yield atlas
        finally:
            atlas.close()

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Places of features in the columns."""
        return np.searchsorted(self.ids, np.asarray(ids, np.int64))

    @cached_property
    def layers(self) -> dict[int, tuple[int, int]]:
        """Row of each layer's first feature, and its number of features."""
        layers, first, size = np.unique(
            self.ids // LAYER_STRIDE, return_index=True, return_counts=True
        )
        return dict(zip(layers.tolist(), zip(first.tolist(), size.tolist())))

    @cached_property
    def flags(self) -> np.ndarray:
        """uint8 (features,): `BITS`, by the SQL of the filters ``is:alive`` and so on."""
        found = np.zeros(len(self.ids), np.uint8)
        for name, bit in BITS.items():
            tested = Clause("q IS NOT NULL", ())
            where = self.atlas.where(f"is:{name}") if name in FLAGS else tested
            passed = self.atlas.select(f"SELECT id FROM features WHERE {where.sql}", where.values)
            found[self.rows([i for (i,) in passed])] |= bit
        return found

    @cached_property
    def kinds(self) -> np.ndarray:
        """uint8 (features,): bit k says that a feature is enriched for a term of ``KINDS[k]``."""
        assert len(KINDS) <= 8
        bit = {kind.name: 1 << k for k, kind in enumerate(KINDS)}
        sql = f"SELECT DISTINCT kind, id FROM annotations WHERE {ENRICHED.format(q='q')}"
        by_kind: dict[str, list[int]] = {}
        for kind, identifier in self.atlas.select(sql, (self.atlas.thresholds.alpha,)):
            by_kind.setdefault(kind, []).append(identifier)
        found = np.zeros(len(self.ids), np.uint8)
        for kind, ids in by_kind.items():
            found[self.rows(ids)] |= bit.get(kind, 0)
        return found

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many features have each flag."""
        return {name: int(np.count_nonzero(self.flags & bit)) for name, bit in BITS.items()}

    @cached_property
    def numbered(self) -> dict[int, int]:
        """Term of the atlas → its number in data/terms.js."""
        sql = "SELECT term FROM terms WHERE kind <> 'gene' ORDER BY term"
        return {term: number for number, (term,) in enumerate(self.atlas.select(sql))}

    @cached_property
    def genome(self) -> bool:
        """Whether contexts lie on a genome."""
        sql = "SELECT 1 FROM contexts WHERE chrom IS NOT NULL LIMIT 1"
        return bool(self.atlas.select(sql))

    def has(self, table: str) -> bool:
        """Whether a table of `schema.OPTIONAL` lies in the file."""
        return table in self.atlas.tables


def columns_of(rows: Sequence[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    """The columns of rows, ``count`` empty ones where there is no row."""
    return list(zip(*rows)) if rows else [()] * count


def within(block: np.ndarray) -> tuple[int, int]:
    """First and last identifier of a block of features."""
    return int(block[0]), int(block[-1])


def by_feature(block: np.ndarray, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where the rows of each feature of ``block`` begin and end; ``ids`` are in order."""
    found = np.asarray(ids, np.int64)
    lo = np.searchsorted(found, block, "left").tolist()
    return list(zip(lo, np.searchsorted(found, block, "right").tolist()))
