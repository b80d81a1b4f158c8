"""A model's promises, each broken once on purpose and named; resuming equals an edit of the whole
run."""

from __future__ import annotations

import pytest
import torch
from probe_toy import Letters, Reader

from petriscope.errors import UserError
from petriscope.probe.model import Edit, ProbedModel, check_probe, place, run_from, to_device


def test_a_sound_model_passes_whether_it_resumes_or_not() -> None:
    model: ProbedModel = Reader().eval()
    check_probe(model, Letters())
    model.resumes = False
    check_probe(model, Letters(), layers=[1], window=3)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no effect", "predicts the same whatever an edit at layer 0 does"),
        ("observed", "predicts something else when hidden states are captured"),
        ("together", "has other hidden states at layer 1 when other layers are captured"),
        ("skip", "reads more than the residual stream above layer 0"),
        ("deaf", "does not apply an edit at layer 0 before it captures"),
        ("dropout", "gives two results on one input"),
        ("nothing", r"captures None at layer 0, not \(rows, tokens, 8\)"),
        ("infinite", "predicts values that are not finite"),
    ],
)
def test_a_broken_promise_is_one_line(fault: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^model.run: Reader {message}.*docs/your-model.md"):
        check_probe(Reader(fault).eval(), Letters())


def test_a_constant_edit_that_a_norm_takes_out_is_not_mistaken_for_deafness() -> None:
    model = Reader().eval()
    model.head = torch.nn.Sequential(torch.nn.LayerNorm(8), model.head)
    check_probe(model, Letters())


def test_a_layer_and_a_kept_token_must_exist() -> None:
    with pytest.raises(UserError, match=r"layer 3 does not exist. Choose 0 to 2"):
        check_probe(Reader().eval(), Letters(), layers=[3])

    class Short(Letters):
        def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
            return super().kept(number, hidden)[1:]

    with pytest.raises(UserError, match=r"Short.kept: keeps shape .* of layer 0, the token axis"):
        check_probe(Reader().eval(), Short())


def test_running_from_a_stream_is_the_same_with_and_without_resuming() -> None:
    model, batch = Reader().eval(), Letters().batch(2)
    stream = torch.randn(1, 7, 8)
    edit: Edit = lambda _: stream
    with torch.inference_mode():
        expected = model.run(batch, edits={1: edit}).prediction
        resumed = run_from(model, None, 1, stream)
        model.resumes = False
        whole = run_from(model, batch, 1, stream)
    torch.testing.assert_close(resumed, expected)
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)


def test_a_batch_of_any_make_is_moved() -> None:
    class Own:
        device = "cpu"

        def to(self, device: str) -> Own:
            self.device = str(device)
            return self

    batch = {"a": torch.zeros(2), "b": [(torch.zeros(1), 3)], "c": Own(), "d": "text"}
    moved = to_device(batch, "meta")
    assert moved["a"].device.type == moved["b"][0][0].device.type == "meta"
    assert moved["b"][0][1] == 3 and moved["c"].device == "meta" and moved["d"] == "text"


def test_what_is_no_module_stays_on_the_host() -> None:
    class Plain:
        pass

    place(Plain(), "cpu")
    with pytest.raises(UserError, match="device: Plain is no torch module"):
        place(Plain(), "cuda")
