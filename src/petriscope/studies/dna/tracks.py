"""Tracks along DNA become a number for every token, and are compared with features as Hidden State
Genomics published it: windows around elements, a Pearson correlation and a cosine called
cross-correlation for each chunk and latent, their mean over chunks, and the top five.

The corrected form reads contiguous DNA and lies in `petriscope.enrich.correlation`. What is wrong
with the published one is kept as it was and can be seen beside it:

- every window is an element with 100 bp on either side, so its annotation is 0 at both edges and 1
  in the middle whatever the element: the same windows moved by one window length, which hold no
  element, give the *control*;
- where the tokens do not spell the chunk (an unknown letter, a chunk longer than the model reads),
  a row of zeros goes to the chunk's end or to a place counted in letters (`misaligned`);
- the cosine has one lag, zero, although its column is called `avglag`;
- the best of thousands of latents is reported without a null.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.genome.fasta import Genome
from petriscope.genome.overlap import read_bed
from petriscope.studies.dna.contigs import COMPLEMENT, LETTERS

PAD = 100
"""bp on either side of an element"""
CHUNK = 6000
"""bp of a chunk"""
TOP = 5
ELEMENTS = 24
"""elements of a name that are read, evenly chosen"""
NAMES = 8
"""names of a file that are read, those with the most elements"""
SEGMENTATION = 0.5
"""share of tokens from which on a file of named intervals is one of states, each a track"""
_ROWS = 128
_DOUBTFUL = 1e-3


# ---- tracks as numbers of tokens


def covered_share(
    chrom: np.ndarray, start: np.ndarray, width: np.ndarray, intervals: pd.DataFrame
) -> np.ndarray:
    """(n,) share of each token's bases that intervals (chrom, start, end) cover, 0 to 1.

    chrom, start, width: (n,) of the tokens, bp.
    """
    share = np.zeros(len(start))
    of_chrom = intervals.groupby("chrom", sort=False).indices
    for name in pd.unique(chrom):
        if name not in of_chrom:
            continue
        mine, rows = chrom == name, of_chrom[name]
        part = intervals.iloc[rows].sort_values(["start", "end"])
        lower, upper = part.start.to_numpy(np.int64), part.end.to_numpy(np.int64)
        reach = np.maximum.accumulate(upper)
        lower = np.maximum(lower, np.append(0, reach[:-1]))  # the union: nothing counted twice
        upper = np.maximum(reach, lower)
        before = np.append(0, np.cumsum(upper - lower))

        def bases(
            at: np.ndarray,
            lower: np.ndarray = lower,
            upper: np.ndarray = upper,
            before: np.ndarray = before,
        ) -> np.ndarray:
            """Covered bases left of each place."""
            i = np.searchsorted(lower, at, side="right")
            open_part = np.clip(at - lower[i - 1], 0, (upper - lower)[i - 1])
            return np.asarray(np.where(i > 0, before[i - 1] + open_part, 0))

        first = start[mine].astype(np.int64)
        share[mine] = (bases(first + width[mine]) - bases(first)) / width[mine]
    return share


def bigwig_mean(
    path: str | Path, chrom: np.ndarray, start: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """(n,) mean of a bigWig over each token's bases; bases without a value count as 0.

    Raises `UserError` where the file cannot be read or holds none of the chromosomes.
    """
    import pyBigWig

    try:
        opened = pyBigWig.open(str(path))
    except RuntimeError:
        opened = None
    if opened is None or not opened.isBigWig():
        raise UserError("is no bigWig file", file=path, remedy="Give a bigWig.")
    found = np.zeros(len(start))
    with opened as track:
        sizes = track.chroms()
        here = [name for name in pd.unique(chrom) if name in sizes]
        if not here:
            what = f"holds none of {', '.join(map(str, pd.unique(chrom)[:3]))}"
            raise UserError(what, file=path, remedy="Give a track of the same genome build.")
        for name in here:
            rows = np.flatnonzero(chrom == name)
            first, last = start[rows], start[rows] + width[rows]
            low, high = int(first.min()), min(int(last.max()), sizes[name])
            values = np.nan_to_num(track.values(name, low, high, numpy=True).astype(np.float64))
            total = np.append(0, np.cumsum(values))
            ends = np.clip(np.stack([first, last]) - low, 0, len(values))
            found[rows] = (total[ends[1]] - total[ends[0]]) / width[rows]
    return found


def is_bigwig(path: str | Path) -> bool:
    """By its name."""
    return Path(path).suffix.lower() in (".bw", ".bigwig")


def token_tracks(
    paths: Mapping[str, str | Path], chrom: np.ndarray, start: np.ndarray, width: np.ndarray
) -> dict[str, np.ndarray]:
    """Name → (n,) annotation of each token: covered share of a BED, mean of a bigWig. A BED of
    named intervals that covers most tokens is a segmentation: each of its states is a track."""
    found: dict[str, np.ndarray] = {}
    here = pd.unique(chrom)
    for name, path in paths.items():
        if is_bigwig(path):
            found[name] = bigwig_mean(path, chrom, start, width)
            continue
        bed = read_bed(path)
        bed = bed[bed.chrom.isin(here)]
        share = covered_share(chrom, start, width, bed)
        if "name" in bed and share.mean() >= SEGMENTATION:
            for state, rows in bed.groupby("name"):
                found[f"{name}: {state}"] = covered_share(chrom, start, width, rows)
        else:
            found[name] = share
    return found


# ---- as published


def chunk_scores(features: np.ndarray, annotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation (m,) and cosine (m,) of each column of ``features`` (n, m) with
    ``annotation`` (n,); 0 where either does not vary (Pearson) or is zero (cosine), or the
    annotation is not finite.

    The published "cross-correlation" is the product over both norms at lag zero: a cosine. Source:
    HSG `featureanalysis/regelementcorr.py`, `stattools/crosscorr.py`.
    """
    x, y = np.asarray(features), np.asarray(annotation, np.float64)
    n, m = x.shape
    if not np.isfinite(y).all():
        return np.zeros(m), np.zeros(m)
    sums, products, squares = np.zeros(m), np.zeros(m), np.zeros(m)
    weights = y.astype(x.dtype)
    for at in range(
        0, n, _ROWS
    ):  # in pieces: they stay in cache, and float32 loses nothing in long sums
        part = x[at : at + _ROWS]
        sums += part.sum(0)
        products += weights[at : at + _ROWS] @ part
        squares += np.einsum("ij,ij->j", part, part)
    norms = np.sqrt(squares * (y @ y))
    cosine = np.divide(products, norms, out=np.zeros(m), where=norms > 0)
    spread = squares - sums**2 / n
    above = products - sums * y.mean()
    for column in np.flatnonzero((spread < _DOUBTFUL * squares) & (squares > 0)):
        # nearly constant: the difference of sums would be rounding error
        exact = x[:, column].astype(np.float64)
        varies = np.ptp(exact) > 0
        exact = exact - exact.mean()
        spread[column], above[column] = (exact @ exact if varies else 0), exact @ y
    left = ((y - y.mean()) ** 2).sum() if np.ptp(y) > 0 else 0.0
    norms = np.sqrt(np.clip(spread, 0, None) * left)
    return np.divide(above, norms, out=np.zeros(m), where=norms > 0), cosine


