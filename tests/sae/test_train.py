"""Training against planted factors it must find again, and resumed runs against uninterrupted ones
(same bytes)."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from petriscope.errors import UserError
from petriscope.sae import train as train_module
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import quality, recovery
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import (
    Run,
    TrainResult,
    geometric_median,
    save_checkpoint,
    train_dictionary,
)

D, FACTORS = 24, 40


def factors() -> np.ndarray:
    rows = np.random.default_rng(9).normal(size=(FACTORS, D))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def planted(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    active = (rng.random((n, FACTORS)) < 0.06) * rng.gamma(4, 0.5, (n, FACTORS))
    return (5 * (active @ factors() + 0.02 * rng.normal(size=(n, D))) + 2.0).astype(np.float16)


DATA = planted(20_000, 0).reshape(20, 10, 100, D)
SHORT = SAEConfig(d=D, m=64, k=3, steps=60, batch=128, dead_after_tokens=1500, seed=3)


def run(config: SAEConfig, **kwargs: object) -> TrainResult:
    return train_dictionary(
        config, TokenSource.of_windows(DATA, np.arange(20)), heldout=None, progress=False, **kwargs
    )


def same(one: TrainResult, two: TrainResult) -> bool:
    tensors = all(
        torch.equal(getattr(one.sae, n), getattr(two.sae, n))
        for n in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    return tensors and one.sae.threshold == two.sae.threshold and one.history == two.history


@pytest.mark.parametrize(
    ("variant", "fvu", "found"),
    [
        ("batchtopk", 0.08, 0.9),
        ("topk", 0.12, 0.9),
        ("matryoshka", 0.15, 0.3),
        ("relu_l1", 0.25, 0.8),
    ],
)
def test_planted_factors_are_found(variant: str, fvu: float, found: float) -> None:
    config = SAEConfig(d=D, m=64, k=3, variant=variant, steps=500, batch=256, lr=5e-3, l1=2.0)
    heldout = planted(4000, 1)
    source = TokenSource.of_windows(DATA, np.arange(20))
    result = train_dictionary(config, source, heldout=heldout, progress=False)
    assert result.quality is not None
    assert result.quality.fvu < fvu
    assert result.quality.l0 < 5
    assert recovery(result.sae, factors()).recovered(0.9) >= found
    np.testing.assert_allclose(torch.linalg.vector_norm(result.sae.W_dec, dim=1), 1.0, rtol=1e-5)
    scaled = DATA.reshape(-1, D).astype(np.float64) * result.sae.scale
    assert (scaled**2).sum(1).mean() == pytest.approx(D, rel=0.02)


def test_same_seed_same_bytes_and_the_filter_does_not_matter() -> None:
    one, two = run(SHORT), run(SHORT)
    assert same(one, two)
    bf16, exact = (
        run(SAEConfig(**{**SHORT.as_dict(), "filter": name})) for name in ("bf16", "float32")
    )
    assert same(bf16, exact)
    assert not same(one, run(SAEConfig(**{**SHORT.as_dict(), "seed": 4})))


def test_aux_units_are_a_factor_of_the_variance() -> None:
    settings = {"lr": 2e-2, "steps": 40, "dead_after_tokens": 200}
    share = Run.started(dataclasses.replace(SHORT, **settings).resolved(), TokenSource(DATA))
    settings |= {"aux_units": "squared_error", "aux_weight": SHORT.aux_weight * share.variance}
    plain = Run.started(dataclasses.replace(SHORT, **settings).resolved(), TokenSource(DATA))
    for x in islice(TokenSource(DATA).batches(128, 0), 40):
        share.advance(x * share.scale)
        plain.advance(x * plain.scale)
    assert int((share.silent >= 200).sum()) > 0
    assert all(torch.equal(a, b) for a, b in zip(share.parameters, plain.parameters, strict=True))


class Interrupted(Exception):
    """Stands for a killed process."""


class StoppingSource(TokenSource):
    """Delivers a few batches, then dies."""

    def batches(self, batch: int, seed: int, first_step: int = 0) -> Iterator[torch.Tensor]:
        for number, rows in enumerate(super().batches(batch, seed, first_step)):
            if number == 37:
                raise Interrupted
            yield rows


@pytest.mark.parametrize("variant", ["batchtopk", "topk"])
def test_resumed_run_writes_the_same_bytes(tmp_path: Path, variant: str) -> None:
    config = SAEConfig(**{**SHORT.as_dict(), "variant": variant})
    whole = run(config)
    with pytest.raises(Interrupted):
        source = StoppingSource(DATA, block_rows=100)
        train_dictionary(
            config,
            source,
            heldout=None,
            checkpoint=tmp_path / "c",
            checkpoint_seconds=0,
            progress=False,
        )
    resumed = run(config, checkpoint=tmp_path / "c", checkpoint_seconds=0)
    assert same(whole, resumed)
    for name, result in (("whole", whole), ("resumed", resumed)):
        result.sae.save(tmp_path / name)
    names = ("cfg.json", "sae.safetensors")
    assert all(
        (tmp_path / "whole" / n).read_bytes() == (tmp_path / "resumed" / n).read_bytes()
        for n in names
    )


def test_foreign_and_corrupt_checkpoints_are_refused(tmp_path: Path) -> None:
    run(SHORT, checkpoint=tmp_path / "c", checkpoint_seconds=0)
    with pytest.raises(
        UserError, match=r"c: is of another configuration: lr was 0.003, now 0.001. Delete"
    ):
        run(SAEConfig(**{**SHORT.as_dict(), "lr": 1e-3}), checkpoint=tmp_path / "c")
    state = tmp_path / "c/state.safetensors"
    state.write_bytes(state.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"c: is corrupt .* Delete .* to start over"):
        run(SHORT, checkpoint=tmp_path / "c")
    (tmp_path / "c/state.json").write_text(json.dumps({"config": {}}))
    with pytest.raises(UserError, match=r"c: is corrupt"):
        run(SHORT, checkpoint=tmp_path / "c")


KILLED = """
import os, signal, sys
from pathlib import Path
import sae.test_train as t
saved, times = t.train_module.save_checkpoint, []
def save(*args):
    saved(*args)
    times.append(1)
    if len(times) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
