"""What study cells brings: Geneformer and scGPT on single cells."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from petriscope.run.studies import Checked, DataSet, Study
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from petriscope.run.fixtures import FixtureKind
    from petriscope.sae.sweep import Key
    from petriscope.sae.train import TrainResult


def _dataset(path: str | Path) -> DataSet:
    from petriscope.studies.cells.data.dataset import load_dataset

    return load_dataset(path)


def _check(path: str | Path) -> Checked:
    from petriscope.studies.cells.data.check import check_dataset
    from petriscope.studies.cells.data.dataset import load_dataset

    return check_dataset(load_dataset(path))


def _demo(folder: Path) -> None:
    from petriscope.studies.cells.data.simulate import simulate_demo

    simulate_demo(folder)


def _tiny(root: Path) -> Workspace:
    from petriscope.studies.cells.tiny import tiny_workspace

    return tiny_workspace(root)


def _recovered(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> Mapping[Key, Mapping[str, float]]:
    from petriscope.studies.cells.recovered import recovered_losses

    return recovered_losses(workspace, params, trained)


def _fixtures() -> list[FixtureKind]:
    from petriscope.studies.cells import parity

    modules = [
        import_module(f"{parity.__name__}.{found.name}") for found in iter_modules(parity.__path__)
    ]
    return [kind for module in modules for kind in module.KINDS]


STUDY = Study(
    name="cells",
    line="what Geneformer and scGPT know of cells: organized biology, or regulatory logic",
    params=Params,
    dataset=_dataset,
    demo=_demo,
    tiny=_tiny,
    recovered=_recovered,
    folder="studies/cells",
    fixtures=_fixtures,
    check=_check,
)
"""Study cells probes Geneformer and scGPT on single cells."""