def annotation_of_tokens(widths: Sequence[int], annotation: np.ndarray) -> np.ndarray:
    """Mean of a per-base annotation over tokens of ``widths`` bases laid end to end; NaN for a
    token beyond its end, as published."""
    ends = np.cumsum(widths)
    total = np.append(0, np.cumsum(annotation))
    low, high = (np.minimum(e, len(annotation)) for e in (ends - np.asarray(widths), ends))
    with np.errstate(invalid="ignore"):
        return np.asarray((total[high] - total[low]) / (high - low))


def misaligned(
    features: np.ndarray, words: Sequence[str], chunk: str
) -> tuple[np.ndarray, list[int]]:
    """Features and widths of tokens as published, where the tokens' text is not the chunk's.

    Each stretch that differs is filled with one token of Z and one row of zeros. For a stretch
    that is *missing* the row goes to the end, wherever the stretch is; for one that *differs* the
    rows are cut at a place counted in letters. Source: HSG `regelementcorr.py:311-346`.
    """
    filled, names = features, list(words)
    blank = np.zeros((1, features.shape[1]), features.dtype)
    text = "".join(words)
    if text == chunk:
        return filled, [len(word) for word in names]
    matcher = difflib.SequenceMatcher(None, text, chunk)
    for kind, in_text, text_end, in_chunk, chunk_end in matcher.get_opcodes():
        if kind not in ("replace", "insert"):
            continue
        size = chunk_end - text_end  # as published: neither stretch's length
        if kind == "replace":
            filled = np.concatenate([filled[:in_text], blank, filled[in_chunk:]])
        else:
            filled = np.concatenate([filled, blank])
        names.insert(_word_after(in_text, names), "Z" * size)
    return filled, [len(word) for word in names]


def _word_after(letter: int, words: Sequence[str]) -> int:
    """The place after the word that holds a letter; before the last word where none does."""
    ends = np.cumsum([len(word) for word in words])
    beyond = np.flatnonzero(ends > letter)
    return int(beyond[0]) + 1 if len(beyond) else -1


