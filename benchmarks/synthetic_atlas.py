"""A made-up atlas of any size, for benchmarks and tests of atlas and terminal UI. Its numbers mean
nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.schema import Thresholds
from petriscope.studies.chromatin.atlas import DECLARED

LINEAGES = ("blood", "liver", "lymph")
STATES = ("TssA", "TssFlnk", "EnhA1", "EnhA2", "Tx", "TxWk", "ReprPC", "Quies")
COLOURS = ("#ff0000", "#ff4500", "#ffc34d", "#ffd966", "#008000", "#006400", "#808080", "#dddddd")
FAMILIES = (
    "GATA",
    "HNF4A",
    "FOXA",
    "SPI",
    "RUNX",
    "EBF",
    "PAX",
    "CTCF",
    "IRF",
    "CEBP",
    "KLF",
    "TAL",
    "ETS",
    "NFKB",
    "TCF",
    "MEF",
)
MOTIFS = tuple(
    f"{family}{number}" if family != "HNF4A" else f"HNF4A.{number}"
    for family in FAMILIES
    for number in range(1, 9)
)
WORDS = (
    "lipid",
    "immune",
    "cell",
    "steroid",
    "myeloid",
    "B cell",
    "erythroid",
    "bile acid",
    "cytokine",
    "chromatin",
)
DEEDS = (
    "metabolic process",
    "response",
    "differentiation",
    "transport",
    "activation",
    "biosynthetic process",
    "assembly",
)
TERMS = tuple(
    f"{w} {d} (GO:{i:07d})" for i, (w, d) in enumerate((w, d) for w in WORDS for d in DEEDS)
)
THRESHOLDS = Thresholds(alpha=0.05, stable=0.7)
CHROM, OFFSET, SPAN = "chr22", 37_200_000, 3_400_000


def synthetic_tables(
    layers: int = 3, per_layer: int = 300, bins: int = 4, seed: int = 7
) -> AtlasTables:
    """Frames of an atlas of ``layers * per_layer`` features with every table filled."""
    rng = np.random.default_rng(seed)
    n = layers * per_layer
    layer, index = np.repeat(np.arange(layers), per_layer), np.tile(np.arange(per_layer), layers)
    alive = rng.random(n) < 0.85
    cds = np.where(alive, rng.standard_t(4, n) * 2, np.nan)
    p = np.where(alive, np.clip(np.exp(-np.abs(cds) * 1.3), 1e-12, 1), np.nan)
    motif = rng.integers(len(MOTIFS), size=n)
    features = pd.DataFrame(
        {
            "layer": layer,
            "feature": index,
            "alive": alive.astype(int),
            "density": np.where(alive, 10 ** rng.uniform(-5, -0.8, n), 0.0),
            "mean_activation": np.where(alive, rng.gamma(2, 1.5, n), np.nan),
            "cds_published": cds / 20 + rng.normal(0, 0.02, n),
            "p_published": p / 3,
            "cds": cds,
            "p": p,
            "q": np.clip(p * 6, 0, 1),
            "effect": cds / 4,
            "lo": cds / 4 - 0.4,
            "hi": cds / 4 + 0.4,
            "n_units": 12,
            "level": "biosample",
            "lineage": np.where(alive, np.array(LINEAGES)[rng.integers(3, size=n)], None),
            "direction": np.where(alive, np.where(cds > 0, "in_vivo", "in_vitro"), None),
            "stability": np.where(alive, rng.beta(4, 2, n), np.nan),
            "causal_effect": np.where(rng.random(n) < 0.2, rng.gamma(1, 0.01, n), np.nan),
            "causal_percentile": np.where(rng.random(n) < 0.2, rng.random(n), np.nan),
            "module": pd.array(np.where(alive, rng.integers(40, size=n), -1), dtype="Int64"),
            "label": [
                f"{MOTIFS[m]} {STATES[m % 8]}" if a and m % 3 else None
                for m, a in zip(motif, alive)
            ],
            "confidence": np.where(alive, rng.random(n), np.nan),
            **{
                f"t_{name}": np.where(alive, cds + rng.normal(0, 1, n), np.nan) for name in LINEAGES
            },
        }
    )
    features["module"] = features["module"].mask(features["module"] < 0)
    key = features.loc[alive, ["layer", "feature"]].reset_index(drop=True)
    samples = pd.DataFrame(
        [
            (f"{x}_{c[3:]}_{d}", x, c, f"d{d}")
            for x in LINEAGES
            for c in ("in_vitro", "in_vivo")
            for d in (1, 2)
        ],
        columns=["unit", "lineage", "context", "donor"],
    )
    genes = pd.DataFrame(
        {
            "symbol": ["APOL1", "MYH9", "GATA1", "HMOX1", *(f"GENE{i}" for i in range(196))],
            "chrom": CHROM,
            "tss": OFFSET + rng.integers(SPAN, size=200),
            "strand": np.where(rng.random(200) < 0.5, "+", "-"),
        }
    )
    return AtlasTables(
        features=features,
        thresholds=THRESHOLDS,
        lineage_effects=_lineage_effects(features, rng),
        units=samples,
        activation=_activation(key, samples, rng),
        contexts=_top_bins(key, samples, bins, rng),
        annotations=_annotations(key, motif[alive], rng),
        motif_hits=_motif_hits(rng),
        similar=_similar(key, layers, rng),
        layers=_layers(features, layers, rng),
        curves=_curves(key, layers, rng),
        claims=_claims(),
        run=pd.DataFrame(
            [
                ("dataset", "synthetic"),
                ("model", "none: numbers are made up"),
                ("features", f"{n}"),
                ("seed", f"{seed}"),
            ],
            columns=["key", "value"],
        ),
        genes=genes,
        declared=DECLARED,
        chromhmm_states=pd.DataFrame({"name": STATES, "number": range(1, 9), "colour": COLOURS}),
    )


def _lineage_effects(features: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for name in LINEAGES:
        t = features[f"t_{name}"]
        frame = features[["layer", "feature"]].assign(
            lineage=name, t=t, p=np.exp(-np.abs(t)), effect=t / 3, n_units=4
        )
        mean = rng.gamma(1, 0.2, len(features))
        frame = frame.assign(q=np.minimum(1, frame["p"] * 5), lo=t / 3 - 0.5, hi=t / 3 + 0.5)
        frames.append(frame.assign(mean_vivo=mean, mean_vitro=mean * 0.7)[features["alive"] == 1])
    return pd.concat(frames, ignore_index=True)


def _activation(key: pd.DataFrame, samples: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    shape = 900 * np.exp(-np.arange(16) / 3.5)
    frames = []
    for name in samples["unit"]:
        scale = rng.gamma(2, 0.5, len(key))
        counts = (scale[:, None] * shape).astype(int)
        frames.append(
            key.assign(
                unit=name,
                mean=scale / 10,
                density=scale / 100,
                maximum=8.0,
                histogram=list(counts),
            )
        )
    return pd.concat(frames, ignore_index=True)


def _top_bins(
    key: pd.DataFrame, samples: pd.DataFrame, bins: int, rng: np.random.Generator
) -> pd.DataFrame:
    places = SPAN // 128
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(4, size=(places, 128))]
    sequences = np.array([row.tobytes().decode() for row in letters])
    frames = []
    for rank in range(bins):
        place = rng.integers(places, size=len(key))
        start = OFFSET + place * 128
        who = samples["unit"].to_numpy()[(key["feature"].to_numpy() + rank) % len(samples)]
        activation = rng.gamma(6, 1, len(key))
        frames.append(
            key.assign(
                unit=who,
                name=[f"{CHROM}:{x + 1:,}-{x + 128:,}" for x in start],
                chrom=CHROM,
                start=start,
                end=start + 128,
                activation=activation,
                sequence=sequences[place],
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    return frame.drop_duplicates(["layer", "feature", "unit", "start"])


def _annotations(key: pd.DataFrame, motif: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for kind, names, each in (
        ("chromhmm", STATES, len(STATES)),
        ("motif", MOTIFS, 4),
        ("geneset", TERMS, 3),
    ):
        for number in range(each):
            term = (motif + number * 5) % len(names)
            p = np.exp(-rng.gamma(1, 4, len(key)))
            fold = np.exp(rng.normal(0.3, 0.7, len(key)))
            frame = key.assign(
                kind=kind,
                term=np.array(names)[term],
                estimate=fold,
                lo=fold * 0.7,
                hi=fold * 1.4,
                p=p,
            )
            frames.append(
                frame.assign(
                    q=np.minimum(1, p * 20), genes="APOL1,MYH9" if kind == "geneset" else None
                )
            )
    return pd.concat(frames, ignore_index=True)


def _motif_hits(rng: np.random.Generator, n: int = 20_000) -> pd.DataFrame:
    start = np.sort(OFFSET + rng.integers(SPAN, size=n))
    width = rng.integers(8, 16, size=n)
    names = np.array(MOTIFS)[rng.integers(len(MOTIFS), size=n)]
    strand = np.where(rng.random(n) < 0.5, "+", "-")
    return pd.DataFrame(
        {
            "chrom": CHROM,
            "start": start,
            "end": start + width,
            "strand": strand,
            "motif": names,
            "score": rng.gamma(9, 1, n),
        }
    )


def _similar(
    key: pd.DataFrame, layers: int, rng: np.random.Generator, each: int = 4
) -> pd.DataFrame:
    frames = []
    for kind in ("decoder", "coactivation"):
        for _ in range(each):
            other = key.iloc[rng.integers(len(key), size=len(key))].reset_index(drop=True)
            value = rng.beta(3, 3, len(key))
            frames.append(
                key.assign(
                    other_layer=other["layer"],
                    other_feature=other["feature"],
                    kind=kind,
                    value=value,
                )
            )
    return pd.concat(frames, ignore_index=True)


def _layers(features: pd.DataFrame, layers: int, rng: np.random.Generator) -> pd.DataFrame:
    counts = (
        features.groupby("layer")
        .agg(alive=("alive", "sum"), n_context=("q", lambda q: int((q < THRESHOLDS.alpha).sum())))
        .reset_index()
    )
    fraction = counts["n_context"] / counts["alive"]
    depth = counts["layer"] / max(layers - 1, 1)
    return counts.assign(
        fvu=0.05 + 0.1 * depth,
        l0=32.0,
        dead=1 - counts["alive"] / (counts["alive"] / 0.85),
        loss_recovered=0.98 - 0.05 * depth,
        fraction=fraction,
        lo=fraction - 0.03,
        hi=fraction + 0.03,
        random_init_fraction=0.06 + 0.02 * depth,
        random_init_lo=0.04,
        random_init_hi=0.1,
        stable_fraction=fraction * 0.7,
    )


def _curves(key: pd.DataFrame, layers: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    arms = {
        "cds": 1.0,
        "top_activation": 1.4,
        "matched_random": 0.35,
        "random_direction": 0.1,
        "reconstruction": 0.2,
    }
    for layer in range(layers):
        for arm, size in arms.items():
            for k in (5, 10, 25, 50, 100):
                value = size * np.log1p(k) * (1 + layer / 4)
                rows.append(
                    ("ablation", layer, None, None, arm, k, value, value * 0.8, value * 1.2, 40)
                )
        for lineage in LINEAGES:
            for arm, size in (
                ("sae_additive", 0.12),
                ("difference_of_means", 0.16),
                ("norm_matched_random", 0.0),
            ):
                for alpha in (0.0, 0.5, 1.0, 2.0, 4.0):
                    value = size * alpha * np.exp(-alpha / 2) + 0.01 * layer
                    rows.append(
                        (
                            "steering",
                            layer,
                            None,
                            lineage,
                            arm,
                            alpha,
                            value,
                            value - 0.03,
                            value + 0.03,
                            40,
                        )
                    )
    for layer, feature in key.iloc[:: max(1, len(key) // 50)].itertuples(index=False):
        for alpha in (0.0, 1.0, 2.0, 4.0):
            value = 0.02 * alpha
            rows.append(
                (
                    "steering",
                    layer,
                    feature,
                    "liver",
                    "this feature",
                    alpha,
                    value,
                    value - 0.01,
                    value + 0.01,
                    40,
                )
            )
            rows.append(
                (
                    "ablation",
                    layer,
                    feature,
                    "liver",
                    "this feature",
                    alpha,
                    value * 2,
                    value,
                    value * 3,
                    40,
                )
            )
    columns = ["analysis", "layer", "feature", "lineage", "arm", "x", "estimate", "lo", "hi", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"feature": "Int64"})


def _claims() -> pd.DataFrame:
    rows = [
        (
            "ctx-count",
            "Context features grow with depth",
            "57 / 82 / 215",
            "31 / 40 / 55",
            "12 % / 13 % / 13 %",
        ),
        ("ablation", "Context features are causal", "d = 1.79", "d = 1.2", "g = 0.41"),
        ("steering", "Steering closes the gap", "11.2 %", "9.8 %", "2.1 %"),
    ]
    claims = pd.DataFrame(
        rows, columns=["claim", "statement", "published", "as_published", "corrected"]
    )
    return claims.assign(
        interval=["rise 0.3 points [-2.0, 3.0]", "[0.12, 0.70]", "[-1.0 %, 5.0 %]"],
        control=[
            "random-init model 11 % / 12 % / 13 %",
            "matched random sets 0.11",
            "norm-matched random 0.4 %",
        ],
        verdict=["not supported", "supported", "cannot be tested"],
        rule=["rise_low > 0", "low > 0", "low > 0 and high < 1"],
        note="synthetic",
    )


def main() -> None:
    """Write one atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--per-layer", type=int, default=11_000)
    parser.add_argument("--bins", type=int, default=18)
    args = parser.parse_args()
    build_atlas(args.path, synthetic_tables(args.layers, args.per_layer, args.bins))


if __name__ == "__main__":
    main()
