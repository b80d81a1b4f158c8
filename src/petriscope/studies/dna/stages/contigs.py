"""Stage contigs: contiguous DNA read by the trained and the randomly initialized model, and encoded
with the dictionaries of each."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from petriscope.files import atomic_folder
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_layers
from petriscope.studies.dna.contigs import (
    ContigCodes,
    contig_pieces,
    encode_layers,
    harvest_pieces,
    piece_length,
    sequence_pieces,
    token_axis,
)
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.model.weights import load_model
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences


@dataclass(frozen=True)
class Found:
    """How much contiguous DNA was read."""

    contigs: int
    tokens: int
    source: str
    """contigs, or sequences where the data set has no contigs."""
    layers: list[int]
    random_init: bool
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/contigs/: pieces.parquet, tokens.parquet, hidden/layer_<k>.npy, and
    {trained,random_init}/layer_<k>/ codes."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    model, sequences = load_model(workspace.model), load_sequences(workspace).frame
    bp = piece_length(
        model.config.limit, int(sequences.n_tokens.max()), params.model.weights is None
    )
    cap = params.contigs.tokens
    if dataset.contigs is not None:
        pieces = contig_pieces([dataset.contigs], bp, cap)
    else:
        pieces = sequence_pieces(sequences, cap)
    axis = token_axis(pieces, model.config.form)
    random = workspace.results / "random_init"
    models = {"trained": (workspace.model, workspace.sae)}
    if (random / "model").is_dir():
        models["random_init"] = (random / "model", random / "sae")
    with atomic_folder(workspace.table("contigs")) as folder:
        written = ContigCodes(folder)
        written.write_axis(pieces, axis)
        for name, (weights, dictionaries) in models.items():
            hidden = folder / ("hidden" if name == "trained" else "scratch")
            what = f"contigs, {name.replace('_', ' ')} model"
            stores = harvest_pieces(load_model(weights), axis.tables, hidden, what)
            saes = saved_layers(dictionaries, params.sae.seeds[0])
            for layer, codes in encode_layers(stores, saes):
                codes.save(folder / name / f"layer_{layer}")
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        layers = written.layers
    return Found(
        int(pieces.contig.nunique()),
        len(axis.frame),
        "sequences" if dataset.contigs is None else "contigs",
        layers,
        len(models) > 1,
    )
