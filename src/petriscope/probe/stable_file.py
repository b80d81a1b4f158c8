"""Safetensors bytes that depend on the content alone: the library writes its metadata in an order
that changes by run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

_LENGTH_BYTES, _ALIGNMENT = 8, 8


def stable_bytes(state: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """``state`` and ``metadata`` as a safetensors file whose header lists the metadata in
    alphabetical order.

    Layout: https://huggingface.co/docs/safetensors (length of the header, JSON header padded with
    spaces, tensors).
    """
    data = save(state, dict(metadata))
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[_LENGTH_BYTES + size :]
