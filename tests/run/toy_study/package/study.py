"""What study toy brings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from petriscope.errors import UserError
from petriscope.run import params as shared
from petriscope.run.params import entry
from petriscope.run.studies import Study
from petriscope.run.workspace import Workspace, create_workspace


@dataclass(frozen=True)
class Letters:
    """What is counted."""

    least: int = entry(1, 100)


@dataclass(frozen=True)
class Params(shared.ContrastParams):
    """The whole of its params.yaml."""

    letters: Letters = entry()


@dataclass(frozen=True)
class Words:
    """Its data set."""

    name: str
    description: str
    root: Path
    texts: tuple[str, ...]

    def untestable(self) -> list[str]:
        return [] if len(self.texts) > 1 else ["one text: nothing to compare"]


def dataset(path: str | Path) -> Words:
    root = Path(path)
    if not (root / "texts.json").is_file():
        raise UserError("holds no texts.json", file=root, remedy="Run `petriscope data toy-demo`.")
    return Words("words", "two texts", root, tuple(json.loads((root / "texts.json").read_text())))


def demo(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "texts.json").write_text(json.dumps(["banana", "cabbage"]))


def tiny(root: Path) -> Workspace:
    workspace = create_workspace(root, study=STUDY)
    demo(workspace.root / "data" / "demo")
    return workspace


STUDY = Study(
    name="toy",
    line="how many letters two words have",
    folder="studies/toy",
    params=Params,
    dataset=dataset,
    demo=demo,
    tiny=tiny,
    data={"toy-demo": ("petriscope.studies.toy.data", "write the two words")},
    opened={"letters": lambda run: run.table("letters", "letters.csv")},
)
