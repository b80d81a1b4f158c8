"""A parity fixture holds what an original program computed; its study computes it again.

A fixture is an `.npz`, a `.json` or a `.json.gz` file, or an `.npz` with its results in a
`.json.gz` of the same name beside it; either names both. Which kind it is follows from the arrays
in it, not from its name, so that fixtures of other seeds and sizes are read as well.
"""

from __future__ import annotations

import fnmatch
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.run.studies import find_study, study_names
from petriscope.textfile import text_lines


class Compared(NamedTuple):
    """One array of a fixture, computed again."""

    array: str
    """its name in the fixture."""
    error: float
    """the largest difference, in the units of ``allowed``; 0 where exact values agree."""
    allowed: float


@dataclass(frozen=True)
class FixtureKind:
    """A kind of parity fixture: how it is known, and what computes its arrays again."""

    name: str
    source: str
    """the original program whose values it holds"""
    holds: frozenset[str]
    """entries by which a fixture of this kind is known; * stands for anything"""
    compare: Callable[[Path, Mapping[str, Any]], Sequence[Compared]]
    """Given the file and its entries; other files that it names lie beside it."""


RESULTS = ".json.gz"
"""How the file of results beside an .npz ends."""


def fixture_of(path: str | Path) -> Path:
    """The file that stands for a fixture: the .npz where its results are named, else the file."""
    path = Path(path)
    inputs = path.with_name(path.name.removesuffix(RESULTS) + ".npz")
    return inputs if path.name.endswith(RESULTS) and inputs.is_file() else path


def read_fixture(path: str | Path) -> dict[str, Any]:
    """The entries of a fixture. Raises `UserError` where it is none."""
    path = Path(path)
    try:
        if path.suffix == ".json" or path.name.endswith(RESULTS):
            entries = json.loads("\n".join(text_lines(path)))
            if isinstance(entries, dict):
                return entries
            raise ValueError("no mapping at the top")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError("does not exist", file=path, remedy="Name a fixture file.") from None
    except (ValueError, EOFError, OSError, AttributeError, zipfile.BadZipFile) as error:
        what = f"is no parity fixture ({error})"
        raise UserError(
            what, file=path, remedy="Give an .npz, .json or .json.gz fixture."
        ) from None


def kinds() -> Iterator[FixtureKind]:
    """Those of all studies."""
    for name in study_names():
        yield from find_study(name).fixtures()


def compare(path: str | Path) -> tuple[FixtureKind, list[Compared]]:
    """What the fixture in a file is, and each of its arrays beside ours.

    Raises `UserError` where no study knows it, or an entry is missing or misshapen.
    """
    path = fixture_of(path)
    entries = read_fixture(path)
    known = list(kinds())
    for kind in known:
        if all(fnmatch.filter(entries, name) for name in kind.holds):
            try:
                return kind, list(kind.compare(path, entries))
            except (KeyError, IndexError, ValueError, RuntimeError) as error:
                what = f"is a damaged fixture of kind {kind.name} ({error})"
                raise UserError(what, file=path, remedy="Restore the file.") from None
    names = ", ".join(kind.name for kind in known)
    raise UserError("holds no fixture of a known kind", file=path, remedy=f"Known: {names}.")


def worst(found: Any, wanted: Any) -> float:
    """The largest absolute difference; infinite where shapes differ or a value is not finite."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    error = np.where(same, 0.0, np.abs(a - b)).max(initial=0.0)
    return float(error) if np.isfinite(error) else float("inf")
