"""A torch model probed by hooks, against Hugging Face's own hidden states and against a run written
out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import petriscope as ps
from petriscope.errors import UserError
from petriscope.probe.model import check_run

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=31, hidden_size=24, num_hidden_layers=3, num_attention_heads=2
    )
    return transformers.BertModel(config).eval()


@pytest.fixture(scope="module")
def probed(bert: nn.Module):
    return ps.probe(bert, "encoder.layer", lambda out: out.last_hidden_state.mean(1))


BATCH = {"input_ids": torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])}


@torch.inference_mode()
def test_every_layer_is_what_the_library_itself_returns(bert: nn.Module, probed) -> None:
    found = probed.run(BATCH, capture=range(4))
    theirs = bert(**BATCH, output_hidden_states=True)
    assert (probed.n_layers, probed.d_model) == (3, 24)
    for layer, hidden in enumerate(theirs.hidden_states):
        torch.testing.assert_close(found.hidden[layer], hidden, rtol=0, atol=0)
    torch.testing.assert_close(found.prediction, theirs.last_hidden_state.mean(1), rtol=0, atol=0)


@torch.inference_mode()
def test_an_edit_reaches_the_blocks_above_it_alone(bert: nn.Module, probed) -> None:
    shift = torch.linspace(-1, 1, 24)
    found = probed.run(BATCH, capture=range(4), edits={1: lambda h: h + shift})
    plain = probed.run(BATCH, capture=range(4))
    by_hand = plain.hidden[1] + shift
    torch.testing.assert_close(found.hidden[0], plain.hidden[0])
    torch.testing.assert_close(found.hidden[1], by_hand)
    for layer in (2, 3):
        by_hand = bert.encoder.layer[layer - 1](by_hand)
        by_hand = by_hand[0] if isinstance(by_hand, tuple) else by_hand
        torch.testing.assert_close(found.hidden[layer], by_hand)
    torch.testing.assert_close(found.prediction, by_hand.mean(1))


def test_it_keeps_all_promises_of_a_probed_model_and_leaves_no_hook(bert, probed) -> None:
    before = hooks(bert)  # the library has some of its own
    check_run(probed, BATCH, range(4), UserError)
    with pytest.raises(RuntimeError, match="stop here"):
        probed.run(BATCH, edits={2: _stop})
    assert hooks(bert) == before


def hooks(module: nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]


def _stop(hidden: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("stop here")


@pytest.mark.parametrize("batch", [torch.tensor([[1, 2]]), (torch.tensor([[1, 2]]),)])
def test_plain_blocks_and_batches_of_any_kind(batch) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Tanh())
    model = ps.probe(net, list(net)[1:], lambda out: out.sum(1), width=4)
    found = model.run(batch, capture=(0, 2))
    torch.testing.assert_close(found.hidden[0], net[0](torch.tensor([[1, 2]])))
    torch.testing.assert_close(found.prediction, found.hidden[2].sum(1))


def test_what_is_missing_is_named(bert) -> None:
    def readout(out):
        return out.last_hidden_state

    with pytest.raises(UserError, match=r"encoder.layers: BertModel has no .* encoder.layer\."):
        ps.probe(bert, "encoder.layers", readout)
    with pytest.raises(UserError, match="blocks: is empty"):
        ps.probe(bert, [], readout)
    with pytest.raises(UserError, match=r"width: Linear does not say.*width=D"):
        ps.probe(nn.Linear(2, 2), [nn.Linear(2, 2)], readout)
