"""The atlas that the authors released becomes an atlas of this program: features of both models,
their lists, annotations, modules, links and responses, with the audit's rows as its claims.

Layers keep the authors' numbers (layer k is the stream after block k + 1), so that L11/64 is the
feature that they call so; those of scGPT follow from 100 on, and a search for L11/64 finds both.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.atlas.build import AtlasTables
from petriscope.atlas.schema import Column, Declared, Thresholds
from petriscope.errors import UserError
from petriscope.run.released import UNCHANGED
from petriscope.studies.cells.audit import (
    ALPHA,
    CAUSAL_LAYER,
    KNOCKED_DOWN,
    POSITIONS,
    RESPONSES,
    TRRUST,
    Checked,
    audit_rows,
    chance,
    factors,
    gene_lists,
    read_known,
    responses,
)
from petriscope.studies.cells.numbering import FIRST_LAYER, NAMES
from petriscope.studies.cells.params import FAMILIES
from petriscope.studies.cells.released import EDGES, GENE, Released, beside

STABLE = 0.7
"""Cosine from which the authors found a feature again."""
RULE = "the released tables give the stated number, and chance does not"
KINDS = {kind: "network" for kind in EDGES}
"""Kind of annotation here, of those that are no gene sets."""
FEATURE_COLUMNS = (
    Column("model", "text", "model", "text", "Geneformer or scGPT", indexed=True),
    Column(
        "fires", "integer", "fires", "count", "positions on which it fires: fewer than 40 of 4 "
        "million is near-dead", indexed=True,
    ),
    Column(
        "annotations", "integer", "terms", "count", "enriched terms by the published rule",
        indexed=True,
    ),
    Column("svd", "integer", "SVD", "flag", "1: max |cosine| with 50 principal axes above .5"),
    Column(
        "specificity", "real", "spec", "number", "published causal specificity: |mean change of "
        "its own top genes| over |that of others|; circular, untested", indexed=True,
    ),
    Column("target_change", "real", "target", "signed", "mean change of its top genes' logits"),
    Column("other_change", "real", "others", "signed", "mean change of all others"),
)  # fmt: skip


def released_atlas(folder: Path, genesets: Path | None = None) -> AtlasTables:
    """The tables of the atlas. Raises `UserError` where there is no table of features."""
    released = Released(folder)
    families = [name for name in FAMILIES if released.has(f"{name}_features.tsv.gz")]
    if not families:
        what = f"lacks {FAMILIES[0]}_features.tsv.gz"
        raise UserError(what, file=folder, remedy=UNCHANGED)
    trrust = beside(folder, TRRUST)
    perturbed, moved = perturbation_rows(released, trrust)
    modules, members = module_rows(released, families)
    features = pd.concat([feature_rows(released, name) for name in families], ignore_index=True)
    return AtlasTables(
        features=features,
        thresholds=Thresholds(ALPHA, STABLE),
        annotations=annotation_rows(released, families),
        layers=layer_rows(released, families),
        claims=claim_rows(audit_rows(released, genesets)),
        run=run_rows(families),
        feature_genes=gene_rows(released, families),
        modules=modules,
        module_members=members,
        links=link_rows(released, families),
        numbers=number_rows(released, families),
        perturbations=perturbed,
        responses=moved,
        declared=Declared(unit="cell", stratum="cell type", features=FEATURE_COLUMNS),
    )


def feature_rows(released: Released, family: str) -> pd.DataFrame:
    """The features table of one model."""
    frame = released.features(family)
    dead = frame.dead == 1
    table = pd.DataFrame(
        {
            "layer": frame.layer + FIRST_LAYER[family],
            "feature": frame.feature,
            "alive": 1 - frame.dead,
            "density": frame.freq,
            "mean_activation": (frame.mean_act / frame.freq).where(frame.freq > 0),
            "module": frame.module.where(frame.module >= 0),
            "label": _label(frame).where(frame.n_annotations > 0, None),
            "model": NAMES[family],
            "fires": frame.fires,
            "annotations": frame.n_annotations.where(~dead),
            "svd": frame.svd_aligned.where(~dead),
        }
    )
    name = f"{family}_causal_patching.json.gz"
    if not released.has(name):
        return table
    found = released.table(name, ("features",), ("i", "sr", "td", "od"))
    layer = int(released.number(name, "layer")) if family == "scgpt" else CAUSAL_LAYER
    found = found.set_axis(["feature", "specificity", "target_change", "other_change"], axis=1)
    found = found.assign(layer=layer + FIRST_LAYER[family])
    return table.merge(found, on=["layer", "feature"], how="left")


def _label(frame: pd.DataFrame) -> pd.Series:
    """A feature's best term; what the tables call `pairwise_enrichment` in words."""
    words = {"STRING_edges": "some edge of STRING", "TRRUST_edges": "some edge of TRRUST"}
    return frame.ontology.map(words).fillna(frame.label.replace(_WORDS))


