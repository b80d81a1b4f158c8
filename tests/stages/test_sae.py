"""Stage sae on a small harvest: every seed trained and matched, the automatic rate chosen on tune,
the gate on what is probed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sae.test_train import D, planted

from petriscope.errors import UserError
from petriscope.probe.harvest import layer_paths
from petriscope.probe.tokens import Tokens
from petriscope.run.params import parse_params
from petriscope.sae import sweep
from petriscope.sae.config import sae_config
from petriscope.sae.sweep import Key, stability, train_layers
from petriscope.sae.train import TrainResult
from petriscope.stages.sae import check_gate, gate_failures, probed
from petriscope.studies.chromatin.params import Params

REPOSITORY = Path(__file__).parents[2]
SPLITS = ["train"] * 14 + ["select"] * 4 + ["tune"] * 2


@pytest.fixture(scope="module")
def harvest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("activations")
    for layer in (0, 1):
        np.save(folder / f"layer_{layer}.npy", planted(8000, layer).reshape(20, 4, 100, D))
    return folder


def params(**sae: object) -> Params:
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    small = {
        "latents": 48,
        "k": 3,
        "batch": 128,
        "tokens": 25_600,
        "learning_rate": 0.005,
        "seeds": [0, 5],
    }
    raw["sae"] |= {**small, **sae}
    return parse_params(raw)


def run_layers(
    harvest: Path, layers: list[int], given: Params, out: Path
) -> dict[Key, TrainResult]:
    """All dictionaries, with scratch and curves below ``out``."""
    tokens = Tokens.grid(pd.DataFrame({"split": SPLITS, "block": 0}), units=4, positions=100)
    tokens.save(out / "tokens")
    stores = {layer: path for layer, path in layer_paths(harvest).items() if layer in layers}
    sae, auto = given.sae, given.sae.learning_rate == "auto"
    plans = {(k, s): sae_config(sae, D, given.seed + s) for s in sae.seeds for k in stores}
    places = {"scratch": out / "scratch", "curves": out / "curves"}
    return train_layers(stores, out / "tokens", plans, sweep=auto, device="cpu", **places)


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep.os, "sched_getaffinity", lambda _: {0})


def test_every_layer_and_seed_is_trained_judged_and_matched(harvest: Path, tmp_path: Path) -> None:
    given = params()
    trained = run_layers(harvest, [0, 1], given, tmp_path)
    assert list(trained) == [(0, 0), (1, 0), (0, 5), (1, 5)]
    assert {result.sae.config.seed for result in trained.values()} == {given.seed, given.seed + 5}
    assert all(
        result.quality is not None and result.quality.n_tokens == 4 * 400
        for result in trained.values()
    )
    curve = pd.read_csv(tmp_path / "curves" / "layer_1_seed_5.csv")
    assert curve.step.tolist() == [row["step"] for row in trained[1, 5].history]
    tables = stability(trained)
    assert list(tables["stability"].columns) == [
        "layer",
        "feature",
        "stability",
        "encoder_stability",
    ]
    assert list(tables["matches"].columns) == [
        "layer",
        "feature",
        "seed",
        "match",
        "decoder_cosine",
        "encoder_cosine",
    ]
    assert len(tables["stability"]) == 2 * 48
    merged = tables["matches"].merge(tables["stability"], on=["layer", "feature"])
    np.testing.assert_array_equal(
        merged.stability, merged.decoder_cosine
    )  # one other seed: the mean is its own
    # what a stage that its gate stops would find again
    assert len(list((tmp_path / "scratch").rglob("state.json"))) == 2 * 2


def test_a_ragged_axis_trains_on_its_own_rows(tmp_path: Path) -> None:
    flat = planted(8000, 0)
    sizes = np.resize([50, 30, 20], 240)
    splits = np.resize(["train", "train", "select"], 240)
    window = np.repeat(np.arange(240), sizes)
    tokens = Tokens.ragged(
        pd.DataFrame({"split": splits, "block": np.arange(240)}), 1, window, 0 * window, window
    )
    poisoned = np.where((tokens.split == "train")[:, None], flat, 100.0).astype(np.float32)
    np.save(tmp_path / "layer_0.npy", flat)
    np.save(tmp_path / "layer_1.npy", poisoned)
    given = params(seeds=[0])
    plans = {(layer, 0): sae_config(given.sae, D, given.seed) for layer in (0, 1)}
    places = {"scratch": tmp_path / "scratch", "curves": tmp_path / "curves"}
    stores = layer_paths(tmp_path)
    stores = {layer: path for layer, path in stores.items() if path.suffix == ".npy"}
    tokens.save(tmp_path / "tokens")
    trained = train_layers(stores, tmp_path / "tokens", plans, sweep=False, device="cpu", **places)
    found, same = trained[0, 0], trained[1, 0]
    assert found.quality is not None and found.quality.n_tokens == 80 * 20
    assert found.quality.fvu < 0.3
    assert torch.equal(found.sae.W_dec, same.sae.W_dec)


def test_each_plan_has_checkpoints_of_its_own(
    harvest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[Path | None]] = []
    monkeypatch.setattr(
        sweep,
        "train_many",
        lambda jobs: planned.append([job.checkpoint for job in jobs]) or jobs,
    )
    monkeypatch.setattr(
        sweep.Job, "sae", SimpleNamespace(config=SimpleNamespace(lr=0.005)), raising=False
    )
    for given in (params(), params(), params(tokens=51_200)):
        run_layers(harvest, [0, 1], given, tmp_path)
    assert planned[0] == planned[1]
    assert len({path for plan in planned for path in plan}) == 8


def test_the_automatic_rate_is_that_of_the_first_seed_for_all(
    harvest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sweep.sweep_learning_rate,
        "__kwdefaults__",
        {"rates": (1e-4, 5e-3), "share": 0.5, "most_dead": 1.0},
    )
    trained = run_layers(harvest, [0], params(learning_rate="auto"), tmp_path)
    first, other = trained[0, 0], trained[0, 5]
    assert first.sweep is not None
    by_rate = {row["lr"]: row["fvu"] for row in first.sweep}
    assert set(by_rate) == {1e-4, 5e-3}
    assert first.sae.config.lr == min(by_rate, key=lambda rate: by_rate[rate])
    assert other.sweep is None
    assert other.sae.config.lr == first.sae.config.lr


def test_the_gate_judges_what_is_probed_and_names_the_rest() -> None:
    gate = params().sae.gate
    good = {"fvu": 0.01, "l0": 3.0, "dead_fraction": 0.0}
    rows = [{"layer": layer, "seed": seed, **good} for layer in (0, 1) for seed in (0, 5)]
    rows[3]["dead_fraction"] = 0.2
    table = pd.DataFrame(rows)
    first = probed(table)
    assert first.index.tolist() == [0, 2]
    check_gate(first, gate)
    others = gate_failures(table.drop(index=first.index), gate)
    assert others == ["layer 1 seed 5: dead 20.0% > 5.0%"]
    wider = r" \(sae.tokens\), or widen the gate where that is good enough: --set sae.gate"
    for name, value, words, remedy in (
        ("fvu", 0.203, "FVU 0.203 > 0.05", rf"{wider}.fvu=0.21\."),
        ("fvu", float("nan"), "FVU nan > 0.05", r" \(sae.tokens\)\."),
        ("l0", 8.5, "L0 8.5 outside 2 to 8", rf"{wider}.l0_high=9\."),
    ):  # fmt: skip
        bad = probed(pd.DataFrame([{**rows[0], name: value}, *rows[1:]]))
        with pytest.raises(
            UserError,
            match=rf"sae.gate: the quality gate failed: layer 0 seed 0: {words}. Train on more tokens{remedy}",
        ):
            check_gate(bad, gate)


def test_mistakes_in_params_are_named() -> None:
    for entry, value, message in (
        ("learning_rate", "car", "sae.learning_rate: is 'car'. Use `auto` or a number"),
        ("seeds", [1, 1], "sae.seeds: names a seed twice"),
    ):
        with pytest.raises(UserError, match=message):
            params(**{entry: value})
    assert dataclasses.asdict(params(learning_rate="auto"))["sae"]["learning_rate"] == "auto"
