"""Known biology on real hg38: which motifs the raw accessible sites of each biosample and ChIP-seq
summits of factors give.

``python benchmarks/known_biology.py DATA`` where DATA holds genome/, peaks/, tf_chip/, motifs/,
genes/ and genesets/. HOMER's test as ``findMotifsGenome.pl -size 200 -nomotif -bg`` makes it (GC
weights, oligo normalization, binomial), by the library's own engine:

- chip: summits of one factor against tiles of the rest of the genome.
- genome: distal accessible sites (> 1 kb from a TSS) against tiles.
- lineage: distal sites no other lineage opens against distal sites of the other lineages that this
  one does not open.

- genes: sites of a biosample that no other lineage opens, the whole genome, against all sites of
  all biosamples; GO:BP and Hallmark by genes ranked by their sites and by GREAT's test of regions
  (GREAT domains).

For each expected factor: rank of its best motif over all motifs, rank among families (a motif too
alike to one above it, correlation > 0.85, shares its place), likeness to the first motif, q
(Benjamini-Hochberg), fold, sites with the motif, and the bound of this little DNA: the smallest
fold that a motif as frequent in the background would need, at this number of sites, for p < .05 /
motifs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pysam
from scipy import sparse

from petriscope.enrich.background import tss_distance
from petriscope.enrich.genes import link_genes, read_genes
from petriscope.enrich.genesets import enrich_gene_sets, read_gmt
from petriscope.enrich.hits import FAMILY, motif_similarity
from petriscope.enrich.homer import known_enrichment, log_p
from petriscope.enrich.motifs import Motif, read_motifs
from petriscope.enrich.scan import encode, scan_hits
from petriscope.genome.overlap import Intervals, overlaps

HALF = 100
DISTAL = 1000
SETS = {
    "K562 ATAC": ("blood", "peaks/K562.ENCFF738NOA.narrowPeak.gz"),
    "K562 DNase": ("blood", "peaks/blood_invitro.K562.DNase.hg38.bed.gz"),
    "Monocyte ATAC": ("blood", "peaks/blood_invivo.Monocyte.ATAC.hg38.bed.gz"),
    "HepG2 ATAC": ("liver", "peaks/HepG2.ENCFF791RKW.narrowPeak.gz"),
    "Liver ATAC": ("liver", "peaks/Liver.ENCFF654SUU.narrowPeak.gz"),
    "GM12878 ATAC": ("lymph", "peaks/GM12878.ENCFF917REN.narrowPeak.gz"),
    "GM12878 DNase": ("lymph", "peaks/lymph_invitro.GM12878.DNase.hg38.bed.gz"),
    "NaiveB_F ATAC": ("lymph", "peaks/NaiveB_F.ENCFF380TOL.narrowPeak.gz"),
    "NaiveB_M ATAC": ("lymph", "peaks/NaiveB_M.ENCFF590QLY.narrowPeak.gz"),
    "B cell ATAC": ("lymph", "peaks/lymph_invivo.Bcell.ATAC.hg38.bed.gz"),
}
EXPECTED = {
    "K562": {"GATA": ("GATA", "Gata"), "RUNX": ("RUNX",)},
    "Monocyte": {"SPI1": ("PU.1", "SpiB"), "CEBP": ("CEBP",)},
    "HepG2": {"HNF4A": ("HNF4a",), "FOXA1/2": ("FOXA1", "Foxa2")},
    "Liver": {"HNF4A": ("HNF4a",), "FOXA1/2": ("FOXA1", "Foxa2")},
    "GM12878": {
        "SPI1": ("PU.1", "SpiB"),
        "EBF": ("EBF",),
        "PAX5": ("PAX5",),
        "BATF": ("BATF",),
        "IRF": ("IRF", "PU.1-IRF", "bZIP:IRF"),
    },
}
EXPECTED |= dict.fromkeys(("NaiveB_F", "NaiveB_M", "B cell"), EXPECTED["GM12878"])
GENE_SETS_OF = [
    "K562 ATAC",
    "Monocyte ATAC",
    "HepG2 ATAC",
    "Liver ATAC",
    "GM12878 ATAC",
    "NaiveB_F ATAC",
]
CHIP = {
    "K562.GATA2": ("Gata2",),
    "HepG2.HNF4A": ("HNF4a",),
    "K562.CTCF": ("CTCF(",),
    "GM12878.SPI1": ("PU.1(",),
    "HepG2.FOXA1": ("FOXA1(",),
}


class Site(NamedTuple):
    """A 200-bp window."""

    chrom: str
    middle: int


class Genome:
    """The pieces of the genome at hand, and every window asked for, scanned once."""

    def __init__(self, data: Path, motifs: list[Motif]) -> None:
        self.motifs = motifs
        self.alike = motif_similarity(motifs)
        self.pieces: dict[str, tuple[int, np.ndarray]] = {}
        for row in pd.read_csv(data / "genome" / "regions.tsv", sep="\t").itertuples():
            fasta = pysam.FastaFile(str(data / "genome" / str(row.fasta)))
            self.pieces[str(row.chrom)] = (
                int(row.start0),
                encode([fasta.fetch(str(row.contig_name))])[0],
            )
        self.genes = read_genes(data / "genes" / "hg38.gencode43.TSS500bp.bed.gz").frame
        self.bases = sum(len(letters) for _, letters in self.pieces.values())

    def sites(self, path: Path) -> list[Site]:
        """Summits, or middles, of a BED or narrowPeak file that lie in the pieces with their
        window."""
        frame = pd.read_csv(path, sep="\t", header=None)
        summit = frame[9] if path.name.endswith("narrowPeak.gz") else (frame[2] - frame[1]) // 2
        middle = frame[1] + np.where(summit >= 0, summit, (frame[2] - frame[1]) // 2)
        found = []
        for chrom, (start, letters) in self.pieces.items():
            inside = np.unique(middle[frame[0] == chrom] - start)
            inside = inside[(inside >= HALF) & (inside <= len(letters) - HALF)]
            found += [Site(chrom, int(x)) for x in inside]
        return found

    def tiles(self) -> list[Site]:
        """Windows every 400 bp without N."""
        found = []
        for chrom, (_, letters) in self.pieces.items():
            middles = np.arange(HALF, len(letters) - HALF, 4 * HALF)
            found += [
                Site(chrom, int(m)) for m in middles if (letters[m - HALF : m + HALF] < 4).all()
            ]
        return found

    def distal(self, sites: list[Site]) -> list[Site]:
        """Sites more than 1 kb from every TSS."""
        chrom = np.array([site.chrom for site in sites], dtype=object)
        position = np.array([self.pieces[site.chrom][0] + site.middle for site in sites])
        distance = tss_distance(chrom, position, self.genes)
        return [site for site, d in zip(sites, distance) if not d <= DISTAL]

    def enrichment(self, target: list[Site], background: list[Site]) -> pd.DataFrame:
        """HOMER's table, with the family rank of each motif."""
        rows = [*target, *background]
        sequences = np.stack(
            [self.pieces[s.chrom][1][s.middle - HALF : s.middle + HALF] for s in rows]
        )
        flags = np.arange(len(rows)) < len(target)
        table = known_enrichment(
            sequences, flags, None, self.motifs, hits=scan_hits(sequences, self.motifs)
        )
        return table.assign(family_rank=self.family_ranks(table))

    def family_ranks(self, table: pd.DataFrame) -> list[int]:
        """Place of each motif (best first) where one too alike to a motif above it shares that
        one's place."""
        index = {motif.key: i for i, motif in enumerate(self.motifs)}
        order = [index[key] for key in zip(table.motif, table.consensus)]
        heads: list[int] = []
        ranks = []
        for i in order:
            near = [place for place, head in enumerate(heads) if self.alike[i, head] > FAMILY]
            if not near:
                heads.append(i)
            ranks.append(near[0] + 1 if near else len(heads))
        return ranks

    def likeness(self, one: pd.Series, other: pd.Series) -> float:
        """Correlation of the motifs of two rows of a table."""
        keys = [motif.key for motif in self.motifs]
        return float(
            self.alike[
                keys.index((one.motif, one.consensus)), keys.index((other.motif, other.consensus))
            ]
        )


