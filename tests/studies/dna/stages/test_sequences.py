"""Stage sequences on a small planted world and on the released table: what it writes is what the
data set holds (read with pandas), and whole groups lie in one split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from petriscope.files import sha256
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.workspace import Workspace
from petriscope.studies.dna.data.simulate import simulate_demo
from petriscope.studies.dna.sequences import load_sequences
from petriscope.studies.dna.stages import sequences
from petriscope.studies.dna.tiny import TINY_NAME, TINY_PARAMS, TINY_SEQUENCES, TINY_TOKENS

REPOSITORY = Path(__file__).resolve().parents[4]


def workspace_in(folder: Path) -> Workspace:
    folder.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / "studies" / "dna" / name, folder / name)
    return Workspace(folder)


def test_the_rows_are_the_data_set_and_groups_are_never_divided(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "w")
    simulate_demo(workspace.root / "data" / "demo", sequences=300, tokens=32, confound=True)
    found = sequences.run(workspace, load_params(workspace.params))
    raw = pd.read_csv(workspace.root / "data" / "demo" / "sequences.tsv.gz", sep="\t")
    frame = load_sequences(workspace).frame
    assert frame.id.tolist() == raw.id.tolist()
    assert frame.label.tolist() == raw["class"].tolist()
    assert frame.start.tolist() == raw.start.tolist()
    assert (frame.n_tokens == raw.sequence.str.len() // 6 + 1).all()
    assert (frame.groupby("group").split.nunique() == 1).all()
    assert (frame.group.groupby(raw.group).nunique() == 1).all()
    assert found.groups == raw.group.nunique() and found.sequences == 300
    assert sum(found.sequences_per_split.values()) == 300
    assert abs(found.sequences_per_split["train"] - 150) <= 2
    assert found.lengths_shared == 0 and "do not overlap" in str(found.untestable)
    assert found.positives == (raw["class"] == "bound").sum()
    first = sha256(workspace.table("sequences"))
    sequences.run(workspace, load_params(workspace.params))
    assert sha256(workspace.table("sequences")) == first
    override(workspace.params, {"seed": 5})
    sequences.run(workspace, load_params(workspace.params))
    assert sha256(workspace.table("sequences")) != first


def test_groups_are_found_where_none_are_given(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "w")
    data = workspace.root / "data" / "demo"
    simulate_demo(data, sequences=300)
    given = load_frame(workspace)
    raw = pd.read_csv(data / "sequences.tsv.gz", sep="\t").drop(columns="group")
    raw.to_csv(data / "sequences.tsv.gz", sep="\t", index=False)
    found = load_frame(workspace)
    assert (found.group == given.group).all() and (found.split == given.split).all()


def load_frame(workspace: Workspace) -> pd.DataFrame:
    sequences.run(workspace, load_params(workspace.params))
    return load_sequences(workspace).frame


def test_the_tiny_parameters_are_parameters(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "w")
    data = workspace.root / TINY_NAME
    simulate_demo(data, sequences=TINY_SEQUENCES, tokens=TINY_TOKENS)
    override(workspace.params, {"dataset": TINY_NAME, **TINY_PARAMS})
    found = sequences.run(workspace, load_params(workspace.params))
    assert found.untestable is None and min(found.groups_per_split.values()) > 10
