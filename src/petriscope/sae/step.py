"""Loss and exact gradients of one training batch, with only sparse work after the selection.

Per batch of n tokens, in scaled units with x_c = x − b_dec: L = (1/n) Σ‖e‖² + aux_weight·AuxK, e =
x − ĥ. With G = ∂L/∂ĥ, ∂L/∂z at the kept entries is G·W_dec; the weight gradients are sums of the
rows of G and x_c that a latent fired on. b_dec enters twice: directly (ΣG) and through the encoder
(−W_encᵀ·∂L/∂b_enc).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from petriscope.sae.select import Selection
from petriscope.sae.sparse import (
    column_tiles,
    keep_largest,
    row_sums,
    sampled_product,
    weighted_rows,
    weighted_rows_into,
)


class Parameters(NamedTuple):
    """What is trained, float32."""

    W_enc: torch.Tensor
    """(m, d)"""
    b_enc: torch.Tensor
    """(m)"""
    W_dec: torch.Tensor
    """(m, d), unit rows"""
    b_dec: torch.Tensor
    """(d)"""


class Objective(NamedTuple):
    """What besides the reconstruction is asked for."""

    dead: torch.Tensor
    """int64 indices of the latents AuxK revives, ascending; empty: no AuxK"""
    aux_k: int
    aux_weight: float
    groups: tuple[int, ...] = ()
    """Matryoshka's group sizes; empty: one reconstruction from the whole dictionary"""
    l1: float = 0.0


class AuxGradients(NamedTuple):
    """Gradients of the dead latents' auxiliary loss (already weighted), rows in the order of
    ``Objective.dead``."""

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    loss: float


class BatchGradients(NamedTuple):
    """Everything needed to form weight gradients block by block, and what the step reports."""

    selection: Selection
    x_centred: torch.Tensor
    """(n, d)"""
    pulls: list[tuple[slice, torch.Tensor]]
    """(latents, e (n, d)) for each group of latents, with ∂L/∂ĥ = −2/n·e: one pair unless
    Matryoshka"""
    value_gradients: torch.Tensor
    """∂L/∂z at the selection, order of ``by_latent``"""
    b_enc: torch.Tensor
    b_dec: torch.Tensor
    aux: AuxGradients | None
    loss: float
    squared_error: float
    """Σ‖e‖² over the batch"""
    l0: float
    """active latents per token"""


def batch_gradients(
    parameters: Parameters,
    x: torch.Tensor,
    x_centred: torch.Tensor,
    selection: Selection,
    objective: Objective,
) -> BatchGradients:
    """Forward and backward of one batch. x (n, d) float32 in scaled units, x_centred = x − b_dec.

    Dead latents must not be among the selected ones (they are silent, by definition, in this batch
    too).
    """
    n = len(x)
    residuals = _residuals(parameters, x_centred, selection, objective.groups)
    errors = [_squared(residual) for _, residual in residuals]
    loss = sum(errors) / n
    # Prefix g reconstructs with groups ≤ g, so a latent of group g is pulled by the errors of all
    # prefixes ≥ g.
    pulls = residuals[-1:]
    for latents, error in reversed(residuals[:-1]):
        pulls.insert(0, (latents, pulls[0][1] + error))
    value_gradients = torch.cat(
        [_value_gradients(parameters, selection, *pair) for pair in pulls]
    ).mul_(-2 / n)
    if objective.l1:
        value_gradients += objective.l1 / n
        loss += objective.l1 * float(selection.values.sum()) / n
    b_enc = row_sums(selection.by_latent, value_gradients)
    aux = None
    if len(objective.dead) and objective.aux_weight:
        aux = auxiliary_gradients(parameters, x_centred, residuals[-1][1], objective)
        b_enc[objective.dead] += aux.b_enc
        loss += aux.loss
    b_dec = pulls[0][1].sum(0).mul_(-2 / n) - b_enc @ parameters.W_enc
    l0 = len(selection.values) / n
    return BatchGradients(
        selection, x_centred, pulls, value_gradients, b_enc, b_dec, aux, loss, errors[-1], l0
    )


