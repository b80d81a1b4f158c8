"""A workspace: the folder with `params.yaml` and `dvc.yaml` where a run happens, and the place of
each file in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import atomic_path

TEMPLATES = ("params.yaml", "dvc.yaml", "claims.yaml")


@dataclass(frozen=True)
class Workspace:
    """Paths of one run. Stages read and write only through these names."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def claims_rules(self) -> Path:
        return self.root / "claims.yaml"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def figures(self) -> Path:
        return self.root / "paper_figures"

    @property
    def windows(self) -> Path:
        return self.results / "windows.parquet"

    @property
    def tracks(self) -> Path:
        return self.results / "tracks"

    @property
    def model(self) -> Path:
        return self.results / "model"

    @property
    def activations(self) -> Path:
        return self.results / "activations"

    @property
    def sae(self) -> Path:
        return self.results / "sae"

    @property
    def codes(self) -> Path:
        return self.results / "codes"

    @property
    def atlas(self) -> Path:
        return self.results / "atlas.sqlite"

    @property
    def headline(self) -> Path:
        return self.results / "headline.json"

    def table(self, stage: str) -> Path:
        """Folder of the tables a stage wrote."""
        return self.results / stage

    def metrics(self, stage: str) -> Path:
        return self.results / "metrics" / f"{stage}.json"

    def provenance(self, stage: str) -> Path:
        return self.results / "provenance" / f"{stage}.json"

    def dataset(self, name: str) -> Path:
        """The data set named in params.yaml, relative to the workspace unless absolute."""
        path = Path(name).expanduser()
        return path if path.is_absolute() else self.root / path


def template(name: str) -> Path:
    """A workspace file as shipped: beside the source tree, or inside an installed wheel."""
    installed = Path(str(resources.files("petriscope"))) / "workspace_files" / name
    checkout = Path(__file__).resolve().parents[3] / name
    for path in (checkout, installed):
        if path.is_file():
            return path
    raise UserError(
        "is missing from this installation", file=installed, remedy="Reinstall petriscope."
    )


def find_workspace(start: str | Path = ".") -> Workspace:
    """The workspace at ``start`` or above it."""
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return Workspace(folder)
    remedy = "Go to the repository, or create one with `petriscope reproduce --workspace DIR`."
    raise UserError("no params.yaml and dvc.yaml here or above", file=start, remedy=remedy)


def create_workspace(root: str | Path, dataset: str | Path | None = None) -> Workspace:
    """Make (or complete) a stand-alone workspace: shipped files copied, `dataset` set, a DVC folder
    without git.

    Its graph depends on `code`, a snapshot of the package's sources that every petriscope command
    keeps current.

    A user's edits to params.yaml survive (only the data set line is rewritten); the graph and the
    ledger's rules follow the installed version.
    """
    root = Path(root).resolve()
    for name in TEMPLATES:
        target = root / name
        text = template(name).read_text()
        if name == "dvc.yaml":
            text = re.sub(r"(?m)^(\s*- code: ).*$", r"\g<1>code", text)
        if not target.exists() or (name != "params.yaml" and target.read_text() != text):
            with atomic_path(target) as temporary:
                temporary.write_text(text)
    if dataset is not None:
        set_dataset(root / "params.yaml", Path(dataset).expanduser().resolve())
    config = root / ".dvc" / "config"
    if not config.exists():
        with atomic_path(config) as temporary:
            temporary.write_text(
                "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
            )
    return Workspace(root)


def set_dataset(params: Path, dataset: Path) -> None:
    """Rewrite the one `dataset:` line of a parameter file, leaving comments and order as they
    are."""
    text = params.read_text()
    new = re.sub(r"(?m)^dataset:.*$", f"dataset: {dataset.as_posix()}", text, count=1)
    if new != text:
        with atomic_path(params) as temporary:
            temporary.write_text(new)
