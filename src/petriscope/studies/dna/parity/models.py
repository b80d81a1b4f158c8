"""Nucleotide Transformer as `EsmForMaskedLM` (v1) and InstaDeep's `modeling_esm.py` (v2) compute
it: every layer, the logits, the loss and an edit of one layer, at the tokens that are not padding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.dna.model.nucleotide import (
    NucleotideTransformer,
    SequenceBatch,
    masked_loss,
)
from petriscope.studies.dna.model.weights import from_weights, parse_config

HIDDEN = {"v1": 2e-5, "v2": 4e-5}
LOGITS = 5e-5
"""Largest absolute errors in float32, of streams of rms 2 to 4."""


def fixture_model(path: Path, entries: Mapping[str, Any]) -> NucleotideTransformer:
    """The model whose weights a fixture holds as `w.*`."""
    config = parse_config(json.loads(str(entries["config"])), path)
    weights = {
        name.removeprefix("w."): torch.from_numpy(np.array(value))
        for name, value in entries.items()
        if name.startswith("w.")
    }
    return from_weights(config, weights, file=path)


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each array of the fixture beside ours."""
    with torch.no_grad():
        return list(_compared(fixture_model(path, entries), entries))


def _compared(model: NucleotideTransformer, entries: Mapping[str, Any]) -> Iterator[Compared]:
    kept = np.asarray(entries["attention_mask"]) == 1
    batch = SequenceBatch(torch.from_numpy(entries["input_ids"]), torch.from_numpy(kept))
    layers, allowed = range(model.n_layers + 1), HIDDEN[model.config.form]
    run = model.run(batch, capture=layers)
    last = model.n_layers
    normed = model.last_norm(run.hidden[last])
    for layer in layers:
        ours = normed if layer == last else run.hidden[layer]
        name = f"hidden_{layer}"
        yield Compared(name, worst(ours.numpy()[kept], entries[name][kept]), allowed)
    error = worst(run.hidden[last].numpy()[kept], entries["residual_last"][kept])
    yield Compared("residual_last", error, allowed)
    row, place = np.asarray(entries["logits_at"]).T
    yield Compared("logits", worst(run.prediction.numpy()[row, place], entries["logits"]), LOGITS)
    total = run.prediction.logsumexp(-1).numpy()
    yield Compared("logsumexp", worst(total[kept], entries["logsumexp"][kept]), LOGITS)
    loss = float(masked_loss(run.prediction, torch.from_numpy(entries["labels"])))
    yield Compared("mlm_loss", worst(loss, entries["mlm_loss"]), LOGITS)
    layer, delta = int(entries["edit_layer"]), torch.from_numpy(entries["edit_delta"])
    edited = model.run(batch, capture=[last], edits={layer: lambda stream: stream + delta})
    found = edited.prediction.numpy()[row, place]
    yield Compared("edit_logits", worst(found, entries["edit_logits"]), LOGITS)
    normed = model.last_norm(edited.hidden[last])
    error = worst(normed.numpy()[kept], entries["edit_last_hidden"][kept])
    yield Compared("edit_last_hidden", error, allowed)


KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "nucleotide transformer",
        "transformers EsmForMaskedLM (v1) or InstaDeep's modeling_esm.py (v2), float64",
        frozenset(
            {
                "config",
                "input_ids",
                "attention_mask",
                "logits_at",
                "residual_last",
                "edit_layer",
                "w.esm.embeddings.word_embeddings.weight",
            }
        ),
        compare,
    ),
)
