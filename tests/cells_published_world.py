"""The authors' simulated world of the golden `bio_sae_methods`: their BERT through transformers, their
dictionary, their tokenizer and their random draws, for the tests of what was published."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petriscope.probe.hooked import HookedModel, probe
from petriscope.sae.codes import Codes
from petriscope.studies.cells.causal import PublishedCoder

SPECIAL = 4


@dataclass(frozen=True)
class PublishedWorld:
    """What the npz and json hold."""

    arrays: dict[str, np.ndarray]
    json: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> PublishedWorld:
        with np.load(folder / "bio_sae_methods.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        with gzip.open(folder / "bio_sae_methods.json.gz", "rt") as handle:
            return cls(arrays, json.load(handle))

    @cached_property
    def model(self) -> HookedModel:
        """Their BertForMaskedLM, read by hooks."""
        import transformers

        given = {k: v for k, v in self.json["bert_config"].items() if k != "torch_dtype"}
        net = transformers.BertForMaskedLM(transformers.BertConfig(**given)).eval()
        named = {
            name.removeprefix("bert/"): torch.from_numpy(array)
            for name, array in self.arrays.items()
            if name.startswith("bert/")
        }
        missing, unknown = net.load_state_dict(named, strict=False)
        assert not unknown and all(m.startswith("cls.predictions.decoder") for m in missing)
        net.tie_weights()
        net.cls.predictions.decoder.bias.data = net.cls.predictions.bias.data
        return probe(net, "bert.encoder.layer", lambda made: made.logits)

    def coder(self, layer: int) -> PublishedCoder:
        """Their dictionary of a layer."""
        of = {
            name: torch.from_numpy(self.arrays[f"sae_{layer}/{name}"])
            for name in ("W_enc.weight", "W_enc.bias", "W_dec.weight")
        }
        mean = torch.from_numpy(self.arrays[f"mean_{layer}"])
        k = self.json["world"]["k"]
        return PublishedCoder(*of.values(), mean, k)

    def codes(self, layer: int, rows: np.ndarray) -> Codes:
        """Codes of hidden states (n, d)."""
        z = self.coder(layer)(torch.from_numpy(rows))[0].numpy()
        indptr = np.concatenate([[0], np.cumsum((z > 0).sum(1))])
        return Codes(indptr, np.nonzero(z > 0)[1].astype(np.int32), z[z > 0], z.shape[1])

    def tokens(self, cell: int) -> np.ndarray:
        """Token ids of a cell, as published: log1p before the median, unstable sort."""
        genes = self.json["world"]["genes"]
        median = np.array(list(self.json["world"]["med"].values()))
        counts = self.arrays["counts"][cell].astype(np.float32)
        expression = np.log1p(counts / counts.sum() * 1e4)
        rank = np.argsort(-(expression / median))
        ranked = rank[expression[rank] > 0]
        assert len(median) == len(genes)
        return np.concatenate([[2], ranked + SPECIAL, [3]]).astype(np.int64)

    def perturbed_codes(
        self, layer: int, expected: list[dict[str, Any]], most: int = 20
    ) -> dict[str, Codes]:
        """Codes of the cells that the authors drew for each target, in their order."""
        label, found = np.array(self.json["cells"]), {}
        for place, row in enumerate(expected):
            cells = np.flatnonzero(label == row["target_gene"])
            if len(cells) > most:
                cells = np.random.RandomState(42 + place).choice(cells, most, replace=False)
            parts = [self.hidden(layer, int(cell)) for cell in np.sort(cells)]
            found[row["target_gene"]] = self.codes(layer, np.concatenate(parts))
        return found

    @torch.inference_mode()
    def hidden(self, layer: int, cell: int) -> np.ndarray:
        """The stream at a cell's genes; their layer l is ours l + 1."""
        ids = torch.from_numpy(self.tokens(cell))[None]
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return self.model.run(batch, capture=(layer + 1,)).hidden[layer + 1][0, 1:-1].numpy()

    def top_genes(self, layer: int) -> dict[int, set[str]]:
        """The catalog's top genes."""
        return {
            row["feature_idx"]: {gene["gene_name"] for gene in row["top_genes"][:20]}
            for row in self.json[f"catalog_{layer}"]["features"]
            if row.get("top_genes")
        }

    def known_targets(self) -> dict[str, set[str]]:
        """TRRUST of the world."""
        found: dict[str, set[str]] = {}
        for tf, target, *_ in self.json["world"]["trrust"]:
            found.setdefault(tf, set()).add(target)
        return found