def apart(sites: list[Site], others: list[Site], least: int = 2 * HALF) -> list[Site]:
    """Sites whose middle lies at least ``least`` bp from every one of ``others``."""
    by_chrom: dict[str, np.ndarray] = {}
    for chrom in {site.chrom for site in others}:
        by_chrom[chrom] = np.sort([site.middle for site in others if site.chrom == chrom])
    found = []
    for site in sites:
        near = by_chrom.get(site.chrom, np.zeros(0))
        at = np.searchsorted(near, site.middle)
        around = near[max(at - 1, 0) : at + 1]
        if not (np.abs(around - site.middle) < least).any():
            found.append(site)
    return found


def least_fold(row: pd.Series, motifs: int) -> float:
    """Smallest fold at which a motif of this background share passes p < .05 / motifs among as many
    targets."""
    hits = np.arange(1, int(row.targets) + 1)
    passing = log_p(hits, row.background_hits, row.targets, row.background) < np.log(0.05 / motifs)
    share = max(row.background_hits, 0.5) / row.background
    return float(hits[passing][0] / row.targets / share) if passing.any() else float("inf")


def show(
    genome: Genome,
    design: str,
    name: str,
    target: list[Site],
    other: list[Site],
    wanted: dict[str, tuple[str, ...]],
) -> None:
    """One line per expected factor."""
    table = genome.enrichment(target, other)
    for factor, prefixes in wanted.items():
        row = table[table.factor.str.startswith(prefixes)].iloc[0]
        print(
            f"{design:<8} {name:<14} {len(target):>5} {factor:<8} {row.factor[:24]:<24} rank "
            f"{row['rank']:>3} family {row.family_rank:>3} "
            f"q {row.q:.0e} fold {row.fold:5.2f} (bound {least_fold(row, len(table)):4.1f}) hits "
            f"{row.target_hits:>3.0f} | "
            f"first {table.factor.iloc[0]}, alike {genome.likeness(row, table.iloc[0]):.2f}",
            flush=True,
        )


