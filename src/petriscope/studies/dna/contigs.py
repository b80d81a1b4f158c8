"""Contiguous DNA is cut into pieces that the model reads, and its tokens are harvested and encoded
like those of the sequences: what tracks, concepts and surprisal are compared with.

A piece never holds an N, so that all six-mers of a stretch are in one frame. Where a data set has
no contigs, its sequences take their place, laid end to end in the order of their loci.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from petriscope.errors import UserError
from petriscope.files import write_parquet
from petriscope.genome.fasta import Genome
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.probe.model import Inputs, ProbedModel
from petriscope.probe.shards import Store
from petriscope.probe.tokens import Tokens
from petriscope.sae.coder import SAE, encode_rows
from petriscope.sae.codes import Codes
from petriscope.studies.dna.model.nucleotide import SequenceBatch, padded
from petriscope.studies.dna.model.tokens import Form, TokenTable, longest, tokenize_all

LETTERS = np.frombuffer(b"ACGTN", np.uint8)
SHORTEST = 60
"""bp: shorter stretches between N are left out"""
BATCH_TOKENS = 4096
"""tokens of a batch"""
BLOCKS = 48
"""blocks that bootstrap and split draw, about"""
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
PIECES = ["contig", "chrom", "start", "end", "strand", "sequence"]


def contig_pieces(fasta: Sequence[str | Path], bp: int, tokens: int) -> pd.DataFrame:
    """Pieces of at most ``bp`` of the contigs in FASTA files: columns `PIECES`, in order.

    Of each contig a stretch in its middle is taken, so long that all together have about ``tokens``
    six-mers. Raises `UserError` where no stretch without N is as long as `SHORTEST`.
    """
    genome = Genome(list(fasta))
    contigs = genome.contigs
    share = min(1.0, 6 * tokens / max(1, int((contigs.end - contigs.start).sum())))
    rows = []
    for number, contig in enumerate(contigs.itertuples()):
        size = contig.end - contig.start
        taken = size if share == 1 else int(size * share) // bp * bp or min(size, bp)
        first = contig.start + (size - taken) // 12 * 6  # in the frame of the contig's first base
        codes = genome.fetch_codes(contig.chrom, first, first + taken)
        known = np.diff((codes < 4).astype(np.int8), prepend=0, append=0)
        for start, end in zip(np.flatnonzero(known == 1), np.flatnonzero(known == -1)):
            for at in range(start, end, bp):
                text = LETTERS[codes[at : min(at + bp, end)]].tobytes().decode()
                if len(text) >= SHORTEST:
                    place = (number, contig.chrom, first + at, first + at + len(text), "+")
                    rows.append((*place, text))
    if not rows:
        what = f"hold no stretch of {SHORTEST} bp without N"
        raise UserError(what, file=str(fasta[0]), field="contigs", remedy="Give contiguous DNA.")
    return pd.DataFrame(rows, columns=PIECES)


def sequence_pieces(frame: pd.DataFrame, tokens: int) -> pd.DataFrame:
    """The sequences with a locus as pieces, in the order of their loci: as many as have about
    ``tokens`` six-mers, evenly chosen. ``frame``: as stage sequences writes."""
    known = frame[frame.chrom.notna() & frame.start.notna()]
    known = known.drop_duplicates(["chrom", "start", "end", "strand"])
    known = known.sort_values(["chrom", "start", "end"], ignore_index=True)
    size = known.sequence.str.len().sum() / 6
    if size > tokens:
        keep = np.linspace(0, len(known) - 1, max(1, int(len(known) * tokens / size)))
        known = known.iloc[np.unique(keep.round().astype(int))].reset_index(drop=True)
    strand = known.strand.fillna("+") if "strand" in known else "+"
    found = known.assign(contig=pd.factorize(known.chrom)[0], strand=strand)
    return found.astype({"start": np.int64, "end": np.int64})[PIECES]


class Axis(NamedTuple):
    """The tokens of pieces, special tokens left out."""

    frame: pd.DataFrame
    """piece, contig, start (on the chromosome), width, id"""
    tables: list[TokenTable]
    """of each piece, with `<cls>`"""


def token_axis(pieces: pd.DataFrame, form: Form) -> Axis:
    """The tokens of all pieces in order; on the other strand places are counted from its end."""
    found = tokenize_all(pieces.sequence.tolist(), form)
    piece = np.repeat(np.arange(len(pieces)), np.diff(found.offsets))
    start, end = (pieces[name].to_numpy()[piece] for name in ("start", "end"))
    back = (pieces.strand.to_numpy() == "-")[piece]
    place = np.where(back, end - found.start - found.width, start + found.start)
    frame = pd.DataFrame(
        {
            "piece": piece.astype(np.int32),
            "contig": pieces.contig.to_numpy()[piece].astype(np.int32),
            "start": place,
            "width": found.width.astype(np.int8),
            "id": found.ids.astype(np.int32),
        }
    )
    tables = [found.of(row) for row in range(len(pieces))]
    return Axis(frame[found.width > 0].reset_index(drop=True), tables)


def blocks(frame: pd.DataFrame, count: int = BLOCKS) -> np.ndarray:
    """(n,) block of each token, from 0: about ``count`` runs of whole pieces of one contig."""
    size = frame.groupby("piece").contig.agg(["size", "first"])
    middle = size["size"].cumsum() - size["size"] / 2
    cell = (middle * count / len(frame)).astype(int)
    block = pd.factorize(pd.MultiIndex.from_arrays([size["first"], cell]))[0]
    return np.asarray(block[pd.factorize(frame.piece)[0]])


class PieceInputs(Inputs):
    """Batches of pieces of one length; their tokens without `<cls>`, in the order of the pieces."""

    def __init__(self, tables: list[TokenTable]) -> None:
        self.tables = tables
        lengths = np.array([len(table.ids) for table in tables])
        self.batches: list[np.ndarray] = []
        for run in np.split(np.arange(len(tables)), np.flatnonzero(np.diff(lengths)) + 1):
            at_once = max(1, BATCH_TOKENS // int(lengths[run[0]]))
            self.batches += [run[i : i + at_once] for i in range(0, len(run), at_once)]
        count = [int((lengths[batch] - 1).sum()) for batch in self.batches]
        window = np.repeat(np.arange(len(count)), count)
        position = np.concatenate([np.arange(n) for n in count])
        windows = pd.DataFrame({"split": "train", "block": np.arange(len(count))})
        self.tokens = Tokens.ragged(windows, 1, window, np.zeros(len(window), int), position)

    def batch(self, number: int) -> SequenceBatch:
        """The pieces of one batch."""
        return padded([self.tables[piece] for piece in self.batches[number]])

    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """All but `<cls>`."""
        return hidden[:, 1:].reshape(-1, hidden.shape[-1])

    def streams(
        self, model: ProbedModel, number: int, layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """No block above the highest layer runs, where the model can stop there."""
        stop = getattr(model, "streams", None)
        if stop is None:
            return super().streams(model, number, layers)
        return {
            k: self.kept(number, found) for k, found in stop(self.batch(number), layers).items()
        }


def harvest_pieces(
    model: ProbedModel, tables: list[TokenTable], folder: Path, what: str
) -> dict[int, Store]:
    """Streams of all layers on all tokens, written into ``folder``: layer → (n, d) float16."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = PieceInputs(tables)
    layers = range(model.n_layers + 1)
    harvest_layers(model, inputs, range(len(inputs)), layers, folder, what=what)
    return open_layers(folder)


