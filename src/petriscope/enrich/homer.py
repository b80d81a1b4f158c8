"""HOMER's known-motif enrichment for one foreground: the same numbers as ``homer2 known``, its
table read back, and HOMER itself where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import Strata, sample_background
from petriscope.enrich.motifs import Motif, write_homer
from petriscope.enrich.normalize import gc_fraction, gc_weights, oligo_normalize, usable
from petriscope.enrich.scan import scan_hits
from petriscope.enrich.tails import (
    benjamini_hochberg,
    homer_q,
    log_binomial_tail,
    log_hypergeometric_tail,
)
from petriscope.errors import UserError
from petriscope.progress import progress

Statistic = Literal["binomial", "hypergeo"]


def known_weights(sequences: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """(N,) weights as ``findMotifsGenome.pl`` prepares them: filter, GC bins, oligo normalization;
    0 = dropped."""
    is_target = np.asarray(is_target, dtype=bool)
    kept = usable(sequences)
    weights = np.zeros(len(sequences))
    weights[kept] = gc_weights(gc_fraction(sequences[kept]), is_target[kept])
    return oligo_normalize(sequences, is_target, weights).weights


def known_enrichment(
    sequences: np.ndarray,
    is_target: np.ndarray,
    weights: np.ndarray | None,
    motifs: Sequence[Motif],
    *,
    hits: np.ndarray | None = None,
    statistic: Statistic = "binomial",
) -> pd.DataFrame:
    """Enrichment of each motif in the target sequences over the weighted background, best first.

    ``sequences`` (N, L) uint8 codes; ``is_target`` (N,) bool; ``weights`` (N,) or None for HOMER's
    own (``known_weights``); ``hits`` (N, M) bool if already scanned. Weighted sums are cut to whole
    numbers before the test, as in HOMER. Columns: rank, motif, consensus, factor, ln_p, p, q
    (Benjamini–Hochberg over the motifs), q_homer, fold, log2_fold, target_hits, targets,
    target_percent, background_hits, background, background_percent. Raises UserError for an empty
    foreground or background.
    """
    is_target = np.asarray(is_target, dtype=bool)
    if len(is_target) != len(sequences):
        raise UserError(
            f"{len(sequences)} sequences but {len(is_target)} target flags",
            remedy="Give one flag per sequence",
        )
    if not is_target.any() or is_target.all():
        raise UserError(
            f"{is_target.sum()} target and {(~is_target).sum()} background sequences",
            remedy="A foreground and a background are both needed",
        )
    if 2 * is_target.sum() > len(is_target):
        warnings.warn(
            f"the background ({(~is_target).sum()} sequences) is smaller than the foreground "
            f"({is_target.sum()}): "
            "tested as it is, with little power",
            stacklevel=2,
        )
    if weights is None:
        weights = known_weights(sequences, is_target)
    if hits is None:
        hits = scan_hits(sequences, motifs)
    return enrichment_table(
        motifs,
        target_hits=weights[is_target] @ hits[is_target],
        background_hits=weights[~is_target] @ hits[~is_target],
        targets=float(weights[is_target].sum()),
        background=float(weights[~is_target].sum()),
        statistic=statistic,
    )


def enrichment_table(
    motifs: Sequence[Motif],
    target_hits: np.ndarray,
    background_hits: np.ndarray,
    *,
    targets: float,
    background: float,
    statistic: Statistic = "binomial",
) -> pd.DataFrame:
    """The table of ``known_enrichment`` from (M,) weighted counts and the two totals."""
    frame = known_table(
        [m.name for m in motifs],
        [m.consensus for m in motifs],
        ln_p=log_p(target_hits, background_hits, targets, background, statistic),
        target_hits=target_hits,
        background_hits=background_hits,
        targets=targets,
        background=background,
    ).sort_values(["ln_p", "log2_fold"], ascending=[True, False], kind="stable", ignore_index=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame


def log_p(
    target_hits: np.ndarray,
    background_hits: np.ndarray,
    targets: np.ndarray | float,
    background: np.ndarray | float,
    statistic: Statistic = "binomial",
) -> np.ndarray:
    """ln p of HOMER's known-motif test from weighted counts; arrays broadcast.

    Counts and totals are cut to whole numbers. Binomial: rate b/B within [1/B, (B−1)/B].
    Hypergeometric: population T + B, T of them targets, t + b drawn. No target hit gives 0.
    """
    t, b, n_t, n_b = np.broadcast_arrays(
        *(np.floor(a) for a in (target_hits, background_hits, targets, background))
    )
    if statistic == "binomial":
        safe = np.maximum(n_b, 1)
        ln_p = log_binomial_tail(t, n_t, np.clip(b / safe, 1 / safe, (safe - 1) / safe))
    elif statistic == "hypergeo":
        ln_p = log_hypergeometric_tail(t, n_t + n_b, n_t, t + b)
    else:
        raise UserError(
            f"unknown statistic '{statistic}'", field="statistic", remedy="Use binomial or hypergeo"
        )
    return np.where(t > 0, ln_p, 0.0)


def fold(
    target_hits: np.ndarray,
    background_hits: np.ndarray,
    targets: np.ndarray | float,
    background: np.ndarray | float,
) -> np.ndarray:
    """Share of targets with the motif over the share of background; half a sequence is added to
    each count that is below it."""
    t, b = np.maximum(target_hits, 0.5), np.maximum(background_hits, 0.5)
    return (t / targets) / (b / background)


def known_table(
    names: list[str],
    consensus: list[str],
    *,
    ln_p: np.ndarray,
    target_hits: np.ndarray,
    background_hits: np.ndarray,
    targets: float,
    background: float,
) -> pd.DataFrame:
    """The one schema of a known-motif table, not yet ranked; (M,) arrays."""
    ratio = fold(target_hits, background_hits, targets, background)
    return pd.DataFrame(
        {
            "motif": names,
            "consensus": consensus,
            "factor": [name.split("/")[0] for name in names],
            "ln_p": ln_p,
            "p": np.exp(ln_p),
            "q": benjamini_hochberg(ln_p),
            "q_homer": homer_q(ln_p),
            "fold": ratio,
            "log2_fold": np.log2(ratio),
            "target_hits": target_hits,
            "targets": targets,
            "target_percent": 100 * target_hits / targets,
            "background_hits": background_hits,
            "background": background,
            "background_percent": 100 * background_hits / background,
        }
    )


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
        with (
            (folder / "seq.tsv").open("w", encoding="utf-8") as rows,
            (folder / "group.tsv").open("w", encoding="utf-8") as groups,
        ):
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
        (folder / "known.tsv").write_text(done.stdout, encoding="utf-8")
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
        raw = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])
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
