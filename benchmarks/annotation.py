"""Annotation against its rivals, in one run: motif scan (memelite, MOODS, lightmotif), states of
features (bedtools), gene sets (gseapy).

Rivals that are not installed are named and left out: ``pip install memelite MOODS-python
lightmotif``. Prints seconds (median of interleaved rounds) and the ratio to each rival. ``--motifs
FILE ...`` takes real libraries; without it motifs are simulated.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, strata
from petriscope.enrich.features import enrich_features
from petriscope.enrich.genes import Links
from petriscope.enrich.genesets import GeneSets, enrich_gene_sets
from petriscope.enrich.motifs import Motif, consensus_of, read_motifs, with_threshold
from petriscope.enrich.scan import scan_hits
from petriscope.enrich.states import Segmentation, State, majority_state, state_enrichment
from petriscope.enrich.tails import log_hypergeometric_tail
from petriscope.genome.overlap import Intervals

P = 1e-4


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


class Seconds(NamedTuple):
    """Median over rounds."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Seconds:
        return Seconds(self.wall * factor, self.cpu * factor)


def interleaved(
    tasks: dict[str, Callable[[], object]], rounds: int, once: Sequence[str] = ()
) -> dict[str, Seconds]:
    """Median wall and CPU seconds of each task over rounds in turn; those in ``once`` run in the
    first round alone."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in tasks}
    for r in range(rounds):
        for name, task in tasks.items():
            if r and name in once:
                continue
            begin, cpu = time.perf_counter(), _cpu()
            task()
            seconds[name].append(Seconds(time.perf_counter() - begin, _cpu() - cpu))
    return {
        name: Seconds(*(statistics.median(column) for column in zip(*rows)))
        for name, rows in seconds.items()
    }


def _cpu() -> float:
    """CPU seconds of this process and of the programs it ran, all threads."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def report(title: str, seconds: dict[str, Seconds], ours: str = "petriscope") -> None:
    """Print wall and CPU seconds and how many times ours goes into each (CPU too: other programs
    may share the cores)."""
    print(f"\n{title}")
    mine = seconds[ours]
    for name, value in sorted(seconds.items(), key=lambda item: item[1].wall):
        ratio = (
            ""
            if name == ours
            else f"   {value.wall / mine.wall:6.1f}x wall {value.cpu / mine.cpu:6.1f}x CPU"
        )
        print(f"  {name:<36}{value.wall:9.3f} s wall {value.cpu:9.3f} s CPU{ratio}", flush=True)


def simulated_motifs(n: int, rng: np.random.Generator) -> list[Motif]:
    motifs = []
    for i in range(n):
        matrix = rng.dirichlet([0.25] * 4, size=int(rng.integers(8, 21)))
        motifs.append(Motif(f"m{i}", consensus_of(matrix), matrix, 0.0))
    return motifs


def moods_scan(sequences: np.ndarray, motifs: list[Motif]) -> np.ndarray:
    import MOODS.scan

    gap = "N" * max(len(m.matrix) for m in motifs)
    width = sequences.shape[1] + len(gap)
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    text = gap.join(row.tobytes().decode() for row in letters[sequences])
    matrices = [s.T.tolist() for m in motifs for s in (m.log_odds(), m.log_odds()[::-1, ::-1])]
    scanner = MOODS.scan.Scanner(7)
    scanner.set_motifs(matrices, [0.25] * 4, [m.threshold for m in motifs for _ in range(2)])
    hits = np.zeros((len(sequences), len(motifs)), dtype=bool)
    for i, found in enumerate(scanner.scan(text)):
        hits[
            np.fromiter((hit.pos for hit in found), dtype=np.int64, count=len(found)) // width,
            i // 2,
        ] = True
    return hits


def memelite_scan(one_hot: np.ndarray, motifs: list[Motif]) -> np.ndarray:
    from memelite import fimo

    pwms = {str(i): m.matrix.T.astype(np.float64) for i, m in enumerate(motifs)}
    hits = np.zeros((len(one_hot), len(motifs)), dtype=bool)
    for i, frame in enumerate(fimo(pwms, one_hot, threshold=P)):
        hits[frame["sequence_name"].to_numpy(dtype=np.int64), i] = True
    return hits


