"""Training and encoding off the host without a GPU: numpy forbidden and the default device useless, results
equal to the host's.

A tensor made without a device lands on `meta`, where mixing with real ones fails; `Tensor.numpy`
raises. So a step that passes here touches neither the host's shortcuts nor a device of its own
choosing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from sae.test_train import DATA, SHORT, run

from petriscope.sae import coder as coder_module
from petriscope.sae import select as select_module
from petriscope.sae import sparse as sparse_module
from petriscope.sae.loader import TokenSource
from petriscope.sae.sparse import Pattern, keep_entries, row_sums, transpose
from petriscope.sae.train import Run


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sparse_module, select_module):
        monkeypatch.setattr(module, "on_host", lambda _: False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("numpy cannot read this device")

    monkeypatch.setattr(torch.Tensor, "numpy", refuse)


@pytest.fixture
def own_default_device() -> Iterator[None]:
    yield
    torch.set_default_device(None)


def pattern() -> Pattern:
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.random((40, 30)) < 0.2)
    mask[7] = False
    return Pattern(
        torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)).int(),
        mask.nonzero()[:, 1].int(),
        mask.shape[1],
    )


def test_sparse_operations_equal_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    given = pattern()
    values = torch.randn(len(given.columns), generator=torch.Generator().manual_seed(1))
    kept = values > 0

    def all_of_them() -> list[torch.Tensor]:
        flipped, order = transpose(given)
        part, where = keep_entries(given, kept)
        return [
            flipped.indptr,
            flipped.columns,
            order,
            row_sums(given, values),
            part.indptr,
            part.columns,
            where,
        ]

    host = all_of_them()
    elsewhere(monkeypatch)
    for expected, found in zip(host, all_of_them(), strict=True):
        assert torch.equal(expected, found)
        assert expected.dtype == found.dtype


@pytest.mark.parametrize("variant", ["batchtopk", "topk", "matryoshka", "relu_l1"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_elsewhere_is_the_same_training(
    monkeypatch: pytest.MonkeyPatch, own_default_device: None, variant: str, precision: str
) -> None:
    settings = {
        "variant": variant,
        "filter": precision,
        "lr": 2e-2,
        "dead_after_tokens": 200,
        "resample_every": 15,
    }
    config = dataclasses.replace(SHORT, **settings).resolved()
    host = run(config).sae
    source = TokenSource.of_windows(DATA, np.arange(20))
    started = Run.started(config, source, "cpu")
    batches = [
        x * started.scale for x in islice(source.batches(config.batch, config.seed), config.steps)
    ]
    elsewhere(monkeypatch)
    torch.set_default_device("meta")
    for x in batches:
        started.advance(x)
    found = started.sae()
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        torch.testing.assert_close(getattr(found, name), getattr(host, name), rtol=1e-4, atol=1e-5)
    assert found.threshold == pytest.approx(host.threshold, rel=1e-4)


@pytest.mark.parametrize("variant", ["batchtopk", "topk"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_encoding_elsewhere_gives_the_same_codes(
    monkeypatch: pytest.MonkeyPatch, own_default_device: None, variant: str, precision: str
) -> None:
    config = dataclasses.replace(SHORT, variant=variant, filter=precision, lr=2e-2).resolved()
    sae = run(config).sae
    rows = DATA[:3].reshape(-1, DATA.shape[-1])
    host = sae.encode(rows)
    decoded = sae.decode(host)
    kinds = {torch.float32: np.float32, torch.int32: np.int32}
    leave = lambda tensor: np.array(tensor.tolist(), kinds[tensor.dtype])
    monkeypatch.setattr(coder_module, "to_host", leave)
    elsewhere(monkeypatch)
    torch.set_default_device("meta")
    found = dataclasses.replace(sae).encode(rows, device="cpu")
    np.testing.assert_array_equal(found.indptr, host.indptr)
    np.testing.assert_array_equal(found.indices, host.indices)
    np.testing.assert_allclose(found.values, host.values, rtol=1e-5)
    np.testing.assert_allclose(sae.decode(found), decoded, rtol=1e-4, atol=1e-5)
