"""Pre-training against torch's Poisson loss, hand-made augmentation, an unshared pass and an
unbroken run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from petriscope.errors import UserError
from petriscope.genome.tracks import model_target
from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.pretrain import (
    Arrays,
    PretrainConfig,
    Step,
    learning_rate,
    poisson_loss,
    pretrain,
    training_step_arrays,
)

TINY = EpiBERTConfig(
    input_length=32 * 128,
    output_length=32,
    final_output_length=28,
    sequence_filters=(8, 8, 8, 8, 8, 8),
    atac_stem_filters=4,
    atac_filters=(4, 8),
    num_motifs=3,
    motif_units_fc=8,
    d_model=16,
    heads=2,
    layers=2,
    random_features=16,
    final_point_scale=2,
    dropout=0.1,
    head_dropout=0.0,
    motif_dropout=0.1,
)
QUICK = PretrainConfig(
    epochs=3, windows_per_step=2, biosamples_per_step=2, learning_rate=3e-3, folds=2
)
CONDITIONS = ("a", "a", "b", "b")
SPLITS = {"train": np.arange(6), "tune": np.array([6, 7])}


def simulated(windows: int, seed: int = 0) -> Arrays:
    """Two conditions; poly-A opens bins in the first, poly-C in the second."""
    rng = np.random.default_rng(seed)
    sequence = rng.integers(0, 4, (windows, TINY.input_length)).astype(np.uint8)
    signal = rng.gamma(1.0, 0.2, (windows, 4, TINY.input_length // 4))
    for w in range(windows):
        for token in rng.choice(32, 8, replace=False):
            kind = int(rng.integers(2))
            sequence[w, token * 128 + 20 : token * 128 + 100] = kind
            signal[w, 2 * kind : 2 * kind + 2, token * 32 : token * 32 + 32] += 4
    motif = np.array([[1, 0, 0.5]] * 2 + [[0, 1, 0.5]] * 2, dtype=np.float32)
    return Arrays(sequence, signal.astype(np.float16), motif)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return simulated(8)


def weights(model: EpiBERT) -> torch.Tensor:
    return torch.cat(
        [p.detach().ravel() for p in model.state_dict().values() if p.is_floating_point()]
    )


def test_loss_is_torchs_poisson_over_hidden_bins() -> None:
    g = torch.Generator().manual_seed(0)
    prediction = (torch.rand(4, 9, generator=g) * 50).requires_grad_()
    target, mask = torch.rand(4, 9, generator=g) * 80, torch.rand(4, 9, generator=g) < 0.3
    got = poisson_loss(prediction, target, mask)
    want = F.poisson_nll_loss(prediction[mask], target[mask], log_input=False, eps=1e-7)
    assert got.item() == pytest.approx(want.item(), rel=1e-5)
    got.backward()
    assert (
        prediction.grad is not None
        and (prediction.grad[~mask] == 0).all()
        and (prediction.grad[mask] != 0).all()
    )
    assert poisson_loss(prediction, target, torch.zeros_like(mask)).item() == 0


def test_rate_rises_then_falls_to_a_tenth() -> None:
    config = PretrainConfig(learning_rate=1e-3, warmup=0.1)
    rates = [learning_rate(step, 1000, config) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5) and max(rates) == pytest.approx(1e-3)
    assert int(np.argmax(rates)) in (99, 100) and rates[-1] == pytest.approx(1e-4, rel=1e-2)
    half = 1e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rates[550] == pytest.approx(half)


@pytest.mark.parametrize("mean", [0.5, 16.0, 300.0])
def test_untrained_model_predicts_the_mean(mean: float) -> None:
    model = EpiBERT(TINY)
    model.start_at_mean(mean)
    assert F.softplus(model.head.profile.bias).item() == pytest.approx(mean, rel=1e-4)


def test_step_without_augmentation_is_the_data(arrays: Arrays) -> None:
    config = PretrainConfig(max_shift=0, reverse_complement=False)
    drawn = np.array([[1, 3], [0, 2]])
    step = training_step_arrays(arrays, [4, 1], drawn, np.random.default_rng(0), config, crop=2)
    assert torch.equal(step.batch.sequence, one_hot(arrays.sequence[[4, 1]]))
    rows = [(4, 1), (4, 3), (1, 0), (1, 2)]
    for row, (w, s) in enumerate(rows):
        want = model_target(arrays.signal[w, s].astype(np.float32), 2)
        assert np.allclose(step.target[row].numpy(), want)
        assert torch.equal(step.batch.motif[row, 0], torch.from_numpy(arrays.motif_activity[s]))
        hidden = np.zeros(32, bool)
        hidden[2:30] = step.mask[row].numpy()
        seen = step.batch.atac[row, :, 0].numpy().reshape(32, 32)
        assert (seen[hidden] == 0).all() and (seen[~hidden] > 0).all()
    assert not step.mask.all() and step.mask.any()


def test_augmentation_shifts_the_sequence_and_reads_the_other_strand(arrays: Arrays) -> None:
    shifts, flips = set(), set()
    letters = "ACGT"
    whole = "".join(letters[i] for i in arrays.sequence[3])
    other = whole[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for seed in range(30):
        step = training_step_arrays(
            arrays, [3], np.array([[0]]), np.random.default_rng(seed), PretrainConfig(), crop=2
        )
        codes = step.batch.sequence[0]
        text = "".join("N" if not row.any() else letters[int(row.argmax())] for row in codes)
        found = [(k, False) for k in range(4) if text == whole[k:] + "N" * k]
        found += [(k, True) for k in range(4) if text == "N" * k + other[: len(other) - k]]
        assert len(found) == 1
        shift, flipped = found[0]
        target = model_target(arrays.signal[3, 0].astype(np.float32), 2)
        assert np.allclose(step.target[0].numpy(), target[::-1] if flipped else target)
        shifts.add(shift)
        flips.add(flipped)
    assert shifts == {0, 1, 2, 3} and flips == {True, False}


def test_shared_sequence_branch_gives_the_unshared_gradient(arrays: Arrays) -> None:
    """Without batch statistics (eval mode) sharing changes neither loss nor gradient."""
    drawn = np.array([[0, 1, 2], [1, 2, 3]])
    step = training_step_arrays(
        arrays, [0, 5], drawn, np.random.default_rng(0), PretrainConfig(), crop=2
    )
    gradients = []
    for sequence in (step.batch.sequence, step.batch.sequence.repeat_interleave(3, dim=0)):
        model = EpiBERT(TINY, init_seed=2).eval()
        out = model.run(Batch(sequence, step.batch.atac, step.batch.motif)).prediction[..., 0]
        poisson_loss(out, step.target, step.mask).backward()
        gradients.append(
            torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])
        )
    assert torch.allclose(
        gradients[0], gradients[1], rtol=1e-3, atol=1e-4 * gradients[0].abs().max().item()
    )


def test_same_seed_same_weights(arrays: Arrays) -> None:
    config = dataclasses.replace(QUICK, epochs=1)
    runs = [
        pretrain(TINY, config, arrays, SPLITS, CONDITIONS, seed=s, evaluate=()) for s in (1, 1, 2)
    ]
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))
    assert not torch.equal(weights(runs[0].model), weights(runs[2].model))
    assert runs[0].history == runs[1].history


def test_every_epoch_draws_new_masks(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[bytes] = []

    def recorded(*args: Any, **kwargs: Any) -> Step:
        step = training_step_arrays(*args, **kwargs)
        masks.append(step.mask.numpy().tobytes())
        return step

    monkeypatch.setattr(
        "petriscope.studies.chromatin.model.pretrain.training_step_arrays", recorded
    )
    pretrain(TINY, QUICK, arrays, SPLITS, CONDITIONS, seed=1, evaluate=())
    assert len(masks) == 9 == len(set(masks))


def test_training_leaves_torchs_random_state_alone(arrays: Arrays) -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    pretrain(
        TINY, dataclasses.replace(QUICK, epochs=1), arrays, SPLITS, CONDITIONS, seed=1, evaluate=()
    )
    assert torch.equal(torch.rand(3), want)


def test_interrupted_run_resumes_to_the_same_weights(arrays: Arrays, tmp_path: Path) -> None:
    whole = pretrain(TINY, QUICK, arrays, SPLITS, CONDITIONS, seed=3, evaluate=())
    file = tmp_path / "run.safetensors"

    def stop(record: dict[str, float], _: EpiBERT) -> None:
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(
            TINY,
            QUICK,
            arrays,
            SPLITS,
            CONDITIONS,
            seed=3,
            evaluate=(),
            checkpoint=file,
            on_epoch=stop,
        )
    seen: list[float] = []
    resumed = pretrain(
        TINY, QUICK, arrays, SPLITS, CONDITIONS,
        seed=3, evaluate=(), checkpoint=file, on_epoch=lambda r, _: seen.append(r["epoch"]),
    )  # fmt: skip
    assert seen == [3.0]
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert resumed.history == whole.history


def test_checkpoint_of_another_run_or_damaged_is_refused(arrays: Arrays, tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    config = dataclasses.replace(QUICK, epochs=1)
    pretrain(TINY, config, arrays, SPLITS, CONDITIONS, seed=3, evaluate=(), checkpoint=file)
    with pytest.raises(
        UserError, match=r"run.safetensors: belongs to another configuration or seed"
    ):
        pretrain(TINY, config, arrays, SPLITS, CONDITIONS, seed=4, evaluate=(), checkpoint=file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"run.safetensors: cannot be read.*Remove it"):
        pretrain(TINY, config, arrays, SPLITS, CONDITIONS, seed=3, evaluate=(), checkpoint=file)


def test_it_learns_what_is_open_where_and_in_which_condition() -> None:
    arrays = simulated(24, seed=1)
    splits = {"train": np.arange(20), "tune": np.arange(20, 24)}
    config = PretrainConfig(
        epochs=5, windows_per_step=1, biosamples_per_step=4, learning_rate=1e-2, folds=3
    )
    trained = pretrain(TINY, config, arrays, splits, CONDITIONS, seed=0, evaluate=("tune",))
    assert trained.metrics["tune"].r > 0.6
    assert trained.metrics["tune"].r_condition > 0.6
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert not trained.model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"model.epochs: is 0"),
        ({"biosamples_per_step": 0}, r"model.biosamples_per_step: is 0"),
        ({"learning_rate": -1.0}, r"model.learning_rate: is -1"),
        ({"folds": 1}, r"model.mask_folds: is 1.*Give 2 or more"),
    ],
)
def test_config_out_of_range_names_the_field(
    arrays: Arrays, change: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pretrain(TINY, dataclasses.replace(QUICK, **change), arrays, SPLITS, CONDITIONS, seed=0)


def test_empty_training_split_is_named(arrays: Arrays) -> None:
    with pytest.raises(UserError, match=r"windows.split.train: no training window"):
        pretrain(TINY, QUICK, arrays, {"train": [], "tune": [1]}, CONDITIONS, seed=0)


def test_diverging_rate_is_named(arrays: Arrays) -> None:
    with pytest.raises(UserError, match=r"model.learning_rate: the loss is not finite"):
        config = dataclasses.replace(QUICK, learning_rate=1e30, clip=1e30)
        pretrain(TINY, config, arrays, SPLITS, CONDITIONS, seed=0, evaluate=())
