"""A run's tables and verdicts are compared with the shipped ones: identical, or within declared
tolerances."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.params import load_params
from petriscope.run.studies import PACKAGE, Study
from petriscope.run.weights import shipped_with
from petriscope.run.workspace import Workspace, template

FOLDER = "paper_figures"


@dataclass(frozen=True)
class Tolerance:
    """What may differ in one table when the processor does (the same processor gives the same
    bytes).

    A number agrees if |a − b| ≤ absolute + relative·|b|. ``share`` of a column's numbers must
    agree, in every column but those in ``free``. ``keys``: columns that name a row; ``rows``: share
    of the rows that must be on both sides. ``columns``: of single columns, [relative, absolute].
    """

    keys: tuple[str, ...] = ()
    relative: float = 0.0
    absolute: float = 0.0
    share: float = 1.0
    rows: float = 1.0
    free: tuple[str, ...] = ()
    columns: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, column: str) -> tuple[float, float]:
        """Relative and absolute tolerance of a column."""
        return self.columns.get(column, (self.relative, self.absolute))


@dataclass(frozen=True)
class Comparison:
    """How one table compares. ``state``: identical, within, outside (the tolerances), missing, or
    unlike (in columns)."""

    name: str
    state: str
    detail: str


def load_tolerances(path: Path, *, released: bool = False) -> dict[str, Tolerance]:
    """Tolerances by table name (and `default`), from a study's tolerances.yaml; where there is none
    everything must be equal. `UserError` for an unknown field.

    ``released``: of a run from released weights, under the entry `released`.
    """
    content: dict[str, Any] = {"default": {}, "tables": {}}
    if path.is_file():
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if released:
        content = content.get("released", {"default": {}, "tables": {}})
    found = {}
    for name, entry in {"default": {}, **content["tables"]}.items():
        unknown = set(entry) - set(Tolerance.__dataclass_fields__)
        if unknown:
            remedy = f"Known: {', '.join(Tolerance.__dataclass_fields__)}."
            raise UserError(
                "is not a field", file=path, field=f"{name}.{sorted(unknown)[0]}", remedy=remedy
            )
        values: dict[str, Any] = {**content["default"], **entry}
        values |= {key: tuple(values.get(key, ())) for key in ("keys", "free")}
        columns = {**content["default"].get("columns", {}), **entry.get("columns", {})}
        values["columns"] = {column: (rtol, atol) for column, (rtol, atol) in columns.items()}
        found[name] = Tolerance(**values)
    return found


def study_tolerances(study: Study, *, released: bool) -> dict[str, Tolerance]:
    """The tolerances of a study's tables, of a run that trains or of one from released weights."""
    package = resources.files(f"{PACKAGE}.{study.name}")
    return load_tolerances(Path(str(package / "tolerances.yaml")), released=released)


def compare_frames(
    name: str, found: pd.DataFrame, shipped: pd.DataFrame, tolerance: Tolerance
) -> Comparison:
    """Compare two tables row by row (matched by ``tolerance.keys``; in order without keys)."""
    if found.equals(shipped):
        return Comparison(name, "identical", f"{len(shipped)} rows")
    if list(found.columns) != list(shipped.columns):
        odd = sorted(set(found.columns) ^ set(shipped.columns)) or ["their order"]
        return Comparison(name, "unlike", f"columns differ: {', '.join(odd)}")
    keys = [key for key in tolerance.keys if key in shipped.columns]
    numbered = [_keyed(frame, keys) for frame in (found, shipped)]
    common = numbered[0].index.intersection(numbered[1].index)
    union = max(len(numbered[0].index.union(numbered[1].index)), 1)
    if len(common) / union < tolerance.rows:
        least = f"{tolerance.rows:.0%}"
        return Comparison(
            name, "outside", f"{len(common)} of {union} rows are in both (at least {least} wanted)"
        )
    a, b = numbered[0].loc[common], numbered[1].loc[common]
    worst, wrong = "", 0
    for column in shipped.columns:
        if column in (*keys, *tolerance.free):
            continue
        agrees = _agree(a[column], b[column], *tolerance.of(column))
        if agrees.mean() < tolerance.share if len(agrees) else False:
            wrong += 1
            row = common[int(np.argmin(agrees))]
            where = ", ".join(map(str, row)) if isinstance(row, tuple) else f"row {row}"
            there, here = b[column].loc[row], a[column].loc[row]
            worst = (
                worst
                or f"{column} ({where}): {here} here, {there} shipped; {agrees.mean():.0%} of the "
                f"column agrees"
            )
    if wrong:
        return Comparison(
            name, "outside", worst + (f"; {wrong - 1} further columns" if wrong > 1 else "")
        )
    return Comparison(
        name, "within", f"{len(common)} of {union} rows in both, all columns within tolerance"
    )


