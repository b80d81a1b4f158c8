"""The parameters of study cells are the shared sections, and those of its cells, its two models and
the experiments of the comparative atlas."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from petriscope.run import params as shared
from petriscope.run.params import Problem, entry, layer_problem

FAMILIES = ("geneformer", "scgpt")


@dataclass(frozen=True)
class SplitShares:
    """Share of the cells (of the donors, where there are four or more) in each split."""

    train: float = entry(0.01, 1)
    select: float = entry(0.01, 1)
    test: float = entry(0.01, 1)


@dataclass(frozen=True)
class CellsParams:
    """Which cells are read, and how they are divided. Columns are of the data set's obs."""

    min_genes: int = entry(1, 100_000)
    cells: int | None = entry(10)
    split: SplitShares = entry()


@dataclass(frozen=True)
class TokensParams:
    """The two encodings of a cell: ranks for Geneformer, bins for scGPT."""

    size: int = entry(8, 65_536)
    max_length: int = entry(8, 65_536)
    bins: int = entry(3, 1000)
    draws: int = entry(1, 100)
    published: bool = entry()


@dataclass(frozen=True)
class ModelParams:
    """One probed model: given weights, or a small one trained here on the training cells."""

    weights: str | None = entry()
    layers: int = entry(1, 48)
    d_model: int = entry(8, 8192)
    heads: int = entry(1, 64)
    ffn: int = entry(8, 65_536)
    steps: int = entry(0)
    batch: int = entry(1, 4096)
    learning_rate: float = entry(1e-7, 1)
    mask: float = entry(0.01, 0.9)


@dataclass(frozen=True)
class GeneformerParams(ModelParams):
    """The model that reads the ranks of genes."""


@dataclass(frozen=True)
class ScgptParams(ModelParams):
    """The model that reads genes and the bins of their counts."""


@dataclass(frozen=True)
class Svd:
    """Features against the principal axes of the stream."""

    ms: list[int] = entry(1, 65_536)
    published_m: int = entry(1, 65_536)
    published_cos: float = entry(0, 1)
    rows: int = entry(100)


@dataclass(frozen=True)
class Catalog:
    """The gene list of a feature."""

    genes: int = entry(1, 10_000)
    min_fires: int = entry(1)
    min_tokens: int = entry(1)


@dataclass(frozen=True)
class Annotate:
    """Gene sets and networks against the gene lists of features."""

    sizes: list[int] = entry(1)
    shuffles: int = entry(10, 100_000)


@dataclass(frozen=True)
class Modules:
    """Communities of features."""

    pmi: float = entry(0, 100)
    min_count: int = entry(1)
    z: float = entry(0, 100)
    resolutions: list[float] = entry(0.001, 1000)
    leiden_seeds: int = entry(2, 1000)
    rewirings: int = entry(2, 10_000)


@dataclass(frozen=True)
class Highways:
    """Dependencies of features of one layer on those of another."""

    pmi: float = entry(0, 100)
    min_count: int = entry(1)
    permutations: int = entry(20, 100_000)


@dataclass(frozen=True)
class Causal:
    """Features switched off."""

    features: int = entry(1, 10_000)
    cells: int = entry(2)
    matched_sets: int = entry(20, 1_000_000)
    random_directions: int = entry(2, 10_000)
    mask_fold: float = entry(0.01, 0.9)


@dataclass(frozen=True)
class Perturbation:
    """Knock-downs: in the data, and in silico."""

    min_cells: int = entry(2)
    min_control_firing_cells: int = entry(1)
    random_regulons: int = entry(20, 1_000_000)
    planted: list[int] = entry(1, 10_000)
    cells: int = entry(2)


@dataclass(frozen=True)
class CellTypes:
    """Features that tell cell types apart."""

    min_donors: int = entry(2, 1000)
    min_cells: int = entry(1)
    shuffles: int = entry(10, 100_000)


@dataclass(frozen=True)
class Novel:
    """Clusters of features without annotation."""

    jaccard: float = entry(0.01, 1)
    features: int = entry(3)
    shuffles: int = entry(5, 100_000)


@dataclass(frozen=True)
class Controls:
    """Branches of the pipeline that could kill a claim."""

    random_init: bool = entry()
    initialization: int = entry(0, 100_000)


@dataclass(frozen=True)
class Params(shared.Params):
    """The whole of `params.yaml`."""

    family: str = entry(choices=FAMILIES)
    layer: int | str = entry()
    cells: CellsParams = entry()
    tokens: TokensParams = entry()
    geneformer: GeneformerParams = entry()
    scgpt: ScgptParams = entry()
    svd: Svd = entry()
    catalog: Catalog = entry()
    annotate: Annotate = entry()
    modules: Modules = entry()
    highways: Highways = entry()
    causal: Causal = entry()
    perturbation: Perturbation = entry()
    celltypes: CellTypes = entry()
    novel: Novel = entry()
    controls: Controls = entry()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between entries."""
        yield from super().problems()
        yield from layer_problem("layer", self.layer)
        total = sum(dataclasses.astuple(self.cells.split))
        if abs(total - 1) > 1e-6:
            what = f"adds up to {total:g}"
            yield Problem("cells.split", what, "Make the three shares add up to 1.")
        for family in FAMILIES:
            model = getattr(self, family)
            if model.d_model % model.heads:
                what = f"is {model.d_model}, which {model.heads} heads cannot share evenly"
                remedy = f"Use a multiple of {family}.heads."
                yield Problem(f"{family}.d_model", what, remedy)
        if self.sae.learning_rate == "auto":
            what = "is auto, which needs a split that this study does not have (tune)"
            yield Problem("sae.learning_rate", what, "Use a number, such as 0.003.")
        if len(self.annotate.sizes) != 2:
            yield Problem("annotate.sizes", "needs two numbers", "Write [smallest, largest].")
