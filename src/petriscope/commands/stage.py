"""`petriscope stage NAME`: run one stage by hand."""

from __future__ import annotations

import argparse
import json

from petriscope.commands import add_executor_argument, add_workspace_arguments, workspace_of
from petriscope.files import plain
from petriscope.run.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a stage of dvc.yaml; `petriscope status` lists those not up to date",
    )
    add_executor_argument(parser)
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the stage and print its metrics."""
    metrics = run_stage(args.name, workspace_of(args), args.executor)
    print(json.dumps(plain(metrics), indent=2))
    return 0
