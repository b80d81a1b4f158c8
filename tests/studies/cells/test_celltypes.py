"""Cell types as published against the authors' output (bio_sae_methods), the donors' test against a
plain t where nothing is shrunk, and worlds in which donors or cell types make the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells_golden_methods import arrays, codes, results
from scipy import stats

from petriscope.studies.cells.celltypes import (
    Groups,
    cell_sums,
    groups,
    mean_when_active,
    permuted_shares,
    published_celltypes,
    share_found,
    type_table,
    type_tests,
    why_not,
)

NAMES = {"type": "ct", "p": "p_raw", "odds_ratio": "or", "q": "p_adj"}


def test_the_published_types_and_tissues_are_the_authors(shared: Path) -> None:
    wanted = results(shared)["celltypes_1"]
    cell = arrays(shared)["cell_ids"].astype(np.int64)
    means = mean_when_active(*cell_sums(codes(shared, 1), cell, 60))
    for labels, least, key in (("types", 3, "cell_types"), ("tissues", 1, "tissues")):
        found = published_celltypes(
            *(means, np.array(wanted[labels])),
            least=least,
            all_types=key == "tissues",
            alpha=0.05,
        )
        assert len(found.features) == wanted["n_tested"]
        active = {int(f): one["n_active_cells"] for f, one in wanted["features"].items()}
        assert dict(zip(found.features.feature, found.features.active)) == active
        theirs = [
            {"feature": int(f), **row} for f, one in wanted["features"].items() for row in one[key]
        ]
        assert len(found.found) == len(theirs)
        mine = found.found.rename(columns=NAMES).to_dict("records")
        for own, row in zip(mine, sorted(theirs, key=lambda r: (r["feature"], r["p_adj"]))):
            for name, value in row.items():
                own_name = "ct" if name == "t" else name
                expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-12)
                assert own[own_name] == expected, (row, own)
    assert any(one["cell_types"] for one in wanted["features"].values())


def test_fisher_is_scipys_where_many_are_found() -> None:
    rng = np.random.default_rng(0)
    types = rng.choice(["T", "B", "NK", "rare"], 200, p=[0.5, 0.3, 0.19, 0.01])
    means = rng.random((200, 8)) * (rng.random((200, 8)) < 0.6)
    means[:, 0] += (types == "T") * 2.0
    means[:, 1] = 0
    means[:12, 1] = 1.0
    found = published_celltypes(means, types, alpha=0.05)
    row = found.found[(found.found.feature == 0)].iloc[0]
    top = means[:, 0] >= np.sort(means[:, 0])[-20]
    both = [[(top & (types == "T")).sum(), (top & (types != "T")).sum()]]
    both += [[(~top & (types == "T")).sum(), (~top & (types != "T")).sum()]]
    assert row.type == "T" and row.p == pytest.approx(
        stats.fisher_exact(both, alternative="greater")[1], rel=1e-12
    )
    assert found.features.set_index("feature").top[1] == 12  # all cells in which it fires


def world(
    rng: np.random.Generator, donors: int = 5, features: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Feature 0 marks type T in every donor; 1 is a donor's own, in a donor rich in T; 2 marks T in
    one donor alone. Cells of a donor and type share their own deviation. Returns sums, tokens,
    donor, type."""
    donor, kind, rows = [], [], []
    for d in range(donors):
        for t, name in enumerate("TBMN"):
            own = rng.normal(0, 0.15, features)
            cells = 300 if d == 0 and t == 0 else 20
            mean = np.full(features, 1.0) + own
            mean[0] += 1.5 * (name == "T")
            mean[1] += 3.0 * (d == 0)
            mean[2] += 3.0 * (d == 0 and name == "T")
            rows.append(mean + rng.normal(0, 0.3, (cells, features)))
            donor += [f"d{d}"] * cells
            kind += [name] * cells
    means = np.maximum(np.concatenate(rows), 0)
    tokens = rng.integers(60, 100, len(donor))
    return means * tokens[:, None], tokens, np.array(donor, object), np.array(kind, object)


