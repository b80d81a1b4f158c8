"""Gene lists against the authors' catalog (bio_sae_methods), and the corrected score against sums
written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_golden_methods import LAYERS, SPECIAL, results, table

from petriscope.studies.cells.catalog import (
    background,
    corrected_lists,
    load_table,
    published_catalog,
    save_table,
    shrunk,
    symbols,
)
from petriscope.studies.cells.gene_table import GeneTable


@pytest.mark.parametrize("layer", LAYERS)
def test_the_published_catalog_is_the_authors(shared: Path, layer: int) -> None:
    wanted = results(shared)[f"catalog_{layer}"]
    found = published_catalog(table(shared, layer))
    features = pd.DataFrame(wanted["features"])
    assert found.features.fires.tolist() == features.fire_count.tolist()
    assert found.features.dead.tolist() == features.is_dead.tolist()
    assert found.features.genes.tolist() == features.n_unique_genes.tolist()
    np.testing.assert_allclose(found.features.frequency, features.activation_freq, rtol=1e-12)
    np.testing.assert_allclose(found.features.mean_activation, features.mean_activation, rtol=2e-5)
    assert (~found.features.dead).sum() == wanted["summary"]["n_alive"]
    mine = found.lists.frame().groupby("feature")
    ties = 0
    for feature in wanted["features"]:
        theirs = feature["top_genes"]
        if not theirs:
            assert feature["feature_idx"] not in mine.groups
            continue
        own = mine.get_group(feature["feature_idx"])
        np.testing.assert_allclose(own.score, [g["mean_activation"] for g in theirs], rtol=1e-4)
        ours = dict(zip(own.gene, own.fires))
        given = {g["gene_id"] - SPECIAL: g["fire_count"] for g in theirs}
        assert len(own) == len(theirs) <= 20
        ties += ours != given  # a tie at the twentieth place: another gene of the same mean
    assert ties == 0


def small() -> GeneTable:
    """Two features over five genes: gene 0 fires once and strongly, gene 1 often."""
    fires = sp.csr_matrix(np.array([[1, 40, 6, 0, 5], [0, 4, 0, 30, 5]], np.int64))
    mean = np.array([[9.0, 3.0, 5.0, 0, 8.0], [0, 1.0, 0, 2.0, 7.0]])
    total = sp.csr_matrix(fires.toarray() * mean)
    squares = sp.csr_matrix(fires.toarray() * mean**2)
    return GeneTable(fires, total, squares, np.array([200, 100, 60, 80, 12]))


def test_one_strong_firing_leads_the_published_list_and_is_no_part_of_the_corrected() -> None:
    lists = published_catalog(small()).lists
    assert lists.gene[lists.feature == 0].tolist() == [0, 4, 2, 1]
    assert lists.once == pytest.approx(1 / 7)
    corrected = corrected_lists(small())
    # n0 = median(200, 100, 60, 80, 12) = 80; gene 4 has 12 tokens, gene 1 four firings of feature 1
    assert corrected.gene.tolist() == [1, 2, 3]
    np.testing.assert_allclose(corrected.score, [120 / 180, 30 / 140, 60 / 160])
    assert corrected.rank.tolist() == [1, 2, 1] and corrected.once == 0
    few = corrected_lists(small(), genes=1, min_fires=1, min_tokens=1)
    assert few.gene.tolist() == [1, 4]  # 35 / 92 before 60 / 160


def test_the_score_is_a_mean_over_all_tokens_shrunk_by_silent_ones() -> None:
    score = shrunk(small()).toarray()
    values = np.concatenate([np.full(40, 3.0), np.zeros(60 + 80)])
    assert score[0, 1] == pytest.approx(values.mean())


def test_the_background_are_genes_that_a_feature_could_list() -> None:
    assert background(small(), 5, 20).tolist() == [False, True, True, True, False]
    assert background(small(), 1, 1).all()


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_table(small(), tmp_path / "layer_0.npz")
    again = load_table(tmp_path / "layer_0.npz")
    for name in ("fires", "total", "squares"):
        one, other = getattr(again, name), getattr(small(), name)
        assert (one != other).nnz == 0 and one.dtype == other.dtype
    assert again.tokens.tolist() == small().tokens.tolist()


def test_a_gene_without_symbol_goes_by_its_name() -> None:
    genes = pd.DataFrame({"name": ["g1", "ENSG2"], "symbol": ["", "Cd4"]})
    assert symbols(genes) == ["G1", "CD4"]
