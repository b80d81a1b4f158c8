"""The chromatin study's atlas brings the tables that stages wrote into the schema that terminal UI
and queries read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from petriscope.atlas.build import AtlasTables
from petriscope.atlas.ledger import claim_rows
from petriscope.atlas.schema import Column, Declared, Thresholds
from petriscope.enrich.genes import read_genes
from petriscope.enrich.kinds import ENRICHED
from petriscope.files import read_csv, read_json
from petriscope.graph.between import correlated, module_tables
from petriscope.graph.coactivation import firing_correlation
from petriscope.graph.similar import match_rows, similar_rows
from petriscope.probe.tokens import Tokens
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import EncodedLayer, encoded_layers
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.inputs import Arrays, bins_table
from petriscope.studies.chromatin.model.base import TOKEN
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import design_of, load_biosamples

LETTERS = np.frombuffer(b"ACGTN", dtype="S1")
NEIGHBOURS = 8
DECLARED = Declared(
    unit="biosample",
    stratum="lineage",
    condition="context",
    reference="in_vitro",
    target="in_vivo",
    units=(
        Column("lineage", "text", "lineage", "text", "lineage of the biosample"),
        Column("context", "text", "context", "text", "in_vivo or in_vitro"),
        Column("donor", "text", "donor", "text", "donor, or replicate of a cell line"),
    ),
    contexts=(Column("sequence", "text", "sequence", "text", "bases of the bin"),),
)
"""What this study's atlas has beyond that of every study."""
LINEAGE_COLUMNS = [
    "layer",
    "feature",
    "lineage",
    "t",
    "p",
    "q",
    "effect",
    "lo",
    "hi",
    "auroc",
    "log2_fold",
    "n_units",
]
SPECIFICITY = ("specificity", "specificity_low", "specificity_high")
CONFIDENCE = {"none": 0.0, "low": 1 / 3, "medium": 2 / 3, "high": 1.0}


