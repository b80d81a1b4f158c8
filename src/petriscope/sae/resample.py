"""Resampling of dead latents (Bricken et al. 2023, Towards Monosemanticity, "Neuron Resampling"):
AuxK's predecessor."""

from __future__ import annotations

import torch

from petriscope.sae.optimizer import DictionaryAdam

_ENCODER_SHARE = 0.2  # of the mean encoder norm of live latents, as published


def resample(
    adam: DictionaryAdam,
    dead: torch.Tensor,
    centred: torch.Tensor,
    residual: torch.Tensor,
    seed: tuple[int, int],
) -> None:
    """Turn each latent of ``dead`` (int64) to an input drawn with probability ∝ (its loss)², in
    place.

    centred and residual (n, d): the batch, centred, and what its reconstruction misses. The decoder
    row becomes the input's direction, the encoder row the same at a fifth of the mean norm of live
    encoder rows, the bias 0; Adam's moments start anew. ``seed`` is (run's seed, step), so a
    resumed run draws the same inputs.
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
    rows = torch.nn.functional.normalize(centred[drawn.to(centred.device)], dim=1)
    length = torch.linalg.vector_norm(parameters.W_enc[alive], dim=1).mean()
    parameters.W_dec[dead] = rows
    parameters.W_enc[dead] = rows * (_ENCODER_SHARE * length)
    parameters.b_enc[dead] = 0.0
    for moments in (adam.first, adam.second):
        for name in ("W_enc", "W_dec", "b_enc"):
            getattr(moments, name)[dead] = 0.0
