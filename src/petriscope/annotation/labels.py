"""Names for features: the best state, motif and process that pass, with the evidence and a confidence."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from petriscope.annotation.features import FeatureEnrichment
from petriscope.annotation.genesets import GeneSetEnrichment
from petriscope.annotation.state_enrichment import StateEnrichment

UNLABELLED = "unlabelled"
_CONFIDENCE = ("none", "low", "medium", "high")


@dataclass(frozen=True)
class LabelRule:
    """What evidence must reach to name a feature."""

    max_q: float = 0.05
    min_odds: float = 1.5
    """Lower end of the state's odds-ratio interval."""
    min_motif_fold: float = 1.2
    min_process_fold: float = 1.5


def label_features(
    features: Sequence[object],
    *,
    states: StateEnrichment | None = None,
    state_names: Sequence[str] = (),
    motifs: FeatureEnrichment | None = None,
    motif_names: Sequence[str] = (),
    processes: GeneSetEnrichment | None = None,
    rule: LabelRule | None = None,
) -> pd.DataFrame:
    """One row per feature: label 'state · motif · process' of whatever passes, else 'unlabelled'.

    State: q and the interval's lower end pass; the highest lower end wins. Motif: q and fold pass; lowest p wins.
    Process: q of the gene test, q of the region test and fold pass; lowest p wins. Confidence is the number of levels
    that pass: none, low, medium, high. Columns: feature, label, confidence, levels, state, state_odds, state_low,
    state_high, state_q, motif, motif_fold, motif_q, process, process_fold, process_q, process_region_q, evidence.
    ``processes`` must have been made with the same ``features``.
    """
    rule = rule or LabelRule()
    n = len(features)
    frame = pd.DataFrame({"feature": list(features)})
    for name in ("state", "motif", "process"):
        frame[name] = pd.Series([None] * n, dtype=object)
    numbers = ("state_odds", "state_low", "state_high", "state_q", "motif_fold", "motif_q")
    for name in (*numbers, "process_fold", "process_q", "process_region_q"):
        frame[name] = np.nan
    if states is not None:
        _best_state(frame, states, state_names, rule)
    if motifs is not None:
        _best_motif(frame, motifs, motif_names, rule)
    if processes is not None:
        _best_process(frame, processes, rule)
    parts = frame[["state", "motif", "process"]].to_numpy(dtype=object)
    kept = [[p for p in row if isinstance(p, str)] for row in parts]
    frame.insert(1, "label", [" · ".join(row) if row else UNLABELLED for row in kept])
    frame.insert(2, "confidence", [_CONFIDENCE[len(row)] for row in kept])
    frame.insert(3, "levels", [len(row) for row in kept])
    frame["evidence"] = [_evidence(row) for row in frame.to_dict("records")]
    return frame


def _best_state(frame: pd.DataFrame, states: StateEnrichment, names: Sequence[str], rule: LabelRule) -> None:
    with np.errstate(invalid="ignore"):
        passing = (states.q <= rule.max_q) & (states.low >= rule.min_odds)
    best = np.where(passing, states.low, -np.inf).argmax(axis=1)
    rows = np.flatnonzero(passing.any(axis=1))
    chosen = best[rows]
    frame.loc[rows, "state"] = np.asarray(names, dtype=object)[chosen]
    for column, values in (
        ("state_odds", states.odds_ratio),
        ("state_low", states.low),
        ("state_high", states.high),
        ("state_q", states.q),
    ):
        frame.loc[rows, column] = values[rows, chosen]


def _best_motif(frame: pd.DataFrame, motifs: FeatureEnrichment, names: Sequence[str], rule: LabelRule) -> None:
    with np.errstate(invalid="ignore"):
        passing = (motifs.q <= rule.max_q) & (motifs.fold >= rule.min_motif_fold)
    best = np.where(passing, motifs.ln_p, np.inf).argmin(axis=1)
    rows = np.flatnonzero(passing.any(axis=1))
    chosen = best[rows]
    frame.loc[rows, "motif"] = np.array([str(name).split("/")[0] for name in names], dtype=object)[chosen]
    frame.loc[rows, "motif_fold"] = motifs.fold[rows, chosen]
    frame.loc[rows, "motif_q"] = motifs.q[rows, chosen]


def _best_process(frame: pd.DataFrame, processes: GeneSetEnrichment, rule: LabelRule) -> None:
    table = processes.table
    passing = table[
        (table["q"] <= rule.max_q) & (table["region_q"] <= rule.max_q) & (table["fold"] >= rule.min_process_fold)
    ]
    first = passing.sort_values(["ln_p", "rank"], kind="stable").drop_duplicates("feature").set_index("feature")
    found = first.reindex(frame["feature"])
    some = found["term"].notna().to_numpy()
    frame.loc[some, "process"] = found["term"].to_numpy()[some]
    for column, source in (("process_fold", "fold"), ("process_q", "q"), ("process_region_q", "region_q")):
        frame.loc[some, column] = found[source].to_numpy()[some]


def _evidence(row: Mapping[Hashable, Any]) -> str:
    """The numbers behind a label in one line."""
    parts = []
    if isinstance(row["state"], str):
        interval = f"{row['state_odds']:.1f} [{row['state_low']:.1f}, {row['state_high']:.1f}]"
        parts.append(f"{row['state']} odds {interval} q {row['state_q']:.1g}")
    if isinstance(row["motif"], str):
        parts.append(f"{row['motif']} {row['motif_fold']:.1f}x q {row['motif_q']:.1g}")
    if isinstance(row["process"], str):
        parts.append(f"{row['process']} {row['process_fold']:.1f}x q {row['process_q']:.1g}")
    return "; ".join(parts)
