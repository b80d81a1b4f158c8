"""A tiny random BERT reads questions and statements and is probed, contrasted, ablated, steered."""

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertModel

import petriscope as ps

DOCUMENTS, TOPICS = 16, 20  # every second document asks: do (16) who verb color noun ? (17)


class Sentences(ps.Inputs):
    """A window is a sentence, its unit the document, its block the topic; a word is a number."""

    def __init__(self, rng):
        topic, document = np.tile(np.arange(TOPICS), DOCUMENTS), np.arange(DOCUMENTS).repeat(TOPICS)
        said = np.c_[rng.integers([0, 4], [4, 8], (len(topic), 2)), 8 + topic % 4, 12 + topic // 5]
        self.ids = [[16, *w, 17] if d % 2 else [*w, 18] for d, w in zip(document, said)]
        rows = [(w, document[w], p) for w, ids in enumerate(self.ids) for p in range(len(ids))]
        table = pd.DataFrame({"block": topic, "split": np.where(topic % 5 < 4, "train", "test")})
        self.tokens = ps.Tokens.ragged(table, DOCUMENTS, *np.array(rows).T)

    def batch(self, number):
        return torch.tensor([self.ids[number]])

    def kept(self, number, hidden):
        return hidden[0]


class Encoder(torch.nn.Module):
    n_layers, d_model, resumes = 3, 48, True

    def __init__(self):
        super().__init__()
        self.bert = BertModel(BertConfig(vocab_size=19, hidden_size=48, num_hidden_layers=3))

    def run(self, batch, capture=(), edits={}, *, resume=None):  # noqa: B006
        first, hidden = resume or (0, self.bert.embeddings(input_ids=batch))
        captured = {}
        for layer in range(first, self.n_layers + 1):
            hidden = self.bert.encoder.layer[layer - 1](hidden) if layer > first else hidden
            hidden = edits[layer](hidden) if layer in edits else hidden
            captured |= {layer: hidden} if layer in capture else {}
        return ps.ProbeOutput(hidden.mean(1), captured)  # what is read out: the sentence's mean


torch.manual_seed(0)
model, inputs = Encoder(), Sentences(np.random.default_rng(0))
hidden = ps.harvest(model, inputs, layer=2, windows=None)
sae = ps.train_sae(hidden, latents=64, k=4, tokens=200_000)
codes = sae.encode(hidden)
documents = pd.DataFrame({"document": range(16), "kind": ["statement", "question"] * 8})
design = ps.Design(documents, condition="kind", target="question")
score = ps.contrast(codes, design)
cut = ps.ablate(model, inputs, sae, score.top(5), layer=2, windows=16)
toward = ps.difference_of_means(hidden, design)
moved = ps.steer(model, inputs, toward, alpha=0.2, windows=16)
print(score, cut.effect(), cut.against_random(20), moved.gap_closed(), sep="\n\n")
