"""Matching of dictionaries against permuted copies, whose matches are known, and random directions
against theory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sae.test_coder import M, make_sae

from petriscope.errors import UserError
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import chance_stability, stability, stability_tables


def permuted(sae: SAE, order: np.ndarray, encoder: float = 1.0) -> SAE:
    return SAE(
        sae.config,
        encoder * sae.W_enc[order],
        sae.b_enc[order],
        sae.W_dec[order],
        sae.b_dec,
        sae.scale,
        0.0,
    )


def test_a_permuted_dictionary_is_matched_back() -> None:
    sae, order = make_sae(), np.random.default_rng(0).permutation(M)
    found = stability(sae, permuted(sae, order))
    assert np.array_equal(order[found.match], np.arange(M))
    assert np.minimum(found.decoder_cosine, found.encoder_cosine).min() > 0.999
    turned = permuted(sae, np.arange(M), encoder=-1.0)  # the decoder agrees, the encoder does not
    opposed = stability(sae, turned)
    assert np.minimum(opposed.decoder_cosine, opposed.encoder_cosine).max() < 0.7


def test_tables_hold_every_feature_and_seed() -> None:
    sae, order = make_sae(), np.random.default_rng(1).permutation(M)
    other = make_sae()
    half = other.W_dec.clone()
    half[::2] = torch.randn(half[::2].shape, generator=torch.Generator().manual_seed(5))
    changed = SAE(other.config, other.W_enc, other.b_enc, half, other.b_dec, other.scale, 0.0)
    tables = stability_tables({0: sae, 4: permuted(sae, order), 9: changed})
    assert list(tables.matches.columns) == [
        "feature",
        "seed",
        "match",
        "decoder_cosine",
        "encoder_cosine",
    ]
    assert len(tables.matches) == 2 * M
    of_four = tables.matches[tables.matches.seed == 4].set_index("feature")
    np.testing.assert_allclose(of_four.decoder_cosine, 1.0, atol=1e-6)
    of_nine = tables.matches[tables.matches.seed == 9].set_index("feature")
    mean = (of_four.decoder_cosine + of_nine.decoder_cosine) / 2
    np.testing.assert_allclose(tables.features.stability, mean)
    np.testing.assert_allclose(tables.features.stability[1::2], 1.0, atol=1e-6)
    assert tables.features.stability[::2].max() < 0.9
    alone = stability_tables({0: sae})
    assert alone.features.stability.isna().all()
    assert isinstance(alone.matches, pd.DataFrame)
    assert alone.matches.empty


def test_chance_is_that_of_random_directions() -> None:
    one_to_one = chance_stability(64, 4096)
    assert one_to_one == pytest.approx(
        2.5 / 4096**0.5, rel=0.3
    )  # about the largest of 64 normal deviates
    assert chance_stability(64, 8) > 0.5 > one_to_one


def test_dictionaries_of_two_layers_are_refused() -> None:
    other = make_sae()
    wide = SAE(
        SAEConfig(d=5, m=M, k=1), *(torch.ones(s) for s in ((M, 5), (M,), (M, 5), (5,))), 1.0, 0.0
    )
    with pytest.raises(UserError, match=r"dictionaries are \d+ and 5 wide"):
        stability(other, wide)
