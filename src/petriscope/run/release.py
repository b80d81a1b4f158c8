"""A release holds what training made in a finished run, to be taken again in place of training.

It is a folder: `params.yaml`, the parameters that it was trained with; `weights/`, trained files
under the names they have in `results/`, with their SHA-256 in `weights.json`; and
`paper_figures/`, the tables and verdicts of a run from these weights.
"""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, sha256, write_json
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.provenance import cpu_model, source_revision
from petriscope.run.weights import MANIFEST, SHIPPED
from petriscope.run.workspace import Workspace, create_workspace, template

FOLDER, WEIGHTS, PARAMS = "released", "weights", "params.yaml"
_KIND = Output("a release", (PARAMS, f"{WEIGHTS}*", f"{SHIPPED}*"))


def write_release(workspace: Workspace, folder: Path) -> list[Path]:
    """Write the trained files of a finished run and its parameters as the release ``folder``;
    returns them. The tables of an earlier release stay until `ship` replaces them.

    Raises `UserError` where the run took its weights from a release itself, or lacks one of them.
    """
    params = load_params(workspace.params)
    if params.released is not None:
        remedy = "Release the run that trained them."
        what = "names weights, so this run trained nothing"
        raise UserError(what, file=workspace.params, field="released", remedy=remedy)
    found: list[Path] = []
    for pattern in workspace.study.released:
        here = sorted(path for path in workspace.results.glob(pattern) if path.is_file())
        if not here:
            remedy = "Run `petriscope reproduce` first, with every control that trains."
            raise UserError("has no such file", file=workspace.results / pattern, remedy=remedy)
        found += here
    files = {path.relative_to(workspace.results).as_posix(): path for path in found}
    listed: dict[str, Any] = {
        "study": workspace.study.name,
        "dataset": workspace.study.dataset(workspace.dataset(params.dataset)).name,
        "params": params.digest(),
        "processor": cpu_model(),
        "revision": source_revision(),
        "files": {name: sha256(path) for name, path in files.items()},
    }
    with atomic_folder(folder, _KIND) as temporary:
        shutil.copyfile(workspace.params, temporary / PARAMS)
        for name, path in files.items():
            target = temporary / WEIGHTS / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        write_json(temporary / WEIGHTS / MANIFEST, listed)
        if (folder / SHIPPED).is_dir():
            shutil.copytree(folder / SHIPPED, temporary / SHIPPED)
    return found


def ship(workspace: Workspace, folder: Path) -> None:
    """Take tables and verdicts of a finished run from the release ``folder`` as those that the
    release ships."""
    with atomic_folder(folder / SHIPPED) as temporary:
        shutil.copyfile(workspace.figures / "claims.json", temporary / "claims.json")
        (temporary / "tables").mkdir()
        for path in sorted((workspace.figures / "tables").glob("*.csv")):
            shutil.copyfile(path, temporary / "tables" / path.name)


def find_release(workspace: Workspace) -> Path:
    """The release of a workspace: its own, else the shipped one of its study. Raises `UserError`
    where there is neither."""
    own = workspace.root / FOLDER
    if (own / WEIGHTS / MANIFEST).is_file():
        return own
    try:
        return template(f"{FOLDER}/{WEIGHTS}/{MANIFEST}", workspace.study).parents[1]
    except UserError:
        what = f"study {workspace.study.name} releases no weights"
        remedy = "Train them: `petriscope reproduce` without --from."
        raise UserError(what, field="--from", remedy=remedy) from None


def released_workspace(workspace: Workspace) -> Workspace:
    """The workspace runs/released beside a training one, with a copy of the release: made, or
    brought up to date where the release is another than the one it holds.

    Its params.yaml is that of the release; a user's edits to it last until the release changes.
    """
    if load_params(workspace.params).released is not None:
        remedy = "Leave out --from, or go to the workspace that it lies beside."
        raise UserError("runs from released weights already", file=workspace.root, remedy=remedy)
    release, study = find_release(workspace), workspace.study
    root = workspace.home / "runs" / FOLDER / study.folder
    copy, own = root / FOLDER, root / PARAMS
    fresh = not own.is_file() or not _same(release / PARAMS, copy / PARAMS)
    if not _same(release, copy):
        with atomic_folder(copy, _KIND) as temporary:
            shutil.copytree(release, temporary, dirs_exist_ok=True)
    if fresh:
        dataset = workspace.dataset(load_params(release / PARAMS).dataset)
        shutil.copyfile(release / PARAMS, own)
        entries = {"released": f"{FOLDER}/{WEIGHTS}", "dataset": dataset.resolve().as_posix()}
        override(own, entries)
    return create_workspace(root, study=study)


def _same(a: Path, b: Path) -> bool:
    """Whether two files, or all files of two folders, hold the same bytes."""
    if a.is_file() or b.is_file():
        return a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False)
    names = _names(a)
    return names == _names(b) and all(filecmp.cmp(a / n, b / n, shallow=False) for n in names)


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)
