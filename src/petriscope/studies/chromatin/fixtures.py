"""EpiBERT is computed again from the fixtures that the original TensorFlow program wrote: the
model, its random projections, and the clips and targets of its input.

The motif vector of the input fixture needs the motif table it was made from, which is not in the
file; the test suite holds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from petriscope.genome.tracks import model_input, model_target
from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.epibert_layers import projection_matrix
from petriscope.studies.chromatin.parity import relative

ALLOWED = 3e-6
"""relative error (Frobenius norm) of what single precision computes"""
EXCERPT = 65_000
"""bin of the window at which the excerpts of the input fixture begin, 4 bp a bin"""
BIN, WIDE, TARGETS = 32, 128, 120


def compare_model(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Every hidden state, the output, and both after an edit."""
    config = EpiBERTConfig.from_original(json.loads(str(entries["config_json"])))
    model = EpiBERT(config).load_original(dict(entries))
    batch = Batch(
        one_hot(entries["input/sequence_index"]),
        torch.from_numpy(entries["input/atac"]),
        torch.from_numpy(entries["input/motif"]),
    )
    layers, layer = range(config.layers + 1), int(entries["edit/layer"])
    delta = torch.from_numpy(entries["edit/delta"])
    with torch.no_grad():
        plain = model.run(batch, capture=layers)
        edits = {layer: lambda hidden: hidden + delta}
        edited = model.run(batch, capture=[config.layers], edits=edits)
    found = {f"act/hidden_{k}": plain.hidden[k] for k in layers} | {
        "output": plain.prediction,
        "edit/hidden_last": edited.hidden[config.layers],
        "edit/output": edited.prediction,
    }
    return [
        Compared(name, relative(values.numpy(), entries[name]), ALLOWED)
        for name, values in found.items()
    ]


def compare_projections(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """The random features of each seed and shape, which the name of an array says."""
    found = []
    for name, values in entries.items():
        features, dim = values.shape
        seed = int(name.split("_")[0].removeprefix("seed"))
        error = relative(projection_matrix(features, dim, seed), values)
        found.append(Compared(name, error, ALLOWED))
    return found


def compare_input(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Clips of the signal, with and without the masked bins, and the prediction's target."""
    signal = entries["atac_in_first4096"][:, 0]
    masked = entries["atac_in"][:, 0].copy()
    lower, upper = (entries["mask_bins"] * BIN - EXCERPT).tolist()
    masked[lower:upper] = 0
    target = entries[f"target_sum{WIDE}_first{TARGETS}"][:, 0]
    found = model_target(signal[: (TARGETS + 4) * BIN], crop=2)
    clipped = {"atac_softclip_first4096": signal, "atac_masked_clipped": masked}
    return [
        *(Compared(k, worst(model_input(v), entries[k][:, 0]), 0.0) for k, v in clipped.items()),
        Compared(f"target_sum{WIDE}_first{TARGETS}", relative(found, target), 1e-5),
    ]


ORIGINAL = "the original EpiBERT (TensorFlow)"
KINDS = (
    FixtureKind(
        "EpiBERT", ORIGINAL, frozenset({"config_json", "input/atac", "output"}), compare_model
    ),
    FixtureKind(
        "projections of EpiBERT", ORIGINAL, frozenset({"seed*_heads*_*x*"}), compare_projections
    ),
    FixtureKind(
        "input of EpiBERT",
        ORIGINAL,
        frozenset({"atac_in_first4096", "atac_masked_clipped", "mask_bins"}),
        compare_input,
    ),
)
