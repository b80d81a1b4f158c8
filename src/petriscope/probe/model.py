"""A probed model offers a prediction, the residual stream after any layer, and edits of it; its
inputs are batches that only the study can read. `check_probe` tries these promises on one batch and
names the one that is broken.

The spine never looks into a batch. It asks for one, gives it to the model, and takes from the
captured hidden states the positions that are tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens

Edit = Callable[[Tensor], Tensor]
"""Maps the residual stream after one layer, (B, T, d), to its replacement of the same shape."""

NO_EDITS: Mapping[int, Edit] = MappingProxyType({})

RESUME_TOLERANCE = 1e-4
"""Largest difference of a resumed prediction, as a share of the largest prediction."""

Anything = TypeVar("Anything")


class ProbeOutput(NamedTuple):
    """What one run returns.

    Examples
    --------
    >>> import torch
    >>> with torch.inference_mode():
    ...     output = run.model.run(run.inputs.batch(0), capture=(2,))
    >>> isinstance(output, ProbeOutput), output.hidden[2].shape[2] == run.model.d_model
    (True, True)
    """

    prediction: Tensor
    """(B, ...) whatever the study reads out, a row per row of the batch."""
    hidden: dict[int, Tensor]
    """layer -> (B, T, d) residual stream after that layer and its edit; layer 0 is the input to the
    first block."""


class ProbedModel(Protocol):
    """A model whose residual stream can be read and written after layers 0 (before the first block)
    to ``n_layers``. Its batch is opaque: the study's `Inputs` makes it, the model reads it."""

    resumes: bool
    """Whether `run` can start from a residual stream without a batch; where it cannot, the whole
    model runs and an edit replaces the stream (`run_from`)."""

    @property
    def n_layers(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    def run(
        self,
        batch: Any,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        """Run the model; return the residual streams named in ``capture`` and apply ``edits`` by
        layer, each before its layer is captured and before the next block reads it.
        ``resume=(k, hidden)`` starts from the stream after layer k; the batch may then be None."""
        ...


def run_from(model: ProbedModel, batch: Any, layer: int, hidden: Tensor) -> Tensor:
    """The prediction from the residual stream ``hidden`` (B, T, d) after ``layer``: only the blocks
    above it run where the model can resume, else all of it with the stream replaced."""
    if model.resumes:
        return model.run(None, resume=(layer, hidden)).prediction
    return model.run(batch, edits={layer: _replacing(hidden)}).prediction


def _replacing(hidden: Tensor) -> Edit:
    return lambda _: hidden


def place(model: ProbedModel, device: str) -> None:
    """Put ``model`` on ``device``, in eval mode. A model that is no torch module stays on the
    host."""
    if isinstance(model, nn.Module):
        model.to(device).eval()
    elif device != "cpu":
        raise UserError(
            f"{type(model).__name__} is no torch module and cannot be moved to {device}",
            field="device",
            remedy="Use device='cpu', or wrap the model in torch.nn.Module.",
        )


def to_device(batch: Anything, device: str | torch.device) -> Anything:
    """``batch`` with every tensor in it on ``device``: tuples, lists and mappings are looked into,
    anything else that has ``to`` is asked, the rest is left as it is."""
    moved: Any = batch
    if isinstance(batch, tuple):
        parts = [to_device(part, device) for part in batch]
        moved = type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    elif isinstance(batch, list):
        moved = [to_device(part, device) for part in batch]
    elif isinstance(batch, dict):
        moved = {key: to_device(value, device) for key, value in batch.items()}
    elif hasattr(batch, "to"):
        moved = batch.to(device)
    return moved


def device_of(model: ProbedModel) -> torch.device:
    """Where the model's parameters are; the host where it shows none."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def check_layer(model: ProbedModel, layer: int) -> None:
    """Raise `UserError` where the model has no such layer."""
    if not 0 <= layer <= model.n_layers:
        raise UserError(
            f"layer {layer} does not exist", field="layer", remedy=f"Choose 0 to {model.n_layers}."
        )


def check_probe(
    model: ProbedModel, inputs: Inputs, layers: Iterable[int] | None = None, window: int = 0
) -> None:
    """Try ``model`` on one window: shapes, determinism, captures, edits, resuming.

    layers: those to try (None: all). Costs four passes, and three a layer. Raises `UserError` that
    names the broken promise.
    """
    batch = to_device(inputs.batch(window), device_of(model))
    tried = range(model.n_layers + 1) if layers is None else list(layers)
    for layer in tried:
        check_layer(model, layer)

    def refuse(what: str) -> UserError:
        return UserError(
            f"{type(model).__name__} {what}",
            field="model.run",
            remedy="See docs/your-model.md for what a probed model must offer.",
        )

    plain = check_run(model, batch, tried, refuse)
    expected = int(inputs.tokens.per_window()[window])
    for layer, hidden in plain.hidden.items():
        kept = inputs.kept(window, hidden)
        if tuple(kept.shape) != (expected, model.d_model):
            raise UserError(
                f"keeps shape {tuple(kept.shape)} of layer {layer}, the token axis has "
                f"{expected} tokens of width {model.d_model} in window {window}",
                field=f"{type(inputs).__name__}.kept",
                remedy="Return one row for each token, in the order of `tokens`.",
            )


@torch.inference_mode()
def check_run(
    model: ProbedModel, batch: Any, layers: Sequence[int], refuse: Callable[[str], UserError]
) -> ProbeOutput:
    """What holds of any probed model on one batch; ``refuse`` makes the error. Returns the plain
    run with ``layers`` captured."""
    plain = model.run(batch, capture=tuple(layers))
    if not plain.prediction.isfinite().all():
        raise refuse("predicts values that are not finite")
    for layer in layers:
        found = plain.hidden.get(layer)
        shape = None if found is None else tuple(found.shape)
        if shape is None or len(shape) != 3 or shape[2] != model.d_model:
            raise refuse(f"captures {shape} at layer {layer}, not (rows, tokens, {model.d_model})")
        if not plain.hidden[layer].isfinite().all():
            raise refuse(f"captures values that are not finite at layer {layer}")
    if not torch.equal(model.run(batch, capture=tuple(layers)).prediction, plain.prediction):
        raise refuse("gives two results on one input (in eval mode)")
    if not torch.equal(model.run(batch).prediction, plain.prediction):
        raise refuse("predicts something else when hidden states are captured")
    scale = plain.prediction.abs().amax().clamp(min=1e-12)
    for layer in layers:
        stream = plain.hidden[layer]
        alone = model.run(batch, capture=(layer,)).hidden[layer]
        if not torch.equal(alone, stream):
            raise refuse(f"has other hidden states at layer {layer} when other layers are captured")
        pushed = _pushed(stream)
        moved = model.run(batch, capture=(layer,), edits={layer: _replacing(pushed)})
        if not torch.allclose(moved.hidden[layer], pushed, atol=1e-5):
            raise refuse(f"does not apply an edit at layer {layer} before it captures")
        if torch.equal(moved.prediction, plain.prediction):
            raise refuse(f"predicts the same whatever an edit at layer {layer} does")
        if model.resumes:
            again = model.run(None, resume=(layer, stream)).prediction
            if (again - plain.prediction).abs().amax() > RESUME_TOLERANCE * scale:
                raise refuse(
                    f"reads more than the residual stream above layer {layer}, so no edit there is "
                    f"whole"
                )
    return plain


def _pushed(stream: Tensor) -> Tensor:
    """``stream`` plus seeded noise as large as it is: no layer norm takes that out again, as it
    does a constant."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(stream.shape, generator=generator, device="cpu")
    return stream + noise.to(stream.device, stream.dtype) * stream.std().clamp(min=1e-3)


class Inputs(ABC):
    """Batches of model inputs, one a window: window i in all its units. A study subclasses it.

    Examples
    --------
    >>> len(run.inputs) == len(run.inputs.tokens.windows)
    True
    """

    tokens: Tokens
    """The token axis: the kept positions of all batches, in order."""

    @abstractmethod
    def batch(self, number: int) -> Any:
        """Inputs of one model run, as the model takes them."""

    @abstractmethod
    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden states (n, d) of the batch's tokens, out of a captured (B, T, d): padding and
        edges without a prediction are left out."""

    def __len__(self) -> int:
        """Number of batches, that of windows."""
        return len(self.tokens.windows)

    def streams(
        self, model: ProbedModel, number: int, layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """Layer -> hidden states (n, d) of the batch's tokens. A study whose model can share work
        between the rows of a batch overrides this."""
        batch = to_device(self.batch(number), device_of(model))
        hidden = model.run(batch, capture=tuple(layers)).hidden
        return {layer: self.kept(number, hidden[layer]) for layer in layers}

    def together(self, windows: Sequence[int]) -> list[list[int]]:
        """Places in ``windows`` in groups that `streams_of` takes at once: here each by itself. A
        study whose windows are short overrides both."""
        return [[place] for place in range(len(windows))]

    def streams_of(
        self, model: ProbedModel, windows: Sequence[int], layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """Layer -> hidden states (n, d) of the tokens of some windows, one after the other."""
        found = [self.streams(model, window, layers) for window in windows]
        if len(found) == 1:
            return found[0]
        return {layer: torch.cat([one[layer] for one in found]) for layer in layers}
