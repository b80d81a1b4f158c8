"""The dictionaries of Hidden State Genomics as published, and the corrected ones beside them.

Published (hsg/sae/{dictionary,train}.py and math/loss.py at 05bb746): a plain ReLU network, whose
decoder columns are of unit length at the start alone. Its loss is the mean over tokens and
dimensions of the squared error plus λ times the mean over tokens of Σz; Adam takes one step per
sequence; λ rises over the first hundred epochs of 256 sequences. The paper (S2) sums over
dimensions, which makes λ another by the factor d. Here the loss is d times theirs.
"""

from __future__ import annotations

import math

from petriscope.sae.config import SAEConfig

ADAM_EPS = 1e-8
EPOCH = 256
"""sequences of an epoch, each a step."""
RISING = 100
"""epochs over which λ rises."""


def published(
    d: int,
    latents: int,
    *,
    penalty: float,
    steps: int,
    rate: float = 1e-4,
    rising: int = RISING,
    epoch: int = EPOCH,
    seed: int = 0,
) -> SAEConfig:
    """The published form, for hidden states of width ``d``.

    Parameters
    ----------
    d, latents : int
        Width and size of the dictionary.
    penalty : float
        λ beside the mean over tokens and dimensions (the authors' 1e-3).
    steps : int
        Sequences seen.
    rate : float
        Of Adam: 1e-4 in the code, 1e-3 in the README.
    rising, epoch : int
        Epochs over which λ rises, and the steps of each.
    seed : int
        Of the initial weights and of the order of sequences; the authors had none.
    """
    return SAEConfig(
        d=d,
        m=latents,
        k=1,  # of no use: every positive latent fires
        variant="relu_l1",
        steps=steps,
        batch=1,
        batch_of="blocks",
        lr=rate,
        warmup=0,
        decay=0,
        aux_weight=0.0,
        dead_after_tokens=10_000_000,
        l1=d * penalty,
        l1_warmup=rising,
        l1_stage=epoch,
        clip=math.inf,
        adam_eps=d * ADAM_EPS,
        start="zero",
        encoder_start="independent",
        unit_decoder=False,
        scale_input=False,
        seed=seed,
    )
