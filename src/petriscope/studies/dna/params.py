"""The parameters of study dna are the shared sections, and those of its sequences, its model and
the experiments of Hidden State Genomics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from petriscope.run import params as shared
from petriscope.run.params import Problem, entry, layer_problem


@dataclass(frozen=True)
class SplitShares:
    """Share of the groups (loci and their homologues) in each split."""

    train: float = entry(0.01, 1)
    select: float = entry(0.01, 1)
    test: float = entry(0.01, 1)


@dataclass(frozen=True)
class Sequences:
    """How sequences are cut and divided."""

    overlap: int | None = entry(0, 100_000)
    split: SplitShares = entry()


@dataclass(frozen=True)
class Model:
    """Nucleotide Transformer: given weights, or a small one trained here on the sequences."""

    form: str = entry(choices=("v1", "v2"))
    weights: str | None = entry()
    layers: int = entry(1, 48)
    d_model: int = entry(8, 8192)
    heads: int = entry(1, 64)
    ffn: int = entry(8, 65_536)
    tokens: int = entry(0)
    batch: int = entry(1, 4096)
    learning_rate: float = entry(1e-7, 1)
    mask: float = entry(0.01, 0.9)


@dataclass(frozen=True)
class Expansions:
    """Dictionaries of several sizes at every layer, as published and corrected."""

    run: bool = entry()
    factors: list[int] = entry(1, 256)
    tokens: int = entry(1000)
    batch: int = entry(16, 1 << 20)
    learning_rate: float = entry(1e-7, 1)
    l1: float = entry(0, 1000)
    sequences: int = entry(1)
    published_rate: float = entry(1e-7, 1)


@dataclass(frozen=True)
class Contigs:
    """Contiguous DNA that is read for tracks and concepts."""

    tokens: int = entry(1000)


@dataclass(frozen=True)
class Tracks:
    """Correlation of features with annotation along contiguous DNA."""

    shifts: int = entry(20, 1_000_000)
    min_shift: int = entry(1)


@dataclass(frozen=True)
class Concepts:
    """The concept benchmark."""

    min_tokens: int = entry(5)


@dataclass(frozen=True)
class Graph:
    """The sequence–feature graph, its test and its nulls."""

    length_bin: int = entry(1, 1000)
    draws: int = entry(2, 10_000)
    curveball: int = entry(2, 10_000)
    top: int = entry(1, 100_000)


@dataclass(frozen=True)
class Head:
    """The classifier on the hidden states, and its rivals."""

    epochs: int = entry(1, 10_000)
    batch: int = entry(1, 65_536)
    seeds: list[int] = entry(0)
    folds: int = entry(2, 20)
    one_hot_epochs: int = entry(1, 1000)
    one_hot_folds: bool = entry()


@dataclass(frozen=True)
class Interventions:
    """Edits of features under the head."""

    features: int = entry(1, 10_000)
    random: int = entry(10, 10_000)
    doses: list[float] = entry(0, 1000)
    sequences: int = entry(10)


@dataclass(frozen=True)
class Dependency:
    """Dependency maps."""

    sequences: int = entry(1, 100_000)
    length: int = entry(12, 10_000)
    features: int = entry(1, 100_000)
    positions: int = entry(1, 10_000)
    probes: int = entry(20, 100_000)


@dataclass(frozen=True)
class Entropy:
    """Surprisal of the next nucleotide given k before it."""

    ks: list[int] = entry(1, 16)
    tokens: int = entry(1000)
    shifts: int = entry(20, 1_000_000)


@dataclass(frozen=True)
class Go:
    """Functional terms."""

    sizes: list[int] = entry(1)


@dataclass(frozen=True)
class Controls:
    """Branches of the pipeline that could kill a claim."""

    random_init: bool = entry()


@dataclass(frozen=True)
class Params(shared.Params):
    """The whole of `params.yaml`."""

    layer: int | str = entry()
    sequences: Sequences = entry()
    model: Model = entry()
    expansions: Expansions = entry()
    contigs: Contigs = entry()
    tracks: Tracks = entry()
    concepts: Concepts = entry()
    graph: Graph = entry()
    head: Head = entry()
    interventions: Interventions = entry()
    dependency: Dependency = entry()
    entropy: Entropy = entry()
    go: Go = entry()
    controls: Controls = entry()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between entries."""
        yield from super().problems()
        yield from layer_problem("layer", self.layer)
        total = sum(dataclasses.astuple(self.sequences.split))
        if abs(total - 1) > 1e-6:
            what = f"adds up to {total:g}"
            yield Problem("sequences.split", what, "Make the three shares add up to 1.")
        if self.model.d_model % (2 * self.model.heads):
            what = f"is {self.model.d_model}, which {self.model.heads} heads cannot share evenly"
            remedy = "Use a multiple of twice model.heads."
            yield Problem("model.d_model", what, remedy)
        if len(set(self.expansions.factors)) < len(self.expansions.factors):
            yield Problem("expansions.factors", "names a factor twice", "Give each once.")
        if self.sae.learning_rate == "auto":
            what = "is auto, which needs a split that this study does not have (tune)"
            yield Problem("sae.learning_rate", what, "Use a number, such as 0.003.")
        if len(self.go.sizes) != 2:
            yield Problem("go.sizes", "needs two numbers", "Write [smallest, largest].")
