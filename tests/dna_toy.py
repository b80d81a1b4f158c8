"""A few short sequences and small models of both forms, for the tests of study dna."""

from __future__ import annotations

import numpy as np
import pandas as pd

from petriscope.studies.dna.model.nucleotide import NucleotideConfig, NucleotideTransformer
from petriscope.studies.dna.model.tokens import Form, tokenize_all

SIZES = {"layers": 3, "d_model": 24, "heads": 3, "ffn": 40}


def random_sequences(seed: int, count: int = 12, most: int = 90) -> list[str]:
    """Sequences of 1 to ``most`` bp with some N."""
    rng = np.random.default_rng(seed)
    letters, shares = list("ACGTN"), [0.24, 0.24, 0.24, 0.24, 0.04]
    return ["".join(rng.choice(letters, n, p=shares)) for n in rng.integers(1, most + 1, count)]


def toy_model(form: Form, seed: int = 1, **changed: int) -> NucleotideTransformer:
    """A small model in eval mode."""
    return NucleotideTransformer(NucleotideConfig(form, **(SIZES | changed)), seed).eval()


def sequence_frame(sequences: list[str], form: Form = "v2") -> pd.DataFrame:
    """A table as stage sequences writes it: every fourth is held out, every fourth selects."""
    n = len(sequences)
    split = np.array(["train", "select", "train", "test"])[np.arange(n) % 4]
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "sequence": sequences,
            "label": np.array(["bound", "unbound"])[np.arange(n) % 2],
            "split": split,
            "group": np.arange(n),
            "block": np.arange(n),
            "chrom": None,
            "start": None,
            "end": None,
            "strand": None,
            "n_tokens": np.diff(tokenize_all(sequences, form).offsets),
            "gene": None,
            "duplicate": None,
        }
    )
