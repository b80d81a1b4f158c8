"""`petriscope reproduce`: check the inputs, make the demo data if needed, run the whole graph, say
where things are."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from petriscope.cli import EXIT_FILE
from petriscope.commands import add_executor_argument
from petriscope.errors import UserError
from petriscope.executors.config import VARIABLE, choose
from petriscope.files import read_json
from petriscope.run.dvc import require_sound_cache
from petriscope.run.params import Params, load_params
from petriscope.run.params_edit import assign, save
from petriscope.run.release import FOLDER, released_workspace
from petriscope.run.snapshot import refresh_code
from petriscope.run.stage import stage_names
from petriscope.run.studies import DEFAULT, DataSet, Study, find_study, study_names
from petriscope.run.workspace import (
    Workspace,
    allow_without_git,
    check_place,
    create_workspace,
    find_workspace,
    is_workspace,
    run_name,
)
from petriscope.textfile import read_text

ALL = "all"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--dataset",
        metavar="PATH",
        help="folder of another data set; its run gets its own workspace",
    )
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        help="where to run (default: here or above; runs/NAME with --dataset)",
    )
    parser.add_argument(
        "--study",
        metavar="NAME",
        help="the study to run, or all (default: that of the workspace here or above)",
    )
    parser.add_argument(
        "--list-studies",
        action="store_true",
        help="print the studies: what each asks, how far it has run, where its workspace is",
    )
    parser.add_argument(
        "--set",
        metavar="ENTRY=VALUE",
        action="append",
        default=[],
        help="write a parameter into the workspace's params.yaml first, e.g. sae.k=32 (may be "
        "repeated)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=(FOLDER,),
        help="take the released weights in place of training, and hold the tables to tolerances "
        "whatever the processor; runs in runs/released",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="run every stage, up to date or not, without the run cache",
    )
    add_executor_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run every stage that is not up to date; returns the status of the stage that failed, if one
    did."""
    if args.list_studies:
        print("\n".join(listing(args.workspace or ".")))
        return 0
    if args.source is not None and args.dataset is not None:
        remedy = "Train on other data: leave out --from."
        raise UserError("are of the demo, not of another data set", field="--from", remedy=remedy)
    os.environ[VARIABLE] = choose(args.executor).executor  # DVC starts each stage by itself
    if args.study != ALL:
        workspace = choose_workspace(args.workspace, args.dataset, args.study)
        if args.source is not None:
            workspace = released_workspace(workspace)
        return reproduce(workspace, args.set, force=args.force)
    for option in ("dataset", "set"):
        if getattr(args, option):
            raise UserError(
                "goes with one study", field=f"--{option}", remedy="Give --study NAME, not all."
            )
    status = 0
    for workspace in [choose_workspace(args.workspace, None, name) for name in study_names()]:
        if args.source is not None:
            workspace = released_workspace(workspace)
        status = status or reproduce(workspace, [], force=args.force)
    return status


def reproduce(workspace: Workspace, assignments: Sequence[str], *, force: bool) -> int:
    """Check one workspace's inputs, run its graph, and say what came out."""
    started = time.time()
    check_place(workspace.root)
    if assignments:
        text = assign(read_text(workspace.params), assignments, workspace.params)
        save(workspace.params, text)
    params = load_params(workspace.params)
    dataset = ensure_dataset(workspace, params)
    require_sound_cache(workspace.root)
    print(f"workspace  {workspace.root}\ndata set   {dataset.name}: {dataset.description}")
    for note in dataset.untestable():
        print(f"note       {note}")
    if workspace.study.check is not None:
        sys.stdout.flush()
        checked = workspace.study.check(dataset.root)
        print("\n".join(checked.brief()))
        checked.refuse()
    sys.stdout.flush()
    status = 0
    for stage, why in workspace.study.unseen(workspace, params).items():
        print(f"note       {why}: stage {stage} runs again", flush=True)
        status = status or repro(workspace, force=True, targets=("--single-item", stage))
    status = status or repro(workspace, force=force)
    if status == 0:
        _summary(workspace, time.time() - started)
    return status


def listing(start: str | Path = ".") -> list[str]:
    """Per study its name, how far it has run and where; below, what it asks."""
    lines = []
    for name in study_names():
        study = find_study(name)
        try:
            workspace = find_workspace(start, name)
        except UserError:
            state, where = "no workspace here", "`petriscope reproduce` makes one"
            if name != DEFAULT:
                where = f"`petriscope reproduce --study {name}` makes one"
        else:
            stages = stage_names(workspace)
            ran = sum(workspace.provenance(stage).is_file() for stage in stages)
            state, where = f"{ran} of {len(stages)} stages have run", str(workspace.root)
        lines += [f"{name:<12} {state:<26} {where}", f"{'':<12} {study.line}"]
    return lines


