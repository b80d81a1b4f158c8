"""Stage model: take given weights of Geneformer and scGPT, or train a small one of each on the
training cells, and measure both on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread
from petriscope.probe.tokens import split_rows
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.baselines import (
    bin_baselines,
    gene_tokens,
    position_unigram,
    random_part,
    unigram,
)
from petriscope.studies.cells.inputs import CellInputs, load_inputs, model_params
from petriscope.studies.cells.model.geneformer import Geneformer, GeneformerConfig
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.pretrain import PretrainConfig, hidden_genes, pretrain
from petriscope.studies.cells.model.scgpt import ScGPT, ScGPTConfig
from petriscope.studies.cells.model.weights import (
    load_checkpoint,
    require_checkpoint,
    save_model,
)
from petriscope.studies.cells.params import FAMILIES, Params

HELD_OUT, MOST = "test", 512
"""The split that the models are measured on, and how many of its cells at most."""


@dataclass(frozen=True)
class ModelNumbers:
    """Both models, and how well each predicts hidden genes of held-out cells. Entries are by
    family, geneformer and scgpt, where they are mappings."""

    layers: dict[str, int]
    d_model: dict[str, int]
    parameters: dict[str, int]
    given: dict[str, bool]
    """Whether the weights were given; else the model was trained here."""
    steps: dict[str, int]
    """Optimizer steps taken here; 0: a given model, or one that kept its random weights."""
    learned: dict[str, bool]
    """Whether the weights hold anything learned; no claim is supported where they do not."""
    all_learned: bool
    left_out: dict[str, list[str]]
    """Weights of a given checkpoint that no pass to the probed prediction reads."""
    held_out: str
    held_out_cells: int
    held_out_genes: dict[str, int]
    nats: float
    """Geneformer: cross-entropy of a hidden gene."""
    accuracy: float
    unigram_nats: float
    """The same of a predictor that knows only how frequent each gene is."""
    unigram_accuracy: float
    position_nats: float
    """The same of one that knows how frequent each gene is at each place of the ranked cell."""
    position_accuracy: float
    mse: float
    """scGPT: squared error of a hidden bin."""
    gene_mean_mse: float
    """The same of each gene's mean bin in the training cells."""
    variance: float
    """The same of the mean of all bins."""
    random_part: float | None
    """What no predictor can explain: the variance of a bin over random draws of the ties."""
    untestable: str | None
    """Why nothing can be said of a trained model: all weights are random."""


def run(workspace: Workspace, params: Params) -> ModelNumbers:
    """Write results/model/<family>/: config.json or args.json, model.safetensors, history.csv and
    held_out.parquet (a row per gene of held-out cells, each predicted while it is hidden)."""
    for family in FAMILIES:  # before the other model is trained for nothing
        weights = model_params(params, family).weights
        if weights is not None:
            require_checkpoint(workspace.dataset(weights))
    with atomic_folder(workspace.model) as folder:

        def one(family: str) -> dict[str, Any]:
            return _made(workspace, params, family, folder / family)

        made = dict(zip(FAMILIES, in_processes(one, FAMILIES, "models", unit="model")))
    for family in FAMILIES:
        _kept(workspace, family).unlink(missing_ok=True)

    def of(name: str) -> dict[str, Any]:
        return {family: found[name] for family, found in made.items()}

    random = [family for family, learned in of("learned").items() if not learned]
    return ModelNumbers(
        layers=of("layers"),
        d_model=of("d_model"),
        parameters=of("parameters"),
        given=of("given"),
        steps=of("steps"),
        learned=of("learned"),
        all_learned=not random,
        left_out=of("left_out"),
        held_out=HELD_OUT,
        held_out_cells=made[FAMILIES[0]]["cells"],
        held_out_genes=of("genes"),
        **made["geneformer"]["scores"],
        **made["scgpt"]["scores"],
        untestable=_random_weights(random) if len(random) == len(FAMILIES) else None,
    )


