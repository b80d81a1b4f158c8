"""What the annotation stages write for the ledger about their controls, from invented tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.claims.rules import evaluate_rule, read_rules
from petriscope.claims.texts import render
from petriscope.studies.chromatin.stages import chromhmm, genesets, motifs

REPOSITORY = Path(__file__).resolve().parents[4]
CONTROL = (
    "lowest(motifs.lineages.liver.others.rank, motifs.lineages.liver.others.q, 0.05) > 5 and "
    "highest(motifs.lineages.liver.others.log2_fold, motifs.lineages.liver.others.q, 0.05) "
    "< 0.5 * motifs.lineages.liver.best_log2_fold"
)


def factors(*rows: tuple[str, str, int, int, float, float]) -> pd.DataFrame:
    """Rows lineage, name, layer, rank, q, fold of the factors claimed for liver."""
    names = ["lineage", "name", "layer", "rank", "q", "fold"]
    return pd.DataFrame(rows, columns=names).assign(kind="lineage", claimed_for="liver")


OWN = (("liver", "HNF4A", 2, 2, 1e-9, 4.0), ("liver", "FOXA2", 2, 1, 1e-9, 8.0))


@pytest.mark.parametrize(
    ("other", "holds"),
    [
        (("blood", "FOXA2", 2, 30, 1.0, 0.0), True),
        (("blood", "FOXA2", 2, 9, 0.01, 2.0), True),  # significant, at a third of the log2 fold
        (("blood", "FOXA2", 2, 3, 0.6, 7.0), True),  # a rank and a fold that chance gives
        (("blood", "FOXA2", 2, 5, 0.01, 1.1), False),
        (("lymph", "HNF4A", 2, 9, 0.01, 3.0), False),
        (("blood", "FOXA2", 3, 1, 0.01, 8.0), True),  # another layer than the claims'
    ],
)
def test_the_claimed_factors_are_held_against_the_other_lineages(other, holds):
    table = factors(*OWN, ("lymph", "FOXA2", 2, 40, 1.0, 0.9), other)
    found = asdict(motifs.measured("liver", table, table, 2))
    assert found["untestable"] is None and (found["best_rank"], found["best_log2_fold"]) == (1, 3.0)
    others = table[(table.lineage != "liver") & (table.layer == 2)]
    assert found["others"]["lineage"] == others.lineage.tolist()
    assert found["others"]["rank"] == others["rank"].tolist()
    assert found["others"]["q"] == others.q.tolist()
    assert np.allclose(np.exp2(found["others"]["log2_fold"]), others.fold)
    assert evaluate_rule(CONTROL, {"motifs": {"lineages": {"liver": found}}}) is holds


def test_a_lineage_without_others_has_no_control():
    found = motifs.measured("liver", factors(*OWN), factors(*OWN), 2)
    beside = factors(*OWN, ("blood", "FOXA2", 2, 40, 1.0, 0.9))
    tested = motifs.measured("liver", beside, factors(*OWN), 2)
    assert "no other lineage's context" in (found.untestable or "")
    assert set(found.others or ()) == set(tested.others or ()) and tested.untestable is None


def test_random_bins_that_were_not_drawn_support_nothing():
    state = {"kind": "lineage", "layer": 2, "group": "L2 liver", "q": 0.01, "targets": 500}
    row = state | {"state_group": "enhancer", "share": 0.5, "background_share": 0.1}
    found = chromhmm.measured(pd.DataFrame([row]), 2, [], 0.05)
    assert (found.active_odds_low or 0) > 1 and found.random_significant_share is None
    (claim,) = (rule for rule in read_rules(REPOSITORY / "claims.yaml") if rule["id"] == "chromhmm")
    text = render(claim["interval"], {"chromhmm": asdict(found)})
    assert text == "L2 liver [6.35, 12.53]; no random bins were drawn"
    rows = pd.DataFrame([row, row | {"kind": "random", "group": "r"}])
    assert chromhmm.measured(rows, 2, [], 0.05).random_significant_share == 1.0


@pytest.mark.parametrize(("planted_p", "powered"), [(1e-9, True), (0.5, False)])
def test_planted_elements_without_a_term_leave_no_power(planted_p, powered):
    rows = [
        {"kind": kind, "layer": 2, "group": kind, "lineage": "liver", "term": "t", "fold": 1.0}
        | {"ln_p": np.log(p), "ranked_ln_p": np.log(p)}
        | {name: p for name in ("q", "ranked_q", "region_q")}
        for kind, p in (("lineage", 0.5), ("planted", planted_p))
    ]
    rows += [rows[0] | {"term": "u"}, rows[1] | {"term": "u"}]
    found = genesets.measured(pd.DataFrame(rows), 2, 0, 100, 0.05)
    assert (found["powered"], found["untestable"] is None) == (powered, powered)
