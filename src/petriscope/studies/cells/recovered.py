"""What a model loses when a dictionary's reconstruction takes the place of its stream: the loss of
hidden genes of held-out cells, as it is, spliced, and with the stream ablated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.causal.edits import LossRecovered
from petriscope.device import choose_device
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread
from petriscope.probe.model import device_of, to_device
from petriscope.probe.states import Dictionary
from petriscope.probe.tokens import split_rows
from petriscope.run.workspace import Workspace
from petriscope.sae.sweep import Key
from petriscope.sae.train import TrainResult
from petriscope.studies.cells.inputs import CellInputs, load_inputs, load_model, model_params
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.postnorm import PostNormModel
from petriscope.studies.cells.model.pretrain import hidden_batch
from petriscope.studies.cells.params import Params

SPLIT, MOST = "select", 32
"""The split whose cells are read, and how many of them at most."""


class Hidden(NamedTuple):
    """Cells of which some genes are hidden, held at one layer."""

    batch: CellBatch
    at: Tensor
    """bool (B, T): the genes that are hidden and read"""
    wanted: Tensor
    """(B, T) what is there: token ids int64, or bins float32"""
    stream: Tensor
    """(B, T, d)"""


def recovered_losses(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> dict[Key, dict[str, float]]:
    """Loss recovered by every dictionary of the probed model, on cells of the split select."""
    model = load_model(workspace, params.family, choose_device(params.device))
    inputs = load_inputs(workspace, params, params.family)
    return recovered_by(model, inputs, params, trained)


def recovered_by(
    model: PostNormModel, inputs: CellInputs, params: Params, trained: Mapping[Key, TrainResult]
) -> dict[Key, dict[str, float]]:
    """The same of any model and its dictionaries: columns of the quality table."""
    cells = spread(split_rows(inputs.tokens.windows, SPLIT), MOST)
    share, device = model_params(params, model.family).mask, str(device_of(model))

    def one(layer: int) -> dict[Key, dict[str, float]]:
        held = hold(model, inputs, cells, layer, share, params.seed)
        found = {}
        for key, result in trained.items():
            if key[0] == layer:
                losses = loss_recovered(model, layer, held, result.sae.to(device))
                found[key] = {f"loss_{name}": value for name, value in losses._asdict().items()}
                found[key]["loss_recovered"] = losses.over_zero
                found[key]["loss_recovered_over_mean"] = losses.over_mean
        return found

    layers = sorted({layer for layer, _ in trained})
    parts = in_processes(one, layers, "loss recovered", unit="layer")
    return {key: losses for part in parts for key, losses in part.items()}


@torch.inference_mode()
def hold(
    model: PostNormModel,
    inputs: CellInputs,
    cells: np.ndarray,
    layer: int,
    share: float,
    seed: int,
) -> list[Hidden]:
    """Some cells at ``layer`` with ``share`` of the genes of each hidden, drawn from ``seed``."""
    held = []
    for group in inputs.together(cells.tolist()):
        chosen = cells[group]
        rng = np.random.default_rng([seed, 4, int(chosen[0])])
        masked = hidden_batch(model, inputs.encoded, chosen, inputs.padding, rng, share)
        shown, at, wanted = to_device(masked, device_of(model))
        full = wanted.new_zeros(at.shape)
        full[at] = wanted
        held.append(Hidden(shown, at, full, model.streams(shown, [layer])[layer]))
    return held


@torch.inference_mode()
def loss_recovered(
    model: PostNormModel, layer: int, held: Sequence[Hidden], dictionary: Dictionary
) -> LossRecovered:
    """Mean loss of the hidden genes (nats, or squared bins) with every token's stream at ``layer``
    as it is, reconstructed, zeroed, and set to the mean of these tokens."""
    mean = torch.cat([part.stream[part.batch.mask] for part in held]).mean(0)

    def spliced(tokens: Tensor) -> Tensor:
        rebuilt = dictionary.decode(dictionary.encode(tokens))
        return torch.from_numpy(np.asarray(rebuilt, np.float32)).to(tokens.device)

    ways: list[Callable[[Tensor], Tensor]] = [
        lambda tokens: tokens,
        spliced,
        torch.zeros_like,
        mean.expand_as,
    ]
    return LossRecovered(*(_loss(model, layer, held, way) for way in ways))


def _loss(
    model: PostNormModel, layer: int, held: Sequence[Hidden], changed: Callable[[Tensor], Tensor]
) -> float:
    losses = []
    for part in held:
        stream, mask = part.stream.clone(), part.batch.mask
        stream[mask] = changed(stream[mask])
        ranks = part.batch.values is None
        true = torch.where(part.at, part.wanted if ranks else part.batch.ids, -1)
        found = model.readout(part.batch, true, resume=(layer, stream))[part.at]
        losses.append(-found if ranks else (found - part.wanted[part.at]) ** 2)
    return float(torch.cat(losses).double().mean())