def gene_rows(released: Released, families: list[str]) -> pd.DataFrame:
    """Lists of 20 with activations and fires where they were released, else the first five."""
    frames = []
    for family in families:
        shown: set[tuple[int, int]] = set()
        for layer in released.annotated_layers(family):
            table = released.annotations(family, layer)
            genes = table[table.kind == GENE]
            at = layer + FIRST_LAYER[family]
            frames.append(
                pd.DataFrame(
                    {
                        "layer": at,
                        "feature": genes.feature,
                        "rank": genes.groupby("feature").cumcount() + 1,
                        "gene": genes.name,
                        "value": genes.value,
                        "fires": genes["count"],
                    }
                )
            )
            shown.update((layer, int(feature)) for feature in genes.feature.unique())
        frame = released.features(family)
        new = np.array([pair not in shown for pair in zip(frame.layer, frame.feature)])
        rest = frame[new & (frame.top5_genes != "")]
        lists = rest.top5_genes.str.split(";")
        long = rest[["layer", "feature"]].assign(gene=lists).explode("gene", ignore_index=True)
        long["rank"] = long.groupby(["layer", "feature"]).cumcount() + 1
        frames.append(long.assign(layer=long.layer + FIRST_LAYER[family]))
    return pd.concat(frames, ignore_index=True)


