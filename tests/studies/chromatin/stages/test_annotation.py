"""Stages motifs and labels where nothing passes: empty tables with their columns, no traceback;
hits against a planted word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import petriscope as ps
from petriscope.enrich.background import Strata
from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.motifs import Motif, with_threshold
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin import motifs
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages import labels

REPOSITORY = Path(__file__).resolve().parents[4]
WORD = np.array([0, 2, 0, 3, 0, 0, 2, 1, 1])
GROUPS = ["group", "kind", "layer", "feature", "lineage", "context"]


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.fixture(scope="module")
def motif() -> Motif:
    return with_threshold(Motif("GATA/x", "AGATAAGCC", np.eye(4)[WORD] * 0.94 + 0.015, 0.0), 1e-4)


def universe() -> tuple[pd.DataFrame, np.ndarray]:
    """Forty bins and their sequences; the word lies 64 bp left of the center of bin 7 and turned
    round in bin 9."""
    start = 1000 + 128 * np.arange(40)
    bins = pd.DataFrame(
        {"chrom": "chr1", "start": start, "end": start + 128, "window": start // 1024}
    )
    sequences = np.full((40, 200), 3, dtype=np.uint8)
    sequences[7, 36:45] = WORD
    sequences[9, 100:109] = 3 - WORD[::-1]
    return bins, sequences


def test_hits_are_given_in_genome_coordinates(motif):
    bins, sequences = universe()
    table = pd.DataFrame([["L2/5", "feature", 2, 5, "blood", "in_vivo"]], columns=GROUPS)
    table = table.assign(rank=1, name=motif.name, q=0.01)
    top = pd.DataFrame({"group": "L2/5", "bin": [9, 7, 3]})
    hits, comparisons = motifs.hits_in_top_bins(
        table, top, bins, sequences, [motif], most=3, alpha=0.05
    )
    found = hits.set_index("bin_start")[["start", "end", "strand", "window"]].to_dict("index")
    first, second = bins.start[7], bins.start[9]
    assert found[first] == {
        "start": first + 64 - 100 + 36,
        "end": first + 9,
        "strand": "+",
        "window": first // 1024,
    }
    assert found[second]["start"] == second + 64 and found[second]["strand"] == "-"
    assert comparisons[["group", "layer", "feature", "n", "sequences"]].iloc[0].tolist() == [
        "L2/5",
        2,
        5,
        2,
        3,
    ]


def test_nothing_enriched_leaves_empty_tables_with_their_columns(motif):
    bins, sequences = universe()
    table = pd.DataFrame(columns=[*GROUPS, "rank", "name", "q", "fold"])
    hits, comparisons = motifs.hits_in_top_bins(
        table, pd.DataFrame(columns=["group", "bin"]), bins, sequences, [motif], most=3, alpha=0.05
    )
    assert hits.empty and {
        "chrom",
        "start",
        "end",
        "strand",
        "motif",
        "score",
        "layer",
        "feature",
    } <= set(hits)
    assert comparisons.empty and "correlation" in comparisons
    nobody = pd.DataFrame(columns=GROUPS)
    firing = {x: sparse.csr_matrix((0, 40), dtype=bool) for x in ("blood", "liver")}
    fore = Foregrounds(
        sparse.csr_matrix((0, 40)), nobody, bins, Strata(np.zeros(40, np.int64), ["all"]), firing
    )
    assert motifs.specificity_table(table, fore, np.zeros((40, 1), dtype=bool), [motif], 0.05).empty
    logos, positions = motifs.of_lineages(
        table, fore, sequences, [motif], 2, most=9, alpha=0.05, seed=0
    )
    assert logos.empty and positions.empty


@pytest.mark.parametrize("features", [0, 2])
def test_labels_of_features_without_any_evidence(tmp_path, params, features):
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    workspace = Workspace(tmp_path)
    groups = pd.DataFrame(
        [[f"L0/{i}", "feature", 0, i, "blood", "in_vivo"] for i in range(features)], columns=GROUPS
    )
    matrix, classes = sparse.csr_matrix((features, 40), dtype=bool), Strata(np.zeros(40), ["all"])
    counted = groups.assign(size=0, dropped=0)
    Foregrounds(matrix, counted, universe()[0], classes, {}).save(workspace.table("foregrounds"))
    columns = {
        "chromhmm": "state odds_ratio low high ln_p q share background_share shift_p",
        "motifs": "name ln_p fold q",
        "genesets": "term ln_p fold ranked_ln_p ranked_q region_q",
    }
    for stage, names in columns.items():
        workspace.table(stage).mkdir()
        pd.DataFrame(columns=[*GROUPS, *names.split()]).to_csv(
            workspace.table(stage) / "enrichment.csv", index=False
        )
    specific = ["group", "name", "specificity", "specificity_low", "specificity_high", "family"]
    pd.DataFrame(columns=specific).to_parquet(workspace.table("motifs") / "specificity.parquet")
    found = labels.run(workspace, params)
    written = pd.read_csv(workspace.table("labels") / "labels.csv")
    assert written.label.tolist() == ["unlabelled"] * features and found.labelled == 0
    assert pd.read_parquet(workspace.table("labels") / "parts.parquet").empty


def test_the_verb_gives_the_numbers_of_the_stage(tiny_run):
    """`ps.enrich` on the run's codes against results/motifs/enrichment.csv (six digits)."""
    run = ps.open(tiny_run.root)
    table = run.table("motifs", "enrichment.csv").query("kind == 'feature'")
    units, compared = run.units.frame, 0
    for (layer, feature), written in table.groupby(["layer", "feature"]):
        own = written.iloc[0]
        mine = ((units.lineage == own.lineage) & (units.context == own.context)).to_numpy()
        found = ps.enrich(
            run.codes(layer), [feature], run.motifs, background=run.strata, units=mine,
            most=run.params.annotation.max_foreground,
        ).rows  # fmt: skip
        assert found.name.tolist() == written.name.tolist()
        for column in ("ln_p", "fold", "target_hits", "targets", "background_percent"):
            np.testing.assert_allclose(found[column], written[column], rtol=1e-5, atol=1e-9)
        compared += 1
    assert compared
