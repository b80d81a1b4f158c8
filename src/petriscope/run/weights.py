"""Trained weights of a release are read here in place of training, every file checked against its
SHA-256.

Training amplifies the last bit of every product, so that another kind of processor ends in another
model. With trained models and dictionaries given, what follows agrees within rounding everywhere.
"""

from __future__ import annotations

from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import read_json, sha256
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace

MANIFEST, SHIPPED = "weights.json", "paper_figures"
"""In a release: the list of its weights, among them; the tables made from them, beside them."""
_REMEDY = "Run `petriscope reproduce --from released`, which restores it."


def given(workspace: Workspace, params: Params, stage: str) -> Path | None:
    """The folder of what the release of `params.released` holds of a stage's results; None where
    the stage trains.

    Raises `UserError` for a file that is missing or has another SHA-256 than `weights.json` says,
    and where the release holds nothing of this stage.
    """
    if params.released is None:
        return None
    folder = workspace.dataset(params.released)
    files = {
        name: digest for name, digest in manifest(folder).items() if name.startswith(f"{stage}/")
    }
    if not files:
        raise UserError(f"holds nothing of stage {stage}", file=folder / MANIFEST, remedy=_REMEDY)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError("is missing", file=path, remedy=_REMEDY)
        if sha256(path) != digest:
            what = f"is not the released file: its SHA-256 is not the one in {MANIFEST}"
            raise UserError(what, file=path, remedy=_REMEDY)
    return folder / stage


def manifest(folder: Path) -> dict[str, str]:
    """SHA-256 of every released file by its name in ``folder``. Raises `UserError` where there is
    no list, or it is none."""
    path = folder / MANIFEST
    try:
        files = read_json(path)["files"]
    except FileNotFoundError:
        remedy = "Run `petriscope reproduce --from released`, which puts the weights there."
        raise UserError("does not exist", file=path, remedy=remedy) from None
    except (ValueError, KeyError, TypeError):
        raise UserError("is no list of released files", file=path, remedy=_REMEDY) from None
    return {str(name): str(digest) for name, digest in files.items()}


def shipped_with(workspace: Workspace, params: Params) -> Path | None:
    """Where the tables lie that were shipped for a run from a release; None for a run that trains.
    The folder need not exist."""
    if params.released is None:
        return None
    return workspace.dataset(params.released).parent / SHIPPED
