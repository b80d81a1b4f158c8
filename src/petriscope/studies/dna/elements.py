"""The published comparison is run: windows around the elements of each track through the model,
every layer and latent, and the same windows moved by their length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.enrich.correlation import BlockSums
from petriscope.genome.fasta import Genome
from petriscope.genome.overlap import read_bed
from petriscope.probe.model import ProbedModel
from petriscope.sae.coder import SAE
from petriscope.studies.dna.contigs import harvest_pieces
from petriscope.studies.dna.model.tokens import Form, tokenize_all
from petriscope.studies.dna.tracks import (
    annotation_of_tokens,
    chunks_of,
    element_windows,
    is_bigwig,
    published,
    top_features,
)

COLUMNS = [
    *("layer", "track", "element", "by", "rank", "latent", "mean", "sd", "median", "max", "min"),
    *("cosine", "chunks", "control", "control_best"),
]

ROUNDING = 1e-10
"""share of a sum of squares below which what is left of it is rounding error"""


def published_table(
    model: ProbedModel,
    saes: Mapping[int, SAE],
    tracks: Mapping[str, str | Path],
    genome: Genome,
    *,
    form: Form,
    bp: int,
    scratch: Path,
) -> pd.DataFrame:
    """`top_features` of every layer and name of the BED tracks, long. ``bp``: of a chunk, at
    most. Empty where no window lies in the genome."""
    chunks, annotation, of = _chunks(tracks, genome, bp)
    if not chunks:
        return pd.DataFrame(columns=COLUMNS)
    order = np.argsort([len(chunk) for chunk in chunks], kind="stable")
    found = tokenize_all([chunks[i] for i in order], form)
    tables = [found.of(i) for i in range(len(order))]
    stores = harvest_pieces(model, tables, scratch, "windows around elements")
    chunk = np.repeat(order, [len(table.ids) - 1 for table in tables])
    of_token = [
        annotation_of_tokens(table.width[1:].tolist(), annotation[i])
        for i, table in zip(order, tables, strict=True)
    ]
    parts = []
    for layer, store in stores.items():
        codes = saes[layer].encode(np.asarray(store)).scipy()
        pearson, cosine = scores_of_chunks(codes, np.concatenate(of_token), chunk)
        scores: dict[tuple[str, str, bool], list[tuple[np.ndarray, np.ndarray]]] = {}
        for i, key in enumerate(of):
            scores.setdefault(key, []).append((pearson[i], cosine[i]))
        for track, element, control in sorted(scores):
            if control:
                continue
            moved = scores.get((track, element, True))
            table = top_features(
                published(scores[track, element, False]), published(moved) if moved else None
            )
            parts.append(table.assign(layer=layer, track=track, element=element))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def scores_of_chunks(
    codes: sp.csr_matrix, annotation: np.ndarray, chunk: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`chunk_scores` of many chunks at once, (B, m) each: tokens (n,) belong to ``chunk`` (n,) int
    from 0."""
    sums = BlockSums.of(codes, annotation[:, None], chunk)
    n, above = sums.n[:, None], sums.xy[:, :, 0]
    below = np.sqrt(sums.xx * sums.yy)
    cosine = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    x, y = sums.xx - sums.x**2 / n, sums.yy - sums.y**2 / n
    varies = (x > ROUNDING * sums.xx) & (y > ROUNDING * sums.yy)
    below = np.sqrt(np.clip(x, 0, None) * np.clip(y, 0, None))
    above = above - sums.x * sums.y / n
    return np.divide(above, below, out=np.zeros_like(above), where=varies), cosine


def _chunks(
    tracks: Mapping[str, str | Path], genome: Genome, bp: int
) -> tuple[list[str], list[np.ndarray], list[tuple[str, str, bool]]]:
    """Chunks, their annotation per base, and (track, element, whether of the control)."""
    chunks: list[str] = []
    annotation: list[np.ndarray] = []
    of: list[tuple[str, str, bool]] = []
    for track, path in tracks.items():
        if is_bigwig(path):
            continue
        for windows in element_windows(read_bed(path), genome):
            for control, texts in ((False, windows.sequence), (True, windows.control)):
                for text in filter(None, texts):
                    for chunk, values in chunks_of(text, bp):
                        chunks.append(chunk)
                        annotation.append(values)
                        of.append((track, windows.name, control))
    return chunks, annotation, of
