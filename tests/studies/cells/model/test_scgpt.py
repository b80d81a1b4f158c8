"""scGPT against the parity fixture, against a model put together from torch's own encoder layers at
other sizes and in all three styles, and the traps of its padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells_models_toy import BIN_WORDS, GENES, toy_inputs, toy_scgpt
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.probe.model import check_probe
from petriscope.run.fixtures import read_fixture
from petriscope.studies.cells.model import postnorm
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.scgpt import MASK_VALUE, PAD_VALUE, STYLES, ScGPT
from petriscope.studies.cells.model.weights import their_weights
from petriscope.studies.cells.parity import models


def fixture(shared: Path) -> tuple[Path, dict[str, Any]]:
    path = shared / "golden" / "scgpt_small.npz"
    return path, read_fixture(path)


def off(path: Path, entries: dict[str, Any]) -> dict[str, float]:
    """Arrays of the fixture that are not met, and by how much."""
    rows = models.KINDS[1].compare(path, entries)
    return {row.array: row.error for row in rows if row.error > row.allowed}


def random_batch(seed: int) -> CellBatch:
    """Five cells of 3 to 30 tokens with masked bins and one value above all bins."""
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(np.arange(30) < np.array([30, 3, 17, 29, 8])[:, None])
    ids = torch.from_numpy(rng.integers(0, GENES, (5, 30)))
    ids[:, 0] = GENES + 1
    values = torch.from_numpy(rng.integers(1, 51, (5, 30)).astype(np.float32))
    values[rng.random((5, 30)) < 0.2] = MASK_VALUE
    values[:, 0] = PAD_VALUE
    return CellBatch(ids.masked_fill(~mask, GENES), values.masked_fill(~mask, PAD_VALUE), mask)


class Whole(nn.Module):
    """scGPT out of torch's own parts, with the names that its weights have in the authors' code."""

    def __init__(self, model: ScGPT) -> None:
        super().__init__()
        config, d = model.config, model.d_model
        self.config = config
        self.encoder = nn.ModuleDict(
            {"embedding": nn.Embedding(config.vocabulary, d), "enc_norm": nn.LayerNorm(d)}
        )
        parts: dict[str, dict[str, nn.Module]] = {
            "continuous": {"linear1": nn.Linear(1, d), "linear2": nn.Linear(d, d), "norm": nn.LayerNorm(d)},
            "category": {"embedding": nn.Embedding(53, d), "enc_norm": nn.LayerNorm(d)},
            "scaling": {},
        }  # fmt: skip
        self.value_encoder = nn.ModuleDict(parts[config.style])
        layer = nn.TransformerEncoderLayer(d, config.heads, config.ffn, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(
            layer, config.layers, enable_nested_tensor=False
        )
        leaky = nn.LeakyReLU
        self.decoder = nn.ModuleDict(
            {
                "fc": nn.Sequential(
                    nn.Linear(d, d), leaky(), nn.Linear(d, d), leaky(), nn.Linear(d, 1)
                )
            }
        )

    def forward(self, batch: CellBatch) -> tuple[list[Tensor], Tensor]:
        """All streams and the bins."""
        genes = self.encoder["enc_norm"](self.encoder["embedding"](batch.ids))
        part, values = self.value_encoder, batch.values
        assert values is not None
        if self.config.style == "continuous":
            found = part["linear1"](values.clamp(max=512)[..., None])
            stream = genes + part["norm"](part["linear2"](F.relu(found)))
        elif self.config.style == "category":
            bins = values.long()
            bins[values == PAD_VALUE], bins[values == MASK_VALUE] = 51, 52
            stream = genes + part["enc_norm"](part["embedding"](bins))
        else:
            stream = genes * values[..., None]
        streams = [stream]
        for layer in self.transformer_encoder.layers:
            streams.append(layer(streams[-1], src_key_padding_mask=~batch.mask))
        return streams, self.decoder["fc"](streams[-1])[..., 0]


def test_every_array_of_the_fixture(shared: Path) -> None:
    path, entries = fixture(shared)
    held = {name for name in entries if not name.startswith("w/")}
    given = {"gene_ids", "values", "padding_mask", "config", "edit_layer", "edit_delta"}
    assert {row.array for row in models.KINDS[1].compare(path, entries)} == held - given
    assert off(path, entries) == {}


@pytest.mark.parametrize(
    ("weight", "arrays"),
    [
        ("decoder.fc.4.bias", {"mlm_output", "edit_mlm_output"}),
        ("mvc_decoder.W.weight", {"mvc_output"}),
        ("mvc_decoder.gene2query.bias", {"mvc_output"}),
        ("cls_decoder._decoder.5.bias", {"cls_output"}),
    ],
)
def test_a_damaged_fixture_fails(shared: Path, weight: str, arrays: set[str]) -> None:
    path, entries = fixture(shared)
    entries[f"w/{weight}"] = entries[f"w/{weight}"] + 0.05
    assert set(off(path, entries)) == arrays


@pytest.mark.parametrize("style", STYLES)
def test_it_is_what_torch_s_own_layers_compute_at_another_size(style: str) -> None:
    model, batch = toy_scgpt(5, layers=4, d_model=32, heads=2, ffn=20, style=style), random_batch(4)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.normal_(part.weight, 1, 0.3), nn.init.normal_(part.bias, 0, 0.3)
    assert batch.values is not None
    if style != "category":
        batch.values[0, 3] = 700.0  # read as 512 in one style, as it is in the other
    whole = Whole(model)
    whole.load_state_dict(their_weights(model))
    whole.train()  # torch's fast path is for eval mode alone
    for part in whole.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    with torch.no_grad():
        streams, bins = whole(batch)
        ours = model.run(batch, capture=range(5))
    for layer, hidden in enumerate(streams):
        torch.testing.assert_close(
            ours.hidden[layer][batch.mask], hidden[batch.mask], atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(ours.prediction[batch.mask], bins[batch.mask], atol=5e-6, rtol=1e-5)


def test_the_fixture_tells_the_usual_mistakes(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gelu for relu; √d for √(d / heads); the mask left out; an edit after the capture."""
    path, entries = fixture(shared)
    real = F.scaled_dot_product_attention

    def errors(place: Any, name: str, made: Any) -> dict[str, float]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, made)
            return off(path, entries)

    attention = "scaled_dot_product_attention"
    assert {"hidden", "mlm_output"} <= set(errors(postnorm.F, "relu", F.gelu))
    heads = models.fixture_scgpt(path, entries).config.heads
    wide = lambda q, k, v, attn_mask: real(q, k, v, attn_mask, scale=(heads * q.shape[-1]) ** -0.5)
    assert errors(postnorm.F, attention, wide)["hidden"] > 1e-3
    blind = lambda q, k, v, attn_mask: real(q, k, v)
    assert errors(postnorm.F, attention, blind)["mlm_output"] > 0.05  # .11 in the fixture's notes
    late = errors(postnorm, "_edited", lambda edit, layer, hidden: hidden)
    assert set(late) == {"edit_hidden", "edit_mlm_output"}


