"""`petriscope sae`, parallel training and the rate sweep against plain calls of the library on the
same data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sae.test_train import DATA, SHORT, planted

from petriscope.cli import main
from petriscope.commands import sae as command_module
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.sae import sweep as sweep_module
from petriscope.sae import train as train_module
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.parallel import Job, train_many
from petriscope.sae.sweep import sweep_learning_rate
from petriscope.sae.train import TrainResult, train_sae


def test_train_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards/a.npy", DATA[:12])
    np.save(tmp_path / "shards/b.npy", DATA[12:].reshape(-1, 24))
    arguments = [
        "--latents",
        "64",
        "--k",
        "3",
        "--tokens",
        "40000",
        "--batch",
        "128",
        "--lr",
        "0.005",
        "--seed",
        "1",
        "--block-rows",
        "100",
    ]
    given = ["--input", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]
    assert main(["sae", "train", *given, *arguments]) == 0
    sae = SAE.load(tmp_path / "out")
    assert (sae.d, sae.m, sae.config.steps, sae.config.lr) == (24, 64, 312, 0.005)
    metrics = read_json(tmp_path / "out/metrics.json")
    assert metrics["quality"]["fvu"] < 0.3
    assert "FVU" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "shards"]
    assert (
        main(
            ["sae", "export", str(tmp_path / "out"), str(tmp_path / "lens"), "--format", "saelens"]
        )
        == 0
    )
    assert (
        main(
            ["sae", "import", str(tmp_path / "lens"), str(tmp_path / "back"), "--format", "saelens"]
        )
        == 0
    )
    rows = planted(200, 5)
    np.testing.assert_allclose(
        SAE.load(tmp_path / "back").encode(rows).dense(),
        sae.encode(rows).dense(),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.npy"], "nowhere.npy: does not exist"),
        (["--input", "."], "holds no .npy file"),
        (["--input", "x.npy", "--lr", "fast"], "--lr: is 'fast'"),
        (
            ["--input", "x.npy", "--lr", "0.1", "--k", "600"],
            "sae.k: is 600, but must be below m = 192",
        ),
        (["--input", "x.npy", "--block-rows", "100000"], "is one block, nothing can be held out"),
        (["--input", "x.npy", "--block-rows", "0"], "--block-rows: is 0. Give a positive number"),
        (["--input", "x.npy", "--batch", "0"], "--batch: is 0. Give a positive number"),
        (
            ["--input", "x.npy", "--tokens", "1000"],
            "--tokens: is 1000, less than one batch of 1024. Give more",
        ),
        (
            ["--input", "x.npy", "wide.npy"],
            "input: shards are [24, 25] wide. Give shards of one layer",
        ),
        (
            ["--input", "x.npy", "nan.npy", "--lr", "0.01"],
            "nan.npy: row 2042 holds NaN or infinity. Harvest this",
        ),
        (
            ["--input", "huge.npy", "--lr", "0.01"],
            "huge.npy: row 2042 holds NaN or infinity. Harvest this",
        ),
        (
            ["--input", "constant.npy", "--lr", "0.01"],
            "input: all vectors are the same. Check the harvest",
        ),
        (
            ["--input", "few.npy", "--block-rows", "50", "--lr", "0.01"],
            "is 1024, but only 150 training tokens exist",
        ),
        (["--input", "empty.npy"], "no rows are left to train on"),
        (
            ["--input", "many.npz"],
            "many.npz: holds several arrays (.npz). Save each with numpy.save",
        ),
        (["--input", "x.npy", "--out", "x.npy"], "x.npy: is a file. Name a new folder"),
        (
            ["--input", "x.npy", "--out", "."],
            ".: holds other files, which would be lost. Name a new folder",
        ),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[1].endswith((".npy", ".npz")) and arguments[1] != "nowhere.npy":
        write_inputs()
    assert main(["sae", "train", "--out", "out", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def write_inputs() -> None:
    rows = planted(3000, 0)
    np.save("x.npy", rows)
    np.save("wide.npy", np.zeros((100, 25), np.float16))
    np.save("constant.npy", np.ones_like(rows))
    np.save("few.npy", rows[:200])
    np.save("empty.npy", rows[:0])
    np.savez("many.npz", rows)
    for name, value in (("nan", np.nan), ("huge", 1e300)):
        bad = rows.astype(np.float64)
        bad[2042, 3] = value
        np.save(f"{name}.npy", bad)


def test_a_left_checkpoint_is_refused_or_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an interrupted `sae train` leaves: of another rate, cut short, and as it should be."""
    monkeypatch.chdir(tmp_path)
    write_inputs()
    command = [
        "sae",
        "train",
        "--input",
        "x.npy",
        "--out",
        "out",
        "--k",
        "3",
        "--batch",
        "128",
        "--tokens",
        "1280",
    ]
    command += ["--latents", "64", "--block-rows", "100", "--lr"]

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "_CHECKPOINT_EVERY", 5)
    monkeypatch.setattr(command_module.SAE, "save", fails)
    assert main([*command, "0.01"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main([*command, "0.02"]) == 2
    error = capsys.readouterr().err.strip()
    assert (
        ".out.checkpoint: is of another configuration: lr was 0.01, now 0.02. Delete "
        ".out.checkpoint" in error
    )
    state = tmp_path / ".out.checkpoint/state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:3000])
    assert main([*command, "0.01"]) == 2
    error = capsys.readouterr().err.strip()
    assert ".out.checkpoint: is corrupt" in error
    assert "Delete .out.checkpoint to start over" in error
    assert "\n" not in error
    state.write_bytes(whole)
    assert main([*command, "0.01"]) == 0
    assert not (tmp_path / ".out.checkpoint").exists()
    weights = tmp_path / "out/sae.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    assert main(["sae", "export", "out", "lens", "--format", "saelens"]) == 2
    assert "out: cannot be read" in capsys.readouterr().err


def test_workers_change_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "layer_1.npy", DATA)
    store = np.load(tmp_path / "layer_1.npy", mmap_mode="r")
    source = TokenSource.of_windows(store, np.arange(20))
    configs = [SHORT, dataclasses.replace(SHORT, seed=8, variant="topk")]
    jobs = [Job(f"seed {c.seed}", c, source, TokenSource(planted(500, 3))) for c in configs]
    alone, together = (train_many(jobs, workers=workers, progress=False) for workers in (1, 2))
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.sae.W_dec, two.sae.W_dec)
        assert one.quality == two.quality
        assert one.history == two.history


