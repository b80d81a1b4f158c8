"""What an atlas has beyond its features; an empty page says why, and which stage would fill it."""

from __future__ import annotations

from typing import NamedTuple

from petriscope.enrich.kinds import KINDS
from petriscope.web.source import Source


class Parts(NamedTuple):
    """What lies in data/ that not every atlas has."""

    has: list[str]
    """names of chunks"""
    linked: list[tuple[int, int]]
    """pairs of layers of data/graph/flow-A-B.js"""
    modules: list[tuple[str, int, int]]
    """graph, layer and number of modules of data/graph/modules-GRAPH-L.js"""
    places: list[tuple[str, int, int, int]]
    documents: tuple[int, int]
    """of data/documents.js, and of the atlas"""
    gene_files: int
    site_files: int
    """of data/gene and of data/sites"""


def sentences(source: Source, parts: Parts) -> dict[str, str]:
    """Page → why it is empty; pages that have something are absent."""
    atlas, has = source.atlas, source.has
    unit, stratum = atlas.declared.unit, atlas.declared.stratum
    curves = bool(atlas.select("SELECT 1 FROM curves LIMIT 1"))
    single = not atlas.filled.isdisjoint(("causal_effect", "causal_percentile"))
    listed = has("feature_genes")
    grouped = has("modules") or "module" in atlas.filled
    stages = ", ".join(kind.stage for kind in KINDS)
    why = {
        "": (bool(atlas.claims()), "No claims were evaluated in this run (stage claims)."),
        "layers": (bool(atlas.layers()), "This atlas holds no layer (stage atlas)."),
        "layer": (bool(atlas.layers()), "This atlas holds no layer (stage atlas)."),
        "features": (bool(atlas.total), "This atlas holds no feature (stages sae and codes)."),
        "feature": (bool(atlas.total), "This atlas holds no feature (stages sae and codes)."),
        "map": (
            atlas.layout_made is not None,
            "This atlas holds no positions of features (stage atlas).",
        ),
        "modules": (grouped, MODULES),
        "module": (grouped, MODULES),
        "flow": (
            bool(parts.linked),
            "No feature was matched with features of another layer: that takes dictionaries of two "
            "layers (stages sae and highways).",
        ),
        "graph": (
            "kg" in parts.has,
            "No feature of this atlas is joined to a document, a term or a gene (stages graph, "
            f"{stages}).",
        ),
        "gene": (
            listed or (source.genome and has("genes")),
            "This atlas knows no genes: its features list none (stage catalog), and its contexts "
            "lie on no genome with start sites (stage genesets).",
        ),
        "term": (
            bool(source.numbered),
            f"No feature was tested for a term of any kind (stages {stages}).",
        ),
        "region": (source.genome, "The contexts of this atlas lie on no genome."),
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
