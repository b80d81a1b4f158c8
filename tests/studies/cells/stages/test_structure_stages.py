"""Stages svd, modules, highways, persistence and crossmodel in worlds whose structure is planted:
each claim is supported where it holds, and not where nothing is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from structure_planted import COMMON, LATENTS, LAYERS, planted

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE
from petriscope.claims.rules import Claim, evaluate, read_rules
from petriscope.files import plain, read_csv
from petriscope.probe.tokens import Tokens
from petriscope.run.stage import as_metrics
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.params import FAMILIES
from petriscope.studies.cells.svd import fvu_leading, fvu_strongest, principal_axes

RULES = Path(__file__).resolve().parents[4] / "studies/cells/claims.yaml"
CLAIMS = ("sc-superposition", "sc-modules", "sc-highways", "sc-persistence", "sc-crossmodel")
World = tuple[Workspace, dict[str, Any]]


def ran(root: Path, **world: Any) -> World:
    from petriscope.studies.cells.stages import crossmodel, highways, modules, persistence, svd

    workspace, params = planted(root, 5, **world)
    stages = {
        "svd": svd,
        "modules": modules,
        "highways": highways,
        "persistence": persistence,
        "crossmodel": crossmodel,
    }
    found = {name: plain(as_metrics(body.run(workspace, params))) for name, body in stages.items()}
    return workspace, {**found, "model": {"all_learned": True, "untestable": None}}


def claims(metrics: dict[str, Any]) -> dict[str, Claim]:
    mine = [rule for rule in read_rules(RULES) if rule["id"] in CLAIMS]
    return {claim.id: claim for claim in evaluate(mine, metrics)}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> World:
    return ran(tmp_path_factory.mktemp("knows") / "w")


@pytest.fixture(scope="module")
def ignorant(tmp_path_factory: pytest.TempPathFactory) -> World:
    return ran(tmp_path_factory.mktemp("knows nothing") / "w", knows=False)


def test_what_is_planted_is_supported(knowing: World) -> None:
    found = claims(knowing[1])
    for name in CLAIMS:
        assert found[name].verdict == SUPPORTED, (found[name].corrected, found[name].interval)
        texts = (found[name].corrected, found[name].interval, found[name].control_results)
        assert all(text != "-" for text in texts)
        if name != "sc-crossmodel":
            assert all("geneformer" in text and "scgpt" in text for text in texts)


def test_models_that_learned_nothing_support_nothing(knowing: World, ignorant: World) -> None:
    verdicts = {name: claim.verdict for name, claim in claims(ignorant[1]).items()}
    assert verdicts == dict.fromkeys(CLAIMS, NOT_SUPPORTED)
    unlearned = {**knowing[1], "model": {"all_learned": False, "untestable": None}}
    assert {claim.verdict for claim in claims(unlearned).values()} == {NOT_SUPPORTED}


def test_modules_are_programmes_beyond_genes_in_the_knowing_world_alone(
    knowing: World, ignorant: World
) -> None:
    members = pd.read_parquet(knowing[0].table("modules") / "members.parquet")
    assert set(members.graph) == {"pmi", "gene", "gene_celltype"}
    own = members[(members.graph == "gene") & members.trained & (members.layer == 1)]
    for model, part in own.groupby("model"):
        part = part.set_index("feature").module
        steady = part[: round(0.7 * LATENTS)]
        assert (steady >= 0).mean() > 0.8, model
        assert adjusted_rand_score(steady.index % 4, steady) > 0.8
    for model in knowing[1]["modules"]["models"].values():
        assert model["agreement"] > 0.9 and model["agreement_saes"] > 0.9
        assert 0 < model["surviving"] <= 1 and model["random_edges"] < 0.1
        assert model["least_modules"] <= model["modules"] <= model["most_modules"]
    # the trap: published modules all the same where latents follow genes alone
    for model in ignorant[1]["modules"]["models"].values():
        assert model["published"] >= 4 * LAYERS
        assert model["surviving"] < 0.05 and model["surviving_types"] < 0.05
    table = read_csv(knowing[0].table("modules") / "graphs.csv")
    own = table[(table.graph == "gene") & table.trained & (table.layer > 0)]
    margins = (own.modularity - own.rewired_most).groupby(own.model).min()
    assert knowing[1]["modules"]["least_margin"] == pytest.approx(margins.min(), abs=1e-5)
    # the mean of what the table holds, over alive features, then layers
    random = knowing[1]["modules"]["random"]
    features = pd.read_parquet(knowing[0].table("modules") / "features.parquet")
    mine = features[features.alive & features.trained & (features.layer > 0)]
    mean = mine.groupby(["model", "layer"]).excess.mean().groupby("model").mean()
    for model, one in random["models"].items():
        assert one["random"] + one["difference"] == pytest.approx(mean[model])
        assert 0.1 < one["low"] <= one["difference"] <= one["high"]
    assert random["least_low"] == min(one["low"] for one in random["models"].values())
    edges = pd.read_parquet(knowing[0].table("modules") / "edges.parquet")
    assert (edges[edges.graph != "pmi"].weight >= 4).all() and (edges["count"] >= 20).all()


def test_modules_that_a_random_model_has_too_are_not_supported(
    knowing: World, tmp_path: Path
) -> None:
    """The codes of the trained models stand for those of the random ones."""
    from petriscope.studies.cells.stages import modules

    workspace, params = planted(tmp_path / "w", 5)
    for family in FAMILIES:
        random = workspace.table("random_init") / family / "codes"
        trained = workspace.codes if family == params.family else workspace.table("second/codes")
        shutil.rmtree(random)
        shutil.copytree(trained, random)
    found = plain(as_metrics(modules.run(workspace, params)))
    # all that was asked before holds as in the knowing world
    assert found["least_margin"] == knowing[1]["modules"]["least_margin"] > 0
    assert found["least_agreement"] == knowing[1]["modules"]["least_agreement"] >= 0.6
    for one in found["random"]["models"].values():
        assert one["difference"] == pytest.approx(0) and one["low"] < 0 < one["high"]
    verdict = claims({**knowing[1], "modules": found})["sc-modules"].verdict
    assert verdict == NOT_SUPPORTED


def test_highways_are_the_latents_that_live_on(knowing: World, ignorant: World) -> None:
    found = knowing[1]["highways"]["models"]["geneformer"]
    assert found["published"] > 0.8  # the trap: so it is in the ignorant world
    assert ignorant[1]["highways"]["models"]["geneformer"]["published"] > 0.8
    assert found["share"] > found["random"] + 0.3 and found["ceiling"] > found["share"] + 0.1
    assert found["away"] < 0.15 and found["random"] < 0.15
    links = pd.read_parquet(knowing[0].table("highways") / "links.parquet")
    top = links[links.trained].drop_duplicates(["model", "layer", "feature"])
    steady = top[(top.feature >= COMMON) & (top.feature < round(0.7 * LATENTS))]
    assert (steady.feature == steady.other_feature).mean() > 0.95 and (steady.p < 0.05).all()
    assert set(links.layer) == {1, 2} and (links.other_layer == links.layer + 1).all()
    pairs = read_csv(ignorant[0].table("highways") / "pairs.csv")
    assert pairs.ceiling.min() < 1  # a dictionary of its own, which finds no latent again
    low = knowing[1]["highways"]["over_random"]["low"]
    assert 0.3 < low < found["share"] - found["random"]
    features = pd.read_parquet(knowing[0].table("highways") / "features.parquet")
    own = features[features.trained & (features.model == "scgpt")]
    assert own.highway.mean() == pytest.approx(knowing[1]["highways"]["models"]["scgpt"]["share"])


def test_persistence_and_its_ceiling(knowing: World, ignorant: World) -> None:
    for model in knowing[1]["persistence"]["models"].values():
        assert model["share"] == pytest.approx(0.7, abs=0.06)
        assert model["persists"]["ceiling"] == 1 and model["published"] < 0.2
        assert model["within_share"] == pytest.approx(0.7, abs=0.06)
        assert model["random"] < 0.05 and model["features"] == 2 * LATENTS
    for model in ignorant[1]["persistence"]["models"].values():
        assert model["persists"]["ceiling"] < 0.3
    alone = pd.read_parquet(ignorant[0].table("persistence") / "features.parquet")
    assert alone.r.mean() > 0.15 and abs(alone.r_within.mean()) < 0.08  # genes make them alike
    pairs = read_csv(knowing[0].table("persistence") / "pairs.csv")
    assert len(pairs) == 2 * 4 and pairs[~pairs.trained].again.isna().all()
    adjacent = read_csv(knowing[0].table("persistence") / "adjacent.csv")
    assert set(zip(adjacent.from_layer, adjacent.to_layer)) == {(1, 2), (2, 3)}
    spans = read_csv(knowing[0].table("persistence") / "spans.csv")
    assert (spans.groupby(["model", "trained"]).features.sum() == LATENTS).all()


def test_energies_and_costs_in_tables(knowing: World) -> None:
    table = read_csv(knowing[0].table("svd") / "layers.csv")
    assert len(table) == 4 * (LAYERS + 1) and (table.m[table.trained] == 8).all()
    own = table[table.trained]
    assert (own.energy < own.covariance).all() and (own.fvu < own.fvu_strongest).all()
    row = own[(own.model == "geneformer") & (own.layer == 2)].iloc[0]
    folder = knowing[0].activations
    gene = pd.read_parquet(folder / "places.parquet").gene.to_numpy()
    axis, streams = Tokens.load(folder / "tokens"), np.load(folder / "layer_2.npy")
    train, test = (streams[(gene >= 0) & (axis.split == name)] for name in ("train", "test"))
    assert len(train) == len(test) == 3000  # all that svd.rows asks for
    axes, active = principal_axes(train), int(np.ceil(row.l0))
    assert row.fvu_strongest == pytest.approx(fvu_strongest(test, axes, active), rel=1e-4)
    assert row.fvu_leading == pytest.approx(fvu_leading(test, axes, 2 * active), rel=1e-4)
    curves = read_csv(knowing[0].table("svd") / "energy.csv")
    mine = curves[(curves.model == "scgpt") & curves.trained & (curves.layer == 1)]
    assert set(mine.of) == {"features", "second seed", "data covariance", "uniform"}
    for _, part in mine.groupby("of"):
        assert part.m.tolist() == [5, 8, 10, 18] and part["median"].is_monotonic_increasing
    features = pd.read_parquet(knowing[0].table("svd") / "features.parquet")
    at = features[(features.model == "scgpt") & features.trained & (features.layer == 1)]
    row = mine[(mine.of == "features") & (mine.m == 8)].iloc[0]
    assert np.median(at.energy[at.alive]) == pytest.approx(row["median"], rel=1e-5)
    assert at.aligned[:COMMON].all()


def test_models_side_by_side(knowing: World) -> None:
    found = knowing[1]["crossmodel"]
    assert found["terms"]["trained"] == {"first": 6, "second": 6, "shared": 5, "jaccard": 5 / 7}
    table = read_csv(knowing[0].table("crossmodel") / "cka.csv")
    assert len(table) == 2 * (LAYERS + 1) ** 2
    at = table[table.trained & (table.geneformer_layer == 2) & (table.scgpt_layer == 2)].iloc[0]
    assert found["layers"] == {"geneformer": 2, "scgpt": 2}
    assert at.cka == pytest.approx(found["cka"]["value"], rel=1e-5)
    above, pair, random = (found[name]["value"] for name in ("above", "cka", "random"))
    assert above == pytest.approx(pair - random) and random > 0
    assert at.cka_within == pytest.approx(found["within"]["value"], rel=1e-5)


def test_features_of_both_models_match_where_both_know(knowing: World, ignorant: World) -> None:
    known, unknown = (world[1]["crossmodel"]["features"] for world in (knowing, ignorant))
    assert known["above"]["low"] > 0.4 and known["above_random"]["low"] > 0.3
    assert known["random_above"]["value"] == unknown["above"]["value"] == 0
    assert unknown["above"]["high"] < known["above"]["low"] and unknown["above_random"]["low"] <= 0
    table = pd.read_parquet(knowing[0].table("crossmodel") / "matches.parquet")
    own = table[table.trained]
    assert len(own) == known["pairs"] and set(own.layer) == set(own.other_layer) == {2}
    assert own.feature.is_unique and own.other_feature.is_unique
    assert (own.r > known["limit"]).mean() == known["above"]["value"]
    shares = read_csv(knowing[0].table("crossmodel") / "matched.csv").set_index("trained")
    assert shares.pairs[True] == len(own) and shares.limit[True] == pytest.approx(known["limit"])
    for kind, name in ((True, "above"), (False, "random_above")):
        row = shares.loc[kind]
        values = (row.above, row.low, row.high)
        assert values == pytest.approx(tuple(known[name].values()), abs=1e-5)
    less = known["above_random"]
    assert less["value"] == pytest.approx(known["above"]["value"] - known["random_above"]["value"])


def test_what_cannot_be_tested_says_why(tmp_path: Path) -> None:
    found = claims(ran(tmp_path / "w", seeds=1, random=False)[1])
    why = {
        name: claim.why if claim.verdict == UNTESTABLE else claim.verdict
        for name, claim in found.items()
    }
    assert why == {
        "sc-superposition": SUPPORTED,
        "sc-modules": "no randomly initialized model ran (controls.random_init is false)",
        "sc-highways": "no randomly initialized model ran (controls.random_init is false); "
        "sae.seeds has one seed",
        "sc-persistence": "sae.seeds has one seed: there is no ceiling",
        "sc-crossmodel": "no randomly initialized model ran (controls.random_init is false)",
    }