def test_an_error_of_a_worker_reaches_the_user() -> None:
    jobs = [Job(name, SHORT, TokenSource(np.ones((400, 24), np.float32))) for name in "ab"]
    with pytest.raises(UserError, match="all vectors are the same"):
        train_many(jobs, workers=2, progress=False)


def test_sweep_chooses_the_least_error() -> None:
    config = dataclasses.replace(SHORT, steps=200)
    source = TokenSource.of_windows(DATA, np.arange(20))
    sweep = sweep_learning_rate(config, source, planted(1000, 4), rates=(1e-4, 4e-3), most_dead=1.0)
    by_rate = {row["lr"]: row["fvu"] for row in sweep.table}
    assert by_rate[4e-3] < by_rate[1e-4]
    assert sweep.config == dataclasses.replace(config, lr=4e-3)


def test_sweep_survives_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(config: SAEConfig, *args: object, **kwargs: object) -> TrainResult:
        if config.lr > 0.1:
            raise UserError("training diverged at step 3", field="sae.learning_rate")
        return train_sae(config, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_module, "train_sae", diverging)
    source, rows = TokenSource.of_windows(DATA, np.arange(20)), planted(500, 4)
    sweep = sweep_learning_rate(SHORT, source, rows, rates=(1e-3, 0.9))
    assert sweep.config.lr == 1e-3
    assert np.isnan(sweep.table[1]["fvu"])
    with pytest.raises(UserError, match=r"sae.lr: training diverged at every rate tried \(0.9\)"):
        sweep_learning_rate(SHORT, source, rows, rates=(0.9,))
