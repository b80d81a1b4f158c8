"""Forward passes of Nucleotide Transformer v1 at the released width, in a quarter of its blocks.

100-bp sequences, 21 tokens. Rivals: the authors' loop, which pads every sequence to 1,000 tokens
and runs it alone (Hugging Face's EsmForMaskedLM, as they call it), and the same module on
sequences batched by length. All return every hidden state and the logits, from the same weights.
"""

from __future__ import annotations

import numpy as np
import torch
from rows import Against, medians

from petriscope.studies.dna.model.nucleotide import (
    NucleotideConfig,
    NucleotideTransformer,
    padded,
)
from petriscope.studies.dna.model.tokens import PAD, tokenize, tokenize_all
from petriscope.studies.dna.model.weights import their_weights

BLOCKS, WIDTH, HEADS, FFN = 6, 1280, 20, 5120
TOGETHER, PADDED = 48, 1000
PASSES = 72
"""of the authors: one for each autoencoder"""


def _rival(model: NucleotideTransformer) -> torch.nn.Module:
    import transformers

    with torch.device("meta"):
        native = transformers.EsmForMaskedLM(
            transformers.EsmConfig(
                vocab_size=4105,
                mask_token_id=2,
                pad_token_id=1,
                hidden_size=WIDTH,
                num_hidden_layers=BLOCKS,
                num_attention_heads=HEADS,
                intermediate_size=FFN,
                position_embedding_type="absolute",
                max_position_embeddings=1002,
                token_dropout=True,
                emb_layer_norm_before=False,
                tie_word_embeddings=False,
                layer_norm_eps=1e-12,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )
    native.esm.embeddings.position_ids = torch.arange(1002)[None]
    native.load_state_dict(their_weights(model), strict=False, assign=True)
    native.esm.contact_head.to_empty(device="cpu")
    return native.eval()


def forward() -> list[Against]:
    """Both goals: 40 times the authors' loop, no slower than Hugging Face batched by length."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 100)) for _ in range(TOGETHER)]
    model = NucleotideTransformer(NucleotideConfig("v1", BLOCKS, WIDTH, HEADS, FFN), 0).eval()
    native = _rival(model)
    batch = padded([tokenize(sequence, "v1") for sequence in sequences])
    long = torch.full((1, PADDED), PAD)
    long[0, : batch.ids.shape[1]] = batch.ids[0]
    layers = range(BLOCKS + 1)

    def theirs(ids: torch.Tensor) -> list[torch.Tensor]:
        found = native(ids, attention_mask=(ids != PAD).long(), output_hidden_states=True)
        return [*found.hidden_states[:-1], found.logits]

    def ours() -> list[torch.Tensor]:
        found = model.run(batch, capture=layers)
        return [*(found.hidden[layer] for layer in layers[:-1]), found.prediction]

    with torch.inference_mode():
        pairs = list(zip(ours(), theirs(batch.ids), strict=True))  # the same numbers, and warm
        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
        assert worst < 1e-4, f"the two differ by {worst:.1e}"
        works = {
            "ours": ours,
            "batched": lambda: theirs(batch.ids),
            "alone": lambda: [theirs(batch.ids[i : i + 1]) for i in range(4)],
            "padded": lambda: theirs(long),
        }
        found = medians(works)
    each = {
        "ours": found["ours"] / TOGETHER,
        "batched": found["batched"] / TOGETHER,
        "alone": found["alone"] / 4,
        "padded": found["padded"],
    }
    what = f"{BLOCKS} blocks of {WIDTH}, a 100-bp sequence"
    return [
        Against(f"{what}, against padding to {PADDED} tokens", each["ours"], each["padded"], 40),
        Against(f"{what}, against the same batch", each["ours"], each["batched"], 1.0),
        Against(f"{what}, against one at a time", each["ours"], each["alone"], 0),
        Against(
            f"{what}, all layers in one pass against {PASSES} padded passes",
            each["ours"],
            PASSES * each["padded"],
            0,
        ),
    ]


def tokenizer() -> list[Against]:
    """20,000 sequences of 384 bp; reported only."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ACGTN"))
    drawn = letters[rng.choice(5, (20_000, 384), p=[0.2475] * 4 + [0.01])]
    sequences = ["".join(row) for row in drawn]
    few = sequences[:1000]
    works = {
        "all": lambda: tokenize_all(sequences, "v1"),
        "loop": lambda: [tokenize(sequence, "v1", strict=True) for sequence in few],
    }
    found = medians(works)
    what = "1,000 sequences of 384 bp, against a pattern that is matched one by one"
    return [Against(f"tokenizer, {what}", found["all"] / 20, found["loop"], 0)]


ROWS = {"forward": forward, "tokenizer": tokenizer}
