"""A pretended accelerator: tensors that numpy cannot read and that mix with no tensor of the host.

Within `Elsewhere` every tensor that exists lies on the accelerator. One made by `torch.from_numpy`
or `Tensor.cpu` lies on the host until `Tensor.to` moves it; one made without a device is on `meta`,
where mixing with real ones fails. So code that passes neither takes the host's shortcuts nor leaves
a tensor behind, and its results are the host's own numbers to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from petriscope.causal import edits
from petriscope.sae import select, sparse


def off_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every choice of code by device falls as on an accelerator."""
    for module in (edits, select, sparse):
        monkeypatch.setattr(module, "on_host", lambda _: False)


HOST = "lies_on_the_host"
FREE = {
    "__get__",
    "__set__",
    "size",
    "dim",
    "numel",
    "is_floating_point",
    "__len__",
    "requires_grad_",
}


def _on_host(tensor: Tensor) -> bool:
    return HOST in tensor.__dict__


def _marked(tensor: Tensor) -> Tensor:
    made = tensor.detach().view_as(tensor)
    setattr(made, HOST, True)
    return made


class Elsewhere(TorchFunctionMode):
    """Use as a context manager around code that holds its tensors elsewhere."""

    def __enter__(self) -> Elsewhere:
        torch.set_default_device("meta")
        self.used = 0
        self.from_numpy = torch.from_numpy  # which no mode sees
        torch.from_numpy = lambda array: _marked(self.from_numpy(array))
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        torch.from_numpy = self.from_numpy
        torch.set_default_device(None)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = list(_tensors((args, kwargs)))
        if name == "numpy" and not all(map(_on_host, given)):
            raise AssertionError("numpy cannot read this device")
        if name == "cpu":
            return _marked(args[0])
        if name == "to":
            if isinstance(args[1] if len(args) > 1 else kwargs.get("device"), torch.dtype):
                moved = func(*args, **kwargs)
                return _marked(moved) if _on_host(args[0]) else moved
            return (
                func(*args, **kwargs).detach().clone()
                if _on_host(args[0])
                else func(*args, **kwargs)
            )
        result = func(*args, **kwargs)
        real = [tensor for tensor in given if tensor.ndim > 0 or name == "cat"]
        if name not in FREE and any(map(_on_host, real)):
            if not all(map(_on_host, real)):
                raise AssertionError(f"{name} mixes tensors of the host and of the accelerator")
            return tree_map(lambda x: _marked(x) if isinstance(x, Tensor) else x, result)
        self.used += name not in FREE
        return result


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