t.train_module.save_checkpoint = save
t.run(t.SHORT, checkpoint=Path(sys.argv[1]), checkpoint_seconds=0)
"""


def test_killed_after_a_checkpoint_it_writes_the_same_bytes(tmp_path: Path) -> None:
    script = [sys.executable, "-c", KILLED, tmp_path / "c"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(script, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    saved = train_module.load_checkpoint(tmp_path / "c", SHORT.resolved())
    assert saved is not None and saved.step == 2
    run(SHORT, checkpoint=tmp_path / "c").sae.save(tmp_path / "resumed")
    run(SHORT).sae.save(tmp_path / "whole")
    for name in ("cfg.json", "sae.safetensors"):
        whole, resumed = ((tmp_path / at / name).read_bytes() for at in ("whole", "resumed"))
        assert whole == resumed


def test_a_checkpoint_is_due_by_time_alone(tmp_path: Path, monkeypatch) -> None:
    steps = []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda *a: steps.append(a[2].step))
    run(SHORT, checkpoint=tmp_path / "c")  # shorter than a minute: after the last step alone
    assert steps == [SHORT.steps]
    now = iter(np.arange(0.0, 1e6, 20.0))  # each look at the clock comes 20 s later
    clock = SimpleNamespace(perf_counter=lambda: float(next(now)))
    monkeypatch.setattr(train_module, "time", clock)
    run(SHORT, checkpoint=tmp_path / "c")
    assert len(steps) > 10 and np.diff(steps[1:-1]).max() <= 4


WRITES_WITHIN_QUOTA = """
import resource, sys
from pathlib import Path
import sae.test_train as t
from petriscope.errors import UserError
t.run(t.SHORT, checkpoint=Path(sys.argv[1]), checkpoint_seconds=0)
before = (Path(sys.argv[1]) / "state.safetensors").read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))
saved = t.train_module.load_checkpoint(Path(sys.argv[1]), t.SHORT.resolved())
try:
    t.train_module.save_checkpoint(Path(sys.argv[1]), t.SHORT.resolved(), saved)
except UserError as error:
    print(error)
