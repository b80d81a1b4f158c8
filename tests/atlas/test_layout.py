"""Reference: scikit-learn's PCA of the same matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from petriscope.atlas.layout import DECIMALS, layout, signed


def aligned(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return theirs * np.sign((ours * theirs).sum(0))


@pytest.mark.parametrize("units", [2, 5])
def test_activations_give_the_components_of_ranks(units: int) -> None:
    rng = np.random.default_rng(units)
    values = rng.lognormal(0, 2, (40, units)) * rng.lognormal(0, 1, (40, 1))
    values[rng.random(values.shape) < 0.2] = 0
    layer, feature = np.repeat([0, 3], 20), np.tile(np.arange(20) * 2, 2)
    frame = pd.concat(
        pd.DataFrame({"layer": layer, "feature": feature, "unit": f"u{i}", "mean": values[:, i]})
        for i in range(units)
    )
    found = layout(frame.sample(frac=1, random_state=0))
    assert found is not None
    assert found.places[["layer", "feature"]].values.tolist() == [*map(list, zip(layer, feature))]
    pca = PCA(2).fit(z := StandardScaler().fit_transform(rankdata(values, axis=0)))
    ours = found.places[["x", "y"]].to_numpy()
    np.testing.assert_allclose(ours, aligned(ours, pca.transform(z)), atol=10**-DECIMALS)
    shares = found.made[["share_x", "share_y"]].to_numpy()[0]
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, atol=10**-DECIMALS)
    assert f"over {units} units" in found.made.method[0]


def test_gene_lists_give_the_components_of_the_filled_matrix() -> None:
    rng = np.random.default_rng(1)
    rows = [
        (layer, feature, f"g{gene:02}")
        for layer in (0, 100)
        for feature in range(25)
        for gene in rng.choice(np.arange(30) // (1 + feature % 2), 6, replace=False)
    ]
    lists = pd.DataFrame(rows, columns=["layer", "feature", "gene"])
    filled = pd.crosstab([lists.layer, lists.feature], lists.gene).clip(upper=1)
    nothing = pd.DataFrame({"layer": [0], "feature": [0], "unit": "one", "mean": 1.0})
    found = layout(nothing, lists)
    assert found is not None
    places = found.places[["layer", "feature"]]
    assert places.values.tolist() == [[k, f] for k in (0, 100) for f in range(25)]
    pca = PCA(2, svd_solver="full").fit(filled.to_numpy(float))
    ours = found.places[["x", "y"]].to_numpy()
    theirs = pca.transform(filled.to_numpy(float))
    np.testing.assert_allclose(ours, aligned(ours, theirs), atol=10**-DECIMALS)
    shares = found.made[["share_x", "share_y"]].to_numpy()[0]
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, atol=10**-DECIMALS)
    again = layout(None, lists.sample(frac=1, random_state=1))
    assert again is not None and again.places.equals(found.places)


def test_the_sign_is_fixed_by_the_largest_loading() -> None:
    axes = np.array([[0.1, 0.6], [-0.8, -0.6], [0.5, 0.2]])
    np.testing.assert_array_equal(signed(axes), axes * [-1, 1])
    np.testing.assert_array_equal(signed(-axes), signed(axes))


def test_no_map_where_nothing_is_known() -> None:
    assert layout(None) is None
    assert layout(pd.DataFrame({"layer": [0], "feature": [0], "unit": "one", "mean": 1.0})) is None


def test_units_that_say_nothing_leave_all_in_one_place() -> None:
    frame = pd.DataFrame(
        {"layer": 0, "feature": [0, 1, 2] * 2, "unit": ["a"] * 3 + ["b"] * 3, "mean": 1.0}
    )
    found = layout(frame)
    assert found is not None and not found.places[["x", "y"]].to_numpy().any()
