"""Dictionaries as published and corrected, against plain loops on data with planted directions, and
stage expansions on a small flat store."""

from __future__ import annotations

import dataclasses
import filecmp
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens
from petriscope.run.params import Gate
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary
from petriscope.studies.dna.dictionaries import (
    RATE_EDGES,
    TRIES,
    ExpansionNumbers,
    Judged,
    Sizes,
    at_sparsity,
    baselines,
    firing,
    forms,
    histogram,
    published,
)
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.stages import expansions

D, FACTORS = 16, 40
REPOSITORY = Path(__file__).parents[3]


def planted(n: int, seed: int) -> np.ndarray:
    """Three of forty directions a token, on average."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(9).normal(size=(FACTORS, D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    active = (rng.random((n, FACTORS)) < 3 / FACTORS) * rng.gamma(4, 0.5, (n, FACTORS))
    return (active @ directions + 0.02 * rng.normal(size=(n, D)) + 0.3).astype(np.float32)


SIZES = Sizes(
    d=D, latents=64, k=3, tokens=40_000, batch=128, rate=0.006, penalty=1e-3, sequences=120,
    published_rate=1e-3, seed=4,
)  # fmt: skip


def test_the_published_recipe() -> None:
    config = published(1280, 10_240, penalty=1e-3, steps=256_000)
    assert config.l1 == pytest.approx(1.28)
    assert config.adam_eps == pytest.approx(1280e-8)
    epochs = np.array([1, 2, 50, 99, 100, 101, 1000])
    for within in (0, 255):
        steps = (epochs - 1) * 256 + within
        risen = [config.penalty(int(step)) for step in steps]
        assert risen == pytest.approx(1.28 * np.minimum(1, epochs / 100))
    assert {config.learning_rate(step) for step in (0, 5, 255_999)} == {1e-4}
    assert not config.scale_input
    assert (config.start, config.clip, config.batch_of) == ("zero", math.inf, "blocks")


def test_a_shorter_published_training_rises_over_the_same_share() -> None:
    whole = SIZES._replace(sequences=256_000, d=1280, latents=10_240, published_rate=1e-4)
    expected = published(1280, 10_240, penalty=1e-3, steps=256_000, seed=4)
    assert whole.published() == expected
    for sequences in (120, 1500, 9000):
        config = SIZES._replace(sequences=sequences).published()
        full = D * 1e-3
        assert config.penalty(0) <= full / 5
        assert config.penalty(sequences // 20) == pytest.approx(full / 2, rel=0.2)
        assert config.penalty(math.ceil(sequences / 10)) == full


def test_forms_on_planted_directions() -> None:
    rows = planted(20_000, 0)
    source = TokenSource(rows, block_rows=np.resize([50, 30], 500))
    found = {(one.form, one.variant): one for one in forms(SIZES, source, planted(3000, 1))}
    assert list(found) == [
        ("corrected", "topk"),
        ("corrected", "batchtopk"),
        ("corrected", "relu_l1"),
        ("published", "relu_l1"),
    ]
    for one in found.values():
        assert one.sae is not None
        z = one.sae.encode(planted(3000, 1)).dense()
        assert one.numbers["l0"] == pytest.approx((z > 0).sum(1).mean())
        np.testing.assert_array_equal(one.rates, (z > 0).mean(0))
        rest = planted(3000, 1) - one.sae.decode_dense(one.sae.encode_dense(_tensor())).numpy()
        spread = np.square(planted(3000, 1) - planted(3000, 1).mean(0)).sum()
        assert one.numbers["fvu"] == pytest.approx(np.square(rest).sum() / spread, rel=1e-3)
    assert found["corrected", "topk"].numbers["l0"] <= 3
    assert found["corrected", "topk"].numbers["fvu"] < 0.2
    assert 3 / 1.6 < found["corrected", "relu_l1"].numbers["l0"] < 3 * 1.6
    assert found["published", "relu_l1"].numbers["l0"] > 12  # a fifth of all latents


def test_a_sequence_far_from_the_rest_does_not_stop_a_published_training() -> None:
    """Its step is that sequence alone, whose error says nothing of the training."""
    rows = planted(2000, 0)
    rows[500:520] *= 30
    config = SIZES._replace(latents=32).published()
    made = train_dictionary(
        config, TokenSource(rows, block_rows=20), heldout=planted(500, 1), progress=False
    )
    assert max(row["fvu"] for row in made.history) > 3 * made.history[-1]["fvu"]
    assert made.quality is not None and made.quality.fvu < 1


def _tensor() -> Any:
    import torch

    return torch.from_numpy(planted(3000, 1))


def fake(l0: float) -> Judged:
    return Judged("corrected", "relu_l1", {"l0": l0}, np.zeros(0))


@pytest.mark.parametrize("scale", [0.02, 1.5, 40.0, 3000.0])
def test_the_penalty_is_sought_until_the_sparsity_is_near(scale: float) -> None:
    tried: list[float] = []

    def train(l1: float) -> Judged:
        tried.append(l1)
        return fake(6 * (scale / l1) ** 1.3)

    found = at_sparsity(train, 6)
    assert len(tried) <= TRIES
    values = [6 * (scale / l1) ** 1.3 for l1 in tried]
    assert found.numbers["l0"] == min(values, key=lambda l0: abs(math.log(l0 / 6)))
    if 0.1 < scale < 100:
        assert 6 / 1.25 <= found.numbers["l0"] <= 6 * 1.25
    collapsed = at_sparsity(lambda l1: fake(0.0 if l1 > 0.4 else 9.0), 6)
    assert collapsed.numbers["l0"] == 9.0


def test_bases_keep_the_largest_coordinates_of_each_token() -> None:
    rows, heldout = planted(4000, 0), planted(500, 1)
    center = rows.astype(np.float64).mean(0)
    _, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64)))
    spread = np.square(heldout - heldout.mean(0)).sum()
    for one, basis in zip(baselines(rows, heldout, 3), (vectors.T, np.eye(D)), strict=True):
        error, fired = 0.0, np.zeros((D, 2))
        for token in heldout:
            along = basis @ (token - center)
            chosen = np.argsort(-np.abs(along))[:3]
            error += np.square(token - center - along[chosen] @ basis[chosen]).sum()
            for axis in chosen:
                fired[axis, int(along[axis] < 0)] += 1
        assert one.numbers["fvu"] == pytest.approx(error / spread, rel=1e-4)
        assert one.numbers["l0"] == 3
        ours, theirs = np.sort(one.rates), np.sort(fired.ravel() / 500)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    full = list(baselines(rows, heldout, D + 5))
    assert [round(one.numbers["fvu"], 6) for one in full] == [0, 0]


def test_rates_are_summed_up() -> None:
    rates = np.array([0, 0, 0.5, 1.0, 1e-7, 0.002, 0.002, 0.3])
    numbers = firing(rates)
    alive = sorted(rates[rates > 0])
    assert numbers["dead"] == 0.25
    assert numbers["firing_median"] == pytest.approx((alive[2] + alive[3]) / 2)
    table = histogram(rates)
    assert table.latents.sum() == 8
    assert table.iloc[0].tolist() == [0, 0, 2]
    assert table.iloc[1].latents == 1  # below the first edge
    assert table.iloc[-1].tolist() == [RATE_EDGES[-2], 1.0, 1]
    for row in table.iloc[2:-1].itertuples():
        assert row.latents == ((rates >= row.low) & (rates < row.high)).sum()
    assert math.isnan(firing(np.zeros(3))["firing_median"])


def params(**changed: object) -> Params:
    from petriscope.run.params import parse_params

    raw = yaml.safe_load((REPOSITORY / "studies/dna/params.yaml").read_text())
    raw["sae"] |= {"k": 3}
    small = {"factors": [2, 4], "tokens": 4000, "batch": 128, "sequences": 30}
    raw["expansions"] |= {**small, **changed}
    made = parse_params(raw)
    assert isinstance(made, Params)
    return made


def workspace(root: Path) -> Workspace:
    made = Workspace(root)
    sizes = np.resize([40, 25], 120)
    window = np.repeat(np.arange(120), sizes)
    frame = pd.DataFrame({"split": np.resize(["train", "select"], 120), "block": np.arange(120)})
    tokens = Tokens.ragged(frame, 1, window, np.zeros_like(window), window)
    made.activations.mkdir(parents=True)
    tokens.save(made.tokens)
    for layer in (0, 3):
        np.save(
            made.activations / f"layer_{layer}.npy", planted(len(tokens), layer).astype(np.float16)
        )
    return made


def test_the_stage(tmp_path: Path) -> None:
    made = workspace(tmp_path / "a")
    numbers = expansions.run(made, params())
    out = made.table("expansions")
    quality = pd.read_csv(out / "quality.csv")
    assert len(quality) == 2 * (2 + 2 * 4)
    read = ExpansionNumbers.of(quality, 3, params().sae.gate)
    assert (numbers.best_variant, numbers.relu_in_band) == (read.best_variant, read.relu_in_band)
    for ours, theirs in ((numbers.corrected, read.corrected), (numbers.published, read.published)):
        assert ours is not None and theirs is not None
        for name, limits in ours.items():
            assert limits == pytest.approx(theirs[name], rel=1e-4)
    assert numbers.sizes == 4
    assert numbers.untestable is None
    firing_rates = pd.read_parquet(out / "firing.parquet")
    total = firing_rates.groupby(["layer", "factor", "form", "variant"]).latents.sum()
    named = quality.set_index(["layer", "factor", "form", "variant"]).latents
    pd.testing.assert_series_equal(total.sort_index(), named.sort_index(), check_dtype=False)
    sae = SAE.load(out / "layer_3" / "factor_4")
    assert (sae.m, sae.config.variant) == (64, "topk")
    tokens = Tokens.load(made.tokens)
    select = np.load(made.activations / "layer_3.npy")[tokens.split == "select"]
    row = quality[(quality.layer == 3) & (quality.factor == 4) & (quality.variant == "topk")].iloc[
        0
    ]
    codes = sae.encode(select.astype(np.float32))
    assert row.l0 == pytest.approx(codes.values.size / codes.n)
    again = workspace(tmp_path / "b")
    expansions.run(again, params())
    for path in sorted(out.rglob("*")):
        if path.is_file():
            other = again.table("expansions") / path.relative_to(out)
            assert filecmp.cmp(path, other, shallow=False), path


def test_numbers_count_what_keeps_to_the_gate() -> None:
    rows = pd.DataFrame(
        [
            (0, 8, 64, "corrected", "topk", 0.1, 3.0),
            (0, 8, 64, "corrected", "batchtopk", 0.2, 3.0),
            (0, 8, 64, "corrected", "relu_l1", 0.05, 40.0),
            (0, 8, 64, "published", "relu_l1", 0.01, 32.0),
            (1, 8, 64, "corrected", "topk", 0.3, 3.0),
            (1, 8, 64, "corrected", "batchtopk", 0.25, 3.0),
            (1, 8, 64, "corrected", "relu_l1", 0.2, 4.0),
            (1, 8, 64, "published", "relu_l1", 0.02, 16.0),
            (0, 0, 32, "baseline", "pca", 0.5, 3.0),
            (1, 0, 32, "baseline", "pca", 0.7, 3.0),
        ],
        columns=["layer", "factor", "latents", "form", "variant", "fvu", "l0"],
    ).assign(firing_median=0.01, dead=0.0)
    found = ExpansionNumbers.of(rows, 3, Gate(fvu=0.2, l0_low=2, l0_high=12, dead=0.2))
    assert (found.sizes, found.gate_passed, found.relu_in_band) == (2, 1, 1)
    assert found.best_variant == {"relu_l1": 1, "topk": 1}
    assert found.published is not None and found.published["share"] == [0.25, 0.5]
    assert found.baseline_fvu == {"pca": [0.5, 0.7]}


def test_not_run_and_mistakes(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    found = expansions.run(made, params(run=False))
    assert found == ExpansionNumbers(untestable="expansions.run is false in params.yaml")
    assert [path.name for path in made.table("expansions").iterdir()] == ["not_run.txt"]
    with pytest.raises(UserError, match=r"expansions.factors: names a factor twice"):
        params(factors=[8, 8])
    assert dataclasses.asdict(params())["expansions"]["l1"] == 0.001
