"""One level of significance and one threshold of stability: `cds.alpha` and `cds.stable` reach every
test, sentence, file and screen, and no second copy of either stands in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import Thresholds
from petriscope.claims.rules import read_rules
from petriscope.claims.texts import render
from petriscope.contrast import calibration as calibrate
from petriscope.contrast.features import layer_summary, with_stability
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.sae.moments import Moments
from petriscope.stages import calibration
from petriscope.studies.chromatin.units import design_of

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "src" / "petriscope"
UI = REPOSITORY / "tui"
LEVEL = re.compile(r"alpha|(?:^|_)(?:[pq]|significance|significant|fdr)(?:$|_)", re.IGNORECASE)
WRITTEN = re.compile(r"\b[pq]\s*(?:<|>|≤|≥)=?\s*0?\.05")
"""A level of significance that a text states for itself."""
SAMPLES = pd.DataFrame(
    [
        (f"{x}_{context}_{i}", x, context)
        for x in ("liver", "blood")
        for context in ("in_vitro", "in_vivo")
        for i in range(3)
    ],
    columns=["biosample", "lineage", "context"],
)
COPIES = {0.05, 0.7, 0.95}


def modules(*folders: Path) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted([folder] if folder.is_file() else folder.rglob("*.py")):
            yield str(path.relative_to(REPOSITORY)), ast.parse(path.read_text())


def is_number(node: ast.expr | None) -> bool:
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def defaults(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(function or class, parameter or field) of each default that is a number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            name = getattr(node, "name", "lambda")
            places = [*node.args.posonlyargs, *node.args.args]
            given = [*zip(places[::-1], node.args.defaults[::-1])]
            given += zip(node.args.kwonlyargs, node.args.kw_defaults)
            yield from ((name, place.arg) for place, value in given if is_number(value))
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and is_number(line.value):
                    assert isinstance(line.target, ast.Name)
                    yield node.name, line.target.id


def test_no_level_of_significance_has_a_default() -> None:
    found = [
        f"{path}: {owner}({name}=)"
        for path, tree in modules(LIBRARY, UI)
        for owner, name in defaults(tree)
        if LEVEL.search(name)
    ]
    assert found == []
    tree = ast.parse(
        "def f(a, alpha=0.05, *, max_q=.1, level=.95): ...\nclass A:\n    p: float = 1e-6"
    )
    names = [name for _, name in defaults(tree) if LEVEL.search(name)]
    assert names == ["alpha", "max_q", "p"]


def copies(tree: ast.Module) -> Iterator[str]:
    """Comparisons with, and names for, a number that is a threshold's value today."""

    def copied(value: ast.expr | None) -> bool:
        return isinstance(value, ast.Constant) and value.value in COPIES

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(copied, [node.left, *node.comparators])):
            yield ast.unparse(node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and copied(node.value):
            yield ast.unparse(node)


def test_no_second_copy_of_a_threshold_is_compared_with_or_printed() -> None:
    judging = [LIBRARY / name for name in ("atlas", "figures", "contrast", "causal")]
    judging += [*LIBRARY.glob("studies/*/stages"), *LIBRARY.glob("studies/*/figures.py")]
    assert all(path.exists() for path in judging) and len(judging) >= 6
    found = [f"{path}: {line}" for path, tree in modules(UI, *judging) for line in copies(tree)]
    found += [
        f"{path}: {node.value[:60]!r}"
        for path, tree in modules(UI, LIBRARY)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and WRITTEN.search(node.value)
    ]
    assert found == []
    assert list(copies(ast.parse("S = 0.7\nx = q < 0.05"))) == ["S = 0.7", "q < 0.05"]
    assert WRITTEN.search("terms at q < .05") and not WRITTEN.search("q < alpha")


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    """A feature table as stage cds writes it, some features dead and some found by one seed only."""
    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame(
        {
            "layer": np.repeat([0, 1, 2], n // 3),
            "feature": np.tile(np.arange(n // 3), 3),
            "alive": rng.random(n) < 0.8,
            "sign_consistent": True,
            "stability": np.where(rng.random(n) < 0.9, rng.random(n), np.nan),
        }
    )
    for name in ("p_published_bonferroni", "q_biosample", "q_locus", "q_conjunction_biosample"):
        frame[name] = np.where(frame.alive, rng.random(n) ** 3, np.nan)
    return frame


@pytest.mark.parametrize(("alpha", "stable"), [(0.05, 0.7), (0.2, 0.9), (0.01, 0.35)])
def test_the_atlas_lists_the_features_that_figure_1_counts(
    features: pd.DataFrame, tmp_path: Path, alpha: float, stable: float
) -> None:
    workspace = Workspace(tmp_path)
    workspace.sae.mkdir(parents=True)
    features[["layer", "feature", "stability"]].to_parquet(workspace.sae / "stability.parquet")
    table = with_stability(features.drop(columns="stability"), features, stable)
    counted = layer_summary(table, design_of(SAMPLES), alpha)
    columns = features[["layer", "feature", "stability"]]
    build_atlas(
        workspace.atlas,
        AtlasTables(
            columns.assign(alive=features.alive.astype(int), q=features.q_biosample),
            Thresholds(alpha, stable),
        ),
    )
    atlas = Atlas(workspace.atlas)
    assert atlas.thresholds == Thresholds(alpha, stable)
    for row in counted.itertuples():
        of_layer = f"layer:{row.layer} is:alive"
        assert atlas.count(f"layer:{row.layer} is:context") == row.context_count > 0
        assert atlas.count(f"{of_layer} is:stable") == row.stable > 0
        assert atlas.count(f"{of_layer} is:stable is:context") == row.stable_context_count
    assert [x.n_context for x in atlas.layers()] == counted.context_count.tolist()


def test_terms_count_as_enriched_at_the_alpha_of_the_run(tmp_path: Path) -> None:
    features = pd.DataFrame({"layer": 0, "feature": [0, 1, 2], "causal_percentile": [0.85, 0.5, 1]})
    terms = features[["layer", "feature"]].assign(kind="motif", term="GATA1", q=[0.04, 0.15, 0.3])
    found = {}
    for alpha in (0.05, 0.2):
        path = tmp_path / f"{alpha}.sqlite"
        build_atlas(path, AtlasTables(features, Thresholds(alpha, 0.7), annotations=terms))
        atlas = Atlas(path)
        found[alpha] = [atlas.count(query) for query in ("motif:GATA1", "GATA1", "is:causal")]
        found[alpha] += [features for (features,) in atlas.select("SELECT features FROM terms")]
    assert found == {0.05: [1, 1, 1, 1], 0.2: [2, 2, 2, 2]}


def test_calibration_is_run_and_judged_at_the_alpha_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    values = rng.gamma(4, 0.25, (10, 12, 12))
    moments = Moments(
        values * 100, values**2 * 100, np.full(values.shape, 50), np.full(values.shape[:2], 100)
    )
    workspace = Workspace(tmp_path)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    windows = pd.DataFrame({"split": "select", "block": np.arange(10)})
    Tokens.grid(windows, len(SAMPLES), 1).save(workspace.tokens)
    workspace.tracks.mkdir(parents=True)
    SAMPLES.to_parquet(workspace.tracks / "biosamples.parquet")
    for layer in range(3):
        folder = workspace.codes / f"layer_{layer}"
        folder.mkdir(parents=True)
        np.save(folder / "window_sum.npy", values.astype(np.float32))
        for name, array in moments._asdict().items():
            np.save(folder / f"block_{name}.npy", array)
    monkeypatch.setattr(calibrate, "PERMUTATIONS", 99)
    monkeypatch.setattr(calibrate, "PUBLISHED_SETS", 2)
    params = load_params(REPOSITORY / "params.yaml")
    small = replace(params.calibration, nulls=40, seeds=1)
    found, rates = {}, {}
    for alpha in (0.05, 0.2):
        given = replace(params, calibration=small, cds=replace(params.cds, alpha=alpha, adjust=[]))
        found[alpha] = calibration.run(workspace, given)
        table = pd.read_csv(tmp_path / "results" / "calibration" / "nulls.csv")
        rates[alpha] = table[table.test.notna()]
        assert set(rates[alpha].alpha) == {alpha}
        record = rates[alpha].iloc[rates[alpha].test.eq("corrected, permutation").argmax()]
        assert record.low < alpha < record.high
        binned = pd.read_csv(tmp_path / "results" / "calibration" / "p_values.csv")
        binned = binned[(binned.test == "corrected") & (binned.p < alpha)]
        assert record.share == pytest.approx(binned.share.sum(), abs=0.02)
    loose, strict = found[0.2], found[0.05]
    assert loose.share_low < 0.2 < loose.share_high
    claim = next(x for x in read_rules(REPOSITORY / "claims.yaml") if x["id"] == "calibration")
    told = {
        name: render(claim[name], {"calibration": asdict(loose)})
        for name in ("as_published", "corrected", "interval")
    }
    assert "of null p-values below 0.2 (seeds " in told["corrected"]
    assert "below 0.2 " in told["as_published"]
    assert told["interval"].startswith("expected 20.0% [")
    assert loose.fwer > strict.fwer and abs(loose.fwer - 0.2) < 0.2
