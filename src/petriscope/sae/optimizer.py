"""Adam for a dictionary, half a megabyte at a time: gradient, projection and norm; then update,
renormalise, refresh.

The two passes over blocks of latents keep the working set in cache; the clip of the whole gradient
(arXiv 2406.04093 and dictionary_learning: norm 1) divides each block just before its update, which
then finds it there. (The fused update's own `grad_scale` gives the same bits, more slowly.)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from petriscope.sae.filter import CandidateFilter
from petriscope.sae.step import BatchGradients, Objective, Parameters, weight_blocks

_BLOCK_BYTES = 1 << 19
_GRADIENT_ROWS = 1024  # latents whose gradients are summed at once: a tile of the batch is read once for all of them
_EPSILON = 1e-8


class DictionaryAdam:
    """Adam (arXiv 1412.6980) on `Parameters` with unit decoder rows; changes them, and its own
    moments, in place."""

    def __init__(
        self,
        parameters: Parameters,
        betas: tuple[float, float],
        clip: float,
        train_decoder: bool = True,
    ) -> None:
        self.parameters, self.betas, self.clip, self.train_decoder = (
            parameters,
            betas,
            clip,
            train_decoder,
        )
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
            lr=rate, beta1=self.betas[0], beta2=self.betas[1], weight_decay=0.0, eps=_EPSILON, amsgrad=False,
            maximize=False,
        )  # fmt: skip


def _pieces(whole: slice, rows: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, rows):
        yield slice(start, min(start + rows, whole.stop))
