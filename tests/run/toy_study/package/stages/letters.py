"""Stage letters: how often each letter occurs in each text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from petriscope.studies.toy.study import Params, dataset

from petriscope.files import atomic_folder
from petriscope.run.workspace import Workspace


@dataclass(frozen=True)
class Found:
    """What was counted."""

    texts: int
    letters: int
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> Found:
    texts = dataset(workspace.dataset(params.dataset)).texts
    rows = [
        f"{text},{letter},{count}"
        for text in texts
        for letter, count in sorted(Counter(text).items())
        if count >= params.letters.least
    ]
    with atomic_folder(workspace.table("letters")) as folder:
        (folder / "letters.csv").write_text("\n".join(["text,letter,count", *rows]) + "\n")
    return Found(len(texts), len(rows))
