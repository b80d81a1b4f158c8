"""Geneformer as Hugging Face's `BertForMaskedLM` computes it and scGPT as its authors'
`TransformerModel` does: every layer, the predictions, masked input, every head and an edit of one
layer, at the tokens that are not padding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from petriscope.probe.model import Edit
from petriscope.run.fixtures import Compared, FixtureKind, worst
from petriscope.studies.cells.model.batch import CellBatch
from petriscope.studies.cells.model.geneformer import Geneformer
from petriscope.studies.cells.model.scgpt import ScGPT
from petriscope.studies.cells.model.weights import geneformer_of, scgpt_of

HIDDEN, LOGITS, BINS = 1e-5, 5e-5, 5e-6
"""Largest absolute errors in float32: of streams and cell embeddings, of logits, of bins."""


def fixture_geneformer(path: Path, entries: Mapping[str, Any]) -> Geneformer:
    """The model whose weights a fixture holds as `w/*`."""
    return geneformer_of(_config(entries), _weights(entries), file=path)


def fixture_scgpt(path: Path, entries: Mapping[str, Any]) -> ScGPT:
    """The model whose weights a fixture holds as `w/*`."""
    return scgpt_of(_config(entries), _weights(entries), file=path)


def geneformer_batch(entries: Mapping[str, Any], name: str = "input_ids") -> CellBatch:
    """The cells of a fixture of Geneformer."""
    ids = torch.from_numpy(np.asarray(entries[name], np.int64))
    return CellBatch(ids, None, torch.from_numpy(np.asarray(entries["attention_mask"]) == 1))


def scgpt_batch(entries: Mapping[str, Any]) -> CellBatch:
    """The cells of a fixture of scGPT."""
    ids = torch.from_numpy(np.asarray(entries["gene_ids"], np.int64))
    values = torch.from_numpy(np.asarray(entries["values"], np.float32))
    return CellBatch(ids, values, torch.from_numpy(~np.asarray(entries["padding_mask"], bool)))


def _geneformer(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    with torch.no_grad():
        return list(_geneformer_arrays(fixture_geneformer(path, entries), entries))


def _geneformer_arrays(model: Geneformer, entries: Mapping[str, Any]) -> Iterator[Compared]:
    batch = geneformer_batch(entries)
    kept, last = batch.mask.numpy(), model.n_layers
    run = model.run(batch, capture=range(last + 1))
    yield _layers("hidden", run.hidden, entries, kept)
    yield Compared("logits", worst(run.prediction.numpy()[kept], entries["logits"][kept]), LOGITS)
    hidden = model.run(geneformer_batch(entries, "masked_ids"), capture=[last])
    error = worst(hidden.hidden[last].numpy()[kept], entries["masked_hidden_last"][kept])
    yield Compared("masked_hidden_last", error, HIDDEN)
    error = worst(hidden.prediction.numpy()[kept], entries["masked_logits"][kept])
    yield Compared("masked_logits", error, LOGITS)
    layer, edit = int(entries["edit_layer"]), _adding(entries)
    run = model.run(batch, range(last + 1), {layer: edit})
    yield _layers("edit_hidden", run.hidden, entries, kept)
    error = worst(run.prediction.numpy()[kept], entries["edit_logits"][kept])
    yield Compared("edit_logits", error, LOGITS)
    found = model.run(batch, edits={0: edit}).prediction.numpy()[kept]
    yield Compared("edit0_logits", worst(found, entries["edit0_logits"][kept]), LOGITS)


def _scgpt(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    with torch.no_grad():
        return list(_scgpt_arrays(fixture_scgpt(path, entries), entries))


def _scgpt_arrays(model: ScGPT, entries: Mapping[str, Any]) -> Iterator[Compared]:
    batch = scgpt_batch(entries)
    kept, last = batch.mask.numpy(), model.n_layers
    run = model.run(batch, capture=range(last + 1))
    yield _layers("hidden", run.hidden, entries, kept)
    error = worst(run.prediction.numpy()[kept], entries["mlm_output"][kept])
    yield Compared("mlm_output", error, BINS)
    cell = model.cell_embedding(run.hidden[last])
    yield Compared("cell_emb", worst(cell.numpy(), entries["cell_emb"]), HIDDEN)
    if model.mvc is not None:
        found = model.bins_of_cell(batch, cell).numpy()[kept]
        yield Compared("mvc_output", worst(found, entries["mvc_output"][kept]), HIDDEN)
    if model.classifier is not None:
        found = model.classify(cell).numpy()
        yield Compared("cls_output", worst(found, entries["cls_output"]), HIDDEN)
    layer = int(entries["edit_layer"])
    run = model.run(batch, range(last + 1), {layer: _adding(entries)})
    yield _layers("edit_hidden", run.hidden, entries, kept)
    error = worst(run.prediction.numpy()[kept], entries["edit_mlm_output"][kept])
    yield Compared("edit_mlm_output", error, BINS)


def _layers(
    name: str, hidden: Mapping[int, Tensor], entries: Mapping[str, Any], kept: np.ndarray
) -> Compared:
    """All layers of a run beside the array (layers, B, T, d) ``name``."""
    ours = np.stack([hidden[layer].numpy()[kept] for layer in sorted(hidden)])
    return Compared(name, worst(ours, np.asarray(entries[name])[:, kept]), HIDDEN)


def _adding(entries: Mapping[str, Any]) -> Edit:
    delta = torch.from_numpy(np.array(entries["edit_delta"]))
    return lambda stream: stream + delta


def _config(entries: Mapping[str, Any]) -> Any:
    return json.loads(bytes(np.asarray(entries["config"], np.uint8)))


def _weights(entries: Mapping[str, Any]) -> dict[str, Tensor]:
    return {
        name.removeprefix("w/"): torch.from_numpy(np.array(value))
        for name, value in entries.items()
        if name.startswith("w/")
    }


KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "geneformer",
        "transformers BertForMaskedLM 5.24 and 4.44, float32",
        frozenset(
            {
                "config",
                "input_ids",
                "attention_mask",
                "masked_ids",
                "edit_delta",
                "w/bert.embeddings.word_embeddings.weight",
            }
        ),
        _geneformer,
    ),
    FixtureKind(
        "scgpt",
        "bowang-lab/scGPT TransformerModel at cebd6fae, fast path off, float32",
        frozenset(
            {
                "config",
                "gene_ids",
                "padding_mask",
                "mlm_output",
                "edit_delta",
                "w/encoder.embedding.weight",
            }
        ),
        _scgpt,
    ),
)