def collect(workspace: Workspace, params: Params) -> AtlasTables:
    """Everything known about every feature of a finished run."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    biosamples = load_biosamples(workspace)
    features = read_features(workspace, design_of(biosamples))
    lineages = list(dict.fromkeys(biosamples.lineage))
    layers = encoded_layers(workspace.codes)
    feature_table = feature_rows(workspace, features, lineages)
    together = {layer: layer_correlation(of) for layer, of in layers.items()}
    communities = correlated(together, params.seed)
    members = communities.members
    feature_table = feature_table.merge(
        members[["layer", "feature", "module"]], on=["layer", "feature"], how="left"
    )
    modules, module_edges = module_tables(
        communities.links, members, feature_table[["layer", "feature", "label"]]
    )
    alive, decoders = alive_decoders(workspace, params, list(together), features)
    return AtlasTables(
        features=feature_table,
        thresholds=Thresholds(params.cds.alpha, params.cds.stable),
        lineage_effects=lineage_rows(workspace, features),
        units=biosamples[["biosample", "lineage", "context", "donor"]].rename(
            columns={"biosample": "unit"}
        ),
        activation=pd.concat(
            [activation_rows(layer, of, biosamples) for layer, of in layers.items()],
            ignore_index=True,
        ),
        contexts=pd.concat(
            [top_bin_rows(workspace, layer, of, biosamples) for layer, of in layers.items()]
        ),
        annotations=annotation_rows(workspace),
        motif_hits=hit_rows(workspace),
        similar=similar_rows(decoders, alive, together, NEIGHBOURS),
        numbers=match_rows(decoders, params.cds.stable),
        layers=layer_rows(workspace),
        curves=curve_rows(workspace),
        claims=claim_rows(workspace.figures / "claims.json"),
        run=run_rows(workspace, params, dataset.name, dataset.description),
        genes=read_genes(dataset.genes).frame.rename(columns={"gene": "symbol"})[
            ["symbol", "chrom", "tss", "strand"]
        ],
        chromhmm_states=state_rows(workspace),
        modules=modules,
        module_members=members,
        module_edges=module_edges,
        declared=DECLARED,
    )


def feature_rows(workspace: Workspace, features: pd.DataFrame, lineages: list[str]) -> pd.DataFrame:
    """The features table: both scores, effect size of the strongest lineage, stability, causal
    effect, label."""
    level = features.evidence
    biosample = (level == "biosample").to_numpy()

    def of_level(stem: str) -> np.ndarray:
        return np.where(biosample, features[f"{stem}_biosample"], features[f"{stem}_locus"])

    effects = pd.read_parquet(workspace.table("cds") / "effects.parquet")
    stability = pd.read_parquet(workspace.sae / "stability.parquet")[
        ["layer", "feature", "stability"]
    ]
    single = read_csv(workspace.table("ablation") / "features.csv")[
        ["layer", "feature", "own", "null_percentile"]
    ]
    single = single.rename(columns={"own": "causal_effect", "null_percentile": "causal_percentile"})
    single["causal_percentile"] /= 100
    labels = read_csv(workspace.table("labels") / "labels.csv")[
        ["layer", "feature", "label", "confidence"]
    ]
    table = pd.DataFrame(
        {
            "layer": features.layer,
            "feature": features.feature,
            "alive": features.alive.astype(int),
            "density": features.density,
            "mean_activation": features.mean_activation
            / features.density.where(features.density > 0),
            "cds_published": features.cds_published,
            "p_published": features.p_published,
            "cds": of_level("z"),
            "p": of_level("p"),
            "q": of_level("q"),
            "n_units": of_level("units"),
            "level": level,
            "lineage": features.lineage.where(features.alive),
            "direction": features.direction.where(features.alive),
            **{
                f"t_{x}": np.where(
                    biosample, features[f"t_{x}_biosample"], features[f"t_{x}_locus"]
                )
                for x in lineages
            },
        }
    )
    sizes = effects.rename(
        columns={"hedges_g": "effect", "hedges_g_low": "lo", "hedges_g_high": "hi"}
    )
    table = table.merge(
        sizes[["layer", "feature", "lineage", "effect", "lo", "hi"]],
        on=["layer", "feature", "lineage"],
        how="left",
    )
    table = table.merge(stability, on=["layer", "feature"], how="left")
    table = table.merge(single, on=["layer", "feature"], how="left")
    table = table.merge(
        labels.assign(confidence=labels.confidence.map(CONFIDENCE)),
        on=["layer", "feature"],
        how="left",
    )
    return table


def lineage_rows(workspace: Workspace, features: pd.DataFrame) -> pd.DataFrame:
    """One row per alive feature and lineage: t, p, q and effect sizes."""
    effects = pd.read_parquet(workspace.table("cds") / "effects.parquet")
    effects = effects.rename(
        columns={"hedges_g": "effect", "hedges_g_low": "lo", "hedges_g_high": "hi"}
    )
    samples = load_biosamples(workspace).lineage.value_counts()
    rows = []
    for lineage, frame in effects.groupby("lineage"):
        merged = frame.merge(features, on=["layer", "feature"], suffixes=("", "_feature"))
        level = merged.evidence.iloc[0] if len(merged) else "biosample"
        merged["n_units"] = int(samples[lineage]) if level == "biosample" else merged.units_locus
        for name in ("t", "p", "q"):
            merged[name] = merged[f"{name}_{lineage}_{level}"]
        rows.append(merged[LINEAGE_COLUMNS])
    return pd.concat(rows, ignore_index=True)


def activation_rows(layer: int, encoded: EncodedLayer, biosamples: pd.DataFrame) -> pd.DataFrame:
    """Mean, density and histogram per feature and biosample, for features that ever fire."""
    moments, (counts, maximum) = encoded.moments(), encoded.histograms()
    tokens = np.maximum(moments.tokens.sum(0), 1)[:, None]
    mean, density = moments.sum.sum(0) / tokens, moments.active.sum(0) / tokens
    sample, feature = np.nonzero(np.broadcast_to(density.sum(0) > 0, density.shape))
    return pd.DataFrame(
        {
            "layer": layer,
            "feature": feature,
            "unit": biosamples.biosample.to_numpy()[sample],
            "mean": mean[sample, feature],
            "density": density[sample, feature],
            "maximum": maximum[feature],
            "histogram": list(counts[sample, feature]),
        }
    )


def top_bin_rows(
    workspace: Workspace, layer: int, encoded: EncodedLayer, biosamples: pd.DataFrame
) -> pd.DataFrame:
    """Strongest bins per feature and biosample with their sequence."""
    tokens = Tokens.load(workspace.tokens)
    windows, _, per_window = tokens.shape
    top = encoded.top().groupby(["feature", "unit"], sort=False).head(NEIGHBOURS)
    place = bins_table(tokens).iloc[top.window.to_numpy() * per_window + top.position.to_numpy()]
    sequence = np.asarray(Arrays.load(workspace.tracks).sequence).reshape(windows, -1, TOKEN)
    letters = LETTERS[sequence[top.window, top.position + tokens.offset // TOKEN]]
    return pd.DataFrame(
        {
            "layer": layer,
            "feature": top.feature.to_numpy(),
            "unit": biosamples.biosample.to_numpy()[top.unit],
            "name": [
                f"{chrom}:{start + 1:,}-{end:,}"
                for chrom, start, end in zip(place.chrom, place.start, place.end)
            ],
            "chrom": place.chrom.to_numpy(),
            "start": place.start.to_numpy(),
            "end": place.end.to_numpy(),
            "activation": top.activation.to_numpy(),
            "sequence": [row.tobytes().decode() for row in letters],
        }
    )


def annotation_rows(workspace: Workspace) -> pd.DataFrame:
    """Rows of single features of every kind of annotation, the best 40 of each."""
    specific = pd.read_parquet(workspace.table("motifs") / "specificity.parquet")
    specific = specific[["layer", "feature", "name", *SPECIFICITY]].drop_duplicates(
        ["layer", "feature", "name"]
    )
    frames = []
    for kind in ENRICHED:
        table = read_csv(workspace.table(kind.stage) / "enrichment.csv")
        table = table[table.kind == "feature"].sort_values(
            ["layer", "feature", kind.ln_p], kind="stable"
        )
        if kind.name == "motif":
            table = table.merge(specific, on=["layer", "feature", "name"], how="left")
        # motif files repeat names: the best matrix of a name stands for it
        table = table.drop_duplicates(["layer", "feature", kind.term])
        rank = table.groupby(["layer", "feature"]).cumcount() + 1
        low, high = kind.interval or (None, None)
        frames.append(
            pd.DataFrame(
                {
                    "layer": table.layer,
                    "feature": table.feature,
                    "kind": kind.name,
                    "term": table[kind.term],
                    "scope": table[kind.scope] if kind.scope else "",
                    "estimate": table[kind.estimate],
                    "lo": table[low] if low else np.nan,
                    "hi": table[high] if high else np.nan,
                    "p": np.exp(table[kind.ln_p]),
                    "q": table[kind.q],
                    "rank": rank,
                    **{name: table.get(name) for name in SPECIFICITY},
                }
            )[rank <= 40]
        )
    return pd.concat(frames, ignore_index=True)


def hit_rows(workspace: Workspace) -> pd.DataFrame:
    """Where the best motifs of any feature lie in its strongest bins, each place once."""
    hits = pd.read_parquet(workspace.table("motifs") / "hits.parquet")
    columns = ["chrom", "start", "end", "strand", "motif", "score"]
    return hits[columns].drop_duplicates(columns[:-1]).sort_values(columns[:-1], kind="stable")


def alive_decoders(
    workspace: Workspace, params: Params, layers: list[int], features: pd.DataFrame
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """The alive features of each layer, and their decoders (alive, d)."""
    alive = {
        layer: features[(features.layer == layer) & features.alive].feature.to_numpy()
        for layer in layers
    }
    decoders = {
        layer: saved_sae(workspace.sae, layer, params.sae.seeds[0])
        .W_dec[torch.tensor(alive[layer])]
        .numpy()
        for layer in layers
    }
    return alive, decoders


def layer_correlation(encoded: EncodedLayer) -> sparse.csr_matrix:
    """Firing correlation of the features of one layer over all tokens."""
    return firing_correlation(encoded.coactivation(), int(encoded.moments().tokens.sum()))


def layer_rows(workspace: Workspace) -> pd.DataFrame:
    """Quality and counts per layer, with the random-init curve."""
    quality = read_csv(workspace.sae / "quality.csv").drop_duplicates("layer").set_index("layer")
    counts = read_csv(workspace.table("cds") / "layers.csv").set_index("layer")
    path = workspace.table("random_init") / "layers.csv"
    random = read_csv(path).set_index("layer").reindex(counts.index) if path.is_file() else None
    return pd.DataFrame(
        {
            "layer": counts.index,
            "fvu": quality.fvu,
            "l0": quality.l0,
            "dead": quality.dead_fraction,
            "loss_recovered": quality.get("loss_recovered"),
            "alive": counts.alive,
            "n_context": counts.context_count,
            "stable_fraction": counts.get("stable_context_fraction"),
            "fraction": counts.context_fraction,
            "lo": counts.context_low,
            "hi": counts.context_high,
            "random_init_fraction": np.nan if random is None else random.context_fraction,
            "random_init_lo": np.nan if random is None else random.context_low,
            "random_init_hi": np.nan if random is None else random.context_high,
            "n_published": counts.published_count,
            "published_fraction": counts.published_share_of_alive,
        }
    ).reset_index(drop=True)


def curve_rows(workspace: Workspace) -> pd.DataFrame:
    """Ablation curves of all arms, the steering grid, and for single features what scaling them
    does."""
    scaled = read_csv(workspace.table("ablation") / "scaling.csv")
    ablation = read_csv(workspace.table("ablation") / "curve.csv")
    steering = read_csv(workspace.table("steering") / "grid.csv")
    steering = steering[steering.origin == "own"]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "analysis": "ablation",
                    "layer": ablation.layer,
                    "arm": ablation.arm,
                    "x": ablation.k,
                    "estimate": ablation.effect,
                    "lo": ablation.effect_low,
                    "hi": ablation.effect_high,
                    "n": ablation.blocks,
                }
            ),
            pd.DataFrame(
                {
                    "analysis": "steering",
                    "layer": steering.layer,
                    "lineage": steering.lineage,
                    "arm": steering.method,
                    "x": steering.alpha,
                    "estimate": steering.gc,
                }
            ),
            pd.DataFrame(
                {
                    "analysis": "steering",
                    "layer": scaled.layer,
                    "feature": scaled.feature,
                    "arm": scaled.bins.map(
                        {"own": "bins where it fires", "silent": "silent bins of these windows"}
                    ),
                    "x": scaled.factor,
                    "estimate": scaled.change,
                    "lo": scaled.low,
                    "hi": scaled.high,
                    "n": scaled.blocks,
                }
            ),
        ],
        ignore_index=True,
    )


def run_rows(workspace: Workspace, params: Params, name: str, description: str) -> pd.DataFrame:
    """The run card."""
    model = read_json(workspace.metrics("model"))
    card = {
        "dataset": name,
        "description": description,
        "seed": params.seed,
        "params": params.digest(),
        "model": f"{params.model.adapter or 'EpiBERT'}, {model['parameters']:,} parameters",
        "model_r": f"r = {model['r_all']:.3f} over all bins, {model['r_specific']:.3f} "
        "condition-specific",
        "sae": f"{params.sae.variant}, {params.sae.latents} latents, k {params.sae.k}",
    }
    return pd.DataFrame({"key": list(card), "value": [str(value) for value in card.values()]})


def state_rows(workspace: Workspace) -> pd.DataFrame:
    """Chromatin states and their colors, in the order of the tables."""
    table = read_csv(workspace.table("chromhmm") / "enrichment.csv").drop_duplicates("state")
    return pd.DataFrame(
        {"name": table.state, "number": range(1, len(table) + 1), "colour": table.colour}
    )
