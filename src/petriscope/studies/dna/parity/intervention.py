"""The classifier heads and the intervention of Hidden State Genomics, computed again on the hidden
states, weights and features of a fixture.

The authors' heads come out of a pickle that was saved in evaluation mode, so no dropout is active
in what the fixture holds, although their script never calls `eval` before it predicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.dna.head import CNNHead, Ragged, network_of, probability
from petriscope.studies.dna.interventions import (
    Along,
    Edited,
    GridForm,
    Reader,
    Setting,
    along_another,
    clamped,
    published_grid,
    reconstruction,
    scaled,
)

TOLERANCE = 1e-5
"""on probabilities"""


def compare(path: Path, entries: Mapping[str, Any]) -> Sequence[Compared]:
    """Every array of probabilities beside ours, in float64."""
    known = {name: (array, TOLERANCE) for name, array in _computed(path, entries)}
    known["firing_rate"] = (_firing_rate(entries), 1e-6)
    return [
        Compared(name, worst(found, entries[name]), allowed)
        for name, (found, allowed) in known.items()
    ]


def _computed(path: Path, entries: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    config = json.loads(str(entries["config"]))
    features = np.asarray(entries["features"])
    grid = [Setting(*map(float, row)) for row in entries["grid"]]
    embeddings, unpadded = (
        _network(path, entries, "cnn_embeddings", size) for size in (config["max_length"], None)
    )
    edited = _edited(entries)
    reader, bare = Reader(embeddings, edited), Reader(unpadded, edited)
    yield "hidden_itself", _both(reader.margin)
    yield "hidden_itself_unpadded", _both(bare.margin)
    for name, dropped in (("with", False), ("without", True)):
        replaced = Reader(embeddings, edited, reconstruction(edited, bias_dropped=dropped))
        yield f"reconstruction_{name}_bias", _both(replaced.margin)
    yield "published_embeddings_baseline", _both(replaced.margin)
    forms = {
        "published_embeddings": GridForm(),
        "grid_with_bias": GridForm(bias_dropped=False),
        "grid_error_preserving": GridForm(bias_dropped=False, error_dropped=False),
    }
    for name, form in forms.items():
        yield name, _both(published_grid(embeddings, edited, features, grid, form))

    on_codes = _on_codes(edited)
    head = _network(path, entries, "cnn_features", config["max_length"])
    yield "published_features_baseline", _both(Reader(head, on_codes).margin)
    yield "published_features", _both(published_grid(head, on_codes, features, grid))

    def each(edits: list[Along], factor: float, reader: Reader = reader) -> np.ndarray:
        return _both(np.stack([reader.shifted(edit, (factor,))[0] for edit in edits]))

    own = [scaled(edited, feature) for feature in features]
    yield "suppress_one", each(own, -1)
    yield "suppress_one_unpadded", each(own, -1, bare)
    yield "clamp_one_10", each([clamped(edited, feature, 10) for feature in features], 1)
    yield "scale_one_10", each(own, 10 - 1)
    yield (
        "norm_matched_random",
        np.stack(
            [
                each(
                    [along_another(edited, f, other) for other in entries["random_directions"]], -1
                )
                for f in features
            ]
        ),
    )


def _edited(entries: Mapping[str, Any]) -> Edited:
    parts = [entries[f"hidden_{i}"] for i in range(len(entries["labels"]))]
    hidden = np.concatenate(parts).astype(np.float64)
    sequence = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    streams = Ragged.of(hidden, sequence, np.ones(len(hidden), bool), len(parts))
    codes = sp.csr_matrix(_codes(hidden, entries))
    directions = np.asarray(entries["sae.decoder.weight"], np.float64).T
    return Edited(streams, codes, directions, np.asarray(entries["sae.bias"], np.float64))


def _codes(hidden: np.ndarray, entries: Mapping[str, Any]) -> np.ndarray:
    weight, bias, center = (
        np.asarray(entries[f"sae.{name}"], np.float64)
        for name in ("encoder.weight", "encoder.bias", "bias")
    )
    return np.maximum((hidden - center) @ weight.T + bias, 0)


def _on_codes(edited: Edited) -> Edited:
    """The same sequences with their codes as the stream: what the head on features reads."""
    dense = edited.codes.toarray()
    streams = Ragged(dense, np.arange(len(dense)), edited.streams.offsets)
    return Edited(streams, edited.codes, np.eye(edited.m), np.zeros(edited.m))


def _firing_rate(entries: Mapping[str, Any]) -> np.ndarray:
    parts = [entries[f"hidden_{i}"] for i in range(len(entries["labels"]))]
    return (_codes(np.concatenate(parts).astype(np.float64), entries) > 0).mean(0)


def _network(path: Path, entries: Mapping[str, Any], name: str, padded: int | None) -> CNNHead:
    state = {
        key.removeprefix(f"{name}."): torch.from_numpy(np.asarray(value, np.float64))
        for key, value in entries.items()
        if key.startswith(f"{name}.")
    }
    return network_of(state, padded, path)


def _both(margin: np.ndarray) -> np.ndarray:
    """Probabilities (..., 2) of both classes."""
    chance = probability(margin)
    return np.stack([1 - chance, chance], axis=-1)


KINDS = (
    FixtureKind(
        "intervention",
        "Hidden State Genomics: CNNHead, AutoEncoder, intervention.test",
        frozenset({"cnn_embeddings.conv1.weight", "published_embeddings", "suppress_one"}),
        compare,
    ),
)
