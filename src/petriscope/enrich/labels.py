"""Names for features: of each kind of annotation the best term that passes, with the evidence and a
confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from petriscope.enrich.kinds import ENRICHED, Kind

UNLABELLED = "unlabelled"
_CONFIDENCE = ("none", "low", "medium", "high")


def features_table(kind: Kind, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of single features of a kind's enrichment table, with the test that counts as
    columns ln_p and q, and the group's name as column feature."""
    rows = table[table.kind == "feature"]
    return rows.assign(feature=rows.group, ln_p=rows[kind.ln_p], q=rows[kind.q])


def passing(kind: Kind, table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Rows of `features_table` that may name a feature, best first."""
    rows = table
    for column in kind.at_most_alpha:
        if column in rows:
            rows = rows[rows[column] <= alpha]
    for column, least in kind.at_least.items():
        rows = rows[rows[column] >= least]
    best = -(rows[kind.beyond[0]] - rows[kind.beyond[1]]) if kind.beyond else rows.ln_p
    ordered = rows.assign(best=best).sort_values("best", kind="stable")
    if kind.cut:
        ordered[kind.term] = ordered[kind.term].str.split(kind.cut).str[0]
    return ordered


def label_features(
    features: Sequence[object],
    tables: Mapping[str, pd.DataFrame],
    alpha: float,
    kinds: Sequence[Kind] = ENRICHED,
) -> pd.DataFrame:
    """One row per feature: label 'state · motif · process' of whatever passes, else 'unlabelled'.

    ``tables``: kind → long table (`features_table`). What a kind's term must reach is in its record
    (`Kind`). A rare state with high odds names few of a feature's bins, so the state that holds
    most bins beyond its background wins; elsewhere the lowest p. Confidence is the number of kinds
    that pass: none, low, medium, high. Columns: feature, label, confidence, levels, of each kind
    its part and numbers, evidence.
    """
    frame = pd.DataFrame(
        {"feature": pd.Series(list(features), dtype=object)}
    )  # typed where there is none
    for kind in kinds:
        wanted = [kind.term, *kind.numbers]
        given = pd.DataFrame(columns=["feature", *wanted])
        if kind.name in tables:
            given = passing(kind, tables[kind.name], alpha)
        found = given.drop_duplicates("feature").set_index("feature").reindex(frame["feature"])
        names = found[kind.term].to_numpy(dtype=object)
        frame[kind.part] = pd.Series(
            [name if isinstance(name, str) else None for name in names], dtype=object
        )
        for column, short in kind.numbers.items():
            frame[f"{kind.part}_{short}"] = found[column].to_numpy(dtype=float)
    records = frame.to_dict("records")
    kept = [[k for k in kinds if isinstance(row[k.part], str)] for row in records]
    names = [" · ".join(row[k.part] for k in those) for row, those in zip(records, kept)]
    frame.insert(1, "label", [name or UNLABELLED for name in names])
    most = len(_CONFIDENCE) - 1
    frame.insert(2, "confidence", [_CONFIDENCE[min(len(those), most)] for those in kept])
    frame.insert(3, "levels", [len(those) for those in kept])
    frame["evidence"] = [
        "; ".join(
            k.told.format(
                term=row[k.part],
                **{short: row[f"{k.part}_{short}"] for short in k.numbers.values()},
            )
            for k in those
        )
        for row, those in zip(records, kept)
    ]
    return frame


def label_parts(labels: pd.DataFrame, kinds: Sequence[Kind] = ENRICHED) -> pd.DataFrame:
    """The labels of `label_features` in long form: one row per feature and part that passes.

    Columns: feature, kind (a part: state, motif, process), term, estimate, low, high (NaN where the
    part has none), q.
    """
    frames = []
    for kind in kinds:
        named = labels[labels[kind.part].notna()]
        low, high = kind.interval or (None, None)
        ends = {
            name: named[f"{kind.part}_{kind.numbers[column]}"] if column else float("nan")
            for name, column in (("low", low), ("high", high))
        }
        frames.append(
            pd.DataFrame(
                {
                    "feature": named["feature"],
                    "kind": kind.part,
                    "term": named[kind.part],
                    "estimate": named[f"{kind.part}_{kind.numbers[kind.estimate]}"],
                    **ends,
                    "q": named[f"{kind.part}_{kind.numbers['q']}"],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
