"""Stage foregrounds: which bins stand for each context feature and lineage, their controls, and the
matched strata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.enrich.genes import read_genes
from petriscope.genome.fasta import Genome
from petriscope.genome.intervals import known_sizes
from petriscope.probe.tokens import Tokens
from petriscope.progress import progress
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers
from petriscope.studies.chromatin.data.dataset import load_dataset, read_truth
from petriscope.studies.chromatin.foregrounds import (
    assembled,
    controls,
    covariates,
    feature_groups,
)
from petriscope.studies.chromatin.inputs import Arrays, bins_table
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import design_of, load_biosamples


@dataclass(frozen=True)
class Found:
    """What stage foregrounds counted."""

    groups: dict[str, int]
    """Groups by kind."""
    bins: int
    left_out: list[str]
    largest_imbalance_after_matching: float
    """Of any covariate of any group, as a standardized mean difference."""
    share_balanced: float
    """Of covariates of groups: below 0.1."""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/foregrounds/ (`Foregrounds.save`)."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    tokens, biosamples = Tokens.load(workspace.tokens), load_biosamples(workspace)
    genes = read_genes(dataset.genes, known_sizes(Genome(dataset.fasta).contigs)).frame
    bins = covariates(Arrays.load(workspace.tracks), bins_table(tokens), genes, tokens)
    encoded = progress(encoded_layers(workspace.codes).items(), "foregrounds", unit="layer")
    layers = ((layer, of.codes()) for layer, of in encoded)
    features = read_features(workspace, design_of(biosamples))
    most = params.annotation.max_foreground
    found = feature_groups(
        layers, features, biosamples, len(tokens.windows), most, params.annotation.max_features
    )
    peaks = pd.read_parquet(workspace.tracks / "peaks.parquet")
    truth = None if dataset.truth is None else read_truth(dataset.truth)
    draws, rng = params.annotation.random_draws, np.random.default_rng(params.seed)
    held_against = controls(peaks, truth, biosamples, bins, most, draws, rng)
    lineages, hits = list(dict.fromkeys(biosamples.lineage)), params.annotation.hits_bins
    fore = assembled(found, held_against, bins, lineages, hits)
    fore.save(workspace.table("foregrounds"))
    silent = [group.group for group, _ in found if not len(group.bins)]
    worst = fore.imbalance.smd_after.abs()
    return Found(
        groups=fore.groups.kind.value_counts().to_dict(),
        bins=len(bins),
        left_out=[f"{name}: fires in no bin of its lineage and context" for name in silent],
        largest_imbalance_after_matching=float(worst.max()),
        share_balanced=float((worst < 0.1).mean()),
    )
