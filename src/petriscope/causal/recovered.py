"""Loss recovered says how much of the model's own masked-accessibility loss survives when the
reconstruction ĥ takes the place of h."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from petriscope.causal.edits import encoded
from petriscope.probe.model import ProbedModel
from petriscope.probe.states import Dictionary, States, predict, predict_edited


class LossRecovered(NamedTuple):
    """Mean Poisson loss on the read (masked) bins under four residual streams at one layer."""

    model: float
    """h untouched"""
    spliced: float
    """ĥ = dec(enc(h)) at every predicted token"""
    zero: float
    """0 there: zero-ablation"""
    mean: float
    """the mean hidden state there: mean-ablation, which leaves only what tells tokens apart to be
    recovered"""

    @property
    def over_zero(self) -> float:
        """(zero − spliced) / (zero − model): 1 where ĥ serves as well as h; NaN where ablation
        costs nothing."""
        return _share(self.zero, self.spliced, self.model)

    @property
    def over_mean(self) -> float:
        """The same from mean-ablation: the stricter of the two where the stream's mean is large."""
        return _share(self.mean, self.spliced, self.model)


def loss_recovered(
    model: ProbedModel, dictionary: Dictionary, states: States, target: np.ndarray, mean: np.ndarray
) -> LossRecovered:
    """Loss of ``states`` (N rows held at one layer) as they are, reconstructed, zeroed, and set to
    the mean.

    target (N, T') unmasked accessibility per bin; mean (d) mean hidden state of predicted tokens.
    Loss recovered as in arXiv 2404.16014 (section 4) and, from mean-ablation, arXiv 2403.19647.
    """
    tokens = states.tokens()
    reconstruction = torch.from_numpy(dictionary.decode(encoded(dictionary, tokens)))
    spliced = predict_edited(model, states, reconstruction.to(tokens.device) - tokens)
    ablated, where = {}, states.where()
    for name, value in (
        ("zero", np.zeros(tokens.shape[1], np.float32)),
        ("mean", np.asarray(mean, np.float32)),
    ):
        hidden = states.hidden.clone()
        hidden[where] = torch.from_numpy(value).to(hidden.device)
        ablated[name] = predict(model, states.layer, hidden)
    losses = [
        masked_poisson(prediction, target, states.read)
        for prediction in (states.prediction, spliced, ablated["zero"], ablated["mean"])
    ]
    return LossRecovered(*losses)


def masked_poisson(prediction: np.ndarray, target: np.ndarray, read: np.ndarray) -> float:
    """Mean of ŷ − y·ln ŷ over read bins, as in pre-training (float64; ŷ below 1e-7 counts as 1e-7).
    All (N, T')."""
    guess = np.maximum(prediction[read].astype(np.float64), 0.0)
    return float(np.mean(guess - target[read].astype(np.float64) * np.log(guess + 1e-7)))


def _share(ablated: float, spliced: float, whole: float) -> float:
    return (ablated - spliced) / (ablated - whole) if ablated > whole else float("nan")