def choose_workspace(folder: str | None, dataset: str | None, study: str | None) -> Workspace:
    """The workspace asked for, made if it does not exist; another data set never shares the default
    one's folder."""
    wanted = None if study is None else find_study(study)
    target = None if folder is None else Path(folder).resolve()
    try:
        here = find_workspace() if target is None else None
    except UserError:
        here = None
    if wanted is None and target is not None and is_workspace(target):
        wanted = Workspace(target).study
    wanted = wanted or (here.study if here else find_study(DEFAULT))
    source = None if dataset is None else wanted.dataset(dataset)
    if target is None and source is not None:
        run_name(source.name, source.root)
    if target is not None:
        return _at(target, source, wanted)
    if here is None:
        place = Path("petriscope-run") / wanted.folder
        if source is not None:
            return _own_run(Path(), source, wanted)
        return create_workspace(place, study=wanted)
    if source is None:
        return here if here.study.name == wanted.name else _at(here.root, None, wanted)
    own = here.study.name == wanted.name
    if own and here.dataset(load_params(here.params).dataset).resolve() == source.root.resolve():
        return here
    return _own_run(here.home, source, wanted)


def _own_run(home: Path, source: DataSet, wanted: Study) -> Workspace:
    """The workspace runs/NAME of a data set; that of another data set of the same name is left
    alone."""
    folder = home / "runs" / run_name(source.name, source.root)
    if is_workspace(folder):
        former = Workspace(folder).dataset(load_params(folder / "params.yaml").dataset)
        if former.resolve() != source.root.resolve():
            raise UserError(
                f"is the run of another data set of this name ({former})",
                file=folder,
                remedy="Say where to run this one with --workspace DIR.",
            )
    return create_workspace(folder, source.root, wanted)


def _at(folder: Path, source: DataSet | None, wanted: Study) -> Workspace:
    """The workspace in ``folder``; where another study's is there, the one that lies to it as in
    the repository. A checkout's own is left as it is, any other made complete."""
    if is_workspace(folder) and Workspace(folder).study.name != wanted.name:
        folder = Workspace(folder).home / wanted.folder
    if is_workspace(folder) and source is None and (Workspace(folder).home / ".git").exists():
        return Workspace(folder)
    return create_workspace(folder, None if source is None else source.root, wanted)


def ensure_dataset(workspace: Workspace, params: Params) -> DataSet:
    """The data set of the workspace; the demo is made if it is not there yet."""
    path, study = workspace.dataset(params.dataset), workspace.study
    if not path.exists() and path.name == "demo":
        study.demo(path)
    return study.dataset(path)


def repro(workspace: Workspace, *, force: bool = False, targets: tuple[str, ...] = ()) -> int:
    """`dvc repro` in the workspace. Returns 0, or the status of the stage that failed (DVC itself
    says only 255)."""
    refresh_code(workspace.root)
    allow_without_git(workspace.home)
    command = [
        sys.executable,
        "-m",
        "dvc",
        "repro",
        *(["--force", "--no-run-cache"] if force else []),
        *targets,
    ]
    with tempfile.TemporaryDirectory() as scratch:
        exit_file = Path(scratch) / "status"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {
            **os.environ,
            "PATH": path,
            EXIT_FILE: str(exit_file),
            "PYTHONUNBUFFERED": "1",
        }
        returned = run_whole(command, cwd=workspace.root, env=environment)
        if returned and exit_file.is_file():
            return int(exit_file.read_text(encoding="utf-8"))
        return min(returned, 1) if returned >= 0 else 130


def run_whole(
    command: list[str],
    *,
    cwd: Path,
    env: dict[str, str],
    grace: float = 1.0,
    patience: float = 20.0,
) -> int:
    """Run a command and return its status (negative: the signal that ended it); stop it with all it
    started.

    A terminal interrupts every process by itself; `kill` reaches this one alone. So an interrupt, a
    termination or a hang-up is handed on to the descendants that are still there after ``grace``
    seconds, and what is left ``patience`` seconds later is killed: no stage goes on writing after
    its run was stopped. Raises `KeyboardInterrupt` then.
    """
    child = subprocess.Popen(command, cwd=cwd, env=env)
    asked: list[int] = []
    former = {n: signal.signal(n, lambda number, _: asked.append(number)) for n in STOPS}
    try:
        while not asked:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=0.2)
        family = psutil.Process().children(recursive=True)
        left = psutil.wait_procs(family, timeout=grace)[1]
        for send in (asked[0], signal.SIGKILL):
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(send)
            left = psutil.wait_procs(left, timeout=patience)[1]
        raise KeyboardInterrupt
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _summary(workspace: Workspace, seconds: float) -> None:
    print(f"\ndone in {seconds / 60:.1f} min\n")
    ledger = workspace.figures / "claims.json"
    claims = read_json(ledger)["claims"] if ledger.is_file() else []
    width = max((len(claim["id"]) for claim in claims), default=0)
    for claim in claims:
        print(f"  {claim['id']:<{width}}  {claim['verdict']}")
    if claims:
        print(f"\nclaims   {workspace.figures / 'claims.md'}")
    print(f"figures  {workspace.figures / 'figures'}")
    print(f"tables   {workspace.figures / 'tables'}\nbrowse   {_browse(workspace)}")


def _browse(workspace: Workspace) -> str:
    """The command that opens the run from the folder where the user is."""
    here = workspace.root.resolve() == Path.cwd().resolve()
    return "petriscope tui" if here else f"petriscope tui {shlex.quote(str(workspace.root))}"
