"""Stage sequences: check the data set, find its groups, and divide them once, before anything is
looked at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from petriscope.files import atomic_folder, write_csv, write_json, write_parquet
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.data.check import check_dataset
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.data.prepare import prepare, why_untestable
from petriscope.studies.dna.params import Params


@dataclass(frozen=True)
class SequenceNumbers:
    """What is compared, and how it is divided."""

    sequences: int
    tokens: int
    """six-mers and single bases, without `<cls>`"""
    labeled: int
    positives: int
    negatives: int
    pieces: int
    """sequences that are pieces of longer ones"""
    duplicates: int
    """sequences with the bases of an earlier one"""
    groups: int
    largest_group: int
    genes: int
    sequences_per_split: dict[str, int]
    groups_per_split: dict[str, int]
    length_positive: tuple[int, int] | None
    """shortest and longest, bp"""
    length_negative: tuple[int, int] | None
    lengths_shared: float | None
    """share of either class with a length that both have, the smaller one"""
    notes: list[str]
    """what was changed on the way in"""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> SequenceNumbers:
    """Write results/sequences: sequences.parquet, classes.json and duplicates.csv."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    check_dataset(dataset).refuse()
    shares = dataclasses.asdict(params.sequences.split)
    frame = prepare(dataset, params.model.form, params.sequences.overlap, shares, params.seed)
    lengths = dataset.lengths
    with atomic_folder(workspace.table("sequences")) as folder:
        write_parquet(folder / "sequences.parquet", frame.drop(columns="piece"))
        classes = {"positive": dataset.positive, "negative": dataset.negative}
        write_json(folder / "classes.json", classes)
        repeats = frame.loc[frame.duplicate.notna(), ["id", "duplicate", "label", "group"]]
        write_csv(folder / "duplicates.csv", repeats)
    return SequenceNumbers(
        sequences=len(frame),
        tokens=int(frame.n_tokens.sum()) - len(frame),
        labeled=int(frame.label.notna().sum()),
        positives=int((frame.label == dataset.positive).sum()) if dataset.positive else 0,
        negatives=int((frame.label == dataset.negative).sum()) if dataset.negative else 0,
        pieces=int(frame.piece.sum()),
        duplicates=int(frame.duplicate.notna().sum()),
        groups=frame.group.nunique(),
        largest_group=int(frame.group.value_counts().max()),
        genes=frame.gene.nunique(),
        sequences_per_split=frame.split.value_counts().sort_index().to_dict(),
        groups_per_split=frame.groupby("split").group.nunique().to_dict(),
        length_positive=None if lengths is None else lengths.positive,
        length_negative=None if lengths is None else lengths.negative,
        lengths_shared=None if lengths is None else lengths.shared,
        notes=list(dataset.notes),
        untestable=why_untestable(dataset),
    )
