"""Stage model: take given weights of Nucleotide Transformer, or train a small one on the training
sequences, and measure it on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.probe.harvest import spread
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.model.nucleotide import NucleotideConfig, NucleotideTransformer
from petriscope.studies.dna.model.pretrain import (
    PretrainConfig,
    masked_tokens,
    pretrain,
    token_counts,
    unigram_nats,
)
from petriscope.studies.dna.model.tokens import Form, check_lengths, tokenize_all, vocabulary
from petriscope.studies.dna.model.weights import load_model, save_model
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences

RANDOM = (
    "the probed model has RANDOM weights (model.tokens is 0): no claim about Nucleotide "
    "Transformer, and another random model is no control of it"
)
HELD_OUT, MOST = "test", 512
"""The split that the model is measured on, and how many of its sequences at most."""


@dataclass(frozen=True)
class ModelNumbers:
    """How well the model predicts tokens of held-out sequences while they are masked."""

    form: str
    layers: int
    d_model: int
    parameters: int
    given: bool
    """Whether the weights were given; else the model was trained here."""
    tokens_trained: int
    """0: a given model, or one that kept its random weights."""
    learned: bool
    """Whether the weights hold anything learned; no claim is supported where they do not."""
    held_out: str
    held_out_tokens: int
    accuracy: float
    nats: float
    """Cross-entropy of a held-out token."""
    unigram_accuracy: float
    unigram_nats: float
    """The same of a model that knows only how frequent each token is."""
    untestable: str | None
    """Why nothing can be said of a trained model: the weights are random."""


def run(workspace: Workspace, params: Params) -> ModelNumbers:
    """Write results/model/: config.json, model.safetensors, history.csv and held_out.parquet (row,
    token, id, nats, correct of every held-out token while it is masked)."""
    sequences, device = load_sequences(workspace), choose_device(params.device)
    model, given = start(workspace, params), params.model
    names, form = sequences.frame["id"].tolist(), model.config.form
    tables = tokenize_all(sequences.frame["sequence"].tolist(), form)
    check_lengths(np.diff(tables.offsets), names, model.config.limit)
    how = PretrainConfig(
        tokens=given.tokens if given.weights is None else 0,
        batch=given.batch,
        learning_rate=given.learning_rate,
        mask=given.mask,
    )
    train, rows = sequences.rows("train"), spread(sequences.rows(HELD_OUT), MOST)
    kept = workspace.results / "cache" / "pretrain.safetensors"
    model = model.to(device)
    history = pretrain(model, how, tables, train, seed=params.seed, checkpoint=kept)
    found = masked_tokens(model, tables, rows, share=given.mask, seed=params.seed)
    with atomic_folder(workspace.model) as folder:
        save_model(model, folder)
        columns = ["step", "tokens", "loss", "rate"]
        write_csv(folder / "history.csv", pd.DataFrame(history, columns=columns))
        write_parquet(folder / "held_out.parquet", found)
    kept.unlink(missing_ok=True)
    frequent = token_counts(tables, train, len(vocabulary(form)))
    ids = found["id"].to_numpy()
    learned = given.weights is not None or bool(history)
    return ModelNumbers(
        form=form,
        layers=model.n_layers,
        d_model=model.d_model,
        parameters=sum(p.numel() for p in model.parameters()),
        given=given.weights is not None,
        tokens_trained=int(history[-1]["tokens"]) if history else 0,
        learned=learned,
        held_out=HELD_OUT,
        held_out_tokens=len(found),
        accuracy=float(found.correct.mean()),
        nats=float(found.nats.mean()),
        unigram_accuracy=float((ids == frequent.argmax()).mean()),
        unigram_nats=unigram_nats(ids, frequent),
        untestable=None if learned else RANDOM,
    )


def start(workspace: Workspace, params: Params) -> NucleotideTransformer:
    """The given model, or a new one of params.yaml with random weights."""
    given = params.model
    if given.weights is not None:
        return load_model(workspace.dataset(given.weights), form=given.form)
    form: Form = "v1" if given.form == "v1" else "v2"
    config = NucleotideConfig(form, given.layers, given.d_model, given.heads, given.ffn)
    return NucleotideTransformer(config, init_seed=params.seed)
