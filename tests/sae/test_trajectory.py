"""A hundred training steps against the `dictionary_learning` package: same start, same batches,
same weights after.

Install it to run this: pip install dictionary-learning==0.1.0
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from petriscope.sae.config import SAEConfig
from petriscope.sae.step import Parameters
from petriscope.sae.train import Run

pytest.importorskip("dictionary_learning", reason="pip install dictionary-learning==0.1.0")

D, M, K, BATCH, STEPS = 32, 128, 6, 64, 100


def batches() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    factors = torch.randn(60, D, generator=rng)
    found = []
    for _ in range(STEPS):
        active = (torch.rand(BATCH, 60, generator=rng) < 0.06) * torch.rand(
            BATCH, 60, generator=rng
        )
        found.append(active @ factors + 0.05 * torch.randn(BATCH, D, generator=rng))
    return found


@pytest.mark.parametrize("variant", ["batchtopk", "topk"])
@pytest.mark.parametrize("dead_after", [10_000_000, 256], ids=["all alive", "AuxK at work"])
def test_hundred_steps(variant: str, dead_after: int) -> None:
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    make = BatchTopKTrainer if variant == "batchtopk" else TopKTrainer
    theirs = make(
        steps=STEPS, activation_dim=D, dict_size=M, k=K, layer=0, lm_name="none", lr=1e-3, warmup_steps=10,
        decay_start=60, threshold_beta=0.9, threshold_start_step=20, seed=0, device="cpu",
    )  # fmt: skip
    theirs.dead_feature_threshold = dead_after
    data = batches()
    theirs.ae.b_dec.data = BatchTopKTrainer.geometric_median(data[0])
    start = Parameters(
        theirs.ae.encoder.weight.data.clone(),
        theirs.ae.encoder.bias.data.clone(),
        theirs.ae.decoder.weight.data.T.clone().contiguous(),
        theirs.ae.b_dec.data.clone(),
    )
    config = SAEConfig(
        d=D, m=M, k=K, variant=variant, steps=STEPS, batch=BATCH, lr=1e-3, warmup=10, decay=40, threshold_beta=0.9,
        threshold_start=20, dead_after_tokens=dead_after, aux_weight=1 / 32, aux_units="squared_error",
    ).resolved()  # fmt: skip
    ours = Run(config, start, scale=1.0, variance=1.0)
    most_dead = 0
    for step, x in enumerate(data):
        theirs.update(step, x.clone())
        ours.advance(x.clone())
        most_dead = max(most_dead, theirs.dead_features)
    assert (most_dead > 0) == (dead_after == 256)
    pairs = {
        "W_enc": theirs.ae.encoder.weight.data,
        "b_enc": theirs.ae.encoder.bias.data,
        "W_dec": theirs.ae.decoder.weight.data.T,
        "b_dec": theirs.ae.b_dec.data,
    }
    for name, expected in pairs.items():
        difference = float((getattr(ours.parameters, name) - expected).abs().max())
        assert difference < 1e-5, (name, difference)
    if variant == "batchtopk":
        assert ours.threshold == pytest.approx(float(theirs.ae.threshold), rel=1e-5)
    assert np.array_equal(ours.silent.numpy(), theirs.num_tokens_since_fired.numpy())
