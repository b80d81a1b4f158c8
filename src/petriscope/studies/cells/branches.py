"""A branch is one probed model of a run with its streams, dictionaries and codes: either family of
models, trained or randomly initialized. Analyses that compare models run on each branch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from petriscope.errors import UserError
from petriscope.probe.harvest import layer_paths, open_layers
from petriscope.probe.shards import Store
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.sae.encode import EncodedLayer
from petriscope.studies.cells.params import FAMILIES, Params

PLACES = "places.parquet"


@dataclass(frozen=True)
class Branch:
    """Where one probed model's results lie."""

    family: str
    """geneformer or scgpt"""
    trained: bool
    """False: randomly initialized"""
    model: Path
    activations: Path
    sae: Path
    codes: Path

    @property
    def name(self) -> str:
        """As tables call it."""
        return self.family if self.trained else f"{self.family} random"

    def exists(self) -> bool:
        """Whether its codes are there."""
        return self.codes.is_dir()

    def layers(self) -> list[int]:
        """All layers, from 0."""
        return list(layer_paths(self.codes))

    def tokens(self) -> Tokens:
        """The token axis: a window is a cell."""
        return Tokens.load(self.activations / "tokens")

    def places(self) -> pd.DataFrame:
        """A row per token, in the order of the axis: gene (row of the data set's genes, -1 for a
        special token) and value (rank from 0, or bin)."""
        return pd.read_parquet(self.activations / PLACES)

    def streams(self, layer: int) -> Store:
        """The residual stream of a layer (n, d), memory-mapped."""
        return open_layers(self.activations)[layer]

    def encoded(self, layer: int) -> EncodedLayer:
        """The codes of a layer by the first seed's dictionary."""
        return EncodedLayer(self.codes / f"layer_{layer}")

    def dictionary(self, layer: int, seed: int) -> SAE:
        """A trained dictionary. Raises `UserError` where it is missing."""
        folder = self.sae / f"layer_{layer}" / f"seed_{seed}"
        if not folder.is_dir():
            raise UserError("does not exist", file=folder, remedy="Run `petriscope stage sae`.")
        return SAE.load(folder)


def probed(workspace: Workspace, params: Params) -> Branch:
    """The model of `family`, whose results lie at the usual places."""
    return Branch(
        params.family,
        True,
        workspace.model / params.family,
        workspace.activations,
        workspace.sae,
        workspace.codes,
    )


def branches(workspace: Workspace, params: Params) -> list[Branch]:
    """All that ran: the probed model, the second, and both randomly initialized."""
    first = probed(workspace, params)
    other = next(family for family in FAMILIES if family != params.family)
    second = Branch(other, True, workspace.model / other, *_parts(workspace.table("second")))
    random = [_random(workspace.table("random_init") / family, family) for family in FAMILIES]
    found = [first, second, *random]
    return [branch for branch in found if branch.exists()]


def _random(folder: Path, family: str) -> Branch:
    return Branch(family, False, folder / "model", *_parts(folder))


def _parts(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "activations", folder / "sae", folder / "codes"
