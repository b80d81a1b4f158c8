"""Reference: small tables as the stages write them, made here by hand; what of them must stand in
the atlas follows by counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.errors import UserError
from petriscope.files import write_csv, write_json, write_parquet
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.studies.cells import atlas
from petriscope.studies.cells.params import Params

REPOSITORY = Path(__file__).resolve().parents[3]
LN = np.log([1e-4, 0.2, 0.01])


@pytest.fixture
def params() -> Params:
    return load_params(REPOSITORY / "studies/cells/params.yaml")


def of(model: str = "geneformer", trained: bool = True, layer: int = 1) -> dict[str, object]:
    return {"model": model, "trained": trained, "layer": layer}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Feature 0 and 1 of layer 1, in both models and a randomly initialized one."""
    made = Workspace(tmp_path)
    rows = [
        {"feature": f, "fires": 10 * f, "frequency": 0.1 * f, "mean_activation": 0.2 * f,
         "alive": f > 0, **one}
        for one in (of(), of("scgpt"), of(trained=False)) for f in (0, 1)
    ]  # fmt: skip
    write_parquet(made.table("catalog") / "features.parquet", pd.DataFrame(rows))
    lists = {"feature": 1, "gene": 7, "name": "CDK1", "score": 2.0, "fires": 3, "tokens": 9}
    rows = [
        {**lists, "rank": 1, "rule": rule, **one}
        for one in (of("scgpt"), of(trained=False))
        for rule in ("published", "corrected")
    ]
    write_parquet(made.table("catalog") / "lists.parquet", pd.DataFrame(rows))
    return made


def annotate(made: Workspace) -> None:
    terms = pd.DataFrame(
        {"feature": [1, 1, 1], "collection": "go_bp", "term": ["a", "b", "c"], "fold": 2.0,
         "ln_p": LN, "q": [0.001, 0.9, 0.04], "genes": "CDK1", **of()}
    )  # fmt: skip
    write_parquet(made.table("annotate") / "terms.parquet", terms)
    features = pd.DataFrame({"feature": [0, 1], "published": [True, False], "null": [0.5, 0.1]})
    write_parquet(made.table("annotate") / "features.parquet", features.assign(**of()))
    edges = pd.DataFrame(
        {"feature": [0, 1], "network": "string", "edges": [0, 3], "expected": [1.0, 1.5],
         "p": [1.0, 0.1], "q": [1.0, 0.2], **of()}
    )  # fmt: skip
    write_parquet(made.table("annotate") / "edges.parquet", edges)
    rows = [
        {**of(), "rule": rule, "features": 2, "share": share, "null": 0.1}
        for rule, share in (("published", 0.9), ("corrected", 0.5))
    ]
    write_csv(made.table("annotate") / "layers.csv", pd.DataFrame(rows))


def test_what_no_stage_wrote_is_absent(workspace: Workspace, params: Params) -> None:
    alpha = params.cds.alpha
    features = atlas.feature_rows(workspace, params, [], None)
    assert "label" not in features and "module" not in features
    assert atlas.annotation_rows(workspace, alpha) is None
    assert atlas.module_members(workspace) is None
    assert atlas.module_rows(workspace, None, features) == (None, None)
    assert atlas.link_rows(workspace, alpha) is None and atlas.number_rows(workspace) is None
    assert atlas.type_rows(workspace, alpha) is None
    assert atlas.perturbation_rows(workspace, params) == (None, None)
    assert atlas.context_rows(workspace, []) == (None, None)
    assert atlas.neighbor_rows([], features, 0, 0.7) == (None, None)
    assert atlas.layer_rows([], features) is None
    with pytest.raises(UserError, match="Run `petriscope stage catalog`"):
        atlas.feature_rows(Workspace(workspace.root / "none"), params, [], None)


