"""The tokenizer as Hugging Face's EsmTokenizer has it with the published vocabularies, and, on A,
C, G, T and N alone, as `tokenize` cuts sequences that were cleaned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from petriscope.run.fixtures import Compared, FixtureKind
from petriscope.studies.dna.model.tokens import LIMITS, Form, tokenize

FORMS: tuple[Form, ...] = ("v1", "v2")


def compare(_: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Per vocabulary and column: how many of the cases differ; none may."""
    return list(_compared(entries["cases"]))


def _compared(cases: list[dict[str, Any]]) -> Iterator[Compared]:
    if not cases:
        raise ValueError("no case")
    for form in FORMS:
        limit = LIMITS[form]
        wrong = [case for case in cases if _ids(case, form, limit) != case[f"{form}_ids"]]
        yield Compared(f"{form}_ids", float(len(wrong)), 0.0)
    plain = [case for case in cases if set(case["sequence"]) <= set("ACGTN")]
    for form in FORMS:
        found = [tokenize(case["sequence"], form).ids[: LIMITS[form]] for case in plain]
        wrong = [c for c, ids in zip(plain, found) if ids.tolist() != c[f"{form}_ids"]]
        yield Compared(f"{form}_ids of A, C, G, T and N", float(len(wrong)), 0.0)
    yield Compared("surface", float(sum(_surface(c) != c["surface"] for c in cases)), 0.0)


def _ids(case: Mapping[str, Any], form: Form, limit: int) -> list[int]:
    found: list[int] = tokenize(case["sequence"], form, strict=True, limit=limit).ids.tolist()
    return found


def _surface(case: Mapping[str, Any]) -> list[str]:
    """The text of each token without `<cls>`, as places in the text give it."""
    table = tokenize(case["sequence"], "v1", strict=True)
    ends = table.start + table.width
    return [case["sequence"][a:b] for a, b in zip(table.start[1:], ends[1:])]


KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "nucleotide tokenizer",
        "transformers EsmTokenizer with the published vocabularies",
        frozenset({"source", "cases"}),
        compare,
    ),
)
