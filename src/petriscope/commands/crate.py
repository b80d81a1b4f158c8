"""`petriscope crate OUT`: a finished run as an RO-Crate."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.run.crate import summary, write_crate
from petriscope.run.workspace import find_workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    parser.add_argument(
        "--workspace",
        default=".",
        help="folder with params.yaml and dvc.yaml (default: here or above)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the crate and read it back."""
    files = write_crate(find_workspace(args.workspace), args.out)
    actions, entities = summary(args.out)
    print(f"{args.out}: {files} files, {entities} data entities, {actions} stages")
    return 0
