"""Tn5 fragments of the simulated biosamples are drawn here, and peaks called from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from petriscope.studies.chromatin.simulate.genome import (
    CONDITIONS,
    Element,
    N,
    SimulatedGenome,
    condition_accessibility,
)

HUMAN_GENOME = 3.1e9
PEAK_P = 1e-6
"""p of the windows that make the peak files."""
CELL_LINES = {
    "blood": ("PL562", "PTHP1", "PHL60", "PKG1", "PU937"),
    "liver": ("PHepG2", "PHuh7", "PHep3B", "PSNU449", "PSKHep1"),
    "lymph": ("PGM878", "PRaji", "PBJAB", "PDaudi", "PNamalwa"),
}
_LENGTHS = (
    (75.0, 22.0, 0.62),
    (195.0, 20.0, 0.29),
    (385.0, 30.0, 0.09),
)  # nucleosome-free, mono-, di-nucleosome


@dataclass(frozen=True)
class SimulatedBiosample:
    """One replicate: who it is, how deep it was sequenced, and how much of it lies in elements."""

    id: str
    lineage: str
    context: str
    donor: str
    fragments: int
    in_elements: float
    """Share of fragments in elements."""

    @property
    def condition(self) -> int:
        """Index into `CONDITIONS`."""
        return CONDITIONS.index((self.lineage, self.context))


def design(rng: np.random.Generator, replicates: int, deepest: int) -> list[SimulatedBiosample]:
    """Biosamples by lineage, context, replicate: in vitro deeper (1.7-fold in all) and cleaner on
    average.

    Depth and share in elements are spread evenly over ranges that overlap, each in an order of its
    own: in every lineage both vary within the contexts, so that a test can tell them from the
    context.
    """
    samples = []
    for lineage, context in CONDITIONS:
        low, high = (0.7, 1.0) if context == "in_vitro" else (0.6, 0.85)
        depths = rng.permutation(np.geomspace(low, high, replicates)) * rng.uniform(
            0.95, 1.0, replicates
        )
        least, most = (0.45, 0.50) if context == "in_vitro" else (0.43, 0.48)
        inside = rng.permutation(np.linspace(least, most, replicates)) * rng.uniform(
            0.98, 1.0, replicates
        )
        for replicate in range(replicates):
            line = (
                CELL_LINES[lineage][replicate]
                if replicate < len(CELL_LINES[lineage])
                else f"P{lineage}{replicate + 1}"
            )
            samples.append(
                SimulatedBiosample(
                    id=f"{lineage}_{context.removeprefix('in_')}_{replicate + 1}",
                    lineage=lineage,
                    context=context,
                    donor=line if context == "in_vitro" else f"donor_{lineage}_{replicate + 1}",
                    fragments=int(deepest * depths[replicate]),
                    in_elements=float(inside[replicate]),
                )
            )
    return samples


def element_rates(
    rng: np.random.Generator, elements: Sequence[Element], samples: list[SimulatedBiosample]
) -> np.ndarray:
    """(elements, biosamples) accessibility: condition mean times log-normal donor effects.

    Per biosample: one effect per programme (sd .08), one per domain (.20) and one per element
    (.13): neighbors vary together. In all a biological coefficient of variation of .25, between
    isogenic replicates (.1) and unrelated people (.4; edgeR user's guide, section 2.12). The spread
    is that of both contexts: donors that differ more than cell lines would have more very open and
    very closed elements, hence another mean of every feature that is not linear in openness, and
    the planted openness would no longer be all that differs between the contexts.
    """
    access = condition_accessibility(elements)
    programme = np.unique([element.programme for element in elements], return_inverse=True)[1]
    domain = np.unique([element.domain for element in elements], return_inverse=True)[1]
    rates = np.empty((len(elements), len(samples)))
    for s, sample in enumerate(samples):
        log = rng.normal(0, 0.08, programme.max() + 1)[programme]
        log = (
            log + rng.normal(0, 0.20, domain.max() + 1)[domain] + rng.normal(0, 0.13, len(elements))
        )
        rates[:, s] = access[:, sample.condition] * np.exp(log)
    return rates


def _lengths(rng: np.random.Generator, n: int) -> np.ndarray:
    """Fragment lengths (n,) int64: a mixture of nucleosome-free, mono- and di-nucleosomal."""
    means, sds, weights = (np.array(x) for x in zip(*_LENGTHS))
    which = rng.choice(len(means), size=n, p=weights)
    return np.maximum(rng.normal(means[which], sds[which]), 30).astype(np.int64)


def _background(
    rng: np.random.Generator, genome: SimulatedGenome, total: int
) -> dict[str, np.ndarray]:
    """Background midpoints by chromosome: density rises with GC, drifts over 50 kb, gathers in
    artifact regions."""
    weights = {}
    for chrom, codes in genome.sequence.items():
        gc = genome.gc[chrom]
        drift = np.convolve(rng.normal(0, 1.6, len(gc) + 49), np.full(50, 1 / 50), mode="valid")
        weight = np.exp(4.0 * (gc - 0.41) + drift)
        called = np.add.reduceat(codes != N, np.arange(0, len(codes), 1024)) / 1024
        weight *= called
        for start, end in genome.blacklist[chrom]:
            weight[start // 1024 : end // 1024] *= 25.0
        weights[chrom] = weight
    share = np.array([w.sum() for w in weights.values()])
    counts = rng.multinomial(total, share / share.sum())
    out = {}
    for (chrom, weight), n in zip(weights.items(), counts):
        step = rng.choice(len(weight), size=n, p=weight / weight.sum())
        out[chrom] = step * 1024 + rng.integers(0, 1024, n)
    return out


def simulate_fragments(
    rng: np.random.Generator,
    genome: SimulatedGenome,
    elements: Sequence[Element],
    rates: np.ndarray,
    sample: SimulatedBiosample,
) -> dict[str, np.ndarray]:
    """Fragments of one biosample: by chromosome (n, 2) int64 start, end; sorted, inside the
    chromosome, off the gaps.

    ``rates`` (elements,) sets the expected share of each element; counts are negative binomial
    (dispersion 0.04), midpoints normal about the element's center with a quarter of its width as
    standard deviation, so cuts peak there.
    """
    expected = rates / rates.sum() * sample.fragments * sample.in_elements
    counts = rng.poisson(expected * rng.gamma(25.0, 1 / 25.0, len(expected)))
    middle = _background(rng, genome, sample.fragments - int(counts.sum()))
    center = np.array([(element.start + element.end) // 2 for element in elements])
    width = np.array([element.end - element.start for element in elements])
    chrom_of = np.array([element.chrom for element in elements])
    out = {}
    for chrom, codes in genome.sequence.items():
        rows = np.flatnonzero(chrom_of == chrom)
        which = np.repeat(rows, counts[rows])
        inside = np.rint(center[which] + rng.normal(0.0, 0.25, len(which)) * width[which]).astype(
            np.int64
        )
        mid = np.concatenate([middle[chrom], inside])
        length = _lengths(rng, len(mid))
        start = mid - length // 2
        end = start + length
        keep = (start >= 0) & (end <= len(codes))
        start, end = start[keep], end[keep]
        keep = (codes[start] != N) & (codes[end - 1] != N)
        start, end = start[keep], end[keep]
        order = np.lexsort((end, start))
        out[chrom] = np.stack([start[order], end[order]], axis=1)
    return out


def call_peaks(
    fragments: dict[str, np.ndarray], lengths: Mapping[str, int], *, p: float, step: int = 32
) -> pd.DataFrame:
    """Peaks from cut sites, ignorant of the truth.

    Windows of 160 bp every ``step`` whose count a Poisson of the local mean (10 kb around, at least
    .6 of the genome's) reaches with probability below ``p``; neighbors merge.

    Returns chrom, start, end, summit (absolute), signal (fold over the local mean), log_p (−log10).
    """
    total = sum(2 * len(f) for f in fragments.values())
    genome_mean = total / sum(lengths.values()) * 160
    frames = []
    for chrom, pairs in fragments.items():
        n = lengths[chrom] // step
        cuts = np.bincount(np.minimum(pairs.ravel() // step, n - 1), minlength=n)
        five = np.convolve(cuts, np.ones(5), mode="same")
        wide = 10_240 // step
        around = np.convolve(cuts, np.full(wide, 160 / step / wide), mode="same")
        local = np.maximum(genome_mean * 0.6, around)
        log_p = -stats.poisson.logsf(five - 1, local) / np.log(10)
        hot = log_p > -np.log10(p)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hot.astype(np.int8), [0]])))
        rows = []
        for a, b in zip(edges[::2], edges[1::2]):
            best = a + int(np.argmax(five[a:b]))
            start, end = max(0, (a - 2) * step), min(lengths[chrom], (b + 2) * step)
            rows.append(
                (
                    start,
                    end,
                    best * step + step // 2,
                    five[best] / local[best],
                    min(log_p[best], 300.0),
                )
            )
        frames.append(
            pd.DataFrame(rows, columns=["start", "end", "summit", "signal", "log_p"]).assign(
                chrom=chrom
            )
        )
    merged = _merge_peaks(pd.concat(frames, ignore_index=True))
    return merged[["chrom", "start", "end", "summit", "signal", "log_p"]]


def _merge_peaks(peaks: pd.DataFrame) -> pd.DataFrame:
    """Join overlapping peaks of one chromosome; the stronger one's summit stays."""
    if peaks.empty:
        return peaks
    apart = (peaks["chrom"] != peaks["chrom"].shift()) | (peaks["start"] > peaks["end"].shift())
    group = apart.cumsum()
    best = peaks.loc[peaks.groupby(group)["log_p"].idxmax()].reset_index(drop=True)
    best["start"] = peaks.groupby(group)["start"].min().to_numpy()
    best["end"] = peaks.groupby(group)["end"].max().to_numpy()
    return best
