"""Small verbs of the command line, one module each; here, how they find their workspace."""

from __future__ import annotations

import argparse

from petriscope.run.workspace import Workspace, find_workspace


def add_workspace_arguments(parser: argparse.ArgumentParser) -> None:
    """`--workspace` and `--study`, for a verb that looks at one workspace."""
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        default=".",
        help="folder with params.yaml and dvc.yaml (default: here or above)",
    )
    parser.add_argument(
        "--study",
        metavar="NAME",
        help="that study's workspace (default: the one found; "
        "`petriscope reproduce --list-studies`)",
    )


def add_executor_argument(parser: argparse.ArgumentParser) -> None:
    """`--executor`, for a verb that runs stages."""
    parser.add_argument(
        "--executor",
        metavar="NAME",
        help="who runs the tasks of heavy stages: local, slurm or ray (default: "
        "$PETRISCOPE_EXECUTOR, else executor.yaml in ~/.config/petriscope, else local)",
    )


def workspace_of(args: argparse.Namespace) -> Workspace:
    """The workspace that these arguments name."""
    return find_workspace(args.workspace, args.study)
