"""Fragments to signal per 4 bp: petriscope against the original's recipe (awk, sort, `bedtools
genomecov`).

Prints the median of interleaved rounds and the ratios, for the coverage alone and with the sums per
4 bp (`bedtools intersect`), and checks that both give the same numbers. python benchmarks/tracks.py
[--fragments 500000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.genome.tracks import signal_for_windows
from petriscope.genome.windows import tile_windows

SIZE = 10_000_000
SHARES = {"train": 0.6, "select": 0.15, "tune": 0.1, "test": 0.15}
COVERAGE = r"""
gzip -cd f.tsv.gz | awk 'BEGIN{OFS="\t"}{print $1,$2+4-5,$2+4+6; print $1,$3-5-5,$3-5+6}' | awk '$2 >= 0' |
LC_ALL=C sort -k1,1 -k2,2n | bedtools genomecov -i - -g sizes -bg > cover.bg"""
SUMS = r"""
bedtools intersect -sorted -a bins.bed -b cover.bg -wao |
awk '{s[$4] += $8 * $9} END {for (k in s) print k, s[k]}' > sums"""


def prepare(folder: Path, fragments: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a fragment file and the bins of every window; returns windows and contigs."""
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, SIZE - 1_000, fragments))
    frame = pd.DataFrame(
        {"chrom": "chr1", "start": start, "end": start + rng.integers(30, 600, fragments)}
    )
    frame.to_csv(
        folder / "f.tsv.gz",
        sep="\t",
        header=False,
        index=False,
        compression={"method": "gzip", "mtime": 0},
    )
    contigs = pd.DataFrame({"chrom": ["chr1"], "start": [0], "end": [SIZE], "whole": [True]})
    windows = tile_windows(contigs, 16_384, fractions=SHARES)
    edges = (windows.start.to_numpy()[:, None] + 4 * np.arange(4_096)).ravel()
    bins = pd.DataFrame(
        {"chrom": "chr1", "start": edges, "end": edges + 4, "name": np.arange(len(edges))}
    )
    bins.to_csv(folder / "bins.bed", sep="\t", header=False, index=False)
    (folder / "sizes").write_text(f"chr1\t{SIZE}\n")
    return windows, contigs


def main() -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fragments", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if shutil.which("bedtools") is None:
        print("bedtools is not installed: nothing to compare against", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows, contigs = prepare(folder, args.fragments)
        ours, coverage, sums = [], [], []
        for _ in range(args.rounds):
            begin = time.perf_counter()
            track = signal_for_windows(folder / "f.tsv.gz", "fragments", windows, contigs)
            ours.append(time.perf_counter() - begin)
            for script, seconds in ((COVERAGE, coverage), (SUMS, sums)):
                begin = time.perf_counter()
                subprocess.run(["bash", "-ec", script], cwd=folder, check=True)
                seconds.append(time.perf_counter() - begin)
        table = np.loadtxt(folder / "sums")
        expected = np.zeros(track.values.size)
        expected[table[:, 0].astype(int)] = table[:, 1] * 20e6 / args.fragments
        error = float(np.abs(track.values.ravel() - expected).max() / expected.max())
    mine, covered, summed = (statistics.median(seconds) for seconds in (ours, coverage, sums))
    print(f"petriscope {mine:.2f} s")
    print(f"awk + sort + bedtools genomecov {covered:.2f} s, {covered / mine:.1f} times as long")
    print(
        f"  with the sums per 4 bp {covered + summed:.2f} s, {(covered + summed) / mine:.1f} "
        f"times as long"
    )
    print(
        f"fragments {args.fragments:,}, windows {len(windows):,}, greatest difference {error:.1e} "
        f"of the maximum"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
