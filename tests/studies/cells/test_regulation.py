"""The two-sided verdict. Reference: worlds without a model whose truth is known, taken through all of A, B, D
and the ceiling, and then through the rule of the ledger."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from petriscope.claims.rules import evaluate_rule, read_rules
from petriscope.sae.codes import Codes
from petriscope.studies.cells.ceiling import Ceiling, ceiling, ceiling_table, moved_genes
from petriscope.studies.cells.knockdown import Agreement, agreement
from petriscope.studies.cells.perturbation import Cohort
from petriscope.studies.cells.regulation import (
    Regulation,
    Verdict,
    more_specific,
    specific_names,
    verdict,
)
from petriscope.studies.cells.regulons import (
    Asked,
    Material,
    Regulon,
    Responded,
    Specific,
    planted_power,
    respond,
)

TFS, TARGETS, GENES = 10, 6, 130
NAMES = tuple(f"tf{i}" for i in range(TFS))
REGULONS = [
    Regulon(name, i, TFS + TARGETS * i + np.arange(TARGETS), np.ones(TARGETS, int))
    for i, name in enumerate(NAMES)
]
CONTROLS, PER_TARGET = 260, 40
CLAIMS = Path(__file__).parents[3] / "studies/cells/claims.yaml"


class Screen(NamedTuple):
    """Cells, and what each knock-down does to the expression."""

    y: np.ndarray
    """(n, G) expression, which is also what the model is fed"""
    who: Cohort


def screen(moves: bool, seed: int = 0) -> Screen:
    """Knock-downs of ten TFs; their targets fall with them (``moves``), or nothing but the TF
    does."""
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.zeros(CONTROLS, int), np.repeat(np.arange(1, TFS + 1), PER_TARGET)])
    y = rng.normal(3, 1, (len(group), GENES))
    for i, regulon in enumerate(REGULONS):
        mine = group == i + 1
        y[mine, i] -= 2.5
        if moves:
            y[np.ix_(mine, regulon.genes)] -= 1.5
    return Screen(
        y, Cohort(group, NAMES, np.zeros(len(group), int), rng.normal(size=(len(group), 2)))
    )


def codes_of(world: Screen, regulons: bool, seed: int) -> Material:
    """Codes of a model fed with these cells. A feature for each gene's own token, whose activation
    follows its value (any model has these, a random one too); with ``regulons`` one for each
    regulon, on all its genes, that follows the TF's value."""
    rng = np.random.default_rng(seed)
    n = len(world.y)
    gene, cell = np.tile(np.arange(GENES), n), np.repeat(np.arange(n), GENES)
    value = np.maximum(world.y.ravel() + rng.normal(0, 0.3, n * GENES), 0)
    column, size = [gene], [value]
    if regulons:
        owner = np.full(GENES, -1)
        for i, regulon in enumerate(REGULONS):
            owner[regulon.genes] = i
        known = owner[gene] >= 0
        column.append(np.where(known, GENES + owner[gene], 0))
        tf = np.maximum(world.y[cell, np.maximum(owner[gene], 0)], 0)
        size.append(np.where(known, tf, 0.0))
    rows = np.tile(np.arange(n * GENES), len(column))
    dense = sp.coo_matrix(
        (np.concatenate(size), (rows, np.concatenate(column))), (n * GENES, GENES + TFS)
    ).tocsr()
    dense.eliminate_zeros()
    data = dense.data.astype(np.float32)
    codes = Codes(dense.indptr.astype(np.int64), dense.indices, data, GENES + TFS)
    return Material(codes, gene, cell)


class Found(NamedTuple):
    regulation: Regulation
    trained: Responded
    random: Responded
    shown: Ceiling
    agreed: Agreement


ASKED = Asked(5, 20, 20, 199, 0.05, 0)


@cache
def through(moves: bool, encoded: bool) -> Found:
    """A, B, D and the ceiling of a world in which the model ``encoded`` the regulons or not."""
    world = screen(moves)
    scored = world.who.group == 0
    none = np.zeros(GENES)
    trained = respond(codes_of(world, encoded, 1), world.who, scored, REGULONS, none, ASKED)
    random = respond(codes_of(world, False, 2), world.who, scored, REGULONS, none, ASKED)
    power = planted_power(
        codes_of(world, encoded, 1), trained, world.who, REGULONS, ASKED, sizes=[6], tries=8
    )
    moved = moved_genes(sp.csr_matrix(world.y), world.who)
    usable, axes = np.ones(GENES, bool), np.zeros((GENES, 1))
    shown = ceiling(
        ceiling_table(
            moved,
            REGULONS,
            axes,
            usable,
            expression=sp.csr_matrix(world.y),
            who=world.who,
            draws=199,
            alpha=0.05,
            seed=0,
        ),
        0.05,
    )
    rng = np.random.default_rng(3)
    predicted = rng.normal(0, 0.3, (TFS, GENES))
    if encoded:
        for i, regulon in enumerate(REGULONS):
            predicted[i, regulon.genes] -= 1
    agreed = agreement(NAMES, predicted, moved.t, np.arange(TFS), usable, draws=199, seed=0)
    assert agreed is not None
    regulation = Regulation(
        float(power.power[0]),
        shown.shown,
        trained.count.specific,
        random.count.specific,
        more_specific(trained.specific, random.specific, 0.05),
        agreed.p,
        0.05,
    )
    return Found(regulation, trained, random, shown, agreed)


