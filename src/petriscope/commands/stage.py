"""`petriscope stage NAME`: run one stage by hand."""

from __future__ import annotations

import argparse
import json

from petriscope.files import plain
from petriscope.run.stage import run_stage
from petriscope.run.workspace import find_workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a stage of dvc.yaml; `petriscope status` lists those not up to date",
    )
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        default=".",
        help="folder with params.yaml and dvc.yaml (default: here or above)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the stage and print its metrics."""
    metrics = run_stage(args.name, find_workspace(args.workspace))
    print(json.dumps(plain(metrics), indent=2))
    return 0
