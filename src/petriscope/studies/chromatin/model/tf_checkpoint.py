"""A TensorFlow 2 object checkpoint holds variables found by the path of attributes that leads to
them, not by key."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from petriscope.errors import UserError
from petriscope.studies.chromatin.model.tf_bundle import (
    TensorBundle,
    as_bytes,
    as_int,
    proto_fields,
)

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_BESIDE_THE_MODEL = (
    "optimizer",
    "keras_api",
    "save_counter",
    "signatures",
    "_metrics",
    "keras_metrics",
    "loss",
)
"""Children under which training state lies, never weights."""


@dataclass
class _Node:
    """One tracked object: its children by attribute name and, for a variable, the key of its
    value."""

    children: dict[str, int] = field(default_factory=dict)
    key: str | None = None


def _pair(data: bytes, numbers: tuple[int, int]) -> tuple[int | bytes | None, int | bytes | None]:
    fields = dict(proto_fields(data))
    return fields.get(numbers[0]), fields.get(numbers[1])


def _node(data: bytes) -> _Node:
    node = _Node()
    for number, value in proto_fields(data):
        if number == 1:
            target, name = _pair(as_bytes(value), (1, 2))
            node.children[as_bytes(name or b"").decode()] = as_int(target or 0)
        elif number == 2:
            name, key = _pair(as_bytes(value), (1, 3))
            if as_bytes(name or b"").decode() == _VALUE:
                node.key = as_bytes(key or b"").decode()
    return node


class ObjectCheckpoint:
    """A checkpoint written by ``tf.train.Checkpoint(model=...)`` or of a model itself, as in a
    SavedModel's variables.

    Paths are below the model: ``stem_conv/kernel``, whatever the root. Optimizer state is outside
    of them.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.bundle = TensorBundle(prefix)
        if _GRAPH_KEY not in self.bundle.entries:
            raise UserError(
                "has no object graph: it is not a TensorFlow 2 object checkpoint",
                file=self.bundle.index,
                remedy="Save it with tf.train.Checkpoint(model=model).",
            )
        try:
            graph = proto_fields(self.bundle.string(_GRAPH_KEY))
            self._nodes = [_node(as_bytes(value)) for number, value in graph if number == 1]
        except (ValueError, IndexError) as error:
            raise UserError(
                f"cannot be parsed ({error})", file=prefix, field=_GRAPH_KEY, remedy="Save it anew."
            ) from error
        if any(
            child >= len(self._nodes) for node in self._nodes for child in node.children.values()
        ):
            raise UserError(
                "names objects it does not hold",
                file=prefix,
                field=_GRAPH_KEY,
                remedy="Save it anew.",
            )
        self._root = self._nodes[0].children.get("model", 0) if self._nodes else 0

    def _find(self, path: str) -> int | None:
        node: int | None = self._root
        *parents, last = path.split("/")
        for name in parents:
            node = self._nodes[node].children.get(name) if node is not None else None
        if node is None:
            return None
        children = self._nodes[node].children
        # Keras and the original's own layers name the same kernel differently.
        return children.get(last, children.get(f"_{last}"))

    def entry_key(self, path: str) -> str | None:
        """Bundle key of the variable at ``path``, or None."""
        node = self._find(path)
        return None if node is None else self._nodes[node].key

    def __contains__(self, path: str) -> bool:
        key = self.entry_key(path)
        return key is not None and key in self.bundle.entries

    def shape(self, path: str) -> tuple[int, ...] | None:
        """Shape of the variable at ``path``, or None where there is none."""
        key = self.entry_key(path)
        entry = self.bundle.entries.get(key) if key is not None else None
        return None if entry is None else entry.shape

    def array(self, path: str) -> np.ndarray:
        """The variable at ``path``, its checksum verified."""
        key = self.entry_key(path)
        if key is None or key not in self.bundle.entries:
            raise UserError(
                "is not in the checkpoint",
                file=self.bundle.prefix,
                field=path,
                remedy="Check the model's kind.",
            )
        return self.bundle.array(key)

    def variables(self) -> dict[str, str]:
        """Path -> bundle key of every weight below the model, each variable once, by its shortest
        path."""
        found: dict[str, str] = {}
        seen = {self._root}
        queue = deque([(self._root, "")])
        while queue:
            index, path = queue.popleft()
            node = self._nodes[index]
            if node.key is not None:
                found[path] = node.key
            for name, child in node.children.items():
                if child not in seen and name not in _BESIDE_THE_MODEL:
                    seen.add(child)
                    queue.append((child, f"{path}/{name}" if path else name))
        return found
