"""The authors' autoencoder, its loss, gradients and first steps, computed again by ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.sae.coder import SAE
from petriscope.sae.loader import TokenSource
from petriscope.sae.select import CandidateFilter, above_threshold
from petriscope.sae.step import Objective, Parameters, batch_gradients, weight_blocks
from petriscope.sae.train import Run
from petriscope.studies.dna.dictionaries import published

RELATIVE = 1e-5
"""of the largest absolute value of the array."""
AFTER = 1e-6
"""absolute, of the weights after the steps."""
NAMES = ("encoder.weight", "encoder.bias", "decoder.weight", "bias")
"""Theirs, in the order of ours."""


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each array of the fixture beside ours: the largest error relative to the largest value, of
    the weights after the steps absolute. Their loss is ours over d."""
    settings = json.loads(str(entries["config"]))
    x = torch.from_numpy(np.asarray(entries["x"], np.float32))
    d, penalty = x.shape[1], float(settings["l1_penalty"])
    latents, steps = int(settings["dict_size"]), int(settings["steps"])
    # in the fixture each of the steps is an epoch
    config = published(
        d, latents, penalty=penalty, steps=steps, rate=settings["learning_rate"], epoch=1
    ).resolved()
    given = _weights(entries, "w.")
    coder = SAE(config, *given, scale=1.0, threshold=0.0)
    codes = coder.encode(x)
    z = codes.values.astype(np.float64)
    found: dict[str, Any] = {"x_hat": coder.decode(codes), "latents": codes.dense()}
    full, loss = _gradients(given, x, d * penalty)
    summed = _gradients(given, x, penalty)[1]
    found |= {
        "loss": loss / d,
        "mse": np.square(x.numpy().astype(np.float64) - found["x_hat"]).mean(),
        "l1": z.sum() / len(x),
        "l0": len(z) / len(x),
        "loss_as_written_in_S2": summed,
    }
    found |= {f"g.{name}": part / d for name, part in _theirs(full).items()}
    first = Run.started(config, TokenSource(x.numpy())).parameters.W_dec
    found["fresh_decoder_column_norm"] = torch.linalg.vector_norm(first, dim=1).numpy()
    run = Run(config, Parameters(*(part.clone() for part in given)), 1.0, 1.0)
    for _ in range(steps):
        run.advance(x)
    found["train_loss_mse"] = np.array(run.pending)[:, :2] / d
    compared = [Compared(name, _relative(ours, entries[name]), RELATIVE)
                for name, ours in found.items()]  # fmt: skip
    after = {f"after{steps}.{name}": part for name, part in _theirs(run.parameters).items()}
    return compared + [
        Compared(name, worst(part, entries[name]), AFTER) for name, part in after.items()
    ]


def _gradients(given: Parameters, x: torch.Tensor, l1: float) -> tuple[Parameters, float]:
    """Gradients of Σ‖e‖²/n + l1·Σz/n, and its value."""
    centered = x - given.b_dec
    chosen = above_threshold(CandidateFilter(given.W_enc, given.b_enc, "float32"), centered, 0.0)
    objective = Objective(torch.zeros(0, dtype=torch.long), 1, 0.0, l1=l1)
    found = batch_gradients(given, x, centered, chosen, objective)
    W_enc, W_dec = torch.zeros_like(given.W_enc), torch.zeros_like(given.W_dec)
    for _ in weight_blocks(found, objective, len(W_enc), W_enc, W_dec):
        pass
    return Parameters(W_enc, found.b_enc, W_dec, found.b_dec), found.loss


def _weights(entries: Mapping[str, Any], prefix: str) -> Parameters:
    """Weights of the fixture in our layout."""
    found = (torch.from_numpy(np.asarray(entries[prefix + name], np.float32)) for name in NAMES)
    W_enc, b_enc, W_dec, b_dec = found
    return Parameters(W_enc, b_enc, W_dec.T.contiguous(), b_dec)


def _theirs(parameters: Parameters) -> dict[str, np.ndarray]:
    """By their names, in their layout."""
    arrays = [part.numpy() for part in parameters._replace(W_dec=parameters.W_dec.T)]
    return dict(zip(NAMES, arrays, strict=True))


def _relative(ours: Any, wanted: Any) -> float:
    return worst(ours, wanted) / max(float(np.abs(wanted).max(initial=0.0)), 1e-30)


KINDS = (
    FixtureKind(
        name="autoencoder",
        source="AutoEncoder, mse_reconstruction_loss and train() of Hidden-State-Genomics",
        holds=frozenset({"config", "x", "x_hat", "latents", "loss_as_written_in_S2"}),
        compare=compare,
    ),
)