def test_features_of_trained_models_only_and_where_their_layers_lie(
    workspace: Workspace, params: Params
) -> None:
    features = atlas.feature_rows(workspace, params, [], None)
    assert features.layer.tolist() == [1, 1, 101, 101]
    assert features.model.tolist() == ["Geneformer"] * 2 + ["scGPT"] * 2
    assert features.mean_activation[1] == pytest.approx(2.0) and features.alive.tolist()[:2] == [
        *(0, 1)
    ]
    assert np.isnan(features.mean_activation[0])
    (row,) = atlas.gene_rows(workspace).itertuples()
    assert (row.layer, row.gene, row.value, row.fires, row.tokens) == (101, "CDK1", 2.0, 3, 9)


def test_annotations_labels_and_their_null(workspace: Workspace, params: Params) -> None:
    annotate(workspace)
    alpha = params.cds.alpha
    features = atlas.feature_rows(workspace, params, [], None).set_index(["layer", "feature"])
    row = features.loc[1, 1]
    assert (row.label, row.terms, row["null"], row.confidence) == ("a", 2, 0.1, 0.9)
    assert features.published[1, 0] == 1 and pd.isna(features.confidence[1, 0])
    assert pd.isna(features.label[101, 1])
    rows = atlas.annotation_rows(workspace, alpha).set_index("term")
    assert rows.p["a"] == pytest.approx(1e-4) and rows.scope["a"] == "go_bp"
    # the feature without an edge has no row
    assert rows.loc[["string"]].feature.tolist() == [1] and rows.estimate["string"] == 2.0
    (number,) = atlas.number_rows(workspace).itertuples()
    assert (number.name, number.value, number.null, number.n) == ("annotated", 0.5, 0.1, 2)


def test_modules_by_graph_and_the_one_that_names_a_feature(
    workspace: Workspace, params: Params
) -> None:
    annotate(workspace)
    members = pd.DataFrame(
        {"graph": ["pmi", "pmi", "gene", "gene"], "feature": [0, 1, 0, 1],
         "module": [3, 3, -1, 5], **of()}
    )  # fmt: skip
    write_parquet(workspace.table("modules") / "members.parquet", members)
    found = atlas.module_members(workspace)
    assert found.module.tolist() == [3, 3, 5]
    features = atlas.feature_rows(workspace, params, [], found)
    assert features.module.tolist()[1] == 5 and features.module.isna().tolist()[0]
    modules, edges = atlas.module_rows(workspace, found, features)
    assert modules.density.isna().all() and edges.empty  # no graph yet
    graph = pd.DataFrame(
        {"graph": "pmi", "feature": [0, 1], "other": [1, 4], "weight": 2.5, **of()}
    )
    write_parquet(workspace.table("modules") / "edges.parquet", graph)
    modules, edges = atlas.module_rows(workspace, found, features)
    modules = modules.set_index(["graph", "module"])
    assert modules["size"].to_dict() == {("gene", 5): 1, ("pmi", 3): 2}
    assert modules.label["pmi", 3] == "a (1)" and modules.density["pmi", 3] == 1.0
    assert edges.empty  # one module in the graph, and feature 4 in none


