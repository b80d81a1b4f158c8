"""GREAT domains against the rule applied gene by gene; TSS readers on BED windows, gene bodies and
GTF."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petriscope.enrich.genes import great_domains, link_genes, read_genes
from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals


def by_rule(
    genes: pd.DataFrame, sizes: dict[str, int], up: int, down: int, extension: int
) -> list[tuple[int, int]]:
    """McLean 2010: basal, then to the nearest basal domain of a gene whose TSS is on that side."""

    def basal(g):
        ahead, behind = (down, up) if g.strand == "+" else (up, down)
        return max(0, g.tss - behind), min(sizes[g.chrom], g.tss + ahead)

    found = []
    for g in genes.itertuples():
        start, end = basal(g)
        left = [basal(o)[1] for o in genes.itertuples() if o.chrom == g.chrom and o.tss < g.tss]
        right = [basal(o)[0] for o in genes.itertuples() if o.chrom == g.chrom and o.tss > g.tss]
        far_left, far_right = max(0, g.tss - extension), min(sizes[g.chrom], g.tss + extension)
        found.append((min(start, max([far_left, *left])), max(end, min([far_right, *right]))))
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25))
def test_domains_follow_the_rule(seed, n):
    rng = np.random.default_rng(seed)
    sizes = {"chr1": 200_000, "chr2": 90_000}
    genes = pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(n)],
            "chrom": rng.choice(["chr1", "chr2"], n),
            "tss": rng.integers(0, 90_000, n) // 500 * 500,
            "strand": rng.choice(["+", "-"], n),
        }
    ).sort_values(["chrom", "tss"], ignore_index=True)
    got = great_domains(genes, sizes, upstream=5000, downstream=1000, extension=30_000)
    assert got["gene"].tolist() == genes["gene"].tolist()
    assert list(zip(got["start"], got["end"])) == by_rule(genes, sizes, 5000, 1000, 30_000)


def test_links_by_domain_and_by_nearest_tss():
    genes = pd.DataFrame(
        {
            "gene": ["A", "B"],
            "chrom": ["chr1", "chr1"],
            "tss": [100_000, 300_000],
            "strand": ["+", "+"],
        }
    )
    start = np.array([99_900, 150_000, 250_000, 297_000, 1_400_000])
    bins = Intervals(np.full(5, "chr1", dtype=object), start, start + 128)
    great = link_genes(bins, genes).matrix.toarray()
    assert great.tolist() == [[1, 0], [1, 1], [1, 1], [0, 1], [0, 0]]
    assert link_genes(bins, genes, "nearest").matrix.toarray().tolist() == [
        [1, 0],
        [1, 0],
        [0, 1],
        [0, 1],
        [0, 0],
    ]
    with pytest.raises(UserError, match="Use great or nearest"):
        link_genes(bins, genes, "closest")


def test_foreign_chromosome_names():
    genes = pd.DataFrame({"gene": ["A"], "chrom": ["1"], "tss": [5], "strand": ["+"]})
    with pytest.raises(UserError, match=r"chr1 and the genes on 1.*same chromosome names"):
        link_genes(
            Intervals(np.array(["chr1"], dtype=object), np.array([0]), np.array([128])), genes
        )


def test_bed_of_points_windows_and_bodies(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text(
        "chr1\t10\t11\tpoint\t0\t+\nchr1\t100\t600\twindow\t0\t-\nchr1\t5000\t9000\tBODY\t0\t-\n"
    )
    genes = read_genes(path)
    assert dict(zip(genes.frame["gene"], genes.frame["tss"])) == {
        "POINT": 10,
        "WINDOW": 350,
        "BODY": 8999,
    }
    assert "2 gene symbols were not in upper case" in genes.notes[0]


def test_repeated_symbols_keep_the_most_upstream(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text(
        "chr1\t50\t51\tA\t0\t+\nchr1\t10\t11\tA\t0\t+\nchr1\t50\t51\tB\t0\t-\nchr1\t90\t91\tB\t0\t-\n"
    )
    genes = read_genes(path)
    assert dict(zip(genes.frame["gene"], genes.frame["tss"])) == {"A": 10, "B": 90}
    assert "2 lines repeat" in genes.notes[0]


def test_a_tss_past_the_chromosome_is_another_build(tmp_path):
    path = tmp_path / "tss.bed"
    path.write_text("chr1\t5\t6\tA\t0\t+\nchr1\t900\t901\tB\t0\t+\n")
    assert len(read_genes(path, {"chr1": 901}).frame) == 2
    with pytest.raises(UserError, match=r"tss.bed: chr1:900-901 ends past .*another genome build"):
        read_genes(path, {"chr1": 900})


def test_gtf(tmp_path):
    path = tmp_path / "genes.gtf"
    line = 'chr1\tx\tgene\t1001\t2000\t.\t{}\t.\tgene_id "ENSG1"; gene_name "{}";\n'
    path.write_text("#c\n" + line.format("+", "FWD") + line.format("-", "REV"))
    assert read_genes(path).frame["tss"].tolist() == [1000, 1999]
    path.write_text("chr1\tx\tgene\t1\t2\t.\t+\t.\tnothing\n")
    with pytest.raises(UserError, match=r"genes.gtf: line 1: a gene without"):
        read_genes(path)
    path.write_text("chr1\tx\texon\t1\t2\t.\t+\t.\tnothing\n")
    with pytest.raises(UserError, match="no gene and no transcript"):
        read_genes(path)


def test_real_annotations_agree(shared):
    folder = shared / "data" / "real" / "genes"
    windows = read_genes(folder / "hg38.gencode43.TSS500bp.bed.gz").frame.set_index("gene")
    bodies = read_genes(folder / "hg38.gencode43.genes.bed.gz").frame.set_index("gene")
    assert len(windows) > 20_000
    apart = (windows["tss"] - bodies["tss"].reindex(windows.index)).abs()
    assert (apart <= 1).mean() > 0.95
