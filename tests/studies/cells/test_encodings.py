"""How far the paper's inputs were from the models', against scipy, and what the design measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells_door_toy import SYMBOLS, cells_of, toy_counts, vocabularies
from scipy.stats import spearmanr

from petriscope.studies.cells.data.cells import read_cells
from petriscope.studies.cells.data.vocabulary import BinVocabulary, Vocabularies
from petriscope.studies.cells.encodings import encodings, rank_agreement
from petriscope.studies.cells.parity.tokenizers import rank_vocabulary


def test_agreement_of_two_orders() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(900)
    b = a + rng.normal(0, 0.2, 900)
    ranks, shared, place = rank_agreement(a, b)
    assert ranks == pytest.approx(spearmanr(a, b).statistic)
    first, second = np.argsort(-a), np.argsort(-b)
    assert shared == len(set(first[:512]) & set(second[:512])) / 512
    assert place == np.mean([x == y for x, y in zip(first[:50], second[:50])])
    assert rank_agreement(a, a * 3) == (pytest.approx(1), 1.0, 1.0)


def test_the_table(tmp_path: Path) -> None:
    names = [f"RP-{i}" if i % 9 == 0 else name for i, name in enumerate(SYMBOLS)]
    cells = cells_of(toy_counts(), names)
    known = vocabularies(tmp_path)
    table = encodings(cells, known, size=40, max_length=30, bins=51)
    value = table.set_index(["family", "quantity"]).value
    counts = toy_counts().toarray()
    mapped = np.array([not name.startswith("RP") for name in names])
    share = counts[:, mapped].sum() / counts.sum()
    genes = (counts[:, mapped] > 0).sum(1)
    for family, limit in (("geneformer", 38), ("scgpt", 29)):
        assert value[family, "known_counts"] == pytest.approx(share)
        assert value[family, "cut_cells"] == (genes > limit).mean()
        assert value[family, "tokens_per_cell"] == np.minimum(genes, limit).mean()
    assert 0 < value["scgpt", "random_bins"] <= 1
    one = encodings(cells, Vocabularies(None, known.scgpt), size=40, max_length=30, bins=51)
    assert set(one.family) == {"scgpt"}


def test_the_real_sample_is_as_the_design_says(shared: Path) -> None:
    """Of 559 cells, of which these are 391: Spearman .877 (lowest .72), 83 % of the top 512 genes
    shared, the same gene in 1.9 % of the top 50 places."""
    data = shared / "data" / "single_cell"
    path = data / "immune_sample_raw.h5ad"
    bins = BinVocabulary.load(data / "scgpt_census_vocab.tsv.gz")
    known = Vocabularies(rank_vocabulary(path), bins)
    table = encodings(read_cells(path), known, size=4096, max_length=1200, bins=51)
    value = table.set_index("quantity").value
    assert abs(value["rank_correlation"] - 0.877) < 0.01
    assert abs(value["rank_correlation_lowest"] - 0.72) < 0.03
    assert abs(value["top_overlap"] - 0.83) < 0.02
    assert abs(value["same_place"] - 0.019) < 0.01