def test_links_and_cell_types_keep_what_is_significant(workspace: Workspace) -> None:
    links = pd.DataFrame(
        {"feature": 1, "other_feature": range(10), "z": np.arange(10.0), "tokens": 5,
         "p": [0.01, *[0.9] * 9], **of("scgpt"), "other_layer": 2}
    )  # fmt: skip
    write_parquet(workspace.table("highways") / "links.parquet", links)
    found = atlas.link_rows(workspace, 0.05)
    assert found.other_layer.unique().tolist() == [102]
    # the eight strongest, and the weakest, which alone passes
    assert sorted(found.other_feature) == [0, *range(2, 10)]
    matches = pd.DataFrame(
        {"feature": [0, 1], "other_feature": [7, 8], "r": [0.5, 0.1], "tokens": 9, "p": [0.1, 0.8],
         "trained": True, "layer": 1, "other_layer": 2, "null": 0.2,
         "null_share": 0.01}
    )  # fmt: skip
    untrained = matches.assign(trained=False, r=0.9)
    table = pd.concat([matches, untrained])
    write_parquet(workspace.table("crossmodel") / "matches.parquet", table)
    both = atlas.link_rows(workspace, 0.05)
    assert len(both) == len(found) + 2
    own = both[both.kind == "r"]
    assert own[
        ["layer", "feature", "other_layer", "other_feature", "value", "p"]
    ].values.tolist() == [
        [1, 0, 102, 7, 0.5, 0.1],
        [1, 1, 102, 8, 0.1, 0.8],
    ]
    shares = {"layer": 1, "other_layer": 2, "pairs": 2, "null_share": 0.01, "limit": 0.2}
    trained = {"trained": True, **shares, "above": 0.5, "low": 0.3, "high": 0.75}
    random = {"trained": False, **shares, "above": 0.25, "low": 0.0, "high": 0.5}
    write_csv(workspace.table("crossmodel") / "matched.csv", pd.DataFrame([trained, random]))
    (number,) = atlas.number_rows(workspace).itertuples()
    assert (number.layer, number.other_layer, number.value, number.n) == (1, 102, 0.5, 2)
    assert (number.lo, number.hi, number.null) == (0.3, 0.75, pytest.approx(0.01))
    assert "above 0.2: 99% of pairs" in number.note and number.note.endswith("initialized: 0.25")
    types = pd.DataFrame(
        {"feature": 1, "type": [f"t{i}" for i in range(10)], "estimate": 1.0,
         "p": np.linspace(0.9, 0.1, 10), "q": [0.01, *[0.9] * 9], "donors": 4, **of()}
    )  # fmt: skip
    write_parquet(workspace.table("celltypes") / "types.parquet", types)
    kept = atlas.type_rows(workspace, 0.05)
    assert set(kept.cell_type) == {"t0", *(f"t{i}" for i in range(2, 10))}


def test_perturbations_stand_at_the_layer_that_was_looked_at(
    workspace: Workspace, params: Params
) -> None:
    folder = workspace.table("perturbation")
    responses = pd.DataFrame(
        {"target": ["TF1", "TF1", "X"], "feature": [0, 1, 1], "t": [5.0, -9.0, 1.0],
         "p": 0.01, "q": [0.001, 0.001, 0.8], "model": "scgpt", "trained": True}
    )  # fmt: skip
    write_parquet(folder / "responses.parquet", responses)
    regulons = pd.DataFrame(
        {"name": ["TF1"], "features": 2, "genes": 4, "share": 0.3, "null": 0.2, "p": 0.1, "q": 0.2,
         "model": "scgpt", "trained": True}
    )  # fmt: skip
    write_csv(folder / "regulons.csv", regulons)
    assert atlas.perturbation_rows(workspace, params) == (None, None)  # no numbers yet
    write_json(workspace.metrics("perturbation"), {"models": {"scgpt": {"layer": 1}}})
    perturbed, moved = atlas.perturbation_rows(workspace, params)
    perturbed = perturbed.set_index("target")
    assert perturbed.layer.tolist() == [101, 101]
    assert perturbed.responding.to_dict() == {"TF1": 2, "X": 0}
    assert perturbed.kind.to_dict() == {"TF1": "transcription factor", "X": "other"}
    assert (perturbed.known["TF1"], perturbed["null"]["TF1"]) == (4, 0.2)
    assert moved.effect.tolist() == [-9.0, 5.0, 1.0]


def test_causal_rows_of_features_drawn_at_random_come_first(
    workspace: Workspace, params: Params
) -> None:
    table = pd.DataFrame(
        {"feature": [1, 1, 0, 1], "arm": ["most active", "random", "most active", "second seed"],
         "ratio": [9.0, 2.0, 3.0, 7.0], "low": 1.0, "high": 4.0, "p": [0.9, 0.1, 0.2, 0.0],
         "model": "geneformer", "trained": True}
    )  # fmt: skip
    write_csv(workspace.table("causal") / "features.csv", table)
    write_json(workspace.metrics("causal"), {"models": {"geneformer": {"layer": 1}}})
    features = atlas.feature_rows(workspace, params, [], None).set_index(["layer", "feature"])
    assert features.specificity[1, 1] == 2.0 and features.specificity[1, 0] == 3.0
    assert features.causal_percentile[1, 1] == pytest.approx(0.9)
    assert np.isnan(features.specificity[101, 1])


