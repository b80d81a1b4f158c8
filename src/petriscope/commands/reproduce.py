"""`petriscope reproduce`: check the inputs, make the demo data if needed, run the whole graph, say
where things are."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from petriscope.cli import EXIT_FILE
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.cache import require_sound_cache
from petriscope.run.params import Params, load_params
from petriscope.run.params_edit import assign, save
from petriscope.run.snapshot import refresh_code
from petriscope.run.workspace import Workspace, create_workspace, find_workspace
from petriscope.studies.chromatin.data.dataset import Dataset, load_dataset
from petriscope.studies.chromatin.simulate.dataset import simulate_demo

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
        "--set",
        metavar="ENTRY=VALUE",
        action="append",
        default=[],
        help="write a parameter into the workspace's params.yaml first, e.g. sae.k=32 (may be "
        "repeated)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="run every stage, up to date or not, without the run cache",
    )


def run(args: argparse.Namespace) -> int:
    """Run every stage that is not up to date; returns the status of the stage that failed, if one
    did."""
    started = time.time()
    workspace = choose_workspace(args.workspace, args.dataset)
    if args.set:
        save(workspace.params, assign(workspace.params.read_text(), args.set, workspace.params))
    params = load_params(workspace.params)
    dataset = ensure_dataset(workspace, params)
    require_sound_cache(workspace.root)
    print(f"workspace  {workspace.root}\ndata set   {dataset.name}: {dataset.description}")
    for note in dataset.untestable():
        print(f"note       {note}")
    sys.stdout.flush()
    status = 0
    if adapter_edited(workspace, params):
        print(
            f"note       {params.model.adapter} was edited since it built the model: stage model "
            f"runs again",
            flush=True,
        )
        status = repro(workspace, force=True, targets=("--single-item", "model"))
    status = status or repro(workspace, force=args.force)
    if status == 0:
        _summary(workspace, time.time() - started)
    return status


def choose_workspace(folder: str | None, dataset: str | None) -> Workspace:
    """The workspace asked for, made if it does not exist; another data set never shares the default
    one's folder."""
    source = None if dataset is None else load_dataset(dataset)
    if folder is not None:
        target = Path(folder)
        inside_clone = (target / "dvc.yaml").is_file() and (target / ".git").exists()
        return (
            Workspace(target.resolve())
            if inside_clone and source is None
            else create_workspace(target, _root(source))
        )
    try:
        here = find_workspace()
    except UserError:
        return create_workspace(
            "petriscope-run" if source is None else f"runs/{source.name}", _root(source)
        )
    if source is None:
        return here
    if here.dataset(load_params(here.params).dataset).resolve() == source.root.resolve():
        return here
    return create_workspace(here.root / "runs" / source.name, source.root)


def _root(dataset: Dataset | None) -> Path | None:
    return None if dataset is None else dataset.root


def ensure_dataset(workspace: Workspace, params: Params) -> Dataset:
    """The data set of the workspace; the demo is simulated if it is not there yet."""
    path = workspace.dataset(params.dataset)
    if not path.exists() and path.name == "demo":
        simulate_demo(path)
    return load_dataset(path)


def adapter_edited(workspace: Workspace, params: Params) -> bool:
    """Whether the adapter's file differs from the one that built the model: DVC sees its name
    alone."""
    if params.model.adapter is None:
        return False
    from petriscope.studies.chromatin.model.adapter import (
        adapter_record,
        find_adapter,
    )  # torch, which no other part of this verb needs

    record = adapter_record(workspace.model / "model.safetensors")
    asked = find_adapter(params.model.adapter, workspace.root)
    return (
        record is not None and record["adapter"] == asked.spec and record["sha256"] != asked.sha256
    )


def repro(workspace: Workspace, *, force: bool = False, targets: tuple[str, ...] = ()) -> int:
    """`dvc repro` in the workspace. Returns 0, or the status of the stage that failed (DVC itself
    says only 255)."""
    refresh_code(workspace.root)
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
            return int(exit_file.read_text())
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
    claims = read_json(workspace.figures / "claims.json")["claims"]
    width = max(len(claim["id"]) for claim in claims)
    print(f"\ndone in {seconds / 60:.1f} min\n")
    for claim in claims:
        print(f"  {claim['id']:<{width}}  {claim['verdict']}")
    print(f"\nclaims   {workspace.figures / 'claims.md'}\nfigures  {workspace.figures / 'figures'}")
    print(f"tables   {workspace.figures / 'tables'}\nbrowse   petriscope tui")