def encode_layers(stores: dict[int, Store], saes: dict[int, SAE]) -> Iterator[tuple[int, Codes]]:
    """Codes of every layer that has a dictionary."""
    for layer in sorted(set(stores) & set(saes)):
        yield layer, encode_rows(saes[layer], stores[layer])


def piece_length(limit: int, longest_sequence: int, own: bool) -> int:
    """bp of a piece. A model trained here (``own``) has seen no text longer than its sequences
    (tokens with `<cls>`); a given one reads ``limit`` tokens."""
    return longest(min(limit, longest_sequence) if own else limit)


@dataclass(frozen=True)
class ContigCodes:
    """What stage contigs wrote."""

    folder: Path

    @cached_property
    def pieces(self) -> pd.DataFrame:
        """A row per piece, columns `PIECES`."""
        return pd.read_parquet(self.folder / "pieces.parquet")

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """A row per token: piece, contig, start (on the chromosome), width, id, block."""
        return pd.read_parquet(self.folder / "tokens.parquet")

    @property
    def chrom(self) -> np.ndarray:
        """(n,) chromosome of each token."""
        return self.pieces.chrom.to_numpy()[self.tokens.piece]

    @property
    def gc(self) -> np.ndarray:
        """(n,) share of G and C in each token."""
        bases = np.frombuffer("".join(self.pieces.sequence).encode(), np.uint8)
        width = self.tokens.width.to_numpy(np.int64)
        first = np.cumsum(width) - width
        return np.asarray(np.add.reduceat(np.isin(bases, list(b"CG")), first, dtype=float) / width)

    @property
    def layers(self) -> list[int]:
        """Layers of the trained model."""
        return sorted(open_layers(self.folder / "hidden"))

    def hidden(self, layer: int) -> Store:
        """(n, d) float16 stream of the trained model, memory-mapped."""
        return open_layers(self.folder / "hidden")[layer]

    def codes(self, layer: int, model: str = "trained") -> Codes:
        """Codes of one layer; ``model``: trained or random_init."""
        return Codes.load(self.folder / model / f"layer_{layer}")

    @property
    def has_random(self) -> bool:
        """Whether the randomly initialized model was run."""
        return (self.folder / "random_init").is_dir()

    def write_axis(self, pieces: pd.DataFrame, axis: Axis) -> None:
        """Write pieces and tokens."""
        write_parquet(self.folder / "pieces.parquet", pieces)
        frame = axis.frame.assign(block=blocks(axis.frame).astype(np.int32))
        write_parquet(self.folder / "tokens.parquet", frame)
