"""A workspace is the folder with `params.yaml` and `dvc.yaml` where a run happens; this module
knows the place of each file in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from petriscope.errors import UserError
from petriscope.run.params import study_of
from petriscope.run.studies import DEFAULT, Study, find_study

TEMPLATES = ("params.yaml", "dvc.yaml", "claims.yaml")


@dataclass(frozen=True)
class Workspace:
    """Paths of one run. Stages read and write only through these names."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def study(self) -> Study:
        """The study that params.yaml names."""
        return study_of(self.params)

    @property
    def home(self) -> Path:
        """The folder in which the studies' workspaces lie as in the repository; of a workspace
        that lies elsewhere, the workspace itself."""
        return home_of(self.root, self.study)

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
    def tokens(self) -> Path:
        """The token axis of every layer and of the codes."""
        return self.activations / "tokens"

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


def template(name: str, study: Study | None = None) -> Path:
    """A file of a study's workspace as shipped: beside the source tree, or inside an installed
    wheel."""
    place = Path((study or find_study(DEFAULT)).folder) / name
    installed = Path(str(resources.files("petriscope"))) / "workspace_files" / place
    checkout = Path(__file__).resolve().parents[3] / place
    for path in (checkout, installed):
        if path.is_file():
            return path
    raise UserError(
        "is missing from this installation", file=installed, remedy="Reinstall petriscope."
    )


def find_workspace(start: str | Path = ".", study: str | None = None) -> Workspace:
    """The workspace at ``start`` or above it; with ``study``, that study's: the same one, or the
    one that lies to it as in the repository."""
    start = Path(start).resolve()
    wanted = None if study is None else find_study(study)
    for folder in (start, *start.parents):
        if is_workspace(folder):
            if wanted is None:
                return Workspace(folder)
            return _sibling(Workspace(folder), wanted)
    remedy = "Go to the repository, or create one with `petriscope reproduce --workspace DIR`."
    raise UserError("no params.yaml and dvc.yaml here or above", file=start, remedy=remedy)


def is_workspace(folder: Path) -> bool:
    """Whether a folder holds the two files that make it a workspace."""
    return (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file()


def home_of(root: Path, study: Study) -> Path:
    """The folder to which the workspace ``root`` of ``study`` lies as in the repository, else
    itself."""
    parts = Path(study.folder).parts
    return root.parents[len(parts) - 1] if parts and root.parts[-len(parts) :] == parts else root


def _sibling(here: Workspace, wanted: Study) -> Workspace:
    if here.study.name == wanted.name:
        return here
    there = here.home / wanted.folder
    if is_workspace(there) and study_of(there / "params.yaml").name == wanted.name:
        return Workspace(there)
    raise UserError(
        f"holds no workspace of study {wanted.name}",
        file=here.home,
        remedy=f"Create one with `petriscope reproduce --study {wanted.name}`.",
    )


def create_workspace(
    root: str | Path, dataset: str | Path | None = None, study: Study | None = None
) -> Workspace:
    """Make (or complete) a stand-alone workspace of a study (the one at the top of the repository
    where none is given): shipped files copied, `dataset` set, a DVC folder without git.

    Its graph depends on `code`, a snapshot of the package's sources that every petriscope command
    keeps current.

    The folder of DVC lies where the studies' workspaces have theirs in common: `dvc repro -P`
    there runs all. A user's edits to params.yaml survive (only the data set line is rewritten);
    the graph and the ledger's rules follow the installed version.
    """
    from petriscope.files import atomic_path  # loads numpy, which nothing else here needs

    root = Path(root).resolve()
    if study is None and (root / "params.yaml").is_file():
        study = study_of(root / "params.yaml")
    for name in TEMPLATES:
        target = root / name
        text = template(name, study).read_text()
        if name == "dvc.yaml":
            text = re.sub(r"(?m)^(\s*- code: ).*$", r"\g<1>code", text)
        if not target.exists() or (name != "params.yaml" and target.read_text() != text):
            with atomic_path(target) as temporary:
                temporary.write_text(text)
    if dataset is not None:
        set_dataset(root / "params.yaml", Path(dataset).expanduser().resolve())
    config = Workspace(root).home / ".dvc" / "config"
    if not config.exists():
        with atomic_path(config) as temporary:
            temporary.write_text(
                "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
            )
    return Workspace(root)


def set_dataset(params: Path, dataset: Path) -> None:
    """Rewrite the one `dataset:` line of a parameter file, leaving comments and order as they
    are."""
    from petriscope.files import atomic_path

    text = params.read_text()
    new = re.sub(r"(?m)^dataset:.*$", f"dataset: {dataset.as_posix()}", text, count=1)
    if new != text:
        with atomic_path(params) as temporary:
            temporary.write_text(new)
