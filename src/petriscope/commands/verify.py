"""`petriscope verify`: does this installation work, and does a finished run hold? A table, and
status 1 where not."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from petriscope.commands import add_workspace_arguments
from petriscope.errors import UserError
from petriscope.files import Output, claim, json_with, write_json
from petriscope.run.fixtures import compare, fixture_of
from petriscope.run.studies import DEFAULT, find_study
from petriscope.run.verify import Check, cached, installation, records, shipped
from petriscope.run.workspace import Workspace, create_workspace, find_workspace

WIDTH = 110
TABLE = Output("a table of `petriscope verify`", known=json_with(checks=None, failed=None))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--results", action="store_true", help="check the finished run only, not the installation"
    )
    parser.add_argument("--quick", action="store_true", help="leave out the tiny end-to-end run")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="a paper_figures folder to compare with"
    )
    parser.add_argument(
        "--parity",
        nargs="+",
        metavar="FILE",
        help="compute parity fixtures again and print the worst error of each array; nothing else "
        "is checked",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    add_workspace_arguments(parser)
    parser.set_defaults(workspace=None)


def run(args: argparse.Namespace) -> int:
    """Print one line per check as it ends; status 1 if one failed."""
    if args.json:
        claim(args.json, TABLE, field="--json")
    if args.parity:
        return parity(args.parity)
    workspace = _workspace(args.workspace, args.study, results=args.results)
    done: list[Check] = []

    def show(checks: Sequence[Check]) -> None:
        done.extend(checks)
        for check in checks:
            print(as_lines(check), flush=True)

    if not args.results:
        for body in installation(workspace, quick=args.quick):
            show([body()])
    show([records(workspace)])
    show([cached(workspace)])
    show(shipped(workspace, args.reference))
    failed = [check.name for check in done if check.state == "failed"]
    differ = sum(check.state == "differs" for check in done)
    print(
        f"\n{len(failed)} of {len(done)} checks failed: {', '.join(failed)}"
        if failed
        else f"\n{len(done)} checks, none failed"
        + (f", {differ} differ as another processor's may" if differ else "")
    )
    if args.json:
        write_json(args.json, {"checks": [vars(check) for check in done], "failed": failed})
    if (
        args.results
        and not failed
        and all(check.state == "skipped" for check in done if check.name != "cache")
    ):
        raise UserError(
            "holds no finished run", file=workspace.root, remedy="Run `petriscope reproduce` first."
        )
    return 1 if failed else 0


def parity(files: Sequence[str]) -> int:
    """Print each array of the fixtures beside its tolerance; status 1 where one is beyond it."""
    failed = total = 0
    for file in dict.fromkeys(map(fixture_of, files)):  # either half names both: once
        kind, rows = compare(file)
        print(f"{file}: {kind.name}, values of {kind.source}")
        for row in rows:
            holds = row.error <= row.allowed
            failed, total = failed + (not holds), total + 1
            state = "ok" if holds else "failed"
            print(f"{state:<8} {row.array:<44} {row.error:.2e} of {row.allowed:.0e}", flush=True)
    print(f"\n{failed} of {total} arrays are beyond their tolerance")
    return 1 if failed else 0


def _workspace(folder: str | None, study: str | None, *, results: bool) -> Workspace:
    """Where the checks look; an installed package outside any workspace is checked on a fresh
    one."""
    try:
        return find_workspace(folder or ".", study)
    except UserError:
        if folder is not None or results:
            raise
        record = find_study(study or DEFAULT)
        return create_workspace(Path("petriscope-run") / record.folder, study=record)


def as_lines(check: Check) -> str:
    """`ok       name   what was seen`, wrapped; the remedy below where something is to be done."""
    head = f"{check.state:<8} {check.name:<24} "
    lines = textwrap.wrap(check.seen, WIDTH - len(head)) or [""]
    text = head + f"\n{' ' * len(head)}".join(lines)
    if check.remedy and check.state != "ok":
        text += f"\n{' ' * len(head)}-> {check.remedy}"
    return text