def _keyed(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The frame indexed by its keys and a counter, so that repeated keys pair up in order."""
    if not keys:
        return frame.reset_index(drop=True)
    repeat = frame.groupby(keys, dropna=False).cumcount()
    return frame.set_index([frame[key].astype(str) for key in keys] + [repeat.rename("repeat")])


def column_errors(found: bytes, shipped: bytes, tolerance: Tolerance) -> list[dict[str, Any]]:
    """Per column of two tables (as CSV) that differs in a row of both: in how many cells, the
    largest absolute and relative error of its numbers, and whether all are within ``tolerance``.
    Rows of one table alone are counted as column `(rows)`."""
    a, b = _read(found), _read(shipped)
    keys = [key for key in tolerance.keys if key in b.columns]
    a, b = _keyed(a, keys), _keyed(b, keys)
    common = a.index.intersection(b.index)
    alone = len(a.index.union(b.index)) - len(common)
    rows: list[dict[str, Any]] = []
    if alone:
        rows.append({"column": "(rows)", "differ": alone, "cells": len(b), "within": False})
    a, b = a.loc[common], b.loc[common]
    for column in b.columns:
        if column in keys or column not in a.columns:
            continue
        exact = _agree(a[column], b[column], 0.0, 0.0)
        if exact.all():
            continue
        within = bool(_agree(a[column], b[column], *tolerance.of(column)).all())
        row = {"column": column, "differ": int((~exact).sum()), "cells": len(b), "within": within}
        if pd.api.types.is_numeric_dtype(a[column]) and pd.api.types.is_numeric_dtype(b[column]):
            off = np.abs(a[column].to_numpy(float) - b[column].to_numpy(float))
            with np.errstate(divide="ignore", invalid="ignore"):
                row["relative"] = float(np.nanmax(off / np.abs(b[column].to_numpy(float))))
            row["absolute"] = float(np.nanmax(off))
        rows.append(row)
    return rows


def _agree(a: pd.Series, b: pd.Series, relative: float, absolute: float) -> np.ndarray:
    both_numbers = pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b)
    if not both_numbers:
        return (a.astype(str) == b.astype(str)).to_numpy()
    x, y = a.to_numpy(float), b.to_numpy(float)
    return np.isclose(x, y, rtol=relative, atol=absolute, equal_nan=True)


def compare_tables(workspace: Workspace, shipped: Mapping[str, bytes]) -> list[Comparison]:
    """Every shipped table against the run's."""
    given = load_params(workspace.params).released is not None
    tolerances = study_tolerances(workspace.study, released=given)
    results = []
    for name, content in sorted(shipped.items(), key=lambda item: _number(item[0])):
        path = workspace.figures / "tables" / f"{name}.csv"
        if not path.is_file():
            results.append(Comparison(name, "missing", f"{path} is not there"))
            continue
        if path.read_bytes() == content:
            results.append(Comparison(name, "identical", f"{len(content.splitlines()) - 1} rows"))
            continue
        tolerance = tolerances.get(name, tolerances["default"])
        results.append(compare_frames(name, _read(path.read_bytes()), _read(content), tolerance))
    return results


def compare_claims(workspace: Workspace, shipped: Mapping[str, Any]) -> Comparison:
    """The run's verdicts against the shipped ones: outside where one differs, unlike where the
    claims do."""
    path = workspace.figures / "claims.json"
    if not path.is_file():
        return Comparison("claims", "missing", f"{path} is not there")
    here = {claim["id"]: claim["verdict"] for claim in read_json(path)["claims"]}
    there = {claim["id"]: claim["verdict"] for claim in shipped["claims"]}
    odd = [name for name in {**there, **here} if here.get(name) != there.get(name)]
    if odd:
        lines = [
            f"{name}: {here.get(name, 'absent')} here, {there.get(name, 'absent')} shipped"
            for name in odd
        ]
        return Comparison(
            "claims", "unlike" if here.keys() != there.keys() else "outside", "; ".join(lines)
        )
    return Comparison("claims", "identical", f"{len(there)} verdicts")


def compare_intervals(workspace: Workspace, shipped: Mapping[str, Any]) -> Comparison:
    """Whether each interval of the ledger overlaps the shipped one of the same claim: outside
    where two have no point in common."""
    name = "claims' intervals"
    path = workspace.figures / "claims.json"
    if not path.is_file():
        return Comparison(name, "missing", f"{path} is not there")
    here, there = read_json(path).get("intervals", {}), shipped.get("intervals", {})
    both = [
        (claim, entry, here[claim][entry], there[claim][entry])
        for claim in there
        for entry in there[claim]
        if entry in here.get(claim, {})
    ]
    apart = [
        f"{claim}: {entry} {_interval(a)} here, {_interval(b)} shipped"
        for claim, entry, a, b in both
        if a[0] > b[1] or b[0] > a[1]
    ]
    if apart:
        return Comparison(name, "outside", "; ".join(apart))
    if here == there:
        return Comparison(name, "identical", f"{len(both)} intervals")
    return Comparison(name, "within", f"{len(both)} intervals overlap the shipped ones")


def _interval(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.3g}, {ends[1]:.3g}]"