def ledger(found: Found, learned: bool = True) -> str:
    """What the row sc-regulation says."""
    rule = next(r for r in read_rules(CLAIMS) if r["id"] == "sc-regulation")
    said = verdict({"geneformer": found.regulation})
    if said.untestable:
        return "cannot be tested"
    metrics: dict[str, Any] = {
        "model": {"all_learned": learned},
        "perturbation": {
            "exceeding": said.exceeding,
            "power": found.regulation.power,
            "ceiling": {"shown": found.shown.shown},
        },
    }
    return "supported" if evaluate_rule(rule["rule"], metrics) else "not supported"


def test_where_the_model_holds_the_regulons_the_claim_of_minimal_logic_falls() -> None:
    found = through(moves=True, encoded=True)
    assert found.shown.shown >= 8 and found.regulation.power == 1
    assert found.agreed.p < 0.01 and found.agreed.rank.mean() < 2
    assert found.trained.count.specific >= 8
    assert found.regulation.exceeds and not found.regulation.minimal
    assert ledger(found) == "not supported"


def test_where_the_data_move_and_the_model_knows_nothing_the_claim_stands() -> None:
    """Responding features are specific here too, for the knocked-down cells bring their targets'
    fall with them; a random model's are as specific, and that is no logic of the model."""
    found = through(moves=True, encoded=False)
    assert found.shown.shown >= 8 and found.trained.count.specific >= 5
    assert abs(found.trained.count.specific - found.random.count.specific) <= 2
    assert found.agreed.p > 0.05
    assert not found.regulation.exceeds and found.regulation.minimal
    assert ledger(found) == "supported"
    assert ledger(found, learned=False) == "not supported"


def test_without_regulation_in_the_data_nothing_can_be_said() -> None:
    """Co-expression alone, or none: no known target moves, and no model can be blamed."""
    found = through(moves=False, encoded=False)
    assert found.shown.shown == 0 and found.shown.own_falls == TFS
    assert found.trained.count.responding_tfs == TFS  # of the TF's own gene
    assert found.trained.count.specific == 0
    assert "no model can be blamed" in str(found.regulation.untestable)
    assert ledger(found) == "cannot be tested"


GOOD = Regulation(0.95, 9, 3, 3, 1.0, 0.4, 0.05)


def test_what_makes_absence_mean_nothing() -> None:
    assert GOOD.minimal and GOOD.untestable is None
    weak = Regulation(0.5, 9, 0, 0, 1.0, 0.4, 0.05)
    assert "power 0.50" in str(weak.untestable) and not weak.minimal
    assert "could be planted" in str(Regulation(None, 9, 0, 0, 1.0, 0.4, 0.05).untestable)
    assert "no model" in str(Regulation(0.9, 9, 2, None, None, 0.4, 0.05).untestable).replace(
        "no randomly initialized model", "no model"
    )
    assert Regulation(0.9, 9, 0, None, None, 0.4, 0.05).minimal
    assert "knocked down" in str(Regulation(0.9, 9, 0, 0, 1.0, None, 0.05).untestable)
    # what is there is there, whatever the power
    strong = Regulation(0.1, 0, 9, 0, 0.002, 0.4, 0.05)
    assert strong.responds and strong.untestable is None and not strong.minimal
    predicts = Regulation(0.1, 0, 0, 0, 1.0, 0.01, 0.05)
    assert predicts.exceeds and not predicts.responds


def test_the_verdict_is_of_the_models_that_can_be_judged() -> None:
    weak = Regulation(0.5, 9, 0, 0, 1.0, 0.4, 0.05)
    found = verdict({"geneformer": GOOD, "scgpt": weak})
    assert found == Verdict(None, {"scgpt": str(weak.untestable)}, 1, 0)
    none = verdict({"scgpt": weak})
    assert none.untestable == f"scgpt: {weak.untestable}" and none.judged == 0
    strong = Regulation(0.9, 9, 9, 0, 0.002, 0.4, 0.05)
    assert verdict({"geneformer": GOOD, "scgpt": strong}).exceeding == 1


def specific(p: list[float]) -> list[Specific]:
    return [Specific(f"t{i}", 1, 6, 0.1, 0.05, value, 0.5) for i, value in enumerate(p)]


def test_more_tfs_than_a_random_model_by_the_exact_test() -> None:
    trained, random = specific([0.001] * 7 + [0.9]), specific([0.9] * 6 + [0.001] * 2)
    assert specific_names(trained, 0.05) == {f"t{i}" for i in range(7)}
    # six gained, one lost (t7)
    assert more_specific(trained, random, 0.05) == pytest.approx(stats.binom.sf(5, 7, 0.5))
    assert more_specific(random, trained, 0.05) > 0.9
    assert more_specific(trained, trained, 0.05) == 1
    assert more_specific(trained, specific([]), 0.05) == 1
