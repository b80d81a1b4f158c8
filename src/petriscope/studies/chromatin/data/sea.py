"""Motif-activity vectors from MEME-SEA output, assembled exactly as EpiBERT's own code does."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.genome.intervals import damaged, is_gzip

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
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if is_gzip(path)
            else path.open(encoding="utf-8") as handle
        ):
            lines = [line for line in handle if line.strip() and not line.startswith("#")]
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise damaged(path, error) from None
    remedy = (
        "Give the sea.tsv of MEME SEA 5.4 or later, run with --thresh above the number of motifs."
    )
    header = lines[0].rstrip("\n").split("\t") if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError("is missing", file=path, field=f"column {missing[0]}", remedy=remedy)
    raw = pd.read_csv(io.StringIO("".join(lines)), sep="\t", dtype=str)
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