def lightmotif_scan(sequences: np.ndarray, motifs: list[Motif]) -> np.ndarray:
    import lightmotif

    longest = max(len(m.matrix) for m in motifs)
    width = sequences.shape[1] + longest
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    text = ("N" * longest).join(row.tobytes().decode() for row in letters[sequences])
    striped = lightmotif.EncodedSequence(text).stripe()
    hits = np.zeros((len(sequences), len(motifs)), dtype=bool)
    for i, m in enumerate(motifs):
        for scores in (m.log_odds(), m.log_odds()[::-1, ::-1]):
            columns = {letter: scores[:, j].tolist() for j, letter in enumerate("ACGT")}
            columns["N"] = [-1000.0] * len(scores)
            places = lightmotif.ScoringMatrix(columns).calculate(striped).threshold(m.threshold)
            hits[np.asarray(places, dtype=np.int64) // width, i] = True
    return hits


def scan_benchmark(motifs: list[Motif], bases: int, rounds: int, rng: np.random.Generator) -> None:
    sequences = rng.choice(4, size=(bases // 200, 200), p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8)
    tasks: dict[str, Callable[[], object]] = {"petriscope": lambda: scan_hits(sequences, motifs)}
    answers = {"petriscope": scan_hits(sequences[:2000], motifs)}
    once = []
    if version("memelite") != "absent":
        one_hot = np.ascontiguousarray(
            (sequences[:, None, :] == np.arange(4)[None, :, None]).astype(np.int8)
        )
        answers["memelite"] = memelite_scan(one_hot[:2000], motifs)  # compiles
        tasks[f"memelite {version('memelite')} fimo"] = lambda: memelite_scan(one_hot, motifs)
    if version("lightmotif") != "absent":
        answers["lightmotif"] = lightmotif_scan(sequences[:2000], motifs)
        tasks[f"lightmotif {version('lightmotif')}"] = lambda: lightmotif_scan(sequences, motifs)
        once.append(f"lightmotif {version('lightmotif')}")
    if version("MOODS-python") != "absent":
        answers["MOODS"] = moods_scan(sequences[:2000], motifs)
        tasks[f"MOODS-python {version('MOODS-python')}"] = lambda: moods_scan(sequences, motifs)
        once.append(f"MOODS-python {version('MOODS-python')}")
    title = f"Motif scan: {len(motifs)} motifs, both strands, p {P:g}, {bases / 1e6:g} Mb as 200-bp sequences, {os.cpu_count()} cores"
    report(title, interleaved(tasks, rounds, once))
    for name, hits in answers.items():
        if name != "petriscope":
            print(
                f"  sequences x motifs on which {name} differs: "
                f"{(hits != answers['petriscope']).mean():.2e}"
            )


def state_benchmark(n_features: int, n_bins: int, rounds: int, rng: np.random.Generator) -> None:
    import pybedtools

    start = np.arange(n_bins, dtype=np.int64) * 128
    bins = Intervals(np.full(n_bins, "chr1", dtype=object), start, start + 128)
    edges = np.unique(
        np.concatenate([[0], rng.integers(1, n_bins * 128 // 200, n_bins // 6) * 200])
    )
    names = tuple(State(i + 1, f"s{i}", f"s{i}", "#000000", "other") for i in range(15))
    code = rng.integers(0, 15, len(edges))
    segments = Segmentation(
        np.full(len(edges), "chr1", dtype=object),
        edges,
        np.append(edges[1:], n_bins * 128),
        code,
        names,
        "file",
        (),
    )
    member = sparse.csr_matrix(
        sparse.random(n_features, n_bins, density=0.005, random_state=1, format="csr"), dtype=bool
    )

    def ours() -> None:
        state_enrichment(member, majority_state(bins, segments), 15)

    subject = pybedtools.BedTool.from_dataframe(
        pd.DataFrame({"chrom": "chr1", "start": edges, "end": segments.end, "name": code})
    ).saveas()

    def bedtools(features: int) -> None:
        for f in range(features):
            mine = member[f].indices
            query = pd.DataFrame({"chrom": "chr1", "start": start[mine], "end": start[mine] + 128})
            query = pybedtools.BedTool.from_dataframe(query)
            query.intersect(subject, wo=True, sorted=True).to_dataframe(header=None)
        pybedtools.cleanup()

    some = 20
    seconds = interleaved({"petriscope": ours, "bedtools": lambda: bedtools(some)}, rounds)
    seconds[f"bedtools per feature (x {n_features // some})"] = seconds.pop("bedtools").times(
        n_features / some
    )
    report(
        f"States: {n_features:,} features x {n_bins:,} bins, overlap, odds ratio, interval, "
        f"Fisher p, BH",
        seconds,
    )


def feature_benchmark(n_features: int, n_bins: int, rounds: int, rng: np.random.Generator) -> None:
    hits = rng.uniform(size=(n_bins, 440)) < 0.05
    member = sparse.csr_matrix(
        sparse.random(n_features, n_bins, density=0.005, random_state=2, format="csr"), dtype=bool
    )
    classes = strata(
        rng.normal(0.45, 0.08, n_bins), rng.exponential(1, n_bins), rng.exponential(3e4, n_bins)
    )
    task = {"petriscope": lambda: enrich_features(hits, MatchedBackground(member, classes))}
    report(
        f"Motifs of {n_features:,} features x {n_bins:,} bins x 440 motifs, matched background",
        interleaved(task, rounds),
    )


def gene_benchmark(n_features: int, n_bins: int, rounds: int, rng: np.random.Generator) -> None:
    import gseapy

    genes = [f"G{i}" for i in range(20_000)]
    sets = {
        f"t{t}": tuple(rng.choice(genes, int(rng.integers(5, 200)), replace=False))
        for t in range(5000)
    }
    links = Links(
        sparse.csr_matrix(
            (np.ones(n_bins), (np.arange(n_bins), rng.integers(0, 20_000, n_bins))),
            (n_bins, 20_000),
        ),
        genes,
    )
    member = sparse.csr_matrix(
        sparse.random(n_features, n_bins, density=0.003, random_state=3, format="csr"), dtype=bool
    )
    some = 3
    as_lists = {name: list(symbols) for name, symbols in sets.items()}

    def rival() -> None:
        for f in range(some):
            query = [genes[g] for g in np.unique((member[f] @ links.matrix).indices)]
            gseapy.enrich(
                gene_list=query, gene_sets=as_lists, background=genes, outdir=None, no_plot=True
            )

    seconds = interleaved(
        {"petriscope": lambda: enrich_gene_sets(member, links, GeneSets(sets, ())), "rival": rival},
        rounds,
    )
    seconds[f"gseapy {gseapy.__version__} per feature (x {n_features // some})"] = seconds.pop(
        "rival"
    ).times(n_features / some)
    report(f"Gene sets: {n_features:,} features x 5,000 terms, both tests, BH over all", seconds)
    k = rng.integers(0, 30, 1_000_000)
    begin = time.perf_counter()
    log_hypergeometric_tail(k, 20_000, 100, 500)
    print(
        f"  log hypergeometric tails: {1e6 / (time.perf_counter() - begin) / 1e6:.1f} million per "
        f"second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--motifs",
        type=Path,
        nargs="*",
        default=[],
        help="motif libraries; the first --count motifs are used",
    )
    parser.add_argument("--count", type=int, default=440)
    parser.add_argument("--megabases", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", choices=["scan", "states", "features", "genes"], nargs="*", default=None
    )
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    chosen = options.only or ["scan", "states", "features", "genes"]
    if "scan" in chosen:
        motifs = [m for path in options.motifs for m in read_motifs(path)] or simulated_motifs(
            options.count, rng
        )
        motifs = [with_threshold(m, P) for m in motifs[: options.count]]
        scan_benchmark(motifs, int(options.megabases * 1e6), options.rounds, rng)
    if "states" in chosen:
        state_benchmark(5000, 100_000, options.rounds, rng)
    if "features" in chosen:
        feature_benchmark(5000, 100_000, options.rounds, rng)
    if "genes" in chosen:
        gene_benchmark(1000, 100_000, 1, rng)


if __name__ == "__main__":
    main()
