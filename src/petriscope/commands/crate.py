"""`petriscope crate OUT`: a finished run as an RO-Crate."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.run.crate import summary, write_crate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the crate and read it back."""
    files = write_crate(workspace_of(args), args.out)
    actions, entities = summary(args.out)
    print(f"{args.out}: {files} files, {entities} data entities, {actions} stages")
    return 0
