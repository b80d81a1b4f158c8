"""A workspace is the folder with `params.yaml` and `dvc.yaml` where a run happens; this module
knows the place of each file in it."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from petriscope.errors import UserError
from petriscope.run.params import load_params, study_of
from petriscope.run.studies import DEFAULT, Study, find_study
from petriscope.textfile import read_text

TASKS = Path("results") / "cache" / "tasks"
"""what the tasks of a stage leave until it has ended, a folder a stage"""
TEMPLATES = ("params.yaml", "dvc.yaml", "claims.yaml")
MADE = ("dvc.yaml", "claims.yaml", "code", "results", "paper_figures")
"""what only a workspace of ours may hold before one is made there: all of it is rewritten"""


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
    def web(self) -> Path:
        """The atlas as a folder that a browser opens."""
        return self.results / "web"

    @property
    def headline(self) -> Path:
        return self.results / "headline.json"

    def table(self, stage: str) -> Path:
        """Folder of the tables a stage wrote."""
        return self.results / stage

    def metrics(self, stage: str) -> Path:
        return self.results / "metrics" / f"{stage}.json"

    def tasks(self, stage: str) -> Path:
        """Folder of what the tasks of a stage leave until it has ended: who did what, and what it
        made (`made`)."""
        return self.root / TASKS / stage

    def made(self, stage: str) -> Path:
        """Folder that the tasks of a stage write into."""
        return self.tasks(stage) / "made"

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
    if root.exists() and not root.is_dir():
        raise UserError("is a file", file=root, remedy="Name a folder for the workspace.")
    check_place(root)
    graph = root / "dvc.yaml"
    if not is_workspace(root) or "petriscope" not in read_text(graph):  # another project of DVC
        foreign = [name for name in MADE if (root / name).exists()]
        if foreign:
            what = f"holds {', '.join(foreign)} of something else, which a run would replace"
            raise UserError(what, file=root, remedy="Name a new folder for the workspace.")
        if (root / "params.yaml").is_file():
            load_params(root / "params.yaml")  # of something else or with a mistake: stop here
    if study is None and (root / "params.yaml").is_file():
        study = study_of(root / "params.yaml")
    for name in TEMPLATES:
        target = root / name
        text = read_text(template(name, study))
        if name == "dvc.yaml":
            text = re.sub(r"(?m)^(\s*- code: ).*$", r"\g<1>code", text)
            text = with_released(text, root / "params.yaml")
        if not target.exists() or (name != "params.yaml" and read_text(target) != text):
            with atomic_path(target) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if dataset is not None:
        set_dataset(root / "params.yaml", Path(dataset).expanduser().resolve())
    config = Workspace(root).home / ".dvc" / "config"
    if not config.exists():
        with atomic_path(config) as temporary:
            temporary.write_text(
                "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n",
                encoding="utf-8",
            )
    return Workspace(root)


_STAGE = re.compile(r"(?m)^  \w+:\n(?:    .*\n)+")


def with_released(graph: str, params: Path) -> str:
    """The text of dvc.yaml where the file ``params`` names released weights: each stage that reads
    the entry `released` depends on that folder as well."""
    import yaml

    if (yaml.safe_load(read_text(params)) or {}).get("released") is None:
        return graph

    def depend(found: re.Match[str]) -> str:
        stage = found.group(0)
        if not re.search(r"(?m)^    params: \[.*\breleased\b", stage):
            return stage
        return re.sub(r"(?m)^(    deps: \[)", r'\g<1>"${released}", ', stage, count=1)

    return _STAGE.sub(depend, graph)


def check_place(root: Path) -> None:
    """Raise `UserError` where DVC cannot run in the folder ``root``: its progress bars take braces
    in a path for fields to fill in."""
    if set("{}") & set(str(root)):
        what = "has { or } in its path, with which DVC cannot run"
        raise UserError(what, file=root, remedy="Name another place with --workspace DIR.")


def allow_without_git(home: Path) -> None:
    """Let DVC work in a folder that is no git repository, as a source archive unpacks to: its
    committed configuration expects one. Writes `.dvc/config.local`, which is nobody's but this
    machine's. Raises OSError."""
    from petriscope.files import atomic_path

    folder = home / ".dvc"
    if not folder.is_dir() or (home / ".git").exists():
        return
    local = folder / "config.local"
    read, own = configparser.ConfigParser(), configparser.ConfigParser()
    read.read([folder / "config", local], encoding="utf-8")
    if read.getboolean("core", "no_scm", fallback=False):
        return
    own.read(local, encoding="utf-8")
    if not own.has_section("core"):
        own.add_section("core")
    own.set("core", "no_scm", "true")
    with atomic_path(local) as temporary, temporary.open("w", encoding="utf-8") as handle:
        own.write(handle)


def run_name(name: str, source: Path) -> str:
    """The folder under runs/ of a data set called ``name`` in ``source``. Raises `UserError` where
    no folder can be called so, or it would lie elsewhere."""
    plain = name == name.strip() and name not in ("", ".", "..") and name.isprintable()
    if not plain or "/" in name or "\0" in name or len(name.encode()) > 200:
        raise UserError(
            f"is {name!r}, which cannot name the folder of its run",
            file=source,
            field="name",
            remedy="Call it otherwise, or say where to run with --workspace DIR.",
        )
    return name


def scalar(text: str) -> str:
    """``text`` as one YAML value on one line: as it is where that is safe, else quoted."""
    if re.fullmatch(r"[A-Za-z_.]*/[\w./+-]*", text, re.ASCII):
        return text
    import yaml

    quoted = yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True)
    return str(quoted).strip()


def set_dataset(params: Path, dataset: Path) -> None:
    """Rewrite the one `dataset:` line of a parameter file, leaving comments and order as they
    are."""
    from petriscope.files import atomic_path

    if not dataset.as_posix().isprintable():
        what = "has a line break or another unprintable character in its path"
        raise UserError(what, file=repr(dataset.as_posix()), remedy="Rename the folder.")
    text = read_text(params)
    line = f"dataset: {scalar(dataset.as_posix())}"
    new = re.sub(r"(?m)^dataset:.*$", lambda _: line, text, count=1)
    if new != text:
        with atomic_path(params) as temporary:
            temporary.write_text(new, encoding="utf-8")
