"""`petriscope claims`: print the claims ledger a run wrote."""

from __future__ import annotations

import argparse

from petriscope.errors import UserError
from petriscope.workspace import find_workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--workspace", default=".", help="folder with params.yaml and dvc.yaml (default: here or above)"
    )


def run(args: argparse.Namespace) -> int:
    """Print paper_figures/claims.md."""
    path = find_workspace(args.workspace).figures / "claims.md"
    if not path.is_file():
        raise UserError("does not exist yet", file=path, remedy="Run `petriscope reproduce` first.")
    print(path.read_text())
    return 0
