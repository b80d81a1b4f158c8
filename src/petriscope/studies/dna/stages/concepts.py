"""Stage concepts: how well the best feature of each layer tells each concept, and on how many
concepts a dictionary beats raw neurons, principal components, token identity and the dictionary of
a randomly initialized model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from petriscope.enrich.concepts import (
    Best,
    best_units,
    compare,
    lookup_scores,
    own_columns,
    principal_components,
)
from petriscope.enrich.correlation import block_weights
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.genome.fasta import Genome
from petriscope.parallel import in_processes
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.concepts import (
    Concepts,
    Where,
    annotation_concepts,
    joined,
    laid_out,
    masked_share,
    sequence_concepts,
)
from petriscope.studies.dna.contigs import ContigCodes
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.stages.tracks import decoys_of

COMPONENTS = 256
"""principal components compared with, at most"""
DICTIONARY = "dictionary"
METRICS = ("f1", "auroc")


@dataclass(frozen=True)
class Found:
    """How many concepts a dictionary explains better than each baseline."""

    untestable: str | None = None
    concepts: int = 0
    annotation: int = 0
    """Of these, of annotation; the others are of the bases themselves."""
    dropped: int = 0
    """Concepts with too few tokens in either half."""
    wins: list[dict[str, Any]] | None = None
    """A row per layer, baseline, metric and kind of concept: concepts, better with interval, and
    how many are surely better or worse."""
    best: list[dict[str, Any]] | None = None
    """A row per layer: mean F1 and AUROC over concepts of the dictionary and of each baseline."""


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/concepts/: concepts.csv, best.csv and wins.csv."""
    contigs = ContigCodes(workspace.table("contigs"))
    dataset = load_dataset(workspace.dataset(params.dataset))
    block = contigs.tokens.block.to_numpy()
    train = block % 2 == 0
    every = concepts_of(dataset, contigs)
    concepts = every.with_enough(train, params.concepts.min_tokens)
    if not len(concepts.table) or train.all():
        why = "no concept has enough tokens in both halves of the DNA"
        write_not_run(workspace.table("concepts"), why)
        return Found(untestable=why)
    held_out = np.arange(1, int(block.max()) + 1, 2)
    weights = block_weights(held_out, int(block.max()) + 1, params.cds.bootstrap, params.seed)
    axis = (concepts.matrix, train, ~train, block, weights)
    identity = lookup_scores(contigs.tokens.id.to_numpy(), concepts.matrix, block // 2 % 2, train)
    tokens = own_columns(identity, *axis)

    def one(layer: int) -> list[pd.DataFrame]:
        rivals = dict(rivals_of(contigs, layer, axis))
        return tables_of(layer, {**rivals, "token identity": tokens}, concepts)

    parts = list(in_processes(one, contigs.layers, "concepts", unit="layer"))
    best, wins = (pd.concat(table, ignore_index=True) for table in zip(*parts))
    with atomic_folder(workspace.table("concepts")) as folder:
        write_csv(folder / "concepts.csv", concepts.table)
        write_csv(folder / "best.csv", best)
        write_csv(folder / "wins.csv", wins)
    means = best.groupby(["layer", "source"], sort=False)[["f1", "auroc"]].mean().reset_index()
    return Found(
        concepts=len(concepts.table),
        annotation=int((concepts.table.kind == "annotation").sum()),
        dropped=len(every.table) - len(concepts.table),
        wins=wins.to_dict("records"),
        best=means.to_dict("records"),
    )


def concepts_of(dataset: SequenceSet, contigs: ContigCodes) -> Concepts:
    """All that is known of the tokens."""
    tokens = contigs.tokens
    where = Where(contigs.chrom, tokens.start.to_numpy(), tokens.width.to_numpy(np.int64))
    whole = frozenset(decoys_of(dataset))
    of_tracks = annotation_concepts(where, dataset.tracks, dataset.conservation, whole)
    text = laid_out(contigs.pieces.sequence.tolist(), tokens.piece.to_numpy(), where.width)
    fasta = dataset.contigs or dataset.genome
    masked = None if fasta is None else masked_share(Genome([fasta]), where)
    return joined(of_tracks, sequence_concepts(text, masked))


def rivals_of(
    contigs: ContigCodes, layer: int, axis: tuple[np.ndarray, ...]
) -> Iterator[tuple[str, Best]]:
    """The dictionary of a layer and what it is compared with; neurons and components may be read
    upside down."""
    train = axis[1]
    yield DICTIONARY, best_units(contigs.codes(layer).scipy(), *axis)
    hidden = np.asarray(contigs.hidden(layer), np.float32)
    yield "neurons", best_units(np.hstack([hidden, -hidden]), *axis)
    found = principal_components(hidden, train, COMPONENTS)
    yield "principal components", best_units(np.hstack([found, -found]), *axis)
    if contigs.has_random:
        yield "random init", best_units(contigs.codes(layer, "random_init").scipy(), *axis)


def tables_of(layer: int, found: dict[str, Best], concepts: Concepts) -> list[pd.DataFrame]:
    """Rows of best.csv and of wins.csv."""
    best, wins = [], []
    for source, scores in found.items():
        row = {"layer": layer, "source": source, **concepts.table[["concept", "kind", "tokens"]]}
        row |= {"unit": scores.unit, "threshold": scores.threshold, "train_f1": scores.train_f1}
        for metric in METRICS:
            values = getattr(scores, metric)
            low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
            row |= {metric: values[0], f"{metric}_low": low, f"{metric}_high": high}
        best.append(pd.DataFrame({**row, "unit_auroc": scores.unit_auroc}))
    kinds = concepts.table.kind.to_numpy()
    for baseline in [source for source in found if source != DICTIONARY]:
        for metric in METRICS:
            one, other = (getattr(found[s], metric) for s in (DICTIONARY, baseline))
            for kind in ("all", "annotation", "sequence"):
                rows = np.flatnonzero((kinds == kind) | (kind == "all"))
                if not len(rows):
                    continue
                won = compare(one[:, rows], other[:, rows])
                counts = {name: getattr(won, name) for name in won._fields[3:]}
                row = {"layer": layer, "baseline": baseline, "metric": metric, "kind": kind}
                wins.append({**row, "concepts": len(rows), **counts})
    return [pd.concat(best, ignore_index=True), pd.DataFrame(wins)]
