"""What study chromatin brings: EpiBERT on chromatin in vitro and in vivo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from petriscope.run.studies import DataSet, Parity, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.chromatin.data.dataset import load_dataset

    return load_dataset(path)


def _demo(folder: Path) -> None:
    from petriscope.studies.chromatin.simulate.dataset import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.chromatin.tiny import tiny_workspace

    return tiny_workspace(root)


def _parity() -> Parity:
    from petriscope.studies.chromatin.parity import LIMIT, parity

    return Parity("EpiBERT", max(parity()), LIMIT)


def _adapter_edited(workspace: Workspace, params: Params) -> Mapping[str, str]:
    """Stage model, where the adapter's file differs from the one that built the model: DVC sees its
    name alone."""
    if params.model.adapter is None:
        return {}
    from petriscope.studies.chromatin.model.adapter import adapter_record, find_adapter

    record = adapter_record(workspace.model / "model.safetensors")
    asked = find_adapter(params.model.adapter, workspace.root)
    if record is None or record["adapter"] != asked.spec or record["sha256"] == asked.sha256:
        return {}
    return {"model": f"{params.model.adapter} was edited since it built the model"}


STUDY = Study(
    name="chromatin",
    line="what EpiBERT, a chromatin model, knows about a petri dish: in vitro against in vivo",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    parity=_parity,
    data={
        "demo": (
            "petriscope.studies.chromatin.data.demo",
            "simulate the demo data set with planted truth",
        ),
        "paper": ("petriscope.studies.chromatin.data.paper", "download the paper's data"),
    },
    unseen=_adapter_edited,
)
