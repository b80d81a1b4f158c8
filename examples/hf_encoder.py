"""A Hugging Face encoder (BERT family) as the probed model: each 128-bp bin of DNA and
accessibility is one token."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, BertConfig

from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput
from petriscope.studies.chromatin.model.adapter import Build
from petriscope.studies.chromatin.model.base import Batch, TokenIndex


class HFEncoder(nn.Module):
    name = "hf-encoder"

    def __init__(self, build: Build) -> None:
        super().__init__()
        scratch = BertConfig(
            vocab_size=2, hidden_size=build.d_model, num_hidden_layers=build.layers
        )
        scratch.num_attention_heads, scratch.intermediate_size = build.heads, 2 * build.d_model
        scratch.max_position_embeddings = build.length // 128
        config = AutoConfig.from_pretrained(build.weights) if build.weights else scratch
        read = build.weights and not build.random
        make = AutoModel.from_pretrained if read else AutoModel.from_config
        self.bert = make(build.weights if read else config)
        self.n_layers, self.d_model = config.num_hidden_layers, config.hidden_size
        self.crop = build.crop
        self.embed = nn.Linear(128 * 4 + 32 + build.motifs, self.d_model)
        head = nn.LayerNorm(self.d_model), nn.Linear(self.d_model, 1), nn.Softplus()
        self.head = nn.Sequential(*head)

    def tokens(self, batch: Batch) -> TokenIndex:
        count = batch.atac.shape[1] // 32
        return TokenIndex(128 * np.arange(count), 128, slice(self.crop, count - self.crop))

    def run(
        self, batch: Batch, capture: Sequence[int] = (), edits: Mapping[int, Edit] = NO_EDITS
    ) -> ProbeOutput:
        rows, count = len(batch.atac), batch.atac.shape[1] // 32
        dna, atac = batch.sequence.reshape(rows, count, 512), batch.atac.reshape(rows, count, 32)
        bins = torch.cat([dna, atac.log1p(), batch.motif.expand(rows, count, -1)], dim=2)
        hidden = self.bert.embeddings(inputs_embeds=self.embed(bins))
        captured = {}
        for layer in range(self.n_layers + 1):
            if layer > 0:
                hidden = self.bert.encoder.layer[layer - 1](hidden)
            if layer in edits:
                hidden = edits[layer](hidden)
            if layer in capture:
                captured[layer] = hidden
        return ProbeOutput(self.head(hidden)[:, self.crop : count - self.crop], captured)
