"""What study dna brings: Nucleotide Transformer on sequences of two classes."""

from __future__ import annotations

from pathlib import Path

from petriscope.run.studies import DataSet, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.params import Params


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.dna.data.dataset import load_dataset

    return load_dataset(path)


def _demo(folder: Path) -> None:
    from petriscope.studies.dna.data.simulate import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.dna.tiny import tiny_workspace

    return tiny_workspace(root)


STUDY = Study(
    name="dna",
    line="what Nucleotide Transformer knows of DNA: local grammar, or regulatory logic",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    folder="studies/dna",
)
"""Study dna probes Nucleotide Transformer on sequences of two classes."""
