"""`petriscope status`: what DVC would re-run, and why."""

from __future__ import annotations

import argparse
import subprocess
import sys

from petriscope.pipeline.snapshot import refresh_code
from petriscope.workspace import find_workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--workspace", metavar="DIR", default=".", help="folder with params.yaml and dvc.yaml (default: here or above)"
    )


def run(args: argparse.Namespace) -> int:
    """Pass on `dvc status` for the workspace."""
    workspace = find_workspace(args.workspace)
    refresh_code(workspace.root)
    return subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=workspace.root, check=False).returncode
