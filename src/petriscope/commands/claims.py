"""`petriscope claims`: print the claims ledger a run wrote, or how each claim is checked."""

from __future__ import annotations

import argparse

from petriscope.claims.rules import Check, checks_as_markdown, claim_checks, read_rules
from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.graph import load_graph
from petriscope.run.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_workspace_arguments(parser)
    parser.add_argument(
        "--how", action="store_true", help="print for each claim: command, expected value, time"
    )


def run(args: argparse.Namespace) -> int:
    """Print paper_figures/claims.md, or the table of checks."""
    workspace = workspace_of(args)
    if args.how:
        print(checks_as_markdown(checks_of(workspace)), end="")
        return 0
    path = workspace.figures / "claims.md"
    if not path.is_file():
        raise UserError("does not exist yet", file=path, remedy="Run `petriscope reproduce` first.")
    print(path.read_text(encoding="utf-8"))
    return 0


def checks_of(workspace: Workspace) -> list[Check]:
    """How to check each claim, with what the workspace's last run says of value and time."""
    ledger = workspace.figures / "claims.json"
    found = (
        {claim["id"]: claim for claim in read_json(ledger)["claims"]} if ledger.is_file() else {}
    )
    records = [
        read_json(path) for path in sorted((workspace.results / "provenance").glob("*.json"))
    ]
    seconds = {
        record["stage"]: float(record["seconds"]) for record in records if "seconds" in record
    }
    return claim_checks(
        read_rules(workspace.claims_rules), found, load_graph(workspace.root).stage_needs(), seconds
    )