def annotation_rows(released: Released, families: list[str]) -> pd.DataFrame:
    """All terms of the layers whose annotations were released, else each feature's best. q is the
    published one: its family leaves out the tests with an overlap below 2."""
    frames = []
    for family in families:
        first = FIRST_LAYER[family]
        full = released.annotated_layers(family)
        for layer in full:
            table = released.annotations(family, layer)
            table = table[table.kind != GENE]
            tested = ~table.kind.isin(EDGES)
            frames.append(
                pd.DataFrame(
                    {
                        "layer": layer + first,
                        "feature": table.feature,
                        "kind": table.kind.map(KINDS).fillna("geneset"),
                        "term": _term(table.kind, table.name),
                        "scope": table.kind.where(tested, "").replace(_SCOPES),
                        "estimate": table.extra.where(tested & np.isfinite(table.extra)),
                        "q": table.value.where(tested),
                    }
                )
            )
        frame = released.features(family)
        frame = frame[(frame.n_annotations > 0) & ~frame.layer.isin(full)]
        tested = ~frame.ontology.isin(EDGES)
        frames.append(
            pd.DataFrame(
                {
                    "layer": frame.layer + first,
                    "feature": frame.feature,
                    "kind": frame.ontology.map(KINDS).fillna("geneset"),
                    "term": _term(frame.ontology, frame.label),
                    "scope": frame.ontology.where(tested, "").replace(_SCOPES),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


_SCOPES = {"TRRUST_TF_enrichment": "TRRUST"}
_WORDS = {
    "transcription_factors": "transcription factors of TRRUST",
    "pairwise_enrichment": "some edge of a network",
}
"""Names in the release that are no terms."""


def _term(kind: pd.Series, name: pd.Series) -> pd.Series:
    """Names of terms; an edge is named by its network."""
    network = kind.str.removesuffix("_edges")
    return name.replace(_WORDS).where(~kind.isin(EDGES), network)


def layer_rows(released: Released, families: list[str]) -> pd.DataFrame:
    """Layers with whose they are. Variance is explained on the positions of training."""
    frames = []
    for family in families:
        frame = released.features(family)
        of = frame.groupby("layer")
        table = pd.DataFrame({"l0": of.freq.sum(), "dead": of.dead.mean()})
        table["alive"] = of.dead.apply(lambda dead: int((dead == 0).sum()))
        name = f"{family}_global_summary.json.gz"
        if released.has(name):
            explained = released.table(name, ("layers",), ("layer", "variance_explained"))
            table["fvu"] = 1 - explained.set_index("layer").variance_explained
        table = table.reset_index(names="depth")
        frames.append(table.assign(layer=table.depth + FIRST_LAYER[family], model=NAMES[family]))
    return pd.concat(frames, ignore_index=True)


def module_rows(
    released: Released, families: list[str]
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Communities of the published PMI graph, and their features."""
    modules, members = [], []
    for family in families:
        name = f"{family}_modules.json.gz"
        if not released.has(name):
            continue
        table = released.table(name, (), ("layer", "id", "n", "features", "top_anns"))
        for layer, number, size, features, terms in table.itertuples(index=False):
            at = {"graph": "pmi", "layer": layer + FIRST_LAYER[family], "module": number}
            label = "; ".join(f"{_WORDS.get(term['t'], term['t'])} ({term['c']})" for term in terms)
            modules.append({**at, "size": size, "label": label})
            members.append(pd.DataFrame({**at, "feature": features}))
    if not modules:
        return None, None
    return pd.DataFrame(modules), pd.concat(members, ignore_index=True)


def link_rows(released: Released, families: list[str]) -> pd.DataFrame | None:
    """Released dependencies: at most five of each of the first 500 features of three pairs."""
    rows = []
    for family in families:
        name = f"{family}_cross_layer_graph.json.gz"
        if not released.has(name):
            continue
        for pair, first, second in _pairs(released, name, family):
            for one in released.table(name, (pair, "deps"), ("a", "deps")).itertuples(index=False):
                rows += [(first, one.a, second, to["b"], to["pmi"]) for to in one.deps]
    if not rows:
        return None
    names = ["layer", "feature", "other_layer", "other_feature", "value"]
    return pd.DataFrame(rows, columns=names).assign(kind="pmi")


def _pairs(released: Released, name: str, family: str) -> list[tuple[str, int, int]]:
    """Pairs of layers: key in the file, and their numbers in the atlas."""
    layers = {pair: [int(part[1:]) for part in pair.split("_")] for pair in released.json(name)}
    first = FIRST_LAYER[family]
    return [(pair, a + first, b + first) for pair, (a, b) in layers.items()]


def number_rows(released: Released, families: list[str]) -> pd.DataFrame:
    """What was measured of layers and of pairs of layers; nulls were not released."""
    frames: list[pd.DataFrame] = []
    for family in families:
        first = FIRST_LAYER[family]
        frame = released.features(family)
        alive = frame[frame.dead == 0]
        share = (alive.n_annotations > 0).groupby(alive.layer)
        inside = (alive.module >= 0).groupby(alive.layer)
        for name, of, note in (
            ("annotated", share, "by the published rule"),
            ("in a module", inside, "PMI graph, resolution 1"),
        ):
            frames.append(_numbers(name, of.mean(), first, n=of.size(), note=note))
        summary = f"{family}_global_summary.json.gz"
        if released.has(summary):
            of = released.table(summary, ("layers",), ("layer", "n_modules", "n_svd_aligned"))
            of = of.set_index("layer")
            frames.append(_numbers("modules", of.n_modules, first, note="a choice of resolution"))
            frames.append(_numbers("SVD-aligned", of.n_svd_aligned, first, note="|cosine| > .5"))
        types = f"{family}_celltypes_summary.tsv"
        if released.has(types):
            table = released.celltypes(family).set_index("layer")
            value = table.with_cell_type / table.features_listed
            note = "cells of one donor counted as independent"
            of = _numbers("with a cell type", value, first, n=table.features_listed, note=note)
            frames.append(of)
        graph = f"{family}_cross_layer_graph.json.gz"
        for pair, a, b in _pairs(released, graph, family) if released.has(graph) else ():
            count = {
                key: released.number(graph, pair, "summary", key)
                for key in ("n_highways", "n_alive_a", "mean_max_pmi")
            }
            note = "max PMI above 3, which gene identity alone reaches"
            cut = " (released list is cut)" if family == "scgpt" else ""
            row = {"layer": a, "other_layer": b, "n": int(count["n_alive_a"]), "unit": "features"}
            share = count["n_highways"] / count["n_alive_a"]
            frames.append(
                pd.DataFrame([{"name": "highways", "value": share, "note": note + cut, **row}])
            )
            frames.append(
                pd.DataFrame([{"name": "mean max PMI", "value": count["mean_max_pmi"], **row}])
            )
        tracking = f"{family}_cross_layer_tracking.json.gz"
        if released.has(tracking):
            fields = ("from_layer", "to_layer", "persistence_rate", "n_alive_from")
            table = released.table(tracking, ("adjacent_persistence",), fields)
            table = table.set_axis(["layer", "other_layer", "value", "n"], axis=1)
            note = f"decoder |cosine| from {STABLE} on; no common basis is promised"
            frames.append(table.assign(name="persistence", unit="features", note=note))
    return pd.concat(frames, ignore_index=True)


def _numbers(
    name: str, value: pd.Series, first: int, n: pd.Series | None = None, note: str = ""
) -> pd.DataFrame:
    """A number of each layer."""
    table = pd.DataFrame({"name": name, "value": value.astype(float), "note": note})
    table["layer"] = table.index + first
    if n is not None:
        table = table.assign(n=n, unit="features")
    return table


def perturbation_rows(
    released: Released, trrust: Path | None
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Knock-downs and what responded. The null of a transcription factor is its probability of a
    specific response if random features responded, where TRRUST and a full gene list are there."""
    if not released.has(RESPONSES) or not released.has("geneformer_features.tsv.gz"):
        return None, None
    fields = ("gene", "tf", "nk", "nr", "ns")
    table = released.table(RESPONSES, ("targets",), fields)
    rows = factors(released)
    full = released.annotated_layers("geneformer")
    by_chance: dict[str, float] = {}
    if trrust is not None and full:
        known = read_known(trrust)
        lists = [gene_lists(released.annotations("geneformer", layer)) for layer in full]
        p = np.mean([chance(rows, known, one).p for one in lists], axis=0)
        by_chance = dict(zip(rows.gene, p))
    perturbed = pd.DataFrame(
        {
            "target": table.gene,
            "layer": CAUSAL_LAYER,
            "kind": np.where(table.tf.astype(bool), "transcription factor", "other"),
            "known": table.nk,
            "cells": KNOCKED_DOWN,
            "responding": table.nr,
            "specific": table.ns,
            "null": table.gene.map(by_chance),
        }
    )
    return perturbed, responses(released).assign(layer=CAUSAL_LAYER)


def claim_rows(rows: list[Checked]) -> pd.DataFrame:
    """The audit as a ledger."""
    return pd.DataFrame(
        {
            "claim": [re.sub(r"[^a-z0-9]+", "-", row.claim.lower()).strip("-") for row in rows],
            "statement": [row.claim for row in rows],
            "published": [_shown(row.stated) for row in rows],
            "as_published": [_shown(row.recomputed) for row in rows],
            "control": [row.control or None for row in rows],
            "verdict": [row.verdict for row in rows],
            "rule": RULE,
            "note": [row.how for row in rows],
        }
    )


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def run_rows(families: list[str]) -> pd.DataFrame:
    """Where it comes from, and what a number in it is."""
    card = {
        "source": "Biodyn-AI geneformer-atlas 733a9a14 and scgpt-atlas 304481af",
        "paper": "arXiv 2603.02952",
        "models": ", ".join(NAMES[family] for family in families),
        "layers": "as released: layer k is the stream after block k + 1; scGPT's are 100 + k",
        "density": f"share of positions, of Geneformer {POSITIONS:,}",
        "q": "as released; its family leaves out the tests with an overlap below 2",
        "genes": "20 of a list in Geneformer 5, 17 and scGPT 0, 11 (annotated features), else 5",
        "nulls": "none was released; those shown are recomputed",
    }
    return pd.DataFrame({"key": list(card), "value": list(card.values())})
