"""`petriscope sae`, parallel training and the rate sweep against plain calls of the library on the
same data."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_toy import Letters, Reader
from sae.test_train import DATA, SHORT, planted

from petriscope.cli import main
from petriscope.commands import sae as command_module
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.probe.harvest import Hidden, harvest
from petriscope.sae import sweep as sweep_module
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.sweep import Job, sweep_learning_rate, train_many
from petriscope.sae.train import TrainResult, train_dictionary, train_sae


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
        (["--input", "x.npy", "--out", "x.npy"], "--out: is the input itself. Name a new folder"),
        (
            ["--input", "x.npy", "--out", "."],
            ".: --out: holds the input x.npy, which would be lost. Name a new folder",
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
        return train_dictionary(config, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_module, "train_dictionary", diverging)
    source, rows = TokenSource.of_windows(DATA, np.arange(20)), planted(500, 4)
    sweep = sweep_learning_rate(SHORT, source, rows, rates=(1e-3, 0.9))
    assert sweep.config.lr == 1e-3
    assert np.isnan(sweep.table[1]["fvu"])
    with pytest.raises(UserError, match=r"sae.lr: training diverged at every rate tried \(0.9\)"):
        sweep_learning_rate(SHORT, source, rows, rates=(0.9,))


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    """Pools that start a fresh interpreter run the script again in every worker."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "from petriscope.sae.config import SAEConfig\n"
        "from petriscope.sae.loader import TokenSource\n"
        "from petriscope.sae.sweep import Job, train_many\n"
        "print('begun', flush=True)\n"
        "rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)\n"
        "config = SAEConfig(d=8, m=16, k=2, steps=20, batch=64)\n"
        "jobs = [Job(name, config, TokenSource(rows)) for name in 'ab']\n"
        "print(len(train_many(jobs, workers=2, progress=False)), 'trained', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["begun", "2", "trained"], done.stderr[-2000:]


def letters_hidden() -> Hidden:
    return harvest(Reader(), Letters(40), 1, windows=None)


def test_the_public_verb_trains_on_one_split_and_repeats() -> None:
    hidden = letters_hidden()
    sae = train_sae(hidden, 24, 3, tokens=2000, seed=4, lr=0.01)
    assert (sae.d, sae.m, sae.config.k, sae.config.seed, sae.config.lr) == (8, 24, 3, 4, 0.01)
    train = hidden.tokens.split == "train"
    source = TokenSource(hidden.values[train])
    batch = int(train.sum())
    config = SAEConfig(d=8, m=24, k=3, steps=2000 // batch, batch=batch, lr=0.01, seed=4)
    direct = train_dictionary(config, source, heldout=None, progress=False).sae
    torch.testing.assert_close(sae.b_dec, direct.b_dec, rtol=0.05, atol=0.05)
    again = train_sae(hidden, 24, 3, tokens=2000, seed=4, lr=0.01)
    assert torch.equal(sae.W_dec, again.W_dec)
    every = train_sae(hidden, 24, 3, tokens=2000, seed=4, lr=0.01, split=None)
    assert not torch.equal(sae.W_dec, every.W_dec)
    with pytest.raises(
        UserError, match=r"split: no token is of split 'test'. Choose one of select"
    ):
        train_sae(hidden, 24, 3, split="test")
    with pytest.raises(UserError, match="steeps: is no entry of an SAE configuration"):
        train_sae(hidden, 24, 3, steeps=9)


def test_encode_from_the_shell_is_encode_from_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = letters_hidden()
    sae = train_sae(hidden, 24, 3, tokens=2000)
    sae.save(tmp_path / "sae")
    hidden.save(tmp_path / "hidden")
    expected = sae.encode(hidden)
    assert expected.layer == 1 and expected.tokens is hidden.tokens
    command = ["sae", "encode", "--sae", str(tmp_path / "sae"), "--out", str(tmp_path / "codes")]
    assert main([*command, "--input", str(tmp_path / "hidden")]) == 0
    assert f"{len(hidden)} rows" in capsys.readouterr().out
    found = Codes.load(tmp_path / "codes")
    assert found.layer == 1 and found.tokens is not None
    for name in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.tokens.window == hidden.tokens.window).all()

    np.save(tmp_path / "alone.npy", hidden.values)
    assert main([*command, "--input", str(tmp_path / "alone.npy")]) == 0
    assert "no token axis" in capsys.readouterr().out
    assert Codes.load(tmp_path / "codes").tokens is None
    hidden.tokens.save(tmp_path / "tokens")
    assert main([*command, "--input", str(tmp_path / "alone.npy")]) == 0
    assert Codes.load(tmp_path / "codes").tokens is not None

    np.save(tmp_path / "short.npy", hidden.values[:9])
    for given, message in {
        "short.npy": "short.npy: has 9 rows, the token axis",
        "sae": "sae: holds no hidden states",
        "none.npy": "none.npy: does not exist",
    }.items():
        assert main([*command, "--input", str(tmp_path / given)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_codes_that_do_not_match_their_axis_are_refused(tmp_path: Path) -> None:
    hidden = letters_hidden()
    codes = train_sae(hidden, 24, 3, tokens=2000).encode(hidden)
    codes.save(tmp_path / "codes")
    hidden.tokens.of_windows([0, 1]).save(tmp_path / "codes/tokens")
    with pytest.raises(UserError, match=r"codes: codes: has \d+ rows, the token axis \d+ tokens"):
        Codes.load(tmp_path / "codes")


def test_encode_asks_for_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = letters_hidden()
    train_sae(hidden, 24, 3, tokens=2000).save(tmp_path / "sae")
    hidden.save(tmp_path / "hidden")
    asked: list[str] = []
    moved = SAE.to
    monkeypatch.setattr(command_module, "choose_device", lambda name: f"{name}:0")
    monkeypatch.setattr(SAE, "to", lambda sae, device: (asked.append(device), moved(sae, "cpu"))[1])
    where = ["--sae", str(tmp_path / "sae"), "--input", str(tmp_path / "hidden")]
    assert main(["sae", "encode", *where, "--out", str(tmp_path / "c"), "--device", "cuda"]) == 0
    assert asked == ["cuda:0"]
