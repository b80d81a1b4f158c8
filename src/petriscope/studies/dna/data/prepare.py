"""A checked data set becomes the rows of a run: cut to what the model reads, grouped, divided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.studies.dna.data.dataset import SequenceSet
from petriscope.studies.dna.data.groups import deal_groups, find_groups
from petriscope.studies.dna.model.tokens import LIMITS, Form, check_lengths, pieces, tokenize_all
from petriscope.studies.dna.sequences import COLUMNS


def prepare(
    dataset: SequenceSet, model: str, overlap: int | None, shares: Mapping[str, float], seed: int
) -> pd.DataFrame:
    """`sequences.COLUMNS`; `duplicate`, the id of the first sequence with the same bases, or null;
    and `piece`, whether the row is a piece of a longer sequence.

    Parameters: ``model`` — its form, v1 or v2, which says how long a sequence may be;
    ``overlap`` — bp that pieces of longer ones share, None refuses them; ``shares`` — split → share
    of the groups; ``seed`` — of the order in which groups are dealt.

    Raises `UserError` for a sequence that is too long, and for a split that lacks a class.
    """
    form = cast("Form", model)
    whole = dataset.sequences
    group = _groups(whole)
    frame = _cut(whole.assign(group=group), form, overlap)
    frame["n_tokens"] = np.diff(tokenize_all(frame.sequence.tolist(), form).offsets)
    check_lengths(frame.n_tokens.to_numpy(), frame.id.tolist(), LIMITS[form])
    positive = np.where(frame.label.isna(), np.nan, (frame.label == dataset.positive) * 1.0)
    frame["split"] = deal_groups(frame.group.to_numpy(), positive, shares, seed)
    _check_splits(frame, dataset, shares)
    frame["block"] = frame.group
    first = frame.drop_duplicates("sequence").set_index("sequence").id
    of = frame.sequence.map(first)
    frame["duplicate"] = of.where(of != frame.id, None)
    for name in ("label", "chrom", "strand", "gene", "duplicate"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame[[*COLUMNS, "piece"]]


def why_untestable(dataset: SequenceSet) -> str | None:
    """Why the classes may not be compared; None where they may."""
    lengths = dataset.lengths
    if lengths is None:
        return "no sequence has a class"
    if not lengths.overlap:
        return lengths.refusal(str(dataset.positive), str(dataset.negative))
    return None


def _groups(frame: pd.DataFrame) -> np.ndarray:
    """The groups that the data set gives, where it gives all; else those of locus and homology,
    joined with what it gives."""
    if frame.group.notna().all():
        return pd.factorize(frame.group)[0].astype(np.int64)
    return find_groups(frame.sequence.tolist(), frame[["chrom", "start", "end"]], frame.group)


def _cut(frame: pd.DataFrame, form: Form, overlap: int | None) -> pd.DataFrame:
    """Sequences longer than the model reads as pieces, where ``overlap`` allows it."""
    frame = frame.assign(piece=False)
    limit = LIMITS[form]
    # fewer bases than tokens need no look
    if overlap is None or frame.sequence.str.len().max() < limit:
        return frame
    counts = np.diff(tokenize_all(frame.sequence.tolist(), form).offsets)
    rows = []
    for row, count in zip(frame.to_dict("records"), counts, strict=True):
        if count <= limit:
            rows.append(row)
            continue
        for at, text in pieces(row["sequence"], form, limit, overlap):
            one = {**row, "id": f"{row['id']}:{at}-{at + len(text)}", "sequence": text}
            one["piece"] = True
            if not pd.isna(row["start"]):
                low = row["end"] - at - len(text) if row["strand"] == "-" else row["start"] + at
                one |= {"start": low, "end": low + len(text)}
            rows.append(one)
    found = pd.DataFrame(rows, columns=frame.columns)
    return found.astype({"start": "Int64", "end": "Int64"})


def _check_splits(frame: pd.DataFrame, dataset: SequenceSet, shares: Mapping[str, float]) -> None:
    if dataset.positive is None:
        return
    for split in shares:
        for name in (dataset.positive, dataset.negative):
            if not ((frame.split == split) & (frame.label == name)).any():
                raise UserError(
                    f"split {split} has no sequence of class {name!r} ({frame.group.nunique():,} "
                    "groups)",
                    file=dataset.source,
                    field="sequences.split",
                    remedy="Give more groups of either class: loci more than 1 kb apart without "
                    "homologues among them.",
                )
