"""Stages catalog, annotate, novel and celltypes in worlds whose codes are planted: the claims hold
where the models know something, and fail where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cells_planted import planted

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE
from petriscope.claims.rules import Claim, evaluate, read_rules
from petriscope.files import plain, read_csv
from petriscope.run.stage import as_metrics
from petriscope.run.workspace import Workspace

RULES = Path(__file__).resolve().parents[4] / "studies/cells/claims_knowledge.yaml"


def ran(root: Path, monkeypatch: pytest.MonkeyPatch, **world: Any) -> tuple[Workspace, dict]:
    pytest.importorskip("petriscope.studies.cells.data.dataset")
    pytest.importorskip("petriscope.graph.leiden")
    from petriscope.studies.cells.stages import annotate, catalog, celltypes, novel

    workspace, params, dataset = planted(root, 3, **world)
    monkeypatch.setattr(annotate, "load_dataset", lambda path: dataset)
    stages = {"catalog": catalog, "annotate": annotate, "novel": novel, "celltypes": celltypes}
    metrics = {
        name: plain(as_metrics(body.run(workspace, params))) for name, body in stages.items()
    }
    return workspace, {"model": {"untestable": None}, **metrics}


def claims(metrics: dict[str, Any]) -> dict[str, Claim]:
    return {claim.id: claim for claim in evaluate(read_rules(RULES), metrics)}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield ran(tmp_path_factory.mktemp("knows") / "w", patch)


def test_what_is_planted_is_supported(knowing: Any) -> None:
    _, metrics = knowing
    found = claims(metrics)
    for name in ("sc-annotation", "sc-ushape", "sc-celltypes", "sc-novel"):
        assert found[name].verdict == SUPPORTED, (name, found[name].corrected, found[name].why)
        for text in (found[name].as_published, found[name].corrected, found[name].interval):
            assert "geneformer" in text and "scgpt" in text
    model = metrics["annotate"]["models"]["geneformer"]
    assert model["corrected"]["null"] < 0.05 < model["corrected"]["excess"]
    assert model["edges"]["string"]["found"] > 0.2
    assert metrics["annotate"]["random"]["models"]["scgpt"]["random"] < 0.1
    assert 0.35 < model["curve"]["turn"] < 0.65


def test_the_terms_answer_which_features_speak_of_a_term(knowing: Any) -> None:
    workspace, _ = knowing
    terms = pd.read_parquet(workspace.table("annotate") / "terms.parquet")
    asked = terms[(terms.term == "P0") & (terms.q < 0.05) & terms.trained & (terms.layer > 0)]
    assert set(asked.model) == {"geneformer", "scgpt"}
    # latent 0 speaks of programme 0 in every layer; where there are enough, latent 12 does too
    assert (asked.groupby(["model", "layer"]).feature.min() == 0).all()
    assert set(asked.feature) <= {0, 12}
    assert not ((terms.q < 0.01) & terms.term.str.startswith("D")).any()
    alive = pd.read_parquet(workspace.table("annotate") / "features.parquet")
    assert set(zip(alive.model, alive.trained)) == {
        (family, kind) for family in ("geneformer", "scgpt") for kind in (True, False)
    }


def test_tables_hold_what_the_numbers_say(knowing: Any) -> None:
    workspace, metrics = knowing
    rows = read_csv(workspace.table("annotate") / "layers.csv")
    mine = rows[(rows.model == "scgpt") & rows.trained & (rows.layer > 0)]
    ours = mine[mine.rule == "corrected"]
    model = metrics["annotate"]["models"]["scgpt"]
    assert ours.share.mean() == pytest.approx(model["corrected"]["share"], rel=1e-5)
    assert model["layers"] == len(ours) == 6
    assert (ours.share <= 1).all() and ours.annotated.sum() > 0
    novel = pd.read_parquet(workspace.table("novel") / "clusters.parquet")
    own = novel[(novel.rule == "corrected") & novel.trained]
    assert own.groupby(["model", "layer"]).size().min() >= 2
    lists = pd.read_parquet(workspace.table("catalog") / "lists.parquet")
    assert (lists[lists.rule == "corrected"].fires >= 5).all() and (lists.gene >= 0).all()
    assert (lists.name == "G" + lists.gene.astype(str).str.zfill(3)).all()
    types = pd.read_parquet(workspace.table("celltypes") / "types.parquet")
    hit = types[(types.q < 0.05) & types.trained]
    assert (hit.feature < 6).mean() > 0.9 and set(hit.type) == {"B", "M", "T"}
    marked = hit[hit.feature < 6]
    assert (np.array(["B", "M", "T"])[marked.feature % 3] == marked.type).all()


def test_models_that_know_nothing_support_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, metrics = ran(tmp_path / "w", monkeypatch, knows=False, layers=5)
    verdicts = {name: claim.verdict for name, claim in claims(metrics).items()}
    assert set(verdicts.values()) == {NOT_SUPPORTED}
    assert metrics["annotate"]["models"]["geneformer"]["corrected"]["share"] < 0.1


def test_two_donors_and_three_layers_cannot_be_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, metrics = ran(tmp_path / "w", monkeypatch, donors=2, layers=3)
    found = claims(metrics)
    assert found["sc-celltypes"].verdict == found["sc-ushape"].verdict == UNTESTABLE
    assert found["sc-celltypes"].why == "2 donors have cell types (d0, d1); 3 are needed"
    assert "%" in found["sc-celltypes"].as_published
    assert "geneformer: 3 layers; a curve over depth needs 5" in found["sc-ushape"].why
    assert found["sc-annotation"].verdict == SUPPORTED
