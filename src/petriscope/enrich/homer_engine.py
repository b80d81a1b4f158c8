"""HOMER itself, where it is installed: run ``homer2 known`` and read its table into the house's
schema."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import Strata, sample_background
from petriscope.enrich.homer import Statistic, known_table
from petriscope.enrich.motifs import Motif, write_homer
from petriscope.errors import UserError
from petriscope.progress import progress


def run_homer2(
    sequences: np.ndarray,
    is_target: np.ndarray,
    weights: np.ndarray,
    motifs: Sequence[Motif],
    *,
    statistic: Statistic = "binomial",
    threads: int = 1,
    program: str = "homer2",
) -> pd.DataFrame:
    """Known-motif enrichment by the installed homer2; arguments and columns as
    ``known_enrichment``.

    Sequences of weight 0 are left out. Raises UserError where the program is missing or fails.
    """
    found = shutil.which(program)
    if found is None:
        raise UserError(
            f"'{program}' is not installed",
            field="engine",
            remedy="Install HOMER or use the built-in engine",
        )
    kept = np.flatnonzero(weights > 0)
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "seq.tsv").open("w") as rows, (folder / "group.tsv").open("w") as groups:
            for i in kept:
                rows.write(f"s{i}\t{letters[sequences[i]].tobytes().decode()}\n")
                groups.write(f"s{i}\t{int(is_target[i])}\t{weights[i]:.6f}\n")
        write_homer(folder / "known.motifs", motifs)
        command = [found, "known", "-s", "seq.tsv", "-g", "group.tsv", "-m", "known.motifs"]
        command += ["-stat", statistic, "-p", str(threads)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise UserError(
                f"homer2 ended with status {done.returncode}: {reason[0]}",
                remedy="Use the built-in engine",
            )
        (folder / "known.tsv").write_text(done.stdout)
        return read_known_results(folder / "known.tsv")


def enrich_by_homer(
    sequences: np.ndarray,
    motifs: Sequence[Motif],
    membership: sparse.csr_matrix,
    strata: Strata,
    groups: Mapping[int, str],
    *,
    ratio: float,
    seed: int,
    min_targets: int = 20,
    program: str = "homer2",
) -> pd.DataFrame:
    """The long table of ``enrich_features`` by the installed homer2: column feature holds the
    group's name.

    ``sequences`` (n, L) of the universe, ``membership`` (F, n) bool, ``groups`` row → name of the
    rows asked for. Each is tested (hypergeometric) against a background of ``ratio`` bins per bin
    of it, drawn with ``seed`` from its own strata; groups with fewer than ``min_targets`` bins, or
    without a bin to draw, are left out.
    """
    rng, frames = np.random.default_rng(seed), []
    for row, name in progress(groups.items(), "homer2", unit="group"):
        target = membership[row].indices
        if len(target) < min_targets:
            continue
        flags = np.zeros(len(sequences), dtype=bool)
        flags[target] = True
        rows = np.concatenate([target, sample_background(flags, strata, rng, ratio).bins])
        if len(rows) == len(target):
            continue
        is_target = np.arange(len(rows)) < len(target)
        weights = np.ones(len(rows))
        found = run_homer2(
            sequences[rows], is_target, weights, motifs, statistic="hypergeo", program=program
        )
        frames.append(found.rename(columns={"motif": "name"}).assign(feature=name))
    columns = [
        "feature",
        "rank",
        "name",
        "ln_p",
        "q",
        "fold",
        "target_hits",
        "targets",
        "target_percent",
    ]
    columns.append("background_percent")
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


def read_known_results(path: str | Path) -> pd.DataFrame:
    """A table HOMER wrote (``knownResults.txt`` or the output of ``homer2 known``) in the columns
    of ``known_enrichment``."""
    try:
        raw = pd.read_csv(path, sep="\t")
    except (OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read ({error})", file=path, remedy="Name HOMER's knownResults.txt"
        ) from error
    columns = {_kind(name): name for name in raw.columns}
    needed = ("motif", "consensus", "ln_p", "target_hits", "background_hits")
    if missing := [name for name in needed if name not in columns]:
        raise UserError(
            f"columns for {', '.join(missing)} are missing",
            file=path,
            remedy="Name HOMER's knownResults.txt",
        )
    frame = known_table(
        raw[columns["motif"]].astype(str).tolist(),
        raw[columns["consensus"]].astype(str).tolist(),
        ln_p=raw[columns["ln_p"]].to_numpy(dtype=np.float64),
        target_hits=raw[columns["target_hits"]].to_numpy(dtype=np.float64),
        background_hits=raw[columns["background_hits"]].to_numpy(dtype=np.float64),
        targets=_total(columns["target_hits"], path),
        background=_total(columns["background_hits"], path),
    )
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame


def _kind(header: str) -> str:
    """What a column of HOMER's holds."""
    text = header.lower()
    if text.startswith("%"):
        return header
    if text.startswith("#"):
        return "target_hits" if "target" in text else "background_hits"
    return {"motif name": "motif", "consensus": "consensus", "log p-value": "ln_p"}.get(
        text, header
    )


def _total(header: str, path: str | Path) -> float:
    """The number of sequences HOMER puts in a column's header: '(total=746)' or '(of 83166)'."""
    found = re.search(r"\((?:total=|of )\s*([0-9.]+)\)", header)
    if not found:
        raise UserError(
            f"column '{header}' does not give its total",
            file=path,
            remedy="Name HOMER's knownResults.txt",
        )
    return float(found[1])
