"""Motif-activity vectors from MEME-SEA output, assembled exactly as EpiBERT's own code does."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.textfile import open_text

COLUMNS = {"ID": "motif", "ENR_RATIO": "fold", "LOG_EVALUE": "log_evalue"}


def read_sea(path: str | Path) -> pd.DataFrame:
    """Read `sea.tsv[.gz]` as MEME SEA 5.4 or later writes it: columns motif, fold, log_evalue
    (natural log).

    Raises `UserError` for a damaged file, a missing column, a value that is not a number and a
    motif named twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, remedy="Run MEME `sea` and name its sea.tsv.")
    lines = [line for _, line in open_text(path) if line.strip() and not line.startswith("#")]
    remedy = (
        "Give the sea.tsv of MEME SEA 5.4 or later, run with --thresh above the number of motifs."
    )
    header = lines[0].split("\t") if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError("is missing", file=path, field=f"column {missing[0]}", remedy=remedy)
    text = io.StringIO("\n".join(lines))
    raw = pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    table = raw[list(COLUMNS)].rename(columns=COLUMNS)
    for name in ("fold", "log_evalue"):
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = np.flatnonzero(~np.isfinite(values.to_numpy(float)))
        if len(wrong):
            what = f"{table[name].iloc[wrong[0]]!r} is not a number"
            raise UserError(
                what, file=path, field=f"{table['motif'].iloc[wrong[0]]}: {name}", remedy=remedy
            )
        table[name] = values
    twice = table.motif[table.motif.duplicated()]
    if len(twice):
        raise UserError(
            "appears twice", file=path, field=str(twice.iloc[0]), remedy="Give one run's output."
        )
    return table


def assemble_sea(table: pd.DataFrame, motifs: Collection[str] | None = None) -> pd.Series:
    """Motif activity in [0, 1], float32, indexed by motif ID in sorted order (the model's input
    order).

    −LOG_EVALUE (15th column of sea.tsv), min–max over the biosample's motifs, in single precision
    as the original computes it. With ``motifs``, raises `UserError` where SEA left one out (it
    prints only those under its threshold).
    """
    absent = sorted(set(motifs or ()) - set(table.motif))
    if absent:
        remedy = "Run sea with --thresh above the number of motifs, so that every motif is printed."
        raise UserError(
            f"SEA reports nothing for {len(absent)} motifs, such as {absent[0]}", remedy=remedy
        )
    chosen = table if motifs is None else table[table.motif.isin(set(motifs))]
    ordered = chosen.sort_values("motif", kind="stable")
    score = (-ordered.log_evalue).to_numpy(np.float32)
    low, high = score.min(), score.max()
    if low == high:
        remedy = "Check the peaks and the background given to sea."
        raise UserError("every motif has the same enrichment: no activity to scale", remedy=remedy)
    return pd.Series((score - low) / (high - low), index=ordered.motif.to_numpy(), name="activity")
