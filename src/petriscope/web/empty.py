"""Each page that has nothing to show says why, and which stage would fill it."""

from __future__ import annotations

from petriscope.enrich.kinds import KINDS
from petriscope.web.source import Source


def sentences(source: Source, kinds: frozenset[str]) -> dict[str, str]:
    """Page → why it is empty; pages that have something are absent. ``kinds`` are those of the
    annotations."""
    atlas, has = source.atlas, source.has
    unit, stratum = atlas.declared.unit, atlas.declared.stratum
    curves = bool(atlas.select("SELECT 1 FROM curves LIMIT 1"))
    single = "causal_effect" in atlas.filled
    genome = bool(atlas.select("SELECT 1 FROM contexts WHERE chrom IS NOT NULL LIMIT 1"))
    listed = has("feature_genes")
    matched = bool(atlas.select("SELECT 1 FROM layer_flow LIMIT 1"))
    stages = ", ".join(kind.stage for kind in KINDS)
    why = {
        "": (bool(atlas.claims()), "No claims were evaluated in this run (stage claims)."),
        "layers": (bool(atlas.layers()), "This atlas holds no layer (stage atlas)."),
        "layer": (bool(atlas.layers()), "This atlas holds no layer (stage atlas)."),
        "features": (bool(atlas.total), "This atlas holds no feature (stages sae and codes)."),
        "feature": (bool(atlas.total), "This atlas holds no feature (stages sae and codes)."),
        "map": (has("layout"), "This atlas holds no positions of features (stage atlas)."),
        "modules": (has("modules"), MODULES),
        "module": (has("modules"), MODULES),
        "flow": (
            matched or has("links"),
            "No feature was matched with features of another layer: that takes dictionaries of two "
            "layers (stages sae and highways).",
        ),
        "graph": (
            has("edges"),
            "This atlas joins no features to documents: studies with a graph do (stage graph).",
        ),
        "gene": (
            listed or (genome and has("genes")),
            "This atlas knows no genes: its features list none (stage catalog), and its contexts "
            "lie on no genome with start sites (stage genesets).",
        ),
        "term": (
            bool(kinds),
            f"No feature was tested for a term of any kind (stages {stages}).",
        ),
        "region": (genome, "The contexts of this atlas lie on no genome."),
        "compare": (
            atlas.total > 1,
            "There are no two features to compare (stages sae and codes).",
        ),
        "causal": (
            curves or single,
            "Nothing was ablated or steered in this run (stages ablation and steering; causal "
            "where genes are the tokens).",
        ),
        "controls": (
            has("numbers") or bool(atlas.claims()),
            "No control was run, or none reports to the atlas (stages random_init and claims).",
        ),
        "crispr": (
            has("perturbations"),
            "This atlas holds no perturbed genes (stage perturbation, where cells were perturbed).",
        ),
        "contrast": (
            atlas.contrasted,
            f"No feature was tested for a difference between two conditions (stage cds, which asks "
            f"for every {unit} its {stratum} and condition).",
        ),
    }
    return {page: sentence for page, (holds, sentence) in why.items() if not holds}


MODULES = (
    "This atlas holds no modules of features: they come from a graph of features that fire "
    "together (stage modules)."
)
