"""`petriscope status`: what DVC would re-run, and why; `--graph` draws the whole pipeline with each
stage's state."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.executors.state import SHOWN, stage_states
from petriscope.run.dvc import Hasher, lock_holders
from petriscope.run.graph import Graph, draw_lanes, load_graph
from petriscope.run.snapshot import refresh_code
from petriscope.run.status import StageStatus, pipeline_status, recorded_seconds
from petriscope.run.workspace import TASKS, allow_without_git

STATES = {
    "up_to_date": "up to date",
    "changed": "changed",
    "upstream": "waits for input",
    "never_run": "never run",
    "missing": "missing",
    "unknown": "unknown",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--graph",
        action="store_true",
        help="draw the whole pipeline, a line a stage, each with its state and why",
    )
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Pass on `dvc status` for the workspace, or draw its graph."""
    workspace = workspace_of(args)
    refresh_code(workspace.root)
    allow_without_git(workspace.home)
    read_only = not os.access(workspace.home / ".dvc", os.W_OK)
    if read_only and not args.graph:
        print(
            f"petriscope: {workspace.home / '.dvc'} is another user's, and DVC would lock it: "
            "drawn from the records instead",
            file=sys.stderr,
        )
    width = shutil.get_terminal_size((100, 40)).columns
    if args.graph or read_only:
        print("\n".join(drawing(workspace.root, width)))
        return 0
    for line in task_lines(workspace.root / TASKS, width):
        print(line, flush=True)
    own = [
        "dvc.yaml",
        *sorted(path.name for path in workspace.root.glob("*.dvc") if path.is_file()),
    ]
    return subprocess.run(  # without names DVC shows every workspace of the repository
        [sys.executable, "-m", "dvc", "status", *own], cwd=workspace.root, check=False
    ).returncode


def drawing(root: Path, width: int) -> Iterator[str]:
    """The graph line by line, no line longer than ``width``; DVC is not asked, so this works while
    it runs."""
    graph, hasher = load_graph(root), Hasher(root)
    status = list(pipeline_status(root, graph, hasher))
    hasher.remember()
    yield from as_lines(graph, status, recorded_seconds(root), width)
    counts = Counter(STATES[one.state] for one in status)
    told = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    yield f"\n{len(status)} nodes: {told}"
    for holder in lock_holders(root):
        if holder.alive:
            yield clipped(f"a run is at work here: process {holder.pid} ({holder.command})", width)
    yield from task_lines(root / TASKS, width)


def task_lines(folder: Path, width: int) -> Iterator[str]:
    """Per call of a stage whose tasks are under way, or were when it stopped: how many are done,
    running, waiting, lost and retried; below, the slowest that runs."""
    for stage in sorted(folder.iterdir()) if folder.is_dir() else []:
        for state in stage_states(stage):
            told = ", ".join(f"{state[name]} {name}" for name in SHOWN)
            head = f"{stage.name}: {state['what']} ({state['engine']}): {told} of {state['total']}"
            yield clipped(head, width)
            if state["slowest"]:
                yield clipped(f"  longest silent: {state['slowest']}", width)


def as_lines(
    graph: Graph, status: Sequence[StageStatus], seconds: Mapping[str, float], width: int
) -> Iterator[str]:
    """Per stage its lanes, name and state, then why it is stale, or how long it took when it last
    ran."""
    lanes = draw_lanes(graph.needs)
    longest, widest = max(len(name) for name in lanes), max(len(text) for text in STATES.values())
    for one in status:
        took = f"{seconds[one.name]:.0f} s" if one.name in seconds else ""
        why = took if one.state == "up_to_date" else "; ".join(one.reasons)
        yield clipped(
            f"{lanes[one.name]}{one.name:<{longest}}  {STATES[one.state]:<{widest}}  {why}", width
        )


def clipped(line: str, width: int) -> str:
    """``line`` in at most ``width`` characters, with an ellipsis where something is left out."""
    line = line.rstrip()
    return line if len(line) <= width else f"{line[: width - 1]}…"
