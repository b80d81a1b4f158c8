"""The stage atlas on a finished tiny run: its numbers are those of the tables, not of their words."""

from __future__ import annotations

import pytest

from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.atlas import feature_rows, lineage_rows
from petriscope.studies.chromatin.units import design_of, load_biosamples


@pytest.mark.parametrize("level", ["biosample", "locus"])
def test_units_are_counted_whatever_the_words_beside_them_say(
    tiny_run: Workspace, level: str
) -> None:
    biosamples = load_biosamples(tiny_run)
    features = read_features(tiny_run, design_of(biosamples))
    reworded = features.assign(evidence=level)
    for name in ("biosample", "locus"):
        reworded[f"n_{name}"] = features[f"n_{name}"].map({None: None}.get)
    lineages = list(dict.fromkeys(biosamples.lineage))
    alive = features.alive.to_numpy()
    blocks = features.units_locus[alive].unique()
    assert len(blocks) == 1 and blocks[0] > 1
    units = feature_rows(tiny_run, reworded, lineages).n_units.to_numpy(float)
    assert (units[alive] == (len(biosamples) if level == "biosample" else blocks[0])).all()
    rows = lineage_rows(tiny_run, reworded)
    expected = (
        rows.lineage.map(biosamples.lineage.value_counts()) if level == "biosample" else blocks[0]
    )
    assert (rows.n_units == expected).all()
