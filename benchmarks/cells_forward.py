"""Forward passes of Geneformer at the width of V2-316M, in one of its 18 blocks, all streams kept.

Rivals: Hugging Face's BertModel with eager attention, as the paper's loop runs it, one cell at a
time: padded to 2,048 tokens, or at the cell's own length. The cells have the lengths of a 10x
sample, cut at 2,048. Ours runs them in buckets, by `CellInputs.streams_of`; so it does with small
models and short cells, where the loop's cost is that of starting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from rows import Against, medians

from petriscope.studies.cells.inputs import CellInputs
from petriscope.studies.cells.model.geneformer import PAD, Geneformer, GeneformerConfig
from petriscope.studies.cells.model.tokens import CellTokens
from petriscope.studies.cells.model.weights import their_weights

WORDS, PADDED = 1000, 2048
LENGTHS = (620, 1180, 1190, 1776, 2048)
SHORT, SHORT_LENGTHS = 200, (80, 104)


def _rival(model: Geneformer) -> Any:
    import transformers

    size = model.config
    config = transformers.BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.d_model,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.ffn,
        hidden_act="relu",
        max_position_embeddings=size.tokens,
        pad_token_id=PAD,
        attn_implementation="eager",
    )
    native = transformers.BertModel(config, add_pooling_layer=False)
    weights = {
        name.removeprefix("bert."): value
        for name, value in their_weights(model).items()
        if name.startswith("bert.")
    }
    native.load_state_dict(weights, strict=False)
    return native.eval()


def _cells(lengths: np.ndarray) -> CellInputs:
    rng = np.random.default_rng(0)
    n = int(lengths.sum())
    ids = rng.integers(4, WORDS, n).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = CellTokens(ids, ids, np.zeros(n, np.float32), offsets)
    obs = pd.DataFrame({"split": "train", "block": range(len(lengths))})
    return CellInputs(obs, tokens, "geneformer", PAD, WORDS)


def _works(model: Geneformer, inputs: CellInputs) -> dict[str, Callable[[], Any]]:
    """All streams of all cells, three ways."""
    native, layers = _rival(model), range(model.n_layers + 1)
    groups = inputs.together(range(len(inputs)))

    def theirs(cell: int, length: int) -> tuple[torch.Tensor, ...]:
        batch = inputs.batch(cell)
        ids = torch.full((1, length), PAD)
        ids[:, : batch.ids.shape[1]] = batch.ids
        mask = (torch.arange(length) < batch.ids.shape[1])[None].long()
        return native(ids, attention_mask=mask, output_hidden_states=True).hidden_states

    def ours() -> list[dict[int, torch.Tensor]]:
        return [inputs.streams_of(model, group, layers) for group in groups]

    with torch.inference_mode():  # the same numbers
        for group, found in zip(groups, ours(), strict=True):
            start = 0
            for cell in group:
                n = int(inputs.counts[cell])
                wanted = theirs(cell, n)[-1][0]
                off = (found[layers[-1]][start : start + n] - wanted).abs().max()
                assert off < 1e-4, f"the two differ by {off:.1e}"
                start += n
    return {
        "ours": ours,
        "padded": lambda: [theirs(cell, PADDED) for cell in range(len(inputs))],
        "alone": lambda: [theirs(c, int(n)) for c, n in enumerate(inputs.counts)],
    }


def forward() -> list[Against]:
    """Goal: 1.5 times the eager loop over padded cells."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        wide = Geneformer(GeneformerConfig(WORDS, 1, 1152, 18, 4608, PADDED)).eval()
        long = medians(_works(wide, _cells(np.array(LENGTHS))))
        small = Geneformer(GeneformerConfig(WORDS, 3, 64, 4, 128, PADDED)).eval()
        lengths = np.random.default_rng(1).integers(*SHORT_LENGTHS, SHORT)
        works = _works(small, _cells(lengths))
        del works["padded"]
        short = medians(works)
    what = f"a block of 1152, {len(LENGTHS)} cells of {min(LENGTHS)} to {max(LENGTHS)} genes"
    few = f"3 blocks of 64, {SHORT} cells of {SHORT_LENGTHS[0]} to {SHORT_LENGTHS[1]} genes"
    return [
        Against(f"{what}, against eager, padded, one at a time", long["ours"], long["padded"], 1.5),
        Against(f"{what}, against eager, one at a time", long["ours"], long["alone"], 0),
        Against(f"{few}, against eager, one at a time", short["ours"], short["alone"], 1.5),
    ]


ROWS = {"forward": forward}
