"""Known biology on real hg38 sequence: ChIP summits give their own factor, accessible sites their
lineage's, random tiles none.

Only two pieces of the genome (4.4 Mb) are at hand, so foregrounds hold some 30 to 400 sites.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pysam
import pytest
from scipy import sparse

from petriscope.enrich.genes import link_genes, read_genes
from petriscope.enrich.genesets import enrich_gene_sets, read_gmt
from petriscope.enrich.homer import known_enrichment
from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.enrich.scan import encode, scan_hits
from petriscope.genome.overlap import Intervals, overlaps

HALF = 100
PEAKS = {
    "K562": ("blood", "K562.ENCFF738NOA.narrowPeak.gz"),
    "Monocyte": ("blood", "blood_invivo.Monocyte.ATAC.hg38.bed.gz"),
    "HepG2": ("liver", "HepG2.ENCFF791RKW.narrowPeak.gz"),
    "Liver": ("liver", "Liver.ENCFF654SUU.narrowPeak.gz"),
    "GM12878": ("lymph", "GM12878.ENCFF917REN.narrowPeak.gz"),
    "NaiveB_F": ("lymph", "NaiveB_F.ENCFF380TOL.narrowPeak.gz"),
    "NaiveB_M": ("lymph", "NaiveB_M.ENCFF590QLY.narrowPeak.gz"),
}
CHIP = ("K562.GATA2", "HepG2.HNF4A", "K562.CTCF", "GM12878.SPI1", "HepG2.FOXA1")


class Sites(NamedTuple):
    """All sequences that any test uses, scanned once."""

    sequences: np.ndarray
    hits: np.ndarray
    motifs: list[Motif]
    rows: dict[str, np.ndarray]  # name → rows of the sequences
    where: np.ndarray  # genome-wide key of each sequence's center


@pytest.fixture(scope="module")
def sites(shared) -> Sites:
    real = shared / "data" / "real"
    pieces = {}
    for row in pd.read_csv(real / "genome" / "regions.tsv", sep="\t").itertuples():
        fasta = pysam.FastaFile(str(real / "genome" / row.fasta))
        pieces[row.chrom] = (row.start0, encode([fasta.fetch(row.contig_name)])[0])

    def centers(path: Path) -> list[tuple[str, int]]:
        frame = pd.read_csv(path, sep="\t", header=None)
        offset = frame[9] if path.name.endswith("narrowPeak.gz") else (frame[2] - frame[1]) // 2
        found = []
        for chrom, (start, letters) in pieces.items():
            middle = (frame[1] + offset)[frame[0] == chrom] - start
            found += [
                (chrom, int(m)) for m in np.unique(middle) if HALF <= m <= len(letters) - HALF
            ]
        return found

    sets = {name: centers(real / "peaks" / file) for name, (_, file) in PEAKS.items()}
    sets |= {name: centers(real / "tf_chip" / f"{name}.summit200.hg38.bed.gz") for name in CHIP}
    tiles = [
        (c, m)
        for c, (_, letters) in pieces.items()
        for m in range(HALF, len(letters) - HALF, 4 * HALF)
    ]
    sets["tiles"] = [(c, m) for c, m in tiles if (pieces[c][1][m - HALF : m + HALF] < 4).all()]
    order = {chrom: i for i, chrom in enumerate(pieces)}
    flat = [site for group in sets.values() for site in group]
    sequences = np.stack([pieces[c][1][m - HALF : m + HALF] for c, m in flat])
    where = np.array([order[c] * 10**9 + m for c, m in flat])
    ends = np.cumsum([len(group) for group in sets.values()])
    rows = {name: np.arange(end - len(sets[name]), end) for name, end in zip(sets, ends)}
    motifs = read_motifs(real / "motifs" / "homer.vertebrates.known.motifs")
    taken = np.sort(np.concatenate([where[r] for name, r in rows.items() if name != "tiles"]))
    rows["tiles"] = apart(rows["tiles"], where, taken, 4 * HALF)
    return Sites(sequences, scan_hits(sequences, motifs), motifs, rows, where)


def apart(rows: np.ndarray, where: np.ndarray, others: np.ndarray, least: int) -> np.ndarray:
    """Rows whose center lies at least ``least`` bp from every one of ``others`` (sorted)."""
    right = np.searchsorted(others, where[rows])
    near = np.minimum(
        np.abs(others[np.minimum(right, len(others) - 1)] - where[rows]),
        np.abs(others[np.maximum(right - 1, 0)] - where[rows]),
    )
    return rows[near >= least]


def enriched(sites: Sites, target: np.ndarray, background: np.ndarray) -> pd.DataFrame:
    rows = np.concatenate([target, background])
    flags = np.arange(len(rows)) < len(target)
    return known_enrichment(sites.sequences[rows], flags, None, sites.motifs, hits=sites.hits[rows])


def best(table: pd.DataFrame, *prefixes: str) -> pd.Series:
    """First row whose factor begins with one of the names."""
    return table[table["factor"].str.startswith(prefixes)].iloc[0]


@pytest.mark.parametrize(
    ("chip", "names"),
    [
        ("K562.GATA2", ("GATA", "Gata")),
        ("HepG2.HNF4A", ("HNF4",)),
        ("K562.CTCF", ("CTCF",)),
        ("GM12878.SPI1", ("PU.1",)),
        ("HepG2.FOXA1", ("FOXA1",)),
    ],
)
def test_chip_summits_give_their_own_factor(sites, chip, names):
    row = best(enriched(sites, sites.rows[chip], sites.rows["tiles"][::2]), *names)
    assert row["rank"] <= 3 and row["q"] < 1e-10


@pytest.mark.parametrize(
    ("sample", "names", "rank"),
    [
        ("K562", ("GATA", "Gata"), 1),
        ("HepG2", ("HNF4",), 1),
        ("HepG2", ("FOXA", "Foxa"), 3),
        ("Liver", ("HNF4",), 1),
        ("GM12878", ("IRF", "PU.1:IRF8", "bZIP:IRF"), 3),
        ("NaiveB_F", ("NFkB", "E2A"), 2),
        ("NaiveB_M", ("NFkB", "E2A"), 2),
    ],
)
def test_accessible_sites_against_other_lineages_give_lineage_factors(sites, sample, names, rank):
    lineage = PEAKS[sample][0]
    other = np.concatenate(
        [sites.rows[name] for name, (line, _) in PEAKS.items() if line != lineage]
    )
    other = other[np.unique(sites.where[other], return_index=True)[1]]
    target = apart(sites.rows[sample], sites.where, np.sort(sites.where[other]), 2 * HALF)
    background = apart(other, sites.where, np.sort(sites.where[sites.rows[sample]]), 2 * HALF)
    row = best(enriched(sites, target, background), *names)
    assert row["rank"] <= rank and row["q"] < 0.05


@pytest.mark.parametrize(
    ("sample", "names", "rank"),
    [
        ("K562", ("GATA", "Gata"), 5),
        ("HepG2", ("HNF4",), 12),
        ("GM12878", ("IRF8",), 6),
        ("NaiveB_F", ("PU.1",), 5),
        ("NaiveB_M", ("PU.1",), 5),
    ],
)
def test_accessible_sites_against_the_rest_of_the_genome(sites, sample, names, rank):
    row = best(enriched(sites, sites.rows[sample], sites.rows["tiles"]), *names)
    assert row["rank"] <= rank and row["q"] < 1e-6


def test_random_tiles_find_nothing(sites):
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        tiles = rng.permutation(sites.rows["tiles"])
        found += bool((enriched(sites, tiles[:150], tiles[150:3000])["q"] < 0.05).any())
    assert found <= 3


def test_own_sites_of_a_lineage_lie_near_its_genes(shared):
    """Genome-wide: genes ranked by their sites give heme in K562, bile acids in liver, immune
    response in monocytes."""
    real = shared / "data" / "real"
    frames = []
    for name, (lineage, file) in PEAKS.items():
        if name in ("K562", "Monocyte", "Liver"):
            frame = pd.read_csv(real / "peaks" / file, sep="\t", header=None)
            score = (frame[6] if frame.shape[1] > 6 else frame[4]).astype(float)
            frame = frame.loc[
                score.sort_values(ascending=False, kind="stable").index[:12_000], [0, 1, 2]
            ]
            frames.append(
                frame.set_axis(["chrom", "start", "end"], axis=1).assign(name=name, lineage=lineage)
            )
    sites = pd.concat(frames, ignore_index=True)
    pairs = overlaps(Intervals.of(sites), Intervals.of(sites))
    kind = sites["name"].to_numpy()
    alone = np.ones(len(sites), dtype=bool)
    alone[pairs.query[kind[pairs.query] != kind[pairs.subject]]] = False
    links = link_genes(
        Intervals.of(sites), read_genes(real / "genes" / "hg38.gencode43.TSS500bp.bed.gz").frame
    )
    names = ["K562", "Monocyte", "Liver"]
    member = sparse.csr_matrix(np.stack([(kind == name) & alone for name in names]))
    sets = read_gmt(real / "genesets" / "h.all.v7.0.symbols.gmt.gz")
    table = enrich_gene_sets(member, links, sets, features=names, max_size=500).table
    expected = {
        "K562": "HEME_METABOLISM",
        "Monocyte": "INFLAMMATORY_RESPONSE",
        "Liver": "BILE_ACID_METABOLISM",
    }
    for name, term in expected.items():
        rows = table[table["feature"] == name].sort_values("ranked_ln_p", ignore_index=True)
        place = int(np.flatnonzero(rows["term"] == f"HALLMARK_{term}")[0])
        assert place < 5 and rows["ranked_q"][place] < 1e-3 and rows["region_q"][place] < 0.05
