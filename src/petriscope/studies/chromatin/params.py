"""The parameters of study chromatin are the shared sections, and those of its data, model and
annotation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from petriscope.run import params as shared
from petriscope.run.params import Problem, entry


@dataclass(frozen=True)
class SplitShares:
    """Share of the genome in each split."""

    train: float = entry(0.01, 1)
    select: float = entry(0.01, 1)
    tune: float = entry(0.01, 1)
    test: float = entry(0.01, 1)


@dataclass(frozen=True)
class Windows:
    """Where the genome is cut."""

    length: int = entry(1024, 1 << 24)
    crop: int = entry(0, 64)
    max_n_fraction: float = entry(0, 1)
    block_bp: int = entry(10_000, 50_000_000)
    split: SplitShares = entry()


@dataclass(frozen=True)
class Tracks:
    """From signal files to model input."""

    match_depth: int | None = entry(1000)
    motif_p: float = entry(1e-9, 0.1)
    max_peaks: int = entry(10)


@dataclass(frozen=True)
class Model:
    """The probed model: EpiBERT, or what the adapter `FILE.py:NAME` builds; given weights, or
    pre-trained here."""

    adapter: str | None = entry()
    weights: str | None = entry()
    layers: int = entry(1, 48)
    d_model: int = entry(8, 8192)
    heads: int = entry(1, 64)
    sequence_filters: list[int] = entry(1, 8192)
    atac_filters: list[int] = entry(1, 8192)
    random_features: int = entry(1, 4096)
    epochs: int = entry(0, 10_000)
    windows_per_step: int = entry(1, 1024)
    biosamples_per_step: int = entry(1, 1024)
    learning_rate: float = entry(1e-7, 1)
    dropout: float = entry(0, 0.9)
    mask_folds: int = entry(2, 64)


@dataclass(frozen=True)
class Activations:
    """How the residual stream is harvested."""

    masking: str = entry(choices=("none", "kfold"))
    folds: int = entry(2, 64)


@dataclass(frozen=True)
class Truth:
    """New libraries of the simulator, for planted truth."""

    run: bool = entry()
    donors: int = entry(2, 1000)


@dataclass(frozen=True)
class Annotation:
    """Foregrounds, backgrounds and families of the annotation stages."""

    engine: str = entry(choices=("own", "homer"))
    background_ratio: int = entry(1, 100)
    max_features: int = entry(1, 1_000_000)
    max_foreground: int = entry(10)
    random_draws: int = entry(0, 10_000)
    hits_motifs: int = entry(1, 100)
    hits_bins: int = entry(1, 1000)
    geneset_sizes: list[int] = entry(1)


@dataclass(frozen=True)
class Cds(shared.Cds):
    """Context Divergence Score and its inference; the technical covariates that tracks measure."""

    adjust: list[str] = entry(choices=("depth", "frip"))


@dataclass(frozen=True)
class Controls(shared.Controls):
    """Branches of the pipeline that could kill a claim."""

    depth_matched: bool = entry()
    input_controls: bool = entry()
    input_windows: int = entry(4, 100_000)


@dataclass(frozen=True)
class Params(shared.ContrastParams):
    """The whole of `params.yaml`."""

    windows: Windows = entry()
    tracks: Tracks = entry()
    model: Model = entry()
    activations: Activations = entry()
    cds: Cds = entry()
    truth: Truth = entry()
    annotation: Annotation = entry()
    controls: Controls = entry()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between entries."""
        windows = self.windows
        if windows.length % 128:
            remedy = f"Use {windows.length // 128 * 128} or {(windows.length // 128 + 1) * 128}."
            what = f"is {windows.length}, not a multiple of 128 bp"
            yield Problem("windows.length", what, remedy)
        if 2 * windows.crop >= windows.length // 128:
            what = f"is {windows.crop}, which leaves no bin"
            yield Problem("windows.crop", what, "Use a smaller crop.")
        total = sum(dataclasses.astuple(windows.split))
        if abs(total - 1) > 1e-6:
            remedy = "Make the four shares add up to 1."
            yield Problem("windows.split", f"adds up to {total:g}", remedy)
        yield from super().problems()
        if len(self.annotation.geneset_sizes) != 2:
            remedy = "Write [smallest, largest]."
            yield Problem("annotation.geneset_sizes", "needs two numbers", remedy)