assert (Path(sys.argv[1]) / "state.safetensors").read_bytes() == before
"""


def test_a_real_write_that_hits_the_limit_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    """The kernel refuses the write half way (file-size limit), as a full disk does."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", WRITES_WITHIN_QUOTA, str(tmp_path / "c")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "c: cannot be written, the disk or quota is full. Free some space" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_full_disk_is_noticed_before_training_and_told_from_other_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(number: int) -> Callable[..., None]:
        def write(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return write

    state = train_module.Checkpoint(1, {"a": torch.zeros(1)}, {})
    monkeypatch.setattr(train_module, "save_file", failing(errno.ENOSPC))
    with pytest.raises(UserError, match=r"c: cannot be written, the disk or quota is full"):
        train_module.save_checkpoint(tmp_path / "c", SHORT, state)
    monkeypatch.setattr(train_module, "save_file", failing(errno.EACCES))
    with pytest.raises(OSError, match="Permission denied"):
        train_module.save_checkpoint(tmp_path / "c", SHORT, state)
    little = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(train_module.shutil, "disk_usage", lambda _: little)
    with pytest.raises(
        UserError,
        match=r"c: lies on a disk with 0.1 MB free, checkpoints need 0.1 MB. Free some space",
    ):
        run(SHORT, checkpoint=tmp_path / "c")


def test_divergence_is_noticed_early() -> None:
    config = SAEConfig(d=D, m=64, k=3, steps=400, batch=64, lr=0.9, warmup=0)
    with pytest.raises(
        UserError, match=r"sae.learning_rate: training diverged at step \d+ .* Use less than 0.9"
    ):
        run(config)


def test_unusable_data() -> None:
    with pytest.raises(UserError, match=r"sae.d: is 30, but the vectors are 24 wide"):
        run(SAEConfig(d=30, m=64, k=3))
    with pytest.raises(UserError, match=r"input: all vectors are the same. Check the harvest"):
        train_dictionary(
            SHORT, TokenSource(np.full((500, D), 0.25, np.float32)), heldout=None, progress=False
        )
    with pytest.raises(UserError, match=r"sae.batch: is 128, but only 100 training tokens exist"):
        train_dictionary(SHORT, TokenSource(planted(100, 0)), heldout=None, progress=False)


def test_geometric_median_resists_outliers() -> None:
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    points[:40] += 1000
    assert float(torch.linalg.vector_norm(geometric_median(points))) < 0.3


def test_quality_is_the_definition() -> None:
    sae = run(SHORT).sae
    rows = planted(3000, 2)
    found = quality(sae, rows)
    x = rows.astype(np.float64)
    z = sae.encode(rows)
    decoded = sae.decode(z).astype(np.float64)
    assert found.fvu == pytest.approx(
        ((x - decoded) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(), rel=1e-5
    )
    cosine = (x * decoded).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(decoded, axis=1)
    assert found.cosine == pytest.approx(cosine.mean(), rel=1e-5)
    assert found.l0 == pytest.approx(len(z.values) / 3000)
    rate = (z.dense() > 0).mean(0)
    assert found.dead_fraction == (rate == 0).mean()
    assert sum(found.density_histogram) == (rate > 0).sum()
    gram = np.abs((sae.W_dec @ sae.W_dec.T).numpy() - np.eye(64))
    assert found.max_coherence == pytest.approx(gram.max(1).mean(), rel=1e-4)


def test_a_frozen_decoder_stays_as_drawn_while_the_rest_learns() -> None:
    config = dataclasses.replace(SHORT, train_decoder=False)
    start = Run.started(config.resolved(), TokenSource.of_windows(DATA, np.arange(20))).parameters
    frozen, trained = run(config).sae, run(SHORT).sae
    assert torch.equal(frozen.W_dec, start.W_dec)
    assert not torch.equal(frozen.W_enc, start.W_enc)
    assert not torch.equal(frozen.b_dec, start.b_dec)
    assert not torch.equal(trained.W_dec, start.W_dec)
    heldout = planted(2000, 1)
    assert quality(trained, heldout).fvu < quality(frozen, heldout).fvu


PLAIN = dataclasses.replace(
    SHORT,
    variant="relu_l1",
    batch=1,
    batch_of="blocks",
    dead_after_tokens=10**6,
    aux_weight=0.0,
    clip=math.inf,
    start="zero",
    encoder_start="independent",
    unit_decoder=False,
    scale_input=False,
    l1=0.3,
    l1_warmup=4,
    l1_stage=25,
)


def test_a_plain_network_starts_as_torch_does_and_its_rows_are_free(tmp_path: Path) -> None:
    source = TokenSource.of_windows(DATA, np.arange(20))
    start = Run.started(PLAIN.resolved(), source).parameters
    tied = Run.started(SHORT.resolved(), source).parameters
    assert torch.equal(start.W_dec, tied.W_dec)
    assert not start.b_dec.any()
    linear = torch.nn.Linear(D, 10_000)  # so many that the deviation varies with no seed
    for ours, theirs in ((start.W_enc, linear.weight), (start.b_enc, linear.bias)):
        assert float(ours.abs().max()) <= D**-0.5
        assert float(ours.std()) == pytest.approx(float(theirs.detach().std()), rel=0.15)
    cosine = torch.nn.functional.cosine_similarity(start.W_enc, start.W_dec)
    assert float(cosine.abs().mean()) < 0.4
    found = run(PLAIN).sae
    length = torch.linalg.vector_norm(found.W_dec, dim=1)
    assert float((length - 1).abs().max()) > 0.01
    torch.testing.assert_close(found.unit_rows, found.W_dec / length[:, None])
    gram = (found.unit_rows @ found.unit_rows.T - torch.eye(found.m)).abs()
    assert quality(found, planted(500, 1)).max_coherence == pytest.approx(
        float(gram.amax(1).mean()), rel=1e-4
    )
    assert float(found.nearest().max()) <= 1.0001
    found.save(tmp_path / "sae")
    again = SAE.load(tmp_path / "sae")
    assert again.config == found.config
    assert again.config.clip == math.inf


def test_whole_blocks_resume_with_the_same_bytes(tmp_path: Path) -> None:
    config = dataclasses.replace(PLAIN, steps=60)
    whole = run(config)
    source = TokenSource.of_windows(DATA, np.arange(20))
    half = Run.started(config.resolved(), source)
    for x in islice(source.block_batches(1, config.seed), 31):
        half.advance(x)
    save_checkpoint(tmp_path / "c", config.resolved(), half.checkpoint())
    resumed = run(config, checkpoint=tmp_path / "c")
    assert resumed.history[-1]["tokens"] == 60 * 100 == whole.history[-1]["tokens"]
    assert torch.equal(resumed.sae.W_dec, whole.sae.W_dec)
    assert torch.equal(resumed.sae.b_enc, whole.sae.b_enc)


def test_the_penalty_rises_by_stages() -> None:
    risen = [PLAIN.penalty(step) / 0.3 for step in (0, 24, 25, 74, 75, 99, 100, 10_000)]
    assert risen == pytest.approx([0.25, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert dataclasses.replace(PLAIN, l1_warmup=0, l1_stage=1).penalty(0) == 0.3
    assert SHORT.penalty(5) == 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variant": "topk"}, "sae.unit_decoder: is False, but must be True where variant is topk"),
        ({"unit_decoder": True, "variant": "batchtopk"}, "sae.encoder_start: is 'independent'"),
        ({"train_decoder": False}, "sae.train_decoder: is False, but must be true where unit_dec"),
        ({"resample_every": 5}, "sae.resample_every: is 5, but must be 0 where unit_decoder is"),
        ({"dead_after_tokens": None}, "sae.dead_after_tokens: is None, but must be given where"),
        ({"l1_warmup": 0}, "sae.l1_stage: is 25, but must be 1 where l1_warmup is 0"),
        ({"l1_warmup": -1}, "sae.l1_warmup: is -1"),
        ({"adam_eps": 0.0}, "sae.adam_eps: is 0.0, but must be between"),
        ({"encoder_start": "random"}, "sae.encoder_start: is 'random', but must be tied or"),
        ({"batch_of": "sequences"}, "sae.batch_of: is 'sequences', but must be tokens or blocks"),
        ({"clip": math.nan}, "sae.clip: is nan"),
    ],
)
def test_what_a_plain_network_cannot_be_combined_with(
    changed: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(PLAIN, **changed)


def test_other_configurations_are_described_as_before() -> None:
    fields = {"unit_decoder", "encoder_start", "l1_warmup", "l1_stage", "batch_of", "adam_eps"}
    assert fields.isdisjoint(SHORT.as_dict())
    assert fields - {"adam_eps"} <= set(PLAIN.as_dict())
    for config in (SHORT, PLAIN):
        assert SAEConfig.from_dict(config.as_dict()) == config