def _residuals(
    parameters: Parameters, x_centred: torch.Tensor, selection: Selection, groups: tuple[int, ...]
) -> list[tuple[slice, torch.Tensor]]:
    """Residual e of every nested prefix, each with the latents its last group adds."""
    values = selection.values[selection.order]
    if not groups:
        decoded = weighted_rows(selection.by_token, values, parameters.W_dec)
        return [(slice(0, len(parameters.W_dec)), torch.sub(x_centred, decoded, out=decoded))]
    residuals, start, residual = [], 0, x_centred
    for size in groups:
        inside = (selection.by_token.columns >= start) & (selection.by_token.columns < start + size)
        residual = residual - weighted_rows(selection.by_token, values * inside, parameters.W_dec)
        residuals.append((slice(start, start + size), residual))
        start += size
    return residuals


def _squared(error: torch.Tensor) -> float:
    """Σ‖e‖², summed over tokens in float64."""
    return float(torch.linalg.vector_norm(error, dim=1).double().square().sum())


def _value_gradients(
    parameters: Parameters, selection: Selection, latents: slice, pull: torch.Tensor
) -> torch.Tensor:
    part, _ = selection.by_latent.slice(latents.start, latents.stop)
    return sampled_product(part, parameters.W_dec[latents], pull)


def auxiliary_gradients(
    parameters: Parameters, x_centred: torch.Tensor, residual: torch.Tensor, objective: Objective
) -> AuxGradients:
    """AuxK (arXiv 2406.04093, appendix A.2): the aux_k largest dead latents of each token explain
    the residual e.

    Loss = aux_weight · mean‖e − ê‖² / mean‖e − ē‖², with e a constant; all products are on the dead
    rows only.
    """
    n, dead = len(residual), objective.dead
    W_enc, W_dec = parameters.W_enc[dead], parameters.W_dec[dead]
    spread = (_squared(residual) - n * float(residual.mean(0).double().square().sum())) / n
    acts = torch.addmm(parameters.b_enc[dead], x_centred, W_enc.T).clamp_min_(0.0)
    keep_largest(acts, objective.aux_k)
    error = torch.addmm(residual, acts, W_dec, alpha=-1)
    weight = objective.aux_weight / spread if spread > 0 else 0.0
    loss = weight * _squared(error) / n
    pull = error.mul_(-2 * weight / n)
    pulled = pull @ W_dec.T
    act_gradients = torch.ops.aten.threshold_backward.grad_input(
        pulled, acts, 0.0, grad_input=pulled
    )
    return AuxGradients(act_gradients.T @ x_centred, act_gradients.sum(0), acts.T @ pull, loss)


def weight_blocks(
    gradients: BatchGradients,
    objective: Objective,
    rows: int,
    W_enc: torch.Tensor,
    W_dec: torch.Tensor,
) -> Iterator[slice]:
    """Fill W_enc and W_dec (m, d) with their gradients, at most ``rows`` latents at a time; yields
    each filled part."""
    chosen, aux = gradients.selection, gradients.aux
    pulling = chosen.values * (-2 / len(gradients.x_centred))
    inputs = column_tiles(gradients.x_centred)
    for latents, pull in gradients.pulls:
        pulls = column_tiles(pull)
        for start in range(latents.start, latents.stop, rows):
            block = slice(start, min(start + rows, latents.stop))
            part, where = chosen.by_latent.slice(block.start, block.stop)
            weighted_rows_into(W_dec[block], part, pulling[where], pulls)
            weighted_rows_into(W_enc[block], part, gradients.value_gradients[where], inputs)
            if aux is not None:
                edges = objective.dead.new_tensor([block.start, block.stop])
                inside = slice(*torch.searchsorted(objective.dead, edges).tolist())
                W_enc.index_add_(0, objective.dead[inside], aux.W_enc[inside])
                W_dec.index_add_(0, objective.dead[inside], aux.W_dec[inside])
            yield block
