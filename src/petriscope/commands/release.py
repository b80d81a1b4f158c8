"""`petriscope release`: what training made in a finished run becomes the released weights, and the
tables of a run from them are shipped beside them."""

from __future__ import annotations

import argparse

from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.commands.reproduce import reproduce
from petriscope.errors import UserError
from petriscope.run.release import FOLDER, WEIGHTS, released_workspace, ship, write_release
from petriscope.run.verify import records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write released/ in the workspace, run everything from it, and take over the tables."""
    workspace = workspace_of(args)
    held = records(workspace)
    if held.state != "ok":
        raise UserError(f"is not finished: {held.seen}", file=workspace.root, remedy=held.remedy)
    folder = workspace.root / FOLDER
    files = write_release(workspace, folder)
    size = sum(path.stat().st_size for path in files)
    print(f"weights    {folder / WEIGHTS}: {len(files)} files, {size / 1e6:.1f} MB", flush=True)
    rerun = released_workspace(workspace)
    status = reproduce(rerun, [], force=False)
    if status == 0:
        ship(rerun, folder)
        released_workspace(workspace)  # which holds a copy, now with these tables
        print(f"tables     {folder}")
    return status
