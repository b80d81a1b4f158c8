"""One training step: exact gradients with only sparse work after the selection, Adam, resampling of
dead latents, and the audit of the selection.

Per batch of n tokens, in scaled units with x_c = x − b_dec: L = (1/n) Σ‖e‖² + aux_weight·AuxK, e =
x − ĥ. With G = ∂L/∂ĥ, ∂L/∂z at the kept entries is G·W_dec; the weight gradients are sums of the
rows of G and x_c that a latent fired on. b_dec enters twice: directly (ΣG) and through the encoder
(−W_encᵀ·∂L/∂b_enc).

Adam goes over the dictionary half a megabyte at a time: gradient, projection and norm; then update,
renormalize, refresh. The two passes over blocks of latents keep the working set in cache; the clip
of the whole gradient (arXiv 2406.04093 and dictionary_learning: norm 1) divides each block just
before its update, which then finds it there. (The fused update's own `grad_scale` gives the same
bits, more slowly.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from petriscope.sae.select import CandidateFilter, Selection
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
    """(m, d), unit rows unless they are free"""
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
    x_centered: torch.Tensor
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
    x_centered: torch.Tensor,
    selection: Selection,
    objective: Objective,
) -> BatchGradients:
    """Forward and backward of one batch. x (n, d) float32 in scaled units, x_centered = x − b_dec.

    Dead latents must not be among the selected ones (they are silent, by definition, in this batch
    too).
    """
    n = len(x)
    residuals = _residuals(parameters, x_centered, selection, objective.groups)
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
        aux = auxiliary_gradients(parameters, x_centered, residuals[-1][1], objective)
        b_enc[objective.dead] += aux.b_enc
        loss += aux.loss
    b_dec = pulls[0][1].sum(0).mul_(-2 / n) - b_enc @ parameters.W_enc
    l0 = len(selection.values) / n
    return BatchGradients(
        selection, x_centered, pulls, value_gradients, b_enc, b_dec, aux, loss, errors[-1], l0
    )


def _residuals(
    parameters: Parameters, x_centered: torch.Tensor, selection: Selection, groups: tuple[int, ...]
) -> list[tuple[slice, torch.Tensor]]:
    """Residual e of every nested prefix, each with the latents its last group adds."""
    values = selection.values[selection.order]
    if not groups:
        decoded = weighted_rows(selection.by_token, values, parameters.W_dec)
        return [(slice(0, len(parameters.W_dec)), torch.sub(x_centered, decoded, out=decoded))]
    residuals, start, residual = [], 0, x_centered
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
    parameters: Parameters, x_centered: torch.Tensor, residual: torch.Tensor, objective: Objective
) -> AuxGradients:
    """AuxK (arXiv 2406.04093, appendix A.2): the aux_k largest dead latents of each token explain
    the residual e.

    Loss = aux_weight · mean‖e − ê‖² / mean‖e − ē‖², with e a constant; all products are on the dead
    rows only.
    """
    n, dead = len(residual), objective.dead
    W_enc, W_dec = parameters.W_enc[dead], parameters.W_dec[dead]
    spread = (_squared(residual) - n * float(residual.mean(0).double().square().sum())) / n
    acts = torch.addmm(parameters.b_enc[dead], x_centered, W_enc.T).clamp_min_(0.0)
    keep_largest(acts, objective.aux_k)
    error = torch.addmm(residual, acts, W_dec, alpha=-1)
    weight = objective.aux_weight / spread if spread > 0 else 0.0
    loss = weight * _squared(error) / n
    pull = error.mul_(-2 * weight / n)
    pulled = pull @ W_dec.T
    act_gradients = torch.ops.aten.threshold_backward.grad_input(
        pulled, acts, 0.0, grad_input=pulled
    )
    return AuxGradients(act_gradients.T @ x_centered, act_gradients.sum(0), acts.T @ pull, loss)


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
    pulling = chosen.values * (-2 / len(gradients.x_centered))
    inputs = column_tiles(gradients.x_centered)
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


_BLOCK_BYTES = 1 << 19
# latents whose gradients are summed at once: a tile of the batch is read once for all of them
_GRADIENT_ROWS = 1024


class DictionaryAdam:
    """Adam (arXiv 1412.6980) on `Parameters` with unit decoder rows, or free ones; changes them,
    and its own moments, in place."""

    def __init__(
        self,
        parameters: Parameters,
        betas: tuple[float, float],
        clip: float,
        train_decoder: bool = True,
        unit_decoder: bool = True,
        eps: float = 1e-8,
    ) -> None:
        self.parameters, self.betas, self.clip, self.train_decoder = (
            parameters,
            betas,
            clip,
            train_decoder,
        )
        self.unit_decoder, self.eps = unit_decoder, eps
        self.first = Parameters(*(torch.zeros_like(item) for item in parameters))
        self.second = Parameters(*(torch.zeros_like(item) for item in parameters))
        self.steps = 0
        self._gradient_enc = torch.zeros_like(parameters.W_enc)
        self._gradient_dec = torch.zeros_like(parameters.W_dec)
        self._block = max(1, _BLOCK_BYTES // (4 * parameters.W_enc.shape[1]))

    def step(
        self, gradients: BatchGradients, objective: Objective, rate: float, filter_: CandidateFilter
    ) -> float:
        """One update at learning rate ``rate``; the filter follows. Returns the gradient's norm
        before the clip."""
        W_dec = self.parameters.W_dec
        squares = float(gradients.b_enc.square().sum() + gradients.b_dec.square().sum())
        many = self._block * max(1, _GRADIENT_ROWS // self._block)
        for filled in weight_blocks(
            gradients, objective, many, self._gradient_enc, self._gradient_dec
        ):
            for latents in _pieces(filled, self._block):
                if self.train_decoder:
                    rows, gradient = W_dec[latents], self._gradient_dec[latents]
                    if self.unit_decoder:
                        gradient.addcmul_(rows, (gradient * rows).sum(1, keepdim=True), value=-1)
                    squares += float(torch.linalg.vector_norm(gradient) ** 2)
                squares += float(torch.linalg.vector_norm(self._gradient_enc[latents]) ** 2)
        norm = squares**0.5
        self.steps += 1
        steps = W_dec.new_tensor(float(self.steps))
        divisor = W_dec.new_tensor((norm + 1e-6) / self.clip) if norm + 1e-6 > self.clip else None
        for latents in _pieces(slice(0, len(W_dec)), self._block):
            self._update("W_enc", latents, self._gradient_enc[latents], rate, divisor, steps)
            self._update("b_enc", latents, gradients.b_enc[latents], rate, divisor, steps)
            if self.train_decoder:
                self._update("W_dec", latents, self._gradient_dec[latents], rate, divisor, steps)
            if self.train_decoder and self.unit_decoder:
                rows = W_dec[latents]
                rows /= (
                    torch.linalg.vector_norm(rows, dim=1, keepdim=True)
                    + torch.finfo(rows.dtype).eps
                )
            filter_.refresh(latents.start, latents.stop)
        self._update("b_dec", slice(None), gradients.b_dec, rate, divisor, steps)
        return norm

    def _update(
        self,
        name: str,
        part: slice,
        gradient: torch.Tensor,
        rate: float,
        divisor: torch.Tensor | None,
        steps: torch.Tensor,
    ) -> None:
        if divisor is not None:
            gradient.div_(divisor)
        tensors = [
            getattr(group, name)[part] for group in (self.parameters, self.first, self.second)
        ]
        torch._fused_adam_(
            [tensors[0]], [gradient], [tensors[1]], [tensors[2]], [], [steps],
            lr=rate, beta1=self.betas[0], beta2=self.betas[1], weight_decay=0.0, eps=self.eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip


def _pieces(whole: slice, rows: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, rows):
        yield slice(start, min(start + rows, whole.stop))


_ENCODER_SHARE = 0.2  # of the mean encoder norm of live latents, as published


def resample(
    adam: DictionaryAdam,
    dead: torch.Tensor,
    centered: torch.Tensor,
    residual: torch.Tensor,
    seed: tuple[int, int],
) -> None:
    """Turn each latent of ``dead`` (int64) to an input drawn with probability ∝ (its loss)², in
    place.

    centered and residual (n, d): the batch, centered, and what its reconstruction misses. The
    decoder row becomes the input's direction, the encoder row the same at a fifth of the mean norm
    of live encoder rows, the bias 0; Adam's moments start anew. ``seed`` is (run's seed, step), so
    a resumed run draws the same inputs.
    """
    parameters = adam.parameters
    alive = torch.ones(len(parameters.W_enc), dtype=torch.bool, device=dead.device)
    alive[dead] = False
    if not len(dead) or not bool(alive.any()):
        return
    weight = residual.double().square().sum(1).square().cpu()
    if not float(weight.sum()) > 0:
        return
    rng = torch.Generator().manual_seed(seed[0] * 1_000_003 + seed[1])
    drawn = torch.multinomial(
        weight, len(dead), replacement=len(dead) > int((weight > 0).sum()), generator=rng
    )
    rows = torch.nn.functional.normalize(centered[drawn.to(centered.device)], dim=1)
    length = torch.linalg.vector_norm(parameters.W_enc[alive], dim=1).mean()
    parameters.W_dec[dead] = rows
    parameters.W_enc[dead] = rows * (_ENCODER_SHARE * length)
    parameters.b_enc[dead] = 0.0
    for moments in (adam.first, adam.second):
        for name in ("W_enc", "W_dec", "b_enc"):
            getattr(moments, name)[dead] = 0.0


class SelectionCheck(NamedTuple):
    """Latents of the audited rows that a dense product decides otherwise; entries within rounding
    are not counted."""

    rows: int
    missed: int
    """above the border, yet not kept"""
    surplus: int
    """kept, yet below the border"""


def check_selection(
    selection: Selection,
    centered: torch.Tensor,
    parameters: Parameters,
    rows: torch.Tensor,
    per_row: int | None,
) -> SelectionCheck:
    """Audit ``rows`` (int64) of a batch centered (n, d) float32.

    The border is each row's own ``per_row``-th largest value (TopK), or else the batch's smallest
    kept value if any entry was left out for it (BatchTopK; 0 for ReLU). Rounding:
    d·2⁻²³·‖x‖·max‖w‖, the bound of float32 accumulation.
    """
    x, W_enc = centered[rows].double(), parameters.W_enc.double()
    dense = x @ W_enc.T + parameters.b_enc.double()
    if per_row is None:
        border = torch.full(
            (len(rows), 1), selection.smallest, dtype=torch.float64, device=x.device
        )
    else:
        border = dense.topk(per_row, dim=1).values[:, -1:].clamp_min(0.0)
    kept = torch.zeros_like(dense, dtype=torch.bool)
    indptr, columns = selection.by_token.indptr, selection.by_token.columns
    for at, row in enumerate(rows.tolist()):
        kept[at, columns[int(indptr[row]) : int(indptr[row + 1])].long()] = True
    rounding = torch.linalg.vector_norm(x, dim=1, keepdim=True) * (x.shape[1] * 2.0**-23)
    rounding = rounding * torch.linalg.vector_norm(W_enc, dim=1).max() + 1e-6 * border
    missed = (dense > border + rounding) & ~kept
    surplus = (dense < border - rounding) & kept
    return SelectionCheck(len(rows), int(missed.sum()), int(surplus.sum()))
