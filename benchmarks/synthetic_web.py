"""A made-up atlas with every table filled, as large as a whole model: 30 layers x 3,667 features by
default. Its numbers mean nothing; the same sizes and seed give the same bytes.

It adds to benchmarks/synthetic_atlas.py what only some studies have (gene lists, modules, links,
documents, perturbations, cell types) and spreads genes and contexts over 22 chromosomes, so that a
context has about as many genes near it as in the human genome.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.layout import layout
from petriscope.enrich.kinds import SCORED

# hg38, in megabases
LENGTHS = "248 242 198 190 181 170 159 145 138 133 135 133 114 107 101 90 83 80 58 64 46 50"
CHROMOSOMES = {f"chr{i}": int(n) * 1_000_000 for i, n in enumerate(LENGTHS.split(), start=1)}
LAYERS, PER_LAYER, BINS, GENES, TERMS = 30, 3_667, 18, 20_200, 15_200
GRAPH = "pmi"
MODULES = 40
CELL_TYPES = ("B cell", "T cell", "monocyte", "hepatocyte", "NK cell", "erythroblast")
ODD = ("3'→5' \"exonuclease\" <script>alert(1)</script> & co", "β-globin & ä/ö ‰ term")
"""Names of terms that a page must show as text, whatever is in them."""


def _sibling(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def web_tables(
    layers: int = LAYERS,
    per_layer: int = PER_LAYER,
    bins: int = BINS,
    genes: int = GENES,
    terms: int = TERMS,
    seed: int = 7,
) -> AtlasTables:
    """Frames of an atlas of ``layers * per_layer`` features, ``bins`` contexts of each that fires,
    ``genes`` genes and ``terms`` gene sets."""
    small = _sibling("synthetic_atlas")
    tables = small.synthetic_tables(layers, per_layer, 1, seed)
    rng = np.random.default_rng([seed, layers, per_layer])
    features = tables.features
    alive = features["alive"] == 1
    key = features.loc[alive, ["layer", "feature"]].reset_index(drop=True)
    starts = _genes(tables.genes["symbol"].tolist(), genes, rng)
    modules, members = _modules(features[alive], rng)
    laid = layout(tables.activation)
    assert laid is not None
    documents, edges = _documents(key, rng)
    perturbations, responses = _perturbations(starts["symbol"], key, layers, rng)
    return replace(
        tables,
        genes=starts,
        contexts=_contexts(key, tables.units, starts, bins, rng),
        annotations=_annotations(key, small, terms, rng),
        feature_genes=_listed(key, starts["symbol"].to_numpy(), rng),
        modules=modules,
        module_members=members,
        module_edges=_module_edges(modules, rng),
        layout=laid.places,
        layout_made=laid.made,
        links=_links(key, layers, per_layer, rng),
        numbers=_numbers(layers, rng),
        documents=documents,
        edges=edges,
        maps=_maps(edges, rng),
        perturbations=perturbations,
        responses=responses,
        celltypes=_celltypes(key, rng),
    )


def _picked(rng: np.random.Generator, names: object, n: int) -> np.ndarray:
    names = np.asarray(names, dtype=object)
    return names[rng.integers(len(names), size=n)]


def _repeated(key: pd.DataFrame, each: int) -> pd.DataFrame:
    """Every feature ``each`` times, in their order."""
    return key.loc[key.index.repeat(each)].reset_index(drop=True)


def _genes(known: list[str], genes: int, rng: np.random.Generator) -> pd.DataFrame:
    symbols = [*known, *(f"GENE{i}" for i in range(len(known), genes))][:genes]
    lengths = np.array(list(CHROMOSOMES.values()), dtype=float)
    chrom = rng.choice(len(lengths), size=len(symbols), p=lengths / lengths.sum())
    tss = (rng.random(len(symbols)) * (lengths[chrom] - 2_000_000)).astype(int) + 1_000_000
    names = np.array(list(CHROMOSOMES), dtype=object)[chrom]
    strand = np.where(rng.random(len(symbols)) < 0.5, "+", "-")
    return pd.DataFrame({"symbol": symbols, "chrom": names, "tss": tss, "strand": strand})


def _contexts(
    key: pd.DataFrame, units: pd.DataFrame, genes: pd.DataFrame, bins: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Bins of 128 bp within 200 kb of a start site, a third as many as there are features."""
    places = max(1_000, len(key) // 3)
    near = rng.integers(len(genes), size=places)
    start = (genes["tss"].to_numpy()[near] + rng.integers(-200_000, 200_000, places)) // 128 * 128
    chrom = genes["chrom"].to_numpy()[near]
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(4, size=(places, 128))]
    table = pd.DataFrame({"chrom": chrom, "start": start, "end": start + 128}).assign(
        name=[f"{c}:{s + 1:,}-{s + 128:,}" for c, s in zip(chrom, start)],
        sequence=[row.tobytes().decode() for row in letters],
    )
    table = table.drop_duplicates(["chrom", "start"], ignore_index=True)
    frame = _repeated(key, bins)
    frame = pd.concat(
        [
            frame.assign(
                unit=_picked(rng, units["unit"], len(frame)),
                activation=rng.gamma(6, 1, len(frame)),
            ),
            table.iloc[rng.integers(len(table), size=len(frame))].reset_index(drop=True),
        ],
        axis=1,
    )
    return frame.drop_duplicates(["layer", "feature", "unit", "name"], ignore_index=True)


