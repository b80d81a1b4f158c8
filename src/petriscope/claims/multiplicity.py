"""The multiplicity ledger lists every adjusted p-value of the pipeline with its family, the
family's size, method and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.design import Words
from petriscope.contrast.results import Family
from petriscope.enrich.kinds import ENRICHED

METHODS = {
    "q": "BH",
    "bonferroni": "Bonferroni",
    "p_bonferroni": "Bonferroni",
    "p_holm": "Holm",
    "p_bh": "BH",
}
METHODS |= {"p_by": "BY"}


class Adjusted(NamedTuple):
    """A column of adjusted p-values in a table that a study's stage writes."""

    stage: str
    file: str
    column: str
    test: str
    family: str
    units: str
    """what the test takes for independent."""
    method: str


class Entry(NamedTuple):
    """One set of adjusted p-values."""

    stage: str
    test: str
    family: Family
    units: str
    """what the test takes for independent."""
    method: str
    adjusted: np.ndarray


def multiplicity(
    tables: Mapping[str, pd.DataFrame],
    alpha: float,
    stratum: str = "stratum",
    others: Sequence[Adjusted] = (),
) -> pd.DataFrame:
    """One row per test and adjustment: stage, test, family, size, units, method, tested, rejected
    at ``alpha``.

    ``stratum`` is what the design calls one, ``others`` are columns of a study's own tables.
    ``tables``: what stages wrote, by '<stage>/<file>';
    absent ones are left out, as are tests that no one could make.
    """
    entries = [
        *_contrast(tables.get("cds/features"), Words(stratum=stratum)),
        *_causal(tables, stratum),
        *_annotation(tables),
        *_others(tables, others),
    ]
    entries = [entry for entry in entries if np.isfinite(entry.adjusted).any()]
    return pd.DataFrame(
        [
            {
                "stage": entry.stage,
                "test": entry.test,
                "family": entry.family.name,
                "size": entry.family.size,
                "units": entry.units,
                "method": entry.method,
                "tested": int(np.isfinite(entry.adjusted).sum()),
                "rejected": int((entry.adjusted <= alpha).sum()),
                "alpha": alpha,
            }
            for entry in entries
        ]
    )


def as_markdown(rows: pd.DataFrame) -> str:
    """The ledger as a section of a page; nothing where no p-value was adjusted."""
    if rows.empty:
        return ""
    lines = [
        "",
        "## Multiplicity ledger",
        "",
        "Every adjusted p-value: what it answers for, and how many it finds.",
        "",
    ]
    names = ["stage", "test", "family", "size", "units", "method", "tested", "rejected"]
    lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += [
        "| " + " | ".join(str(value).replace("|", "/") for value in row) + " |"
        for row in rows[names].to_numpy()
    ]
    return "\n".join(lines) + "\n"


def _contrast(features: pd.DataFrame | None, words: Words) -> Iterator[Entry]:
    if features is None or features.empty:
        return
    alive = features[features.alive]
    layers = features.layer.nunique()
    everything = Family(f"alive features of all {layers} layers", len(alive))
    tests = {
        "": f"{words.strata} combined (signed Stouffer)",
        "_conjunction": f"every {words.stratum}",
        "_union": f"some {words.stratum}",
    }
    levels = [name.removeprefix("n_") for name in features if name.startswith("n_")]
    for stratum in tested_strata(features, levels):
        tests[f"_{stratum}"] = f"{words.stratum} {stratum}"
    for level in levels:
        known = alive[f"n_{level}"].dropna() if f"n_{level}" in alive else pd.Series(dtype=str)
        units = str(known.iloc[0]) if len(known) else level
        for suffix, name in tests.items():
            for prefix in ("q", "bonferroni"):
                column = f"{prefix}{suffix}_{level}"
                if column in alive:
                    yield Entry(
                        "cds",
                        f"{name}, {level} level",
                        everything,
                        units,
                        METHODS[prefix],
                        _values(alive, column),
                    )
        if f"p_maxt_all_{level}" in alive:
            values = _values(alive, f"p_maxt_all_{level}")
            yield Entry(
                "cds", f"{tests['']}, {level} level", everything, units, "maxT, all layers", values
            )
        if f"p_maxt_{level}" in alive:
            for layer, frame in alive.groupby("layer"):
                family = Family(f"alive features of layer {layer}", len(frame))
                values = _values(frame, f"p_maxt_{level}")
                yield Entry(
                    "cds", f"{tests['']}, {level} level", family, units, "maxT, step-down", values
                )
    for layer, frame in features.groupby("layer"):
        family = Family(f"all latents of layer {layer}, dead ones included", len(frame))
        values = _values(frame, "p_published_bonferroni")
        yield Entry(
            "cds",
            "published (sign-flip of windows)",
            family,
            "windows of one pair",
            "Bonferroni",
            values,
        )


def tested_strata(features: pd.DataFrame, levels: Sequence[str]) -> list[str]:
    """Strata with a column of t at some level in the table of stage cds, in its order."""
    names = [
        name.removeprefix("t_").removesuffix(f"_{level}")
        for level in levels
        for name in features
        if name.startswith("t_") and name.endswith(f"_{level}")
    ]
    return list(dict.fromkeys(names))


def _causal(tables: Mapping[str, pd.DataFrame], stratum: str) -> Iterator[Entry]:
    for file, name in (
        ("tests", "size of the change"),
        ("shift", "shift"),
        ("lineages", f"size, by {stratum}"),
    ):
        frame = tables.get(f"ablation/{file}", pd.DataFrame())
        if frame.empty or "family" not in frame:
            continue
        family = Family(str(frame.family.iloc[0]), int(frame.family_size.iloc[0]))
        for column in ("p_bonferroni", "p_holm", "p_bh", "p_by"):
            if column in frame:
                test = f"{name}: arm against matched random sets, paired t"
                units = f"{int(frame.blocks.max())} blocks"
                yield Entry(
                    "ablation", test, family, units, METHODS[column], _values(frame, column)
                )


def _annotation(tables: Mapping[str, pd.DataFrame]) -> Iterator[Entry]:
    for kind in ENRICHED:
        frame = tables.get(f"{kind.stage}/enrichment", pd.DataFrame())
        for column, test, family, units in kind.tests:
            if column in frame:
                values = _values(frame, column)
                tested = Family(f"whole table: {family}", int(np.isfinite(values).sum()))
                yield Entry(kind.stage, test, tested, units, "BH", values)


def _others(tables: Mapping[str, pd.DataFrame], columns: Sequence[Adjusted]) -> Iterator[Entry]:
    for one in columns:
        frame = tables.get(f"{one.stage}/{one.file}", pd.DataFrame())
        if one.column in frame:
            values = _values(frame, one.column)
            family = Family(one.family, int(np.isfinite(values).sum()))
            yield Entry(one.stage, one.test, family, one.units, one.method, values)


def _values(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].to_numpy(dtype=float)