def _made(workspace: Workspace, params: Params, family: str, folder: Path) -> dict[str, Any]:
    """One model: made, measured and written; what the numbers say of it."""
    given = model_params(params, family)
    inputs = load_inputs(workspace, params, family)
    model = start(workspace, params, inputs).to(choose_device(params.device))
    inputs.check(model)
    how = PretrainConfig(
        steps=given.steps if given.weights is None else 0,
        batch=given.batch,
        learning_rate=given.learning_rate,
        mask=given.mask,
    )
    windows = inputs.tokens.windows
    train, held = split_rows(windows, "train"), spread(split_rows(windows, HELD_OUT), MOST)
    encoded, padding = inputs.encoded, inputs.padding
    history = pretrain(
        model,
        how,
        encoded,
        train,
        padding,
        seed=params.seed,
        checkpoint=_kept(workspace, family),
    )
    found = hidden_genes(model, encoded, held, padding, share=given.mask, seed=params.seed)
    folder.mkdir()
    save_model(model, folder)
    columns = ["step", "loss", "rate"]
    write_csv(folder / "history.csv", pd.DataFrame(history, columns=columns))
    write_parquet(folder / "held_out.parquet", found)
    scores = _geneformer_scores if isinstance(model, Geneformer) else _scgpt_scores
    return {
        "layers": model.n_layers,
        "d_model": model.d_model,
        "parameters": sum(p.numel() for p in model.parameters()),
        "given": given.weights is not None,
        "steps": int(history[-1]["step"]) if history else 0,
        "learned": given.weights is not None or bool(history),
        "left_out": list(model.left_out),
        "cells": len(held),
        "genes": len(found),
        "scores": scores(workspace, params, inputs, found, train, held),
    }


def start(workspace: Workspace, params: Params, inputs: CellInputs) -> PostNormModel:
    """The given model of the family that ``inputs`` are encoded for, or a new one of params.yaml
    with random weights."""
    given = model_params(params, inputs.family)
    if given.weights is not None:
        return load_checkpoint(workspace.dataset(given.weights))
    size = (inputs.words, given.layers, given.d_model, given.heads, given.ffn)
    if inputs.family == "geneformer":
        longest = int(inputs.counts.max(initial=1))
        return Geneformer(GeneformerConfig(*size, tokens=longest), params.seed)
    return ScGPT(ScGPTConfig(*size, bins=params.tokens.bins), params.seed)


def _geneformer_scores(
    workspace: Workspace,
    params: Params,
    inputs: CellInputs,
    found: pd.DataFrame,
    train: np.ndarray,
    held: np.ndarray,
) -> dict[str, float]:
    rows = gene_tokens(inputs.encoded, train)
    plain, placed = (guess(rows, found, inputs.words) for guess in (unigram, position_unigram))
    return {
        "nats": float(found.nats.mean()),
        "accuracy": float(found.correct.mean()),
        "unigram_nats": plain.nats,
        "unigram_accuracy": plain.accuracy,
        "position_nats": placed.nats,
        "position_accuracy": placed.accuracy,
    }


def _scgpt_scores(
    workspace: Workspace,
    params: Params,
    inputs: CellInputs,
    found: pd.DataFrame,
    train: np.ndarray,
    held: np.ndarray,
) -> dict[str, float | None]:
    means = bin_baselines(gene_tokens(inputs.encoded, train), found)
    others = range(1, params.tokens.draws)
    draws = [load_inputs(workspace, params, "scgpt", draw).encoded for draw in others]
    return {
        "mse": float(((found.predicted - found.bin).astype(float) ** 2).mean()),
        "gene_mean_mse": means.gene_mean,
        "variance": means.variance,
        "random_part": random_part([inputs.encoded, *draws], held),
    }


def _kept(workspace: Workspace, family: str) -> Path:
    """Where a training that was interrupted goes on from."""
    return workspace.results / "cache" / f"pretrain_{family}.safetensors"


def _random_weights(families: list[str]) -> str:
    names = " and ".join(f"{family}.steps" for family in families)
    return (
        f"the probed models have RANDOM weights ({names} are 0): no claim about Geneformer or "
        f"scGPT, and another random model is no control of them"
    )