def shipped_results(
    workspace: Workspace, reference: Path | None = None
) -> tuple[dict[str, bytes], Any, str] | None:
    """Tables (name → CSV bytes), claims and where they come from; None where the shipped ones are
    not to be had.

    ``reference``: a `paper_figures` folder. Without it: the revision's own where the workspace is
    the checkout that ships them (a run overwrites the files, git keeps them), else the checkout's
    or the installed package's.
    """
    if reference is None:
        reference = shipped_with(workspace, load_params(workspace.params))
        if reference is not None and not reference.is_dir():
            return None
    if reference is not None:
        if not (reference / "tables").is_dir():
            remedy = "Name a paper_figures folder."
            raise UserError("has no tables", file=reference, remedy=remedy)
        return _from_folder(reference)
    study = workspace.study
    try:
        folder = template(f"{FOLDER}/claims.json", study).parent
    except UserError:
        return None
    if folder.resolve() != workspace.figures.resolve():
        return _from_folder(folder)
    return _from_git(workspace.root)


def _from_folder(folder: Path) -> tuple[dict[str, bytes], Any, str]:
    tables = {path.stem: path.read_bytes() for path in (folder / "tables").glob("*.csv")}
    return tables, read_json(folder / "claims.json"), str(folder)


def _from_git(root: Path) -> tuple[dict[str, bytes], Any, str] | None:
    def git(*arguments: str) -> bytes | None:
        try:
            result = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, check=False
            )
        except OSError:
            return None
        return result.stdout if result.returncode == 0 else None

    listed = git("ls-tree", "--name-only", "HEAD", f"{FOLDER}/tables/")
    claims = git("show", f"HEAD:./{FOLDER}/claims.json")
    if not listed or not claims:
        return None
    tables = {}
    for line in listed.decode().splitlines():
        if line.endswith(".csv"):
            tables[Path(line).stem] = git("show", f"HEAD:./{line}") or b""
    return (
        tables,
        yaml.safe_load(claims),
        f"revision {(git('rev-parse', '--short=10', 'HEAD') or b'').decode().strip()}",
    )


def _read(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content)) if content.strip() else pd.DataFrame()


def _number(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name.split("_", maxsplit=1)[0] if c.isdigit())
    return (int(digits) if digits else 0, name)