def test_a_donor_is_no_type_and_cells_are_no_donors() -> None:
    total, tokens, donor, kind = world(np.random.default_rng(1))
    found = type_table(groups(total, tokens, donor, kind, 10), np.arange(40), 3)
    hit = found[found.q < 0.05]
    assert {(0, "T")} <= set(zip(hit.feature, hit.type))
    assert not hit.feature.isin([1, 2]).any()
    assert hit.feature.nunique() <= 4
    published = published_celltypes(total / tokens[:, None], kind, alpha=0.05).found
    # as published, what one donor has is what the type of its cells has
    assert published.feature.nunique() > 20 and {1, 2} <= set(published.feature)


def test_the_share_is_above_permuted_labels_only_where_types_differ() -> None:
    rng = np.random.default_rng(2)
    total, tokens, donor, kind = world(rng)
    made = groups(total, tokens, donor, kind, 10)
    null = permuted_shares(made.means[..., 3:], 3, 0.05, 30, 0)
    assert share_found(made.means[..., 3:], 3, 0.05) <= max(0.1, np.quantile(null, 0.975))
    marked = made.means.copy()
    marked[:, made.types.index("T"), 5:20] += 1.5
    assert share_found(marked, 3, 0.05) > np.quantile(
        permuted_shares(marked, 3, 0.05, 30, 0), 0.975
    )


def test_one_feature_is_a_paired_t_and_more_are_shrunk() -> None:
    rng = np.random.default_rng(3)
    means = rng.random((6, 3, 1))
    tested, (first, *_) = type_tests(means, 3)
    differences = means[:, 0, 0] - means[:, 1:, 0].mean(1)
    wanted = stats.ttest_1samp(differences, 0, alternative="greater")
    assert first.t[0] == pytest.approx(wanted.statistic) and tested.tolist() == [0, 1, 2]
    assert first.estimate[0] == pytest.approx(differences.mean())
    assert first.p[0] == pytest.approx(wanted.pvalue)


def test_groups_are_means_over_all_tokens_and_missing_ones_are_left_out() -> None:
    total = np.array([[6.0], [2.0], [4.0], [10.0], [1.0]])
    tokens = np.array([3, 1, 2, 5, 1])
    donor = np.array(["a", "a", "a", "b", None], object)
    kind = np.array(["T", "T", "B", "T", "B"], object)
    made = groups(total, tokens, donor, kind, 1)
    assert made.donors == ("a",) and made.types == ("B", "T")  # b has one type
    np.testing.assert_allclose(made.means[0, :, 0], [2.0, 8 / 4])
    assert made.cells.tolist() == [[1, 2]]
    assert groups(total, tokens, donor, kind, 2).donors == ()


def test_a_type_of_too_few_donors_is_not_tested() -> None:
    means = np.random.default_rng(4).random((4, 3, 5))
    means[:2, 2] = np.nan
    tested, _ = type_tests(means, 3)
    assert tested.tolist() == [0, 1]
    made = Groups(means, np.ones((4, 3), int), tuple("abcd"), ("T", "B", "M"))
    assert set(type_table(made, np.arange(5), 3).type) == {"T", "B"}
    assert type_table(made, np.arange(5), 5).empty


def test_two_donors_cannot_be_tested(shared: Path) -> None:
    anndata = pytest.importorskip("anndata")
    path = shared / "data" / "single_cell" / "kang_donors.h5ad"
    obs = anndata.read_h5ad(path, backed="r").obs
    kind, donor = obs.cell_type.to_numpy(object), obs.donor.to_numpy(object)
    assert why_not(donor, kind, 3) == "2 donors have cell types (101, 107); 3 are needed"
    assert why_not(donor, kind, 2) is None
    assert "no donor" in str(why_not(None, kind, 3))
    assert "no cell type" in str(why_not(donor, None, 3))
    assert "1 donor has" in str(why_not(np.array(["a", None]), np.array(["T", "B"]), 3))
    assert isinstance(obs, pd.DataFrame)
