"""Counts, published entropy and leave-one-out surprisal, recounted in texts with N."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.dna.entropy import Scan, codes_of, published_entropy

EXACT = 1e-12


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each column of the fixture beside ours; a row is a position of the first text and a k.

    Corrected values are of one strand, with a Dirichlet prior of 1/4 a letter.
    """
    codes, rows = codes_of(entries["texts"]), entries["rows"]
    errors: dict[str, float] = {}

    def add(column: str, found: Any, wanted: Any) -> None:
        errors[column] = max(errors.get(column, 0.0), worst(found, wanted))

    for k in sorted({int(row[1]) for row in rows}):
        asked = [row for row in rows if row[1] == k]
        at = np.array([row[0] for row in asked])
        published = published_entropy(codes, k, at)
        add("count", published.seen, [row[2] for row in asked])
        add("counts ACGT", published.next, [row[3] for row in asked])
        add("published entropy", published.entropy, [row[4] for row in asked])
        found = Scan.of(codes, k, both=False).dirichlet(codes, own=True)
        for column, (name, ours) in enumerate(found._asdict().items()):
            wanted = [np.nan if row[5] is None else row[5][column] for row in asked]
            add(f"corrected {name}", np.where(found.others[at] < 0, np.nan, ours[at]), wanted)
    return [
        Compared(column, error, 0.0 if column.startswith("count") else EXACT)
        for column, error in errors.items()
    ]


KINDS = (
    FixtureKind(
        name="entropy",
        source="naive counts, checked with an FM-index, as bwt/ and entropy_scan.py of "
        "Hidden-State-Genomics use them",
        holds=frozenset({"texts", "columns", "rows"}),
        compare=compare,
    ),
)