def test_numbers_stand_beside_their_controls(workspace: Workspace) -> None:
    graphs = {"alive": 10, "coverage": 0.5, "modularity": 0.6, "rewired": 0.3, "rewired_most": 0.35}
    rows = [
        {"graph": graph, **graphs, "agreement": 0.7, "agreement_saes": np.nan, **one}
        for graph in ("pmi", "gene")
        for one in (of("scgpt"), of("scgpt", trained=False))
    ]
    write_csv(workspace.table("modules") / "graphs.csv", pd.DataFrame(rows))
    pairs = {"other_layer": 2, "tested": 40, "features": 20, "share": 0.5, "away": 0.1,
             "ceiling": 0.6, "persists": 0.25, "persists_within": np.nan, "again": 0.75,
             "again_within": np.nan}  # fmt: skip
    beside = {**pairs, "share": 0.2, "persists": 0.05, "ceiling": np.nan, "again": np.nan}
    both = pd.DataFrame([{**pairs, **of("scgpt")}, {**beside, **of("scgpt", trained=False)}])
    write_csv(workspace.table("highways") / "pairs.csv", both)
    write_csv(workspace.table("persistence") / "pairs.csv", both)
    counts = [
        ("data ceiling", "data", 16, 24, 10, 20),
        ("responding features", "scgpt", 12, 24, 6, 18),
        ("responding features", "scgpt random", 3, 24, 1, 6),
        ("published rule", "scgpt", 2, 24, 0, 6),
        ("published rule, random features", "scgpt", 1, 24, 0, 3),
    ]
    names = ["measure", "model", "found", "of", "low", "high"]
    write_csv(workspace.table("perturbation") / "counts.csv", pd.DataFrame(counts, columns=names))
    models = {"scgpt": {"layer": 1, "nominal": 13, "chance": 1.2}}
    write_json(workspace.metrics("perturbation"), {"models": models})

    found = atlas.number_rows(workspace)
    assert set(found.layer) == {101} and not found.duplicated(["name", "layer"]).any()
    row = found.set_index("name").loc
    assert row["modularity", ["value", "null"]].tolist() == [0.6, 0.3]
    assert row["modularity, against the highest", ["value", "null"]].tolist() == [0.6, 0.35]
    # a picture is of one name and note: no number of a layer in it
    assert not any("0.35" in str(note) for note in found["note"])
    assert row["in a module, pmi", ["value", "n"]].tolist() == [0.5, 10]
    assert row["agreement of modules, seeds of the partition", "null"] == 0
    assert not any("dictionaries" in name for name in found["name"])  # one dictionary
    highways, persistence = row["highways"], row["persistence"]
    assert (highways.value, highways.null, highways.n, highways.other_layer) == (0.5, 0.1, 40, 102)
    assert (
        "randomly initialized: 0.2" in highways.note
        and "dictionary of the layer: 0.6" in highways.note
    )
    assert (persistence.value, persistence.null, persistence.n) == (0.25, 0.05, 20)
    assert "persistence within genes" not in set(found["name"])
    responses = "knock-downs with a specific response, "
    mine, rule = row[f"{responses}responding features"], row[f"{responses}published rule"]
    assert [mine.value, mine.lo, mine.hi, mine.null] == [0.5, 0.25, 0.75, 0.125]
    assert "p alone: 13, by chance 1.2" in mine.note and "expression itself: 16" in mine.note
    assert [rule.value, rule.null, rule.n] == pytest.approx([2 / 24, 1 / 24, 24])
