"""Any torch model probed by hooks on its blocks: nothing of the model is rewritten.

A hook before the first block sees layer 0, one after each block the layer of its number. What a
block returns may be a tensor or a tuple whose first part is the residual stream, as in Hugging
Face's models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput

WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
"""Entries of a model's `config` that say how wide its residual stream is."""


def probe(
    module: nn.Module,
    blocks: str | Sequence[nn.Module],
    readout: Callable[[Any], Tensor],
    *,
    width: int | None = None,
) -> HookedModel:
    """What a torch model must offer to be probed, by hooks.

    Parameters
    ----------
    module : torch.nn.Module
        The model. A batch that is a mapping is passed as keywords, a tuple as arguments, anything
        else as the one argument.
    blocks : str or sequence of torch.nn.Module
        Its blocks in order, or the name of the `ModuleList` that holds them, such as
        ``"encoder.layer"``.
    readout : callable
        Makes the prediction (B, ...) of what the model returns.
    width : int, optional
        d, the width of the residual stream; by default what the model's `config` says.

    Returns
    -------
    HookedModel
        A `ProbedModel` that cannot resume: an edit runs the whole model with the stream replaced.

    Raises
    ------
    UserError
        Where the blocks are not found or the width is not known.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    >>> model = probe(net, [net[1], net[2]], lambda out: out.mean(1), width=4)
    >>> model.n_layers, model.d_model
    (2, 4)
    """
    return HookedModel(module, _blocks(module, blocks), readout, _width(module, width))


class HookedModel(nn.Module):
    """A torch model, its blocks and its readout; made by `probe`."""

    resumes = False

    def __init__(
        self,
        module: nn.Module,
        blocks: Sequence[nn.Module],
        readout: Callable[[Any], Tensor],
        d_model: int,
    ) -> None:
        super().__init__()
        self.module, self.readout, self.d_model = module, readout, d_model
        self._blocks = tuple(blocks)  # a tuple: the module registers them already

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def run(
        self,
        batch: Any,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        """As `ProbedModel.run`; hooks are taken off again whatever happens."""
        assert resume is None, "a hooked model cannot resume"
        hidden: dict[int, Tensor] = {}

        def passed(layer: int, stream: Tensor) -> Tensor:
            stream = edits[layer](stream) if layer in edits else stream
            if layer in capture:
                hidden[layer] = stream
            return stream

        def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (passed(0, given[0]), *given[1:])

        def after(layer: int) -> Callable[..., Any]:
            def hook(_: nn.Module, given: tuple[Any, ...], made: Any) -> Any:
                if isinstance(made, tuple):
                    return (passed(layer, made[0]), *made[1:])
                return passed(layer, made)

            return hook

        with ExitStack() as hooks:
            hooks.callback(self._blocks[0].register_forward_pre_hook(before).remove)
            for number, block in enumerate(self._blocks, start=1):
                hooks.callback(block.register_forward_hook(after(number)).remove)
            if isinstance(batch, Mapping):
                made = self.module(**batch)
            elif isinstance(batch, tuple):
                made = self.module(*batch)
            else:
                made = self.module(batch)
        return ProbeOutput(self.readout(made), hidden)


def _blocks(module: nn.Module, blocks: str | Sequence[nn.Module]) -> Sequence[nn.Module]:
    found: Any = blocks
    if isinstance(blocks, str):
        lists = [name for name, part in module.named_modules() if isinstance(part, nn.ModuleList)]
        try:
            found = module.get_submodule(blocks)
        except AttributeError:
            found = None
        if not isinstance(found, nn.ModuleList | nn.Sequential):
            raise UserError(
                f"{type(module).__name__} has no list of blocks of that name",
                field=blocks,
                remedy=f"Its lists: {', '.join(lists) or 'none; give the blocks themselves'}.",
            )
    if not len(found):
        raise UserError("is empty", field="blocks", remedy="Name at least one block.")
    return tuple(found)


def _width(module: nn.Module, width: int | None) -> int:
    config = getattr(module, "config", None)
    known = [getattr(config, name, None) for name in WIDTHS]
    found = next((value for value in (width, *known) if isinstance(value, int)), None)
    if found is None:
        raise UserError(
            f"{type(module).__name__} does not say how wide its residual stream is",
            field="width",
            remedy="Give it: probe(..., width=D).",
        )
    return found
