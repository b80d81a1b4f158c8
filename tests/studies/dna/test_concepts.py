"""Concepts of DNA against counts base by base; on real annotation there are at least 25."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.genome.fasta import Genome
from petriscope.studies.dna.concepts import (
    MOTIFS,
    Concepts,
    Where,
    annotation_concepts,
    complexity,
    joined,
    laid_out,
    masked_share,
    occurrences,
    repeated,
    sequence_concepts,
    splice_sites,
    surroundings,
)
from petriscope.studies.dna.contigs import COMPLEMENT, blocks, contig_pieces, token_axis


@pytest.fixture
def pieces() -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    text = ["".join(rng.choice(list("ACGT"), n)) for n in (120, 61, 200)]
    text[0] = text[0][:30] + "TATAAAA" + "CACACACACACA" + "GCGCGC" + text[0][55:]
    width = [np.r_[np.full(len(t) // 6, 6), np.ones(len(t) % 6, int)] for t in text]
    piece = np.repeat(np.arange(3), [len(w) for w in width])
    return text, piece, np.concatenate(width)


def _tokens(text: list[str], piece: np.ndarray, width: np.ndarray):
    at = 0
    for i in range(len(piece)):
        at = at + width[i - 1] if i and piece[i] == piece[i - 1] else 0
        yield text[piece[i]], at, at + int(width[i])


@pytest.mark.parametrize("name", sorted(MOTIFS))
def test_motifs_are_found_on_either_strand_by_a_search_at_every_place(pieces, name) -> None:
    text, piece, width = pieces
    pattern = re.compile(f"({MOTIFS[name]})")
    found = occurrences(laid_out(text, piece, width), MOTIFS[name])
    for i, (sequence, low, high) in enumerate(_tokens(text, piece, width)):
        other = sequence[::-1].translate(COMPLEMENT)
        spans = []
        for place in range(len(sequence)):
            if match := pattern.match(sequence, place):
                spans.append(match.span())
            if match := pattern.match(other, place):
                spans.append((len(sequence) - match.end(), len(sequence) - match.start()))
        shares = [(min(high, e) - max(low, b), e - b) for b, e in spans]
        assert found[i] == any(s > 0 and 2 * s >= min(high - low, size) for s, size in shares)


def test_surroundings_are_counted_in_the_own_piece(pieces) -> None:
    text, piece, width = pieces
    laid = laid_out(text, piece, width)
    code = np.full(256, 4, np.uint8)
    code[list(b"ACGT")] = np.arange(4)
    bases = code[np.frombuffer(laid.bases.encode(), np.uint8)]
    gc, cpg = surroundings(laid, bases)
    bits = complexity(laid, bases)
    for i, (sequence, low, high) in enumerate(_tokens(text, piece, width)):
        near = sequence[max(0, low - 48) : high + 48]
        # the gap is shorter than the reach: a neighbor's first bases may count at a piece's edge
        if low < 48 or high + 48 > len(sequence):
            continue
        c, g = near.count("C"), near.count("G")
        assert gc[i] == pytest.approx((c + g) / len(near))
        assert cpg[i] == pytest.approx(near.count("CG") * len(near) / (c * g))
        pairs = [near[j : j + 2] for j in range(len(near) - 1)]
        p = np.unique(pairs, return_counts=True)[1] / len(pairs)
        assert bits[i] == pytest.approx(-(p * np.log2(p)).sum())


def test_repeats_are_sixteen_mers_with_copies_on_either_strand() -> None:
    rng = np.random.default_rng(0)
    word = "".join(rng.choice(list("ACGT"), 20))
    other = word[::-1].translate(COMPLEMENT)
    parts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(6)]
    text = parts[0] + "".join(w + p for w, p in zip([word, other, word, other, word], parts[1:]))
    code = np.array(["ACGT".index(letter) for letter in text], np.uint8)
    found = repeated(code)
    marked = {m.span() for w in (word, other) for m in re.finditer(w, text)}
    expected = np.zeros(len(text), bool)
    for low, high in marked:
        expected[low:high] = True
    assert (found == expected).all() and expected.sum() == 100


def test_annotation_by_name_kind_strand_and_edge(tmp_path: Path) -> None:
    (tmp_path / "rule.bed").write_text(
        "a\t0\t6\tanchor_01\t0\t+\na\t12\t18\tanchor_02\t0\t+\na\t30\t36\ttarget_01\t0\t+\n"
    )
    (tmp_path / "genes.bed").write_text("a\t1200\t2400\tg\t0\t-\na\t6000\t6600\th\t0\t+\n")
    (tmp_path / "exons.bed").write_text("a\t1200\t1500\na\t1800\t2100\na\t2280\t2400\n")
    start = np.arange(0, 9000, 6)
    where = Where(np.full(1500, "a", object), start, np.full(1500, 6))
    paths = {name: tmp_path / f"{name}.bed" for name in ("rule", "genes", "exons")}
    table, matrix = annotation_concepts(where, paths)
    of = {name: start[matrix[:, i]] for i, name in enumerate(table.concept)}
    assert of["rule"].tolist() == [0, 12, 30] and of["rule: anchor_02"].tolist() == [12]
    assert of["rule: anchor"].tolist() == [0, 12] and of["rule: target"].tolist() == [30]
    assert of["promoter"].min() == 1902 and of["promoter"].max() == 6492  # 2400 and 6000, ± 500
    assert not ((of["promoter"] > 2904) & (of["promoter"] < 5496)).any()
    assert 1506 in of["intron"] and 6300 in of["intron"] and 1206 not in of["intron"]
    # the gene is read backwards: a donor is an exon's lower edge
    assert of["splice donor"].tolist() == [1794, 1800, 2274, 2280]
    assert of["splice acceptor"].tolist() == [1494, 1500, 2094, 2100]
    assert 3000 in of["intergenic"] and 2000 not in of["intergenic"]
    plain, _ = annotation_concepts(where, paths, whole=frozenset({"rule"}))
    assert not plain.concept.str.startswith("rule:").any()


def test_splice_sites_need_a_gene() -> None:
    exons = pd.DataFrame({"chrom": ["b"], "start": [10], "end": [90]})
    genes = pd.DataFrame({"chrom": ["a"], "start": [0], "end": [900], "strand": ["+"]})
    donor, acceptor = splice_sites(exons, genes)
    assert donor.empty and acceptor.empty


def test_soft_masked_share(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">a\nACGTACacgtacACGtac\n")
    where = Where(np.array(["a", "a", "a", "b"], object), np.array([0, 6, 12, 0]), np.full(4, 6))
    found = masked_share(Genome([tmp_path / "g.fa"]), where)
    assert found.tolist() == [0, 1, 0.5, 0]


def test_the_same_tokens_count_once_and_both_halves_need_enough() -> None:
    yes = np.arange(40) % 4 == 0
    table = pd.DataFrame({"concept": ["x", "y", "z"], "kind": "annotation", "tokens": 0})
    first = Concepts(table, np.stack([yes, yes, np.arange(40) < 9], axis=1))
    both = joined(first, Concepts(table.iloc[:1].assign(concept="w"), yes[:, None]))
    assert both.table.concept.tolist() == ["x", "z"]
    kept = both.with_enough(np.arange(40) < 20, 5)
    assert kept.table.concept.tolist() == ["x"]  # the other has none in the second half


def test_real_annotation_gives_more_than_25_concepts(shared) -> None:
    real = shared / "data" / "real"
    fasta = sorted((real / "genome").glob("*.fa.gz"))
    pieces = contig_pieces(fasta, 5994, 50_000)
    frame = token_axis(pieces, "v1").frame
    assert set(pieces.chrom) == {"chr22", "chr9"} and len(frame) > 40_000
    where = Where(
        pieces.chrom.to_numpy()[frame.piece], frame.start.to_numpy(), frame.width.to_numpy()
    )
    paths = {
        "K562 states": real / "chromhmm/K562.rederived12.hg38.bed.gz",
        "peaks": real / "peaks/K562.ENCFF738NOA.narrowPeak.gz",
        "CTCF": real / "tf_chip/K562.CTCF.summit200.hg38.bed.gz",
        "exons": real / "genes/hg38.RefSeqExon.regions.bed.gz",
        "genes": real / "genes/hg38.gencode43.genes.bed.gz",
    }
    text = laid_out(pieces.sequence.tolist(), frame.piece.to_numpy(), frame.width.to_numpy())
    every = joined(annotation_concepts(where, paths), sequence_concepts(text))
    train = blocks(frame) % 2 == 0
    kept = every.with_enough(train, 25)
    assert len(kept.table) >= 25
    assert {"intron", "exons", "CG", "GC-rich", "repeat"} <= set(kept.table.concept)
    # the place of a token is that of its bases
    row = len(frame) // 3
    with gzip.open(fasta[int(frame.contig[row])], "rt") as handle:
        lines = handle.read().split("\n", 1)[1].replace("\n", "").upper()
    offset = 37_200_000 if pieces.chrom[frame.piece[row]] == "chr22" else 0
    start = int(frame.start[row])
    laid = text.bases[text.start[row] : text.start[row] + text.width[row]]
    assert lines[start - offset : start - offset + int(frame.width[row])] == laid