@pytest.mark.parametrize("style", STYLES)
def test_it_keeps_the_promises_of_a_probed_model(style: str) -> None:
    check_probe(toy_scgpt(style=style), toy_inputs("scgpt"), window=3)


def test_the_order_of_the_genes_does_not_matter() -> None:
    model, batch = toy_scgpt(), random_batch(1)
    assert batch.values is not None
    order = torch.tensor([0, *(1 + torch.randperm(29)).tolist()])
    full = CellBatch(*(part[:1] for part in batch))  # type: ignore[index]
    turned = CellBatch(*(part[:, order] for part in full))  # type: ignore[index]
    with torch.no_grad():
        a, b = model.run(full).prediction, model.run(turned).prediction
    torch.testing.assert_close(a[:, order], b, atol=1e-5, rtol=0)


def test_a_hidden_bin_is_shown_as_minus_one_and_read_at_its_place() -> None:
    model, batch = toy_scgpt(), random_batch(2)
    at = torch.zeros_like(batch.mask)
    at[0, 4], at[2, 7] = True, True
    hidden = model.hide(batch, at)
    assert hidden.values is not None and (hidden.values[at] == -1).all()
    assert torch.equal(hidden.ids, batch.ids)
    with torch.no_grad():
        found = model.readout(hidden, torch.where(at, batch.ids, -1))
        whole = model.run(hidden).prediction
    torch.testing.assert_close(found[at], whole[at], atol=1e-5, rtol=0)
    assert found[~at].isnan().all()


def test_the_mean_over_a_cell_counts_its_padding_as_the_authors_do() -> None:
    pooled = toy_scgpt(cell_style="avg-pool")
    stream = torch.randn(2, 5, 24)
    torch.testing.assert_close(pooled.cell_embedding(stream), stream.mean(1))
    assert torch.equal(toy_scgpt().cell_embedding(stream), stream[:, 0])


def test_a_value_of_another_size_points_another_way_at_a_random_start() -> None:
    model = toy_scgpt()
    batch = CellBatch(
        torch.tensor([[GENES + 1, 3], [GENES + 1, 3]]),
        torch.tensor([[PAD_VALUE, 2.0], [PAD_VALUE, 40.0]]),
        torch.ones(2, 2, dtype=torch.bool),
    )
    with torch.no_grad():
        low, high = model.embed(batch)[:, 1]
    assert float((low - high).abs().max()) > 0.01
    assert len(model.embedding.weight) == BIN_WORDS


def test_a_batch_without_bins_is_refused() -> None:
    with pytest.raises(UserError, match="has no values, which scGPT reads"):
        toy_scgpt().run(random_batch(1)._replace(values=None))