Spans: TypeAlias = dict[str, list[tuple[int, int]]]
"""chromosome → stretches that the genome holds"""


class Windows(NamedTuple):
    """Windows around the elements of one name."""

    name: str
    sequence: list[str]
    """as it is read on the element's strand"""
    control: list[str]
    """of the same length, one window length further on; empty where the genome ends"""


def element_windows(
    bed: pd.DataFrame, genome: Genome, *, pad: int = PAD, most: int = ELEMENTS, names: int = NAMES
) -> list[Windows]:
    """Windows of ±``pad`` bp around at most ``most`` elements of the ``names`` most frequent names.

    Windows that the genome does not hold are left out, as published, and so are those with an N.
    """
    named = bed if "name" in bed else bed.assign(name="all")
    count = named.name.value_counts(sort=False)
    kept = sorted(count.index, key=lambda name: (-count[name], str(name)))[:names]
    held: Spans = {}
    for contig in genome.contigs.itertuples():
        held.setdefault(contig.chrom, []).append((contig.start, contig.end))
    found = []
    for name in kept:
        rows = named[named.name == name]
        windows = Windows(str(name), [], [])
        for row in rows.itertuples():
            size = row.end - row.start + 2 * pad
            text = _fetch(genome, held, row.chrom, row.start - pad, row.end + pad)
            if text is None:
                continue
            other = _fetch(genome, held, row.chrom, row.start - pad + size, row.end + pad + size)
            back = getattr(row, "strand", "+") == "-"
            windows.sequence.append(text[::-1].translate(COMPLEMENT) if back else text)
            if other is not None and back:
                other = other[::-1].translate(COMPLEMENT)
            windows.control.append(other or "")
            if len(windows.sequence) == most:
                break
        if windows.sequence:
            found.append(windows)
    return found


def _fetch(genome: Genome, held: Spans, chrom: str, start: int, end: int) -> str | None:
    if start < 0 or not any(
        lower <= start and end <= upper for lower, upper in held.get(chrom, [])
    ):
        return None
    codes = genome.fetch_codes(chrom, start, end)
    return None if (codes == 4).any() else LETTERS[codes].tobytes().decode()


def chunks_of(sequence: str, bp: int = CHUNK, pad: int = PAD) -> Iterable[tuple[str, np.ndarray]]:
    """Chunks of a window and their annotation per base: 1 but for the first and last ``pad``."""
    annotation = np.zeros(len(sequence))
    annotation[pad:-pad] = 1
    for at in range(0, len(sequence), bp):
        yield sequence[at : at + bp], annotation[at : at + bp]


class Published(NamedTuple):
    """Scores of one track, a latent at a time; all (m,), over chunks."""

    chunks: int
    mean: np.ndarray
    sd: np.ndarray
    median: np.ndarray
    most: np.ndarray
    least: np.ndarray
    cosine: np.ndarray
    """mean of what is published as `avglag(normxcorr)`"""


def published(scores: Iterable[tuple[np.ndarray, np.ndarray]]) -> Published:
    """Summary of the `chunk_scores` of all chunks of a track."""
    pearson, cosine = (np.stack(part) for part in zip(*scores))
    return Published(
        chunks=len(pearson),
        mean=pearson.mean(axis=0),
        sd=pearson.std(axis=0),
        median=np.median(pearson, axis=0),
        most=pearson.max(axis=0),
        least=pearson.min(axis=0),
        cosine=cosine.mean(axis=0),
    )


def top_features(found: Published, control: Published | None, top: int = TOP) -> pd.DataFrame:
    """The published table of one track, long: the ``top`` latents by mean Pearson and by mean
    cosine, each beside its mean in the control windows and the best latent's there."""
    rows = []
    for by, values in (("pearson", found.mean), ("cosine", found.cosine)):
        of_control = (
            None if control is None else {"pearson": control.mean, "cosine": control.cosine}
        )
        for rank, latent in enumerate(np.argsort(-values, kind="stable")[:top], start=1):
            row = {"by": by, "rank": rank, "latent": int(latent), "mean": found.mean[latent]}
            row |= {"sd": found.sd[latent], "median": found.median[latent]}
            row |= {"max": found.most[latent], "min": found.least[latent]}
            row |= {"cosine": found.cosine[latent], "chunks": found.chunks}
            row["control"] = np.nan if of_control is None else of_control[by][latent]
            row["control_best"] = np.nan if of_control is None else of_control[by].max()
            rows.append(row)
    return pd.DataFrame(rows)
