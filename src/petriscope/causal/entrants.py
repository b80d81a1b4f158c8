"""Who competes on the leaderboard: autoencoders given, and the simple bases learnt from the same
tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from petriscope.causal.bases import principal_components, raw_neurons, single_direction
from petriscope.causal.directions import context_means, difference_of_means, linear_probe
from petriscope.contrast.moments import Design
from petriscope.probe.states import Dictionary


class Learning(NamedTuple):
    """Tokens that every entrant learns from; no read-out sees them."""

    hidden: np.ndarray
    """(n, d)"""
    biosample: np.ndarray
    """(n,) row of the design"""
    design: Design

    def only(self, lineage: str) -> Learning:
        """The tokens and biosamples of one lineage."""
        design = self.design
        member = design.lineage_of == design.lineages.index(lineage)
        rows = member[self.biosample]
        names = tuple(name for name, mine in zip(design.biosamples, member) if mine)
        covariates = None if design.covariates is None else design.covariates[member]
        layout = Design(
            names,
            (lineage,),
            np.zeros(len(names), np.int64),
            design.vivo[member],
            covariates,
            design.adjust,
        )
        return Learning(self.hidden[rows], (np.cumsum(member) - 1)[self.biosample[rows]], layout)


def entrants(learning: Learning, autoencoders: Mapping[str, Dictionary]) -> dict[str, Dictionary]:
    """The autoencoders given (trained, frozen-decoder, ...) and the simple bases: principal
    components, raw neurons, the difference of means and the linear probe."""
    features = np.zeros((len(learning.design.biosamples), 1))
    means = context_means(learning.hidden, features, learning.biosample, learning.design)
    lineages = learning.design.lineages
    simple: dict[str, Dictionary] = {
        "pca": principal_components(learning.hidden),
        "raw_neurons": raw_neurons(learning.hidden),
        "difference_of_means": single_direction(
            difference_of_means(means, lineages), learning.hidden
        ),
        "linear_probe": single_direction(linear_probe(means, lineages), learning.hidden),
    }
    return dict(autoencoders) | simple
