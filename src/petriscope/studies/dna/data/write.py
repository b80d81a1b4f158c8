"""Files of a data set of sequences, written so that the same content is the same bytes."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

LETTERS = np.frombuffer(b"ACGTN", np.uint8)
LINE = 60
"""Bases of a line of FASTA."""


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Tab-separated with a header; packed, without a time, where the name ends in .gz."""
    data = frame.to_csv(sep="\t", index=False, lineterminator="\n").encode()
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)


def write_bed(path: Path, frame: pd.DataFrame) -> None:
    """Intervals (chrom, start, end, and what else there is) in order, each once."""
    rows = frame.drop_duplicates().sort_values(list(frame.columns))
    path.write_text(rows.to_csv(sep="\t", index=False, header=False), encoding="utf-8")


def write_fasta(path: Path, contigs: Iterable[tuple[str, np.ndarray]]) -> None:
    """Names and base codes (0 to 4 = ACGTN) as FASTA, with its index beside it."""
    at, index = 0, []
    with path.open("wb") as out:
        for name, codes in contigs:
            letters = LETTERS[codes].tobytes()
            lines = [letters[i : i + LINE] for i in range(0, len(letters), LINE)]
            head, body = f">{name}\n".encode(), b"\n".join(lines) + b"\n"
            out.write(head + body)
            index.append(f"{name}\t{len(letters)}\t{at + len(head)}\t{LINE}\t{LINE + 1}\n")
            at += len(head) + len(body)
    path.with_name(path.name + ".fai").write_text("".join(index), encoding="utf-8")
