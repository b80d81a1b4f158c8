"""The published autoencoder against the authors' own class, loss and training loop, held in a
fixture; and its gradients against autograd at sizes that no fixture has."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from petriscope.run.fixtures import read_fixture
from petriscope.studies.dna.parity.sae import KINDS, compare


def made(d: int, m: int, n: int, steps: int, rate: float = 1e-3) -> dict[str, Any]:
    """A fixture of other sizes, by a plain torch module and torch's Adam."""
    rng = torch.Generator().manual_seed(d)
    net = torch.nn.ParameterDict(
        {
            "bias": torch.randn(d, generator=rng) / 2,
            "encoder_weight": torch.randn(m, d, generator=rng) / d**0.5,
            "encoder_bias": torch.randn(m, generator=rng) / 8,
            "decoder_weight": torch.nn.functional.normalize(
                torch.randn(d, m, generator=rng), dim=0
            ),
        }
    ).double()
    x = torch.randn(n, d, generator=rng)
    name = {key: key.replace("_", ".") for key in net}

    def forward() -> tuple[torch.Tensor, ...]:
        z = torch.relu((x - net["bias"]) @ net["encoder_weight"].T + net["encoder_bias"])
        x_hat = z @ net["decoder_weight"].T + net["bias"]
        error = (x.double() - x_hat).square()
        return z, x_hat, error.mean(), z.sum(1).mean(), error.sum(1).mean()

    z, x_hat, mse, l1, summed = forward()
    penalty = 0.004
    (mse + penalty * l1).backward()
    held = {
        "config": json.dumps(
            {"dict_size": m, "l1_penalty": penalty, "learning_rate": rate, "steps": steps}
        ),
        "x": x, "x_hat": x_hat, "latents": z, "mse": mse, "l1": l1, "loss": mse + penalty * l1,
        "l0": (z > 0).sum() / n, "loss_as_written_in_S2": summed + penalty * l1,
        "fresh_decoder_column_norm": torch.ones(m),
    }  # fmt: skip
    held |= {f"w.{name[key]}": part.detach().clone() for key, part in net.items()}
    held |= {f"g.{name[key]}": part.grad for key, part in net.items()}
    adam, log = torch.optim.Adam(net.parameters(), lr=rate), []
    for epoch in range(1, steps + 1):
        adam.zero_grad()
        _, _, mse, l1, _ = forward()
        loss = mse + penalty * min(1, epoch / 100) * l1
        log.append([loss.item(), mse.item()])
        loss.backward()
        adam.step()
    held |= {f"after{steps}.{name[key]}": part for key, part in net.items()}
    held["train_loss_mse"] = np.array(log)
    return {
        key: value.detach().numpy() if isinstance(value, torch.Tensor) else np.array(value)
        for key, value in held.items()
    }


def arrays(entries: dict[str, Any]) -> set[str]:
    return {key for key in entries if key not in ("config", "x") and not key.startswith("w.")}


def test_the_authors_fixture(shared: Path) -> None:
    path = shared / "golden" / "hsg_sae.npz"
    entries = read_fixture(path)
    assert KINDS[0].holds <= set(entries)
    found = compare(path, entries)
    assert {one.array for one in found} == arrays(entries)
    assert [one for one in found if not one.error <= one.allowed] == []


@pytest.mark.parametrize(("d", "m", "n", "steps"), [(10, 64, 21, 3), (33, 40, 5, 120)])
def test_other_sizes(d: int, m: int, n: int, steps: int) -> None:
    """120 steps: the penalty has risen, and stays."""
    entries = made(d, m, n, steps)
    found = compare(Path("made.npz"), entries)
    assert {one.array for one in found} == arrays(entries)
    limit = {
        one.array: one.allowed * (steps if one.array.startswith("after") else 1) for one in found
    }
    assert [one for one in found if not one.error <= limit[one.array]] == []


@pytest.mark.parametrize(
    "name", sorted(arrays(made(10, 64, 21, 3)) | {"w.encoder.weight", "w.bias", "x"})
)
def test_a_damaged_fixture_fails(name: str) -> None:
    entries = made(10, 64, 21, 3)
    entries[name] = entries[name] * 1.0001 + 1e-4
    assert any(one.error > one.allowed for one in compare(Path("made.npz"), entries))


def test_the_paper_penalizes_d_times_less_than_the_code(shared: Path) -> None:
    """Defect 3: d times the loss of the code is not the loss of the paper's S2 at the same λ."""
    held = read_fixture(shared / "golden" / "hsg_sae.npz")
    settings = json.loads(str(held["config"]))
    d, penalty = settings["activation_dim"], settings["l1_penalty"] * float(held["l1"])
    code, paper = d * float(held["loss"]), float(held["loss_as_written_in_S2"])
    assert math.isclose(code - d * penalty, paper - penalty, rel_tol=1e-6)
    assert code - paper > 0.9 * (d - 1) * penalty > 1


def test_columns_grow_where_nothing_keeps_them(shared: Path) -> None:
    """Defect 4: unit columns at the start alone. The fixture's own weights after five steps."""
    held = read_fixture(shared / "golden" / "hsg_sae.npz")
    before, after = (
        np.linalg.norm(held[key], axis=0) for key in ("w.decoder.weight", "after5.decoder.weight")
    )
    np.testing.assert_allclose(before, 1, atol=1e-6)
    assert np.abs(after - 1).max() > 1e-4
