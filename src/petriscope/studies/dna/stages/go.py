"""Stage go: functional terms of the genes in which features fire, against all annotated genes as
published and against the genes of the input, with gene length held fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.genesets import read_gmt
from petriscope.files import atomic_folder, read_csv, write_csv
from petriscope.graph.bipartite import incidence, strongest
from petriscope.probe.tokens import Tokens
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.go import (
    COLUMNS,
    Genes,
    check_overlap,
    feature_terms,
    genes_of,
    parallel_sequences,
    published_terms,
)
from petriscope.studies.dna.graph import TokenRows, sequence_graph
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import Sequences, load_sequences

PUBLISHED_Q = 0.01


@dataclass(frozen=True)
class GoNumbers:
    """How many terms are enriched, and how many of them survive."""

    layer: int
    genes: int
    """of the input sequences: the universe"""
    terms: int
    """with an admitted number of them"""
    features: int
    """that fire at different rates in the two classes, whose genes are tested"""
    published_terms: int
    """of both classes' lists at q < .01, against all annotated genes"""
    input_terms: int
    """of the same lists at q < .01, against the genes of the input"""
    feature_terms: int
    """pairs of feature and term at q < alpha, against the genes of the input"""
    survivors: int
    """of them, at q < alpha with gene length and number of sequences held fixed"""
    lost: int
    """of them, not so"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> GoNumbers:
    """Write results/go/: published.csv (list, universe, terms) and terms.csv (a row per feature and
    term)."""
    dataset, sequences = load_dataset(workspace.dataset(params.dataset)), load_sequences(workspace)
    layers = encoded_layers(workspace.codes)
    layer = chosen_layer(params.layer, max(layers), "layer")
    sizes = (params.go.sizes[0], params.go.sizes[1])
    why = None
    if dataset.genesets is None or sequences.frame.gene.isna().all():
        why = "the data set names no gene sets, or no genes of its sequences"
    published, found = pd.DataFrame(columns=["list"]), pd.DataFrame(columns=COLUMNS)
    genes, features, terms = Genes((), np.zeros(0, np.int64), np.zeros(0)), [], 0
    if why is None and dataset.genesets is not None:
        genes = genes_of(sequences.frame, dataset.gene_table())
        sets = read_gmt(dataset.genesets)
        check_overlap(sets, genes.names, str(dataset.genesets))
        codes = layers[layer].codes()
        published = published_terms(_lists(workspace, codes, sequences, genes), sets, sizes)
        features = differing(workspace, params.cds.alpha)
        counts = genes.counts(_fired(workspace, codes, len(sequences.frame))[:, features])
        found = feature_terms(counts, features, genes, sets, sizes)
        terms = found.term.nunique()
        if sequences.positive is None:
            why = "no sequence has a class, so no feature differs between classes"
    with atomic_folder(workspace.table("go")) as folder:
        write_csv(folder / "published.csv", published)
        write_csv(folder / "terms.csv", found)
    enriched = found.q < params.cds.alpha
    survives = enriched & (found.q_length < params.cds.alpha)
    listed = published[published.q < PUBLISHED_Q] if len(published) else published
    return GoNumbers(
        layer=layer,
        genes=len(genes.names),
        terms=terms,
        features=len(features),
        published_terms=int((listed.get("universe") == "annotated").sum()) if len(listed) else 0,
        input_terms=int((listed.get("universe") == "input").sum()) if len(listed) else 0,
        feature_terms=int(enriched.sum()),
        survivors=int(survives.sum()),
        lost=int((enriched & ~survives).sum()),
        untestable=why,
    )


def differing(workspace: Workspace, alpha: float) -> list[int]:
    """Features whose rates differ between the classes in stage graph (maxT), ascending."""
    table = read_csv(workspace.table("graph") / "features.csv")
    return sorted(table.feature[table.p_maxt < alpha].tolist())


def _fired(workspace: Workspace, codes: Codes, sequences: int) -> sp.csr_matrix:
    """(sequences, m) tokens on which each feature fires, tokens without a base left out."""
    window = Tokens.load(workspace.tokens).window
    covers = load_places(workspace).width.to_numpy() > 0
    return incidence(codes, window, sequences, covers).counts


def _lists(
    workspace: Workspace, codes: Codes, sequences: Sequences, genes: Genes
) -> dict[str, list[str]]:
    """As published: by class, the genes of its sequences with parallel edges to one feature."""
    frame, places = sequences.frame, load_places(workspace)
    window = Tokens.load(workspace.tokens).window
    rows = TokenRows(
        window, places["id"].to_numpy(), strongest(codes), places.width.to_numpy() == 0
    )
    lists = {}
    for name in filter(None, (sequences.positive, sequences.negative)):
        mine = np.flatnonzero((frame.label == name) & (genes.of_sequence >= 0))
        new = np.full(len(frame), -1)
        new[mine] = np.arange(len(mine))
        own = rows.where(new[window] >= 0)
        graph = sequence_graph(
            own._replace(sequence=new[own.sequence]), frame["id"].iloc[mine].tolist(), codes.m
        )
        chosen = mine[parallel_sequences(graph.weights)]
        lists[name] = sorted({genes.names[g] for g in genes.of_sequence[chosen]})
    return lists
