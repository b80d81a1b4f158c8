"""Stage go: functional terms of the genes in which features fire, against all annotated genes as
published and against the genes of the input, with gene length held fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.genesets import read_gmt
from petriscope.files import atomic_folder, read_csv, write_csv, write_not_run, write_parquet
from petriscope.graph.bipartite import incidence, strongest
from petriscope.probe.tokens import Tokens
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset, read_truth
from petriscope.studies.dna.data.lengths import compare_lengths
from petriscope.studies.dna.go import (
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
LISTED = 20
"""terms of a feature in the table to read, at least"""


@dataclass(frozen=True)
class GoNumbers:
    """How many terms are enriched, and how many of them survive."""

    untestable: str | None
    layer: int
    genes: int | None = None
    """of the input sequences: the universe"""
    terms: int | None = None
    """with an admitted number of them"""
    features: int | None = None
    """that fire at different rates in the two classes, whose genes are tested"""
    published_terms: int | None = None
    """of both classes' lists at q < .01, against all annotated genes"""
    input_terms: int | None = None
    """of the same lists at q < .01, against the genes of the input"""
    feature_terms: int | None = None
    """pairs of feature and term at q < alpha by either test, against the genes of the input: of
    the genes in which it fires at all, or of the sequences of each"""
    survivors: int | None = None
    """of them, by the second, which holds gene length and number of sequences fixed"""
    lost: int | None = None
    """of them, by the first alone"""
    planted: int | None = None
    """of the survivors, with a term that is true in a planted world; None where nothing is
    planted"""


def run(workspace: Workspace, params: Params) -> GoNumbers:
    """Write results/go/: published.csv (list, universe, terms), terms.parquet (a row per feature
    and term) and terms.csv (of those each feature's `LISTED` first, and all that either test
    finds)."""
    dataset, sequences = load_dataset(workspace.dataset(params.dataset)), load_sequences(workspace)
    layers, out = encoded_layers(workspace.codes), workspace.table("go")
    layer = chosen_layer(params.layer, max(layers), "layer")
    if (why := why_not(dataset, sequences)) is not None or dataset.genesets is None:
        write_not_run(out, str(why))
        return GoNumbers(untestable=why, layer=layer)
    sizes, alpha = (params.go.sizes[0], params.go.sizes[1]), params.cds.alpha
    genes, sets = genes_of(sequences.frame, dataset.gene_table()), read_gmt(dataset.genesets)
    check_overlap(sets, genes.names, str(dataset.genesets))
    codes = layers[layer].codes()
    published = published_terms(_lists(workspace, codes, sequences, genes), sets, sizes)
    features = differing(workspace, alpha)
    counts = genes.counts(_fired(workspace, codes, len(sequences.frame))[:, features])
    found = feature_terms(counts, features, genes, sets, sizes)
    survives = found.q_length < alpha
    lost = (found.q < alpha) & ~survives
    with atomic_folder(out) as folder:
        write_csv(folder / "published.csv", published)
        write_parquet(folder / "terms.parquet", found)
        write_csv(folder / "terms.csv", found[survives | lost | (found["rank"] <= LISTED)])
    listed = published.universe[published.q < PUBLISHED_Q] if len(published) else pd.Series()
    return GoNumbers(
        untestable=None,
        layer=layer,
        genes=len(genes.names),
        terms=found.term.nunique(),
        features=len(features),
        published_terms=int((listed == "annotated").sum()),
        input_terms=int((listed == "input").sum()),
        feature_terms=int((survives | lost).sum()),
        survivors=int(survives.sum()),
        lost=int(lost.sum()),
        planted=_planted(dataset, found.term[survives]),
    )


def why_not(dataset: SequenceSet, sequences: Sequences) -> str | None:
    """Why terms cannot be tested, or None."""
    if dataset.genesets is None:
        return "the data set has no gene sets"
    if sequences.frame.gene.isna().all():
        return "the data set names no gene of its sequences"
    if sequences.positive is None:
        return "no sequence has a class, so no feature differs between classes"
    known = sequences.frame[sequences.frame.label.notna()]
    lengths = compare_lengths(
        known.sequence.str.len().to_numpy(), (known.label == sequences.positive).to_numpy(bool)
    )
    if not lengths.overlap:  # what differs between the classes may be their lengths
        return lengths.refusal(sequences.positive, str(sequences.negative))
    return None


def _planted(dataset: SequenceSet, terms: pd.Series) -> int | None:
    """How many of the terms are true in a planted world."""
    if dataset.truth is None:
        return None
    return int(terms.isin(read_truth(dataset.truth).world["genesets"]["true"]).sum())


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
