"""`petriscope provenance FIGURE|TABLE|CLAIM|FILE`: the chain behind a result, back to raw
inputs."""

from __future__ import annotations

import argparse
import json

from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.files import plain
from petriscope.run.chain import as_tree, as_values, trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "target",
        metavar="WHAT",
        help="figure, table, claim, stage or file: fig5, table3, ctx-count, ...",
    )
    parser.add_argument("--json", action="store_true", help="whole records, for programs")
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the chain; status 1 if a file in it is not as recorded."""
    chain = trace(workspace_of(args), args.target)
    print(json.dumps(plain(as_values(chain)), indent=2) if args.json else as_tree(chain))
    return 1 if chain.problems() else 0
