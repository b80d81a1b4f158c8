"""`petriscope audit DIR` recomputes from the authors' released tables what their paper states, and
prints both; the tables in DIR tell which study's paper it is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import write_csv
from petriscope.run.studies import Audit, find_study, study_names

SHOWN = 3
"""Tables named of each study where a folder is no study's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("folder", metavar="DIR", help="folder with the authors' released tables")
    parser.add_argument(
        "--genesets",
        metavar="FILE",
        help="GMT file: test released gene lists for its terms, in two universes",
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the table here")


def audits() -> dict[str, Audit]:
    """Study → its audit, of the studies whose paper released tables."""
    found = {name: find_study(name).audit for name in study_names()}
    return {name: audit for name, audit in found.items() if audit is not None}


def which(folder: Path, offered: Mapping[str, Audit]) -> str:
    """The study of whose tables most are in ``folder``.

    Raises `UserError` for a folder that is not there or holds no table of any, with what each
    study expects.
    """
    if not folder.is_dir():
        remedy = "Give the folder with the authors' released tables."
        raise UserError("is no folder", file=folder, remedy=remedy)
    found = {
        name: sum((folder / file).is_file() for file in audit.files)
        for name, audit in offered.items()
    }
    if not any(found.values()):
        expected = "; ".join(
            f"study {name}: {', '.join(audit.files[:SHOWN])} and {len(audit.files) - SHOWN} more"
            for name, audit in offered.items()
        )
        remedy = f"Expected: {expected}."
        raise UserError("holds no released table of any study", file=folder, remedy=remedy)
    return max(found, key=lambda name: found[name])


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    folder, offered = Path(args.folder), audits()
    audit = offered[which(folder, offered)]
    table = audit.table(folder, None if args.genesets is None else Path(args.genesets))
    if args.csv:
        write_csv(args.csv, table)
    shown = table.map(lambda x: f"{x:.5g}" if isinstance(x, float) else str(x))
    widths = [max(len(name), *shown[name].str.len()) for name in shown]
    for row in [list(shown.columns), *shown.to_numpy().tolist()]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0
