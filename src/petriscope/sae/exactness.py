"""Exactness while training: what the filter kept of a few rows of a batch, against their dense
float64 products."""

from __future__ import annotations

from typing import NamedTuple

import torch

from petriscope.sae.select import Selection
from petriscope.sae.step import Parameters


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
    centred: torch.Tensor,
    parameters: Parameters,
    rows: torch.Tensor,
    per_row: int | None,
) -> SelectionCheck:
    """Audit ``rows`` (int64) of a batch centred (n, d) float32.

    The border is each row's own ``per_row``-th largest value (TopK), or else the batch's smallest
    kept value if any entry was left out for it (BatchTopK; 0 for ReLU). Rounding:
    d·2⁻²³·‖x‖·max‖w‖, the bound of float32 accumulation.
    """
    x, W_enc = centred[rows].double(), parameters.W_enc.double()
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