def gene_controls(data: Path, most: int = 20_000, shown: int = 5) -> None:
    """The best processes of each biosample's own sites, the strongest ``most`` of its peaks,
    genome-wide."""
    frames = []
    for name in GENE_SETS_OF:
        lineage, path = SETS[name]
        frame = pd.read_csv(data / path, sep="\t", header=None)
        score = (
            frame[6]
            if frame.shape[1] > 6
            else frame[4]
            if frame.shape[1] > 4
            else frame[2] - frame[1]
        )
        frame = frame.loc[
            score.astype(float).sort_values(ascending=False, kind="stable").index[:most], [0, 1, 2]
        ]
        frames.append(
            frame.set_axis(["chrom", "start", "end"], axis=1).assign(name=name, lineage=lineage)
        )
    sites = pd.concat(frames, ignore_index=True)
    pairs = overlaps(Intervals.of(sites), Intervals.of(sites))
    lineage = sites.lineage.to_numpy()
    alone = np.ones(len(sites), dtype=bool)
    alone[pairs.query[lineage[pairs.query] != lineage[pairs.subject]]] = False
    genes = read_genes(data / "genes" / "hg38.gencode43.TSS500bp.bed.gz").frame
    links = link_genes(Intervals.of(sites), genes)
    member = sparse.csr_matrix(
        np.stack([(sites.name == name).to_numpy() & alone for name in GENE_SETS_OF])
    )
    for file in ("GO_Biological_Process_2021.gmt.gz", "h.all.v7.0.symbols.gmt.gz"):
        sets = read_gmt(data / "genesets" / file)
        found = enrich_gene_sets(
            member, links, sets, features=GENE_SETS_OF, min_size=10, max_size=500
        )
        print(
            f"genes    {file}: {len(found.terms)} terms, {found.background} genes, {len(sites):,} "
            f"sites"
        )
        for name, rows in found.table.groupby("feature", sort=False):
            passing = rows[(rows.ranked_q < 0.05) & (rows.region_q < 0.05)].sort_values(
                "ranked_ln_p"
            )
            best = "; ".join(
                f"{row.term} (q {row.ranked_q:.0e})" for row in passing.head(shown).itertuples()
            )
            print(
                f"genes    {name:<14} {len(passing):>4} terms by genes and regions: {best}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    genome = Genome(data, read_motifs(data / "motifs" / "homer.vertebrates.known.motifs"))
    print(
        f"{genome.bases / 1e6:.1f} Mb of DNA, {len(genome.motifs)} motifs, windows of {2 * HALF} bp"
    )
    sets = {name: genome.sites(data / path) for name, (_, path) in SETS.items()}
    tiles = genome.tiles()
    for chip, prefixes in CHIP.items():
        target = genome.sites(data / "tf_chip" / f"{chip}.summit200.hg38.bed.gz")
        show(genome, "chip", chip, target, apart(tiles, target), {chip.split(".")[1]: prefixes})
    for name, (lineage, _) in SETS.items():
        wanted = EXPECTED[name.rsplit(" ", 1)[0]]
        mine = genome.distal(sets[name])
        show(genome, "genome", name, mine, apart(tiles, sets[name]), wanted)
        other = sorted(
            {site for key, (line, _) in SETS.items() if line != lineage for site in sets[key]}
        )
        show(
            genome,
            "lineage",
            name,
            apart(mine, other),
            apart(genome.distal(other), sets[name]),
            wanted,
        )
    gene_controls(data)


if __name__ == "__main__":
    main()
