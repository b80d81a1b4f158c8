"""Features switched off. References: the authors' script 08 on the shared golden; sums and resumed passes
written out by hand on a small model; a planted model whose specific features are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from petriscope.studies.cells.causal import (
    VisibleCell,
    published_causal,
    published_median,
)


def test_the_published_ratios_come_out(shared: Path) -> None:
    pytest.importorskip("transformers")
    from cells_published_world import PublishedWorld

    made = PublishedWorld.load(shared / "golden" / "single_cell")
    expected = made.json["causal_1"]
    label = np.array(made.json["cells"])
    sample = np.flatnonzero(label == "non-targeting")
    if len(sample) > 60:  # as many controls as they harvested
        sample = np.sort(np.random.RandomState(42).choice(sample, 60, replace=False))
    cells = []
    for cell in sample[: expected["config"]["n_cells"]]:
        ids = made.tokens(int(cell))
        one = torch.from_numpy(ids)[None]
        batch = {"input_ids": one, "attention_mask": torch.ones_like(one)}
        cells.append(VisibleCell(batch, np.arange(1, len(ids) - 1), ids[1:-1]))
    number = {name: i + 4 for i, name in enumerate(made.json["world"]["genes"])}
    top = made.top_genes(1)
    features = [row["feature_idx"] for row in expected["feature_results"]]
    targets = {f: {number[gene] for gene in top[f]} for f in features}
    coder = made.coder(1)
    found = published_causal(made.model, cells, 2, coder, coder.directions, targets)
    for mine, theirs in zip(found, expected["feature_results"], strict=True):
        assert mine.active == theirs["n_cells_active"]
        assert len(mine.targets) == theirs["n_target_measurements"]
        assert len(mine.others) == theirs["n_other_measurements"]
        for part, name in ((mine.targets, "target"), (mine.others, "other")):
            mean, spread = (part.mean(), part.std()) if len(part) else (0, 0)
            assert mean == pytest.approx(theirs[f"{name}_logit_diff_mean"], abs=1e-4)
            assert spread == pytest.approx(theirs[f"{name}_logit_diff_std"], abs=1e-4)
        assert mine.cosine_distance == pytest.approx(theirs["mean_cos_distance"], abs=1e-5)
        assert mine.mean_activation == pytest.approx(theirs["mean_activation"], rel=1e-4)
        assert mine.ratio == pytest.approx(theirs["specificity_ratio"], rel=2e-3)
    median = expected["summary"]["median_specificity_ratio"]
    assert published_median(found) == pytest.approx(median, rel=2e-3)
