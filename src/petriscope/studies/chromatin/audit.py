"""The audit of the chromatin study recomputes from the authors' released tables what their abstract
states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.errors import UserError
from petriscope.run.released import read_released

LAYERS = ("early", "mid", "late")
LINEAGES = ("blood", "liver", "lymph")
COLUMNS = {
    "stats.tsv": ["test", "layer", "metric", "value", "pval"],
    "effects.tsv": ["k", "ablation_type", "delta_mean", "seed"],
    "gap_closure.tsv": [
        "alpha",
        "beta",
        "gap_closure_median",
        "gap_closure_mean",
        "rand_gc_median",
        "ablation_type",
    ],
    "sae_qc.tsv": ["layer", "norm_mse", "l0", "dead_frac", "pass"],
    **{
        f"layer_{layer}_features.tsv": [
            "mean_vitro",
            "mean_vivo",
            "cds_avg",
            *(f"cds_{x}" for x in LINEAGES),
        ]
        for layer in LAYERS
    },
}

WORDS = {"test", "layer", "metric", "ablation_type", "pass"}
"""Columns that are no numbers."""
GAPS = ("value", "pval", "alpha", "beta", "rand_gc_median")


def audit(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Recompute the published quantities.

    Parameters: ``tables`` — the released tables by file name. Returns columns claim, stated (what
    the paper says), recomputed, how (the computation in words).
    """
    rows: list[dict[str, Any]] = []

    def add(claim: str, stated: float | str, recomputed: float | str, how: str) -> None:
        rows.append({"claim": claim, "stated": stated, "recomputed": recomputed, "how": how})

    for layer, stated in zip(LAYERS, (57, 82, 215)):
        released = (
            tables["stats.tsv"]
            .query("test == 'permutation_bonferroni' and layer == @layer")
            .value.iloc[0]
        )
        features = tables[f"layer_{layer}_features.tsv"]
        m = len(features)
        count = round(released * m)
        alive = int(((features.mean_vitro != 0) | (features.mean_vivo != 0)).sum())
        top = features.reindex(
            features.cds_avg.abs().sort_values(ascending=False, kind="stable").index
        )[:count]
        signs = np.sign(top[[f"cds_{x}" for x in LINEAGES]].to_numpy())
        same = int((np.abs(signs.sum(axis=1)) == len(LINEAGES)).sum())
        add(
            f"{layer}: significant features",
            stated,
            count,
            f"released share {released:.6g} x {m} latents",
        )
        add(
            f"{layer}: alive latents",
            "not stated",
            alive,
            "mean activation non-zero in either context",
        )
        add(f"{layer}: share of alive, %", "not stated", 100 * count / alive, f"{count} / {alive}")
        add(
            f"{layer}: same sign in all lineages",
            "context signature shared by lineages",
            f"{same} of {count}",
            f"top {count} by |CDS|; by chance {count / 4:.1f}",
        )
    for row in tables["sae_qc.tsv"].itertuples():
        add(
            f"{row.layer}: dead latents",
            "passes quality control",
            row.dead_frac,
            f"authors' own gate says pass={row[-1]}",
        )
    _audit_ablation(tables["effects.tsv"], add)
    _audit_steering(tables["gap_closure.tsv"], add)
    return pd.DataFrame(rows)


def _audit_ablation(effects: pd.DataFrame, add: Any) -> None:
    by_k = effects.pivot_table(
        index="k", columns="ablation_type", values="delta_mean", aggfunc="mean"
    )
    random = effects[effects.ablation_type == "random"]
    targeted = random.k.map(by_k.targeted).to_numpy()
    difference = targeted - random.delta_mean.to_numpy()
    p = stats.wilcoxon(targeted, random.delta_mean, alternative="greater").pvalue
    pairs = (
        f"{by_k.shape[0]} k-levels x {random.seed.nunique()} seeds of random sets = {len(random)} "
        "pseudo-pairs"
    )
    add(
        "ablation: effect size d",
        1.789,
        difference.mean() / difference.std(ddof=1),
        f"paired d over {pairs}",
    )
    add(
        "ablation: p",
        2.98e-8,
        p,
        "one-sided Wilcoxon over the same pseudo-pairs: its floor is 2^-25",
    )
    for k, row in by_k.iterrows():
        stronger = (
            "top-activation stronger" if row.top_activation > row.targeted else "targeted stronger"
        )
        add(
            f"ablation: k = {k}, targeted / random / top-activation",
            "targeted is specific",
            f"{row.targeted:.2f} / {row.random:.2f} / {row.top_activation:.2f}",
            f"mean |change|; {stronger}",
        )


def _audit_steering(closure: pd.DataFrame, add: Any) -> None:
    settings = closure[closure.ablation_type == "steering"]
    best = settings.loc[settings.gap_closure_median.idxmax()]
    how = (
        f"best of {len(settings)} settings (alpha {best.alpha:g}, beta {best.beta:g}), chosen on "
        "the test windows"
    )
    add("steering: median gap closure", 0.112, best.gap_closure_median, how)
    add(
        "steering: mean gap closure, same setting",
        "not stated",
        best.gap_closure_mean,
        "negative: worse than no steering",
    )
    add(
        "steering: median over all settings",
        "not stated",
        settings.gap_closure_median.median(),
        f"{len(settings)} settings",
    )
    ratio = abs(best.gap_closure_median / best.rand_gc_median)
    add(
        "steering: ratio to random",
        4.5,
        ratio,
        f"|{best.gap_closure_median:.3f} / {best.rand_gc_median:.3f}|; the random arm is negative",
    )


def read_tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The released tables. Raises `UserError` naming a file, line or column that is wrong."""
    return {
        name: read_released(
            Path(folder) / name, [c for c in columns if c not in WORDS], WORDS & set(columns), GAPS
        )
        for name, columns in COLUMNS.items()
    }


def audit_folder(folder: Path, genesets: Path | None) -> pd.DataFrame:
    """`audit` of the tables in ``folder``. Raises `UserError` where gene sets are given, which
    nothing in it is tested for."""
    if genesets is not None:
        what = "the released tables of study chromatin hold no gene list"
        raise UserError(what, field="--genesets", remedy="Leave it out.")
    return audit(read_tables(folder))
