"""The intervention fixture computed again. Reference: the authors' CNNHead, AutoEncoder and
intervention.test, run unchanged (hsg_intervention.npz)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna.parity.intervention import KINDS, TOLERANCE

(KIND,) = KINDS
ARRAYS = {
    *("hidden_itself", "hidden_itself_unpadded", "reconstruction_with_bias"),
    *("reconstruction_without_bias", "published_embeddings_baseline", "published_embeddings"),
    *("published_features_baseline", "published_features", "grid_with_bias"),
    *("grid_error_preserving", "suppress_one", "suppress_one_unpadded", "clamp_one_10"),
    *("scale_one_10", "norm_matched_random", "firing_rate"),
}


@pytest.fixture(scope="module")
def fixture(shared: Path) -> Path:
    return shared / "golden" / "hsg_intervention.npz"


def test_every_array_is_computed_again(fixture: Path) -> None:
    entries = read_fixture(fixture)
    assert set(entries) >= KIND.holds
    found = {c.array: c for c in KIND.compare(fixture, entries)}
    assert set(found) == ARRAYS
    assert {c.array: c.error for c in found.values() if not c.error <= c.allowed} == {}


@pytest.mark.parametrize(
    "name", ["cnn_embeddings.conv2.weight", "sae.bias", "cnn_features.conv1.bias", "suppress_one"]
)
def test_a_damaged_fixture_fails(fixture: Path, name: str) -> None:
    entries = read_fixture(fixture)
    entries[name] = entries[name] + np.float32(0.05)
    worst = max(c.error / c.allowed for c in KIND.compare(fixture, entries))
    assert worst > 1


def test_what_each_defect_does(fixture: Path) -> None:
    # design section 15, rows 14 and 15: padding, the dropped bias and the dropped error all matter
    entries = read_fixture(fixture)
    padded, bare = entries["hidden_itself"], entries["hidden_itself_unpadded"]
    assert np.abs(padded - bare).max() > 100 * TOLERANCE
    without, with_bias = entries["published_embeddings"], entries["grid_with_bias"]
    assert np.abs(without - with_bias).max() > 100 * TOLERANCE
    assert np.abs(with_bias - entries["grid_error_preserving"]).max() > 100 * TOLERANCE