def _annotations(
    key: pd.DataFrame, small: ModuleType, terms: int, rng: np.random.Generator
) -> pd.DataFrame:
    motifs = [*small.MOTIFS, *(f"MOTIF{i}" for i in range(len(small.MOTIFS), 400))]
    sets = [*ODD, *small.TERMS]
    sets += [f"process {i} of the cell (GO:{i:07d})" for i in range(len(sets), terms)]
    kinds = [("chromhmm", small.STATES, 6), ("motif", motifs, 4), ("geneset", sets[:terms], 4)]
    kinds += [(kind.name, [f"{kind.one} {i}" for i in range(12)], 1) for kind in SCORED]
    frames = []
    for kind, names, each in kinds:
        frame = _repeated(key, each)
        p = np.exp(-rng.gamma(1, 4, len(frame)))
        fold = np.exp(rng.normal(0.3, 0.7, len(frame)))
        frames.append(
            frame.assign(
                kind=kind,
                term=_picked(rng, names, len(frame)),
                estimate=fold,
                lo=fold * 0.7,
                hi=fold * 1.4,
                p=p,
                q=np.minimum(1, p * 20),
                genes="APOL1,MYH9" if kind == "geneset" else None,
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    return frame.drop_duplicates(["layer", "feature", "kind", "term"], ignore_index=True)


def _listed(key: pd.DataFrame, symbols: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    each = 5
    frame = _repeated(key, each)
    tokens = rng.integers(20, 400, len(frame))
    return frame.assign(
        rank=np.tile(np.arange(1, each + 1), len(key)),
        gene=_picked(rng, symbols, len(frame)),
        value=np.tile(np.linspace(9, 2, each), len(key)) + rng.random(len(frame)),
        fires=(tokens * rng.random(len(frame))).astype(int),
        tokens=tokens,
    )


def _modules(alive: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    members = alive[["layer", "feature", "module"]].astype(int).assign(graph=GRAPH)
    sizes = members.groupby(["layer", "module"]).size().reset_index(name="size")
    modules = sizes.assign(
        graph=GRAPH,
        label=_picked(rng, ("GATA1 EnhA1", "HNF4A.2 TssA", None), len(sizes)),
        density=rng.beta(2, 8, len(sizes)),
        stability=rng.beta(6, 2, len(sizes)),
    )
    return modules, members


def _module_edges(modules: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for layer, rows in modules.groupby("layer"):
        one, two = np.triu_indices(len(rows), 1)
        some = rng.random(len(one)) < 0.1
        numbers = rows["module"].to_numpy()
        chance = rng.gamma(4, 2, int(some.sum()))
        frames.append(
            pd.DataFrame(
                {
                    "graph": GRAPH,
                    "layer": layer,
                    "module": numbers[one[some]],
                    "other_module": numbers[two[some]],
                    "weight": rng.poisson(chance * 1.5),
                    "null_weight": chance,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _links(
    key: pd.DataFrame, layers: int, per_layer: int, rng: np.random.Generator
) -> pd.DataFrame:
    frame = _repeated(key[key["layer"] < layers - 1].reset_index(drop=True), 3)
    alive = {layer: rows["feature"].to_numpy() for layer, rows in key.groupby("layer")}
    other = np.empty(len(frame), dtype=int)
    for layer, rows in frame.groupby("layer").indices.items():
        other[rows] = rng.choice(alive[layer + 1], len(rows))
    frame = frame.assign(
        other_layer=frame["layer"] + 1,
        other_feature=other,
        kind=GRAPH,
        value=rng.gamma(3, 1, len(frame)),
        tokens=rng.integers(10, per_layer + 10, len(frame)),
        p=rng.random(len(frame)) ** 6,
    )
    pair = ["layer", "feature", "other_layer", "other_feature"]
    return frame.drop_duplicates(pair, ignore_index=True)


def _numbers(layers: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for layer in range(layers):
        for name, unit in (
            ("features shared with the next layer", "features"),
            ("singular vectors that features align with", "vectors"),
            ("module coherence", "modules"),
        ):
            value = rng.beta(4, 3)
            chance = value * 0.4
            other = layer + 1 if name.endswith("next layer") and layer < layers - 1 else None
            rows.append(
                (name, layer, other, value, value - 0.05, value + 0.05, chance, 400, unit, None)
            )
    columns = ["name", "layer", "other_layer", "value", "lo", "hi", "null", "n", "unit", "note"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"other_layer": "Int64"})


def _documents(key: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"sequence {i}" for i in range(300)]
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(4, size=(len(names), 120))]
    some = key.iloc[:: max(1, len(key) // 3_000)].reset_index(drop=True)
    edges = _repeated(some, 4)
    edges = edges.assign(
        document=_picked(rng, names, len(edges)),
        tokens=rng.integers(1, 30, len(edges)),
        activation=rng.gamma(4, 2, len(edges)),
        spans="12-18,60-66",
    ).drop_duplicates(["layer", "feature", "document"], ignore_index=True)
    degree = edges["document"].value_counts()
    documents = pd.DataFrame(
        {
            "name": names,
            "side": np.where(np.arange(len(names)) % 2, "in_vivo", "in_vitro"),
            "detail": [f"length 120, number {i}" for i in range(len(names))],
            "content": [row.tobytes().decode() for row in letters],
            "degree": [int(degree.get(name, 0)) for name in names],
            "chrom": "chr22",
            "start": np.arange(len(names)) * 120 + 37_200_000,
            "end": np.arange(len(names)) * 120 + 37_200_120,
        }
    )
    return documents, edges


def _maps(edges: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    some = edges.drop_duplicates(["layer", "feature"]).iloc[::20]
    pieces = ("ACGTAC", "GTTGCA", "CCATGG", "TTAACC")
    cells = []
    for _ in range(len(some)):
        values = rng.normal(0, 1, (len(pieces), len(pieces))).round(3).tolist()
        for i, row in enumerate(values):
            row[i] = None
        cells.append(str(values).replace("None", "null"))
    return some[["layer", "feature", "document"]].assign(pieces=" ".join(pieces), cells=cells)


def _perturbations(
    symbols: pd.Series, key: pd.DataFrame, layers: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    targets = symbols.iloc[: min(60, len(symbols))].tolist()
    n = len(targets)
    responding = rng.integers(0, 15, n)
    frame = pd.DataFrame(
        {
            "target": targets,
            "layer": rng.integers(layers, size=n),
            "kind": np.where(np.arange(n) % 2, "transcription factor", "other"),
            "known": rng.integers(0, 60, n),
            "cells": rng.integers(50, 400, n),
            "responding": responding,
            "specific": np.minimum(responding, rng.integers(0, 4, n)),
            "estimate": rng.normal(0, 0.2, n),
            "null": 0.02,
            "p": rng.random(n) ** 3,
            "q": np.sqrt(rng.random(n)),
            "note": np.where(rng.random(n) < 0.1, "too few cells", None),
        }
    )
    rows = []
    for target, layer in zip(frame["target"], frame["layer"]):
        inside = key.loc[key["layer"] == layer, "feature"].to_numpy()
        for feature in rng.choice(inside, size=min(10, len(inside)), replace=False):
            effect, p = rng.normal(0, 0.4), rng.random() ** 4
            rows.append((target, layer, int(feature), effect, p, min(1.0, p * 10), 300))
    columns = ["target", "layer", "feature", "effect", "p", "q", "cells"]
    return frame, pd.DataFrame(rows, columns=columns)


def _celltypes(key: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    frame = _repeated(key, 3)
    start = np.repeat(rng.integers(len(CELL_TYPES), size=len(key)), 3)
    which = (start + np.tile([0, 1, 2], len(key))) % len(CELL_TYPES)
    p = rng.random(len(frame)) ** 5
    return frame.assign(
        cell_type=np.array(CELL_TYPES, dtype=object)[which],
        effect=rng.normal(0, 0.6, len(frame)),
        mean=rng.gamma(2, 0.4, len(frame)),
        p=p,
        q=np.minimum(1, p * 20),
        donors=6,
    )


def main() -> None:
    """Write one atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="the SQLite file")
    for name, size in (
        ("layers", LAYERS),
        ("per-layer", PER_LAYER),
        ("bins", BINS),
        ("genes", GENES),
        ("terms", TERMS),
    ):
        parser.add_argument(f"--{name}", type=int, default=size)
    args = parser.parse_args()
    build_atlas(
        args.path, web_tables(args.layers, args.per_layer, args.bins, args.genes, args.terms)
    )


if __name__ == "__main__":
    main()
