"""Names for features: the best state, motif and process that pass, with the evidence and a
confidence."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

UNLABELLED = "unlabelled"
_CONFIDENCE = ("none", "low", "medium", "high")


@dataclass(frozen=True)
class LabelRule:
    """What evidence must reach to name a feature."""

    alpha: float
    """Every q, and the p of the state when the segmentation is shifted round the genome where that
    is given, is at most this."""
    min_odds: float = 1.5
    """Lower end of the state's odds-ratio interval."""
    min_share: float = 0.1
    """Share of the feature's bins that lie in the state."""
    min_motif_fold: float = 1.2
    min_process_fold: float = 1.5


def label_features(
    features: Sequence[object],
    rule: LabelRule,
    *,
    states: pd.DataFrame | None = None,
    motifs: pd.DataFrame | None = None,
    processes: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per feature: label 'state · motif · process' of whatever passes, else 'unlabelled'.

    The long tables of the enrichments, each with a column feature: ``states`` (state, odds_ratio,
    low, high, q, share, background_share, and shift_p where known), ``motifs`` (name, ln_p, fold,
    q), ``processes`` (term, ln_p, fold, q, region_q). State: q, shift_p, share and the interval's
    lower end pass; the one that holds most bins beyond its background wins (a rare state with high
    odds names few of a feature's bins). Motif: q and fold pass; lowest p wins. Process: q of the
    gene test, q of the region test and fold pass; lowest p wins. Confidence is the number of levels
    that pass: none, low, medium, high. Columns: feature, label, confidence, levels, state,
    state_odds, state_low, state_high, state_q, state_share, motif, motif_fold, motif_q, process,
    process_fold, process_q, process_region_q, evidence.
    """
    frame = pd.DataFrame(
        {"feature": pd.Series(list(features), dtype=object)}
    )  # typed where there is none
    columns = {
        "state": (
            None,
            {"odds_ratio": "odds", "low": "low", "high": "high", "q": "q", "share": "share"},
        ),
        "motif": ("name", {"fold": "fold", "q": "q"}),
        "process": ("term", {"fold": "fold", "q": "q", "region_q": "region_q"}),
    }
    best: dict[str, pd.DataFrame | None] = dict.fromkeys(columns)
    if states is not None:
        passing = states[(states["q"] <= rule.alpha) & (states["low"] >= rule.min_odds)]
        passing = passing[passing["share"] >= rule.min_share]
        if "shift_p" in passing:
            passing = passing[passing["shift_p"] <= rule.alpha]
        beyond = passing["share"] - passing["background_share"]
        best["state"] = passing.assign(beyond=beyond).sort_values(
            "beyond", ascending=False, kind="stable"
        )
    if motifs is not None:
        passing = motifs[(motifs["q"] <= rule.alpha) & (motifs["fold"] >= rule.min_motif_fold)]
        passing = passing.assign(name=passing["name"].str.split("/").str[0])
        best["motif"] = passing.sort_values("ln_p", kind="stable")
    if processes is not None:
        both = (processes["q"] <= rule.alpha) & (processes["region_q"] <= rule.alpha)
        passing = processes[both & (processes["fold"] >= rule.min_process_fold)]
        best["process"] = passing.sort_values("ln_p", kind="stable")
    for level, (source, numbers) in columns.items():
        table = best[level]
        wanted = [source or level, *numbers]
        given = pd.DataFrame(columns=["feature", *wanted]) if table is None else table
        found = given.drop_duplicates("feature").set_index("feature").reindex(frame["feature"])
        names = found[wanted[0]].to_numpy(dtype=object)
        frame[level] = pd.Series(
            [name if isinstance(name, str) else None for name in names], dtype=object
        )
        for column, short in numbers.items():
            frame[f"{level}_{short}"] = found[column].to_numpy(dtype=float)
    parts = frame[["state", "motif", "process"]].to_numpy(dtype=object)
    kept = [[p for p in row if isinstance(p, str)] for row in parts]
    frame.insert(1, "label", [" · ".join(row) if row else UNLABELLED for row in kept])
    frame.insert(2, "confidence", [_CONFIDENCE[len(row)] for row in kept])
    frame.insert(3, "levels", [len(row) for row in kept])
    frame["evidence"] = [_evidence(row) for row in frame.to_dict("records")]
    return frame


def label_parts(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels of `label_features` in long form: one row per feature and part that passes.

    Columns: feature, kind (state, motif, process), term, estimate (odds ratio or fold), low, high
    (NaN where the part has none), q.
    """
    frames = []
    for kind, estimate in (("state", "odds"), ("motif", "fold"), ("process", "fold")):
        named = labels[labels[kind].notna()]
        frames.append(
            pd.DataFrame(
                {
                    "feature": named["feature"],
                    "kind": kind,
                    "term": named[kind],
                    "estimate": named[f"{kind}_{estimate}"],
                    "low": named["state_low"] if kind == "state" else float("nan"),
                    "high": named["state_high"] if kind == "state" else float("nan"),
                    "q": named[f"{kind}_q"],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _evidence(row: Mapping[Hashable, Any]) -> str:
    """The numbers behind a label in one line."""
    parts = []
    if isinstance(row["state"], str):
        interval = f"{row['state_odds']:.1f} [{row['state_low']:.1f}, {row['state_high']:.1f}]"
        parts.append(
            f"{row['state']} odds {interval} q {row['state_q']:.1g}, {row['state_share']:.0%} of "
            f"bins"
        )
    if isinstance(row["motif"], str):
        parts.append(f"{row['motif']} {row['motif_fold']:.1f}x q {row['motif_q']:.1g}")
    if isinstance(row["process"], str):
        parts.append(f"{row['process']} {row['process_fold']:.1f}x q {row['process_q']:.1g}")
    return "; ".join(parts)
