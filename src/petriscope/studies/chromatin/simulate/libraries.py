"""New libraries of the demo's own simulator: the same genome and elements, other donors, for
planted truth."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.motifs import read_motifs
from petriscope.genome.coverage import WindowBins, cut_sites
from petriscope.genome.tracks import SCALE_TO
from petriscope.parallel import in_processes
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, demo_motifs_path
from petriscope.studies.chromatin.simulate.elements import plant_elements
from petriscope.studies.chromatin.simulate.genome import simulate_genome
from petriscope.studies.chromatin.simulate.signal import (
    HUMAN_GENOME,
    PEAK_P,
    call_peaks,
    design,
    element_rates,
    simulate_fragments,
)


class Libraries(NamedTuple):
    """Simulated libraries as the model takes them."""

    table: pd.DataFrame
    """columns biosample, lineage, context, fragments, in_elements (the share of fragments meant to
    lie in elements)."""
    signal: np.ndarray
    """(W, S, L/4) float16"""
    peaks: list[pd.DataFrame]
    """columns chrom, start, end, summit, score of each library."""


def simulate_libraries(
    config: DemoConfig, windows: pd.DataFrame, *, donors: int, alike: bool, seed: int
) -> Libraries:
    """``donors`` new libraries per condition over ``windows`` (chrom, start, end), donors drawn as
    the data set's were.

    Where they are ``alike``, all have the depth and the share of fragments in elements of the data
    set's median: nothing but the planted openness differs between conditions. Otherwise both are
    drawn as the data set's were.
    """
    genome = simulate_genome(np.random.default_rng([config.seed, 1]), config.lengths())
    motifs = {motif.factor: motif for motif in read_motifs(demo_motifs_path(), "meme")}
    elements = plant_elements(np.random.default_rng([config.seed, 2]), genome, motifs)
    rng = np.random.default_rng([seed, 1])
    samples = design(rng, donors, config.deepest)
    if alike:
        own = design(np.random.default_rng([config.seed, 4]), config.replicates, config.deepest)
        fragments = int(np.median([sample.fragments for sample in own]))
        inside = float(np.median([sample.in_elements for sample in own]))
        samples = [replace(sample, fragments=fragments, in_elements=inside) for sample in samples]
    rates = element_rates(rng, elements, samples)

    def one(number: int) -> tuple[np.ndarray, int, pd.DataFrame]:
        stream = np.random.default_rng([seed, 2, number])
        fragments = simulate_fragments(stream, genome, elements, rates[:, number], samples[number])
        track, total = _track(fragments, windows, genome.size / HUMAN_GENOME)
        called = call_peaks(fragments, config.lengths(), p=PEAK_P)
        called = called.rename(columns={"signal": "score"})
        stored = np.minimum(track, np.finfo(np.float16).max).astype(np.float16)
        return stored, total, called[["chrom", "start", "end", "summit", "score"]]

    made = in_processes(one, range(len(samples)), "simulating libraries", unit="library")
    signal = np.empty((len(windows), len(samples), WindowBins(windows).bins), np.float16)
    rows, peaks = [], []
    for number, (sample, (track, total, called)) in enumerate(zip(samples, made, strict=True)):
        signal[:, number] = track
        peaks.append(called)
        rows.append((f"new_{sample.id}", sample.lineage, sample.context, total, sample.in_elements))
    table = pd.DataFrame(
        rows, columns=["biosample", "lineage", "context", "fragments", "in_elements"]
    )
    return Libraries(table, signal, peaks)


def _track(
    fragments: dict[str, np.ndarray], windows: pd.DataFrame, share: float
) -> tuple[np.ndarray, int]:
    """Scaled cut coverage (W, L/4) as `signal_for_windows` makes it from a file, and the
    fragments."""
    bins = WindowBins(windows)
    values, total = bins.zeros(), 0
    for chrom, pairs in fragments.items():
        total += len(pairs)
        bins.add_cuts(values, chrom, cut_sites(pairs[:, 0], pairs[:, 1]))
    return values * np.float32(SCALE_TO / total * float(f"{share:.6g}")), total
