"""Contiguous DNA in pieces: every base where it lies, hidden states as the model gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.errors import UserError
from petriscope.studies.dna.contigs import (
    COMPLEMENT,
    ContigCodes,
    blocks,
    contig_pieces,
    harvest_pieces,
    piece_length,
    sequence_pieces,
    token_axis,
)
from petriscope.studies.dna.model.nucleotide import (
    NucleotideConfig,
    NucleotideTransformer,
    padded,
)
from petriscope.studies.dna.model.tokens import tokenize


@pytest.fixture
def fasta(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    rng = np.random.default_rng(1)
    texts = {name: "".join(rng.choice(list("ACGT"), n)) for name, n in (("a", 1000), ("b", 2000))}
    texts["a"] = texts["a"][:400] + "N" * 50 + texts["a"][450:]
    path = tmp_path / "g.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    return path, texts


def test_pieces_hold_no_n_and_lie_where_their_bases_lie(fasta) -> None:
    path, texts = fasta
    pieces = contig_pieces([path], 96, 10_000)
    for row in pieces.itertuples():
        assert texts[row.chrom][row.start : row.end] == row.sequence and "N" not in row.sequence
    # the 16 bp before the N are too short
    assert pieces.start[pieces.chrom == "a"].tolist() == [*range(0, 384, 96), *range(450, 931, 96)]
    frame = token_axis(pieces, "v2").frame
    covered = frame.groupby("piece").width.sum().to_numpy()
    assert (covered == (pieces.end - pieces.start)).all() and (frame.width > 0).all()


def test_a_cap_takes_the_middle_of_every_contig(fasta) -> None:
    path, _ = fasta
    pieces = contig_pieces([path], 96, 160)  # of 500 six-mers
    assert set(pieces.contig) == {0, 1}
    size = pieces.groupby("contig").agg(low=("start", "min"), high=("end", "max"))
    assert size.low[1] > 500 and size.high[1] < 1500 and size.low[1] % 6 == 0
    assert (pieces.start[pieces.contig == 1].diff().dropna() == 96).all()  # contiguous


def test_dna_of_n_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.fa").write_text(f">a\n{'N' * 500}\n")
    with pytest.raises(UserError, match="no stretch of 60 bp"):
        contig_pieces([tmp_path / "n.fa"], 96, 1000)


def test_sequences_stand_in_for_contigs_in_the_order_of_their_loci(fasta) -> None:
    _, texts = fasta
    rows = [("b", 900, 1000, "-"), ("a", 200, 300, "+"), ("b", 100, 203, "+"), ("b", 100, 203, "+")]
    frame = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    cut = [texts[c][s:e] for c, s, e, _ in rows]
    frame["sequence"] = [
        t[::-1].translate(COMPLEMENT) if r[3] == "-" else t for t, r in zip(cut, rows)
    ]
    frame.loc[4] = [None, None, None, None, "ACGTACGTACGT"]
    pieces = sequence_pieces(frame, 10_000)
    assert pieces.start.tolist() == [200, 100, 900] and pieces.contig.tolist() == [0, 1, 1]
    tokens = token_axis(pieces, "v1").frame
    for piece, start, width in zip(tokens.piece, tokens.start, tokens.width):
        assert pieces.start[piece] <= start and start + width <= pieces.end[piece]
    last = tokens[tokens.piece == 2]
    assert last.start.iloc[0] == 994 and last.start.iloc[-1] == 900  # read backwards
    assert len(sequence_pieces(frame, 18)) == 1


def test_hidden_states_are_the_models_and_in_order(tmp_path: Path, fasta) -> None:
    path, _ = fasta
    model = NucleotideTransformer(NucleotideConfig("v2", 2, 16, 2, 32), init_seed=3).eval()
    pieces = contig_pieces([path], 96, 10_000)
    axis = token_axis(pieces, "v2")
    stores = harvest_pieces(model, axis.tables, tmp_path / "hidden", "tokens")
    assert sorted(stores) == [0, 1, 2] and all(len(s) == len(axis.frame) for s in stores.values())
    for piece in (0, 4, len(pieces) - 1):
        batch = padded([tokenize(pieces.sequence[piece], "v2")])
        with torch.inference_mode():
            hidden = model.run(batch, capture=(1, 2)).hidden
        rows = (axis.frame.piece == piece).to_numpy()
        for layer in (1, 2):
            wanted = hidden[layer][0, 1:].numpy()
            assert np.abs(stores[layer][rows].astype(np.float32) - wanted).max() < 5e-3


def test_blocks_are_runs_of_whole_pieces_of_one_contig(tmp_path: Path, fasta) -> None:
    path, _ = fasta
    pieces = contig_pieces([path], 60, 10_000)
    axis = token_axis(pieces, "v2")
    block = blocks(axis.frame, 10)
    assert (np.diff(block) >= 0).all() and 9 <= block.max() + 1 <= 12
    assert axis.frame.assign(block=block).groupby("block").contig.nunique().eq(1).all()
    assert axis.frame.assign(block=block).groupby("piece").block.nunique().eq(1).all()
    codes = ContigCodes(tmp_path)
    codes.write_axis(pieces, axis)
    text = "".join(pieces.sequence)
    at = np.cumsum(codes.tokens.width) - codes.tokens.width
    row = 33
    word = text[at[row] : at[row] + codes.tokens.width[row]]
    assert codes.gc[row] == pytest.approx((word.count("C") + word.count("G")) / len(word))


def test_a_model_trained_here_reads_pieces_no_longer_than_its_sequences() -> None:
    assert piece_length(2048, 65, own=True) == 384
    assert piece_length(1000, 21, own=False) == 5994
