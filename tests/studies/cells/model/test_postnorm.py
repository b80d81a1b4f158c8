"""What both models share. Reference: the same cell run by itself, and a loop over the blocks written
here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cells_models_toy import PAD, toy_inputs, toy_model

from petriscope.errors import UserError
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.params import FAMILIES


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def padded_batch(family: str) -> CellBatch:
    inputs = toy_inputs(family)
    shortest, longest = int(inputs.counts.argmin()), int(inputs.counts.argmax())
    batch = inputs.batch_of([longest, shortest, 5])
    assert not batch.mask.all()
    return batch


def test_padding_does_not_leak(family: str) -> None:
    """A cell among longer ones is the cell by itself, and nothing moves where padding changes."""
    inputs, model = toy_inputs(family), toy_model(family)
    cells = [int(inputs.counts.argmax()), int(inputs.counts.argmin()), 5]
    batch = inputs.batch_of(cells)
    layers = range(model.n_layers + 1)
    with torch.no_grad():
        together = model.run(batch, capture=layers)
        for row, cell in enumerate(cells):
            alone = model.run(inputs.batch(cell), capture=layers)
            count = int(inputs.counts[cell])
            for layer in layers:
                torch.testing.assert_close(
                    together.hidden[layer][row, :count], alone.hidden[layer][0], atol=2e-6, rtol=0
                )
        ids = batch.ids.masked_fill(~batch.mask, 7)
        values = None if batch.values is None else batch.values.masked_fill(~batch.mask, 33.0)
        other = model.run(CellBatch(ids, values, batch.mask), capture=layers)
    assert not torch.equal(ids, batch.ids) and PAD[family].id != 7
    for layer in layers:
        assert torch.equal(together.hidden[layer][batch.mask], other.hidden[layer][batch.mask])
    assert torch.equal(together.prediction[batch.mask], other.prediction[batch.mask])


@pytest.mark.parametrize("resumed", [None, 0, 2, 3])
@pytest.mark.parametrize("edited", [None, 2, 3])
def test_what_is_read_is_read_of_the_whole_stream(
    family: str, resumed: int | None, edited: int | None
) -> None:
    """The last block is run where something is read alone."""
    model, batch = toy_model(family), padded_batch(family)
    assert model.n_layers == 3
    drawn = torch.rand(batch.ids.shape, generator=torch.Generator().manual_seed(0))
    true = torch.where((drawn < 0.3) & batch.mask, batch.ids, -1)
    true[1, 5:], true[2] = -1, -1  # a cell of which less is read, and one of which nothing is
    at = true >= 0
    assert at[0].sum() > at[1].sum() > 0
    edits = {} if edited is None else {edited: lambda hidden: hidden.flip(1)}
    with torch.no_grad():
        begun = model.run(batch, capture=range(4)).hidden
        resume = None if resumed is None else (resumed, begun[resumed])
        stream = model.run(batch, (3,), edits, resume=resume).hidden[3]
        found = model.readout(batch, true, edits, resume=resume)
        nothing = model.readout(batch, torch.full_like(true, -1))
    expected = model.read(stream[at], true[at])
    torch.testing.assert_close(found[at], expected, atol=2e-6, rtol=0)
    assert torch.isnan(found[~at]).all() and torch.isnan(nothing).all()


def test_a_resumed_run_needs_the_mask_of_a_padded_batch(family: str) -> None:
    model, batch = toy_model(family), padded_batch(family)
    with torch.no_grad():
        whole = model.run(batch, capture=[1])
        with_mask = model.run(batch, resume=(1, whole.hidden[1]))
        without = model.run(None, resume=(1, whole.hidden[1]))
    assert torch.equal(with_mask.prediction, whole.prediction)
    off = (without.prediction - whole.prediction)[1, : int(batch.mask[1].sum())]
    assert float(off.abs().max()) > 1e-3
    with pytest.raises(UserError, match=r"resume: has shape \(1, \d+, 24\), the batch \(3, "):
        model.run(batch, resume=(1, whole.hidden[1][:1]))


def test_an_edit_comes_before_the_capture_and_reaches_what_follows(family: str) -> None:
    model, batch = toy_model(family), padded_batch(family)
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(*batch.ids.shape, 24, generator=generator)
    with torch.no_grad():
        plain = model.run(batch, capture=range(4)).hidden
        edited = model.run(batch, range(4), {2: lambda stream: stream + delta})
        stream = plain[2] + delta
        block = model.blocks[2]
        wanted = block(stream, batch.mask)
    assert torch.equal(edited.hidden[1], plain[1]) and torch.equal(edited.hidden[2], stream)
    torch.testing.assert_close(edited.hidden[3], wanted)
    torch.testing.assert_close(edited.prediction, model.predict(wanted))
    with pytest.raises(UserError, match="edit at layer 2: turned shape"):
        model.run(batch, edits={2: lambda stream: stream[:, 1:]})


def test_a_block_is_its_equations(family: str) -> None:
    """softmax(q kᵀ / √(d / heads)) v written out, head by head."""
    block, d, heads = toy_model(family).blocks[0], 24, 3
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 6, d)).astype(np.float32))
    with torch.no_grad():
        q, k, v = block.qkv(x[0]).chunk(3, dim=1)
        parts = []
        for head in range(heads):
            of = slice(8 * head, 8 * (head + 1))
            weights = (q[:, of] @ k[:, of].T / 8**0.5).softmax(1)
            parts.append(weights @ v[:, of])
        first = block.attention_norm(x[0] + block.out(torch.cat(parts, 1)))
        wanted = block.ffn_norm(first + block.down(block.up(first).clamp(min=0)))
        found = block(x, None)[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_places_that_training_reads_are_those_of_the_whole_stream(family: str) -> None:
    model, batch = toy_model(family), padded_batch(family)
    at = torch.from_numpy(np.random.default_rng(0).random(batch.ids.shape) < 0.3) & batch.mask
    at[1] = False  # a cell of which nothing is read
    with torch.no_grad():
        wanted = model.streams(batch, [3])[3][at]
        torch.testing.assert_close(model.at_places(batch, at), wanted, atol=1e-5, rtol=0)


def test_streams_stop_at_the_highest_layer(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = toy_model(family), padded_batch(family)
    monkeypatch.setattr(model.blocks[2], "forward", lambda *_: pytest.fail("block 3 ran"))
    monkeypatch.setattr(model, "predict", lambda *_: pytest.fail("the head ran"))
    with torch.no_grad():
        assert list(model.streams(batch, [0, 2])) == [0, 2]
