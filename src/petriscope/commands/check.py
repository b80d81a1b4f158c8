"""`petriscope data check DIR`: look at every file of a data set before any work."""

from __future__ import annotations

import argparse

from petriscope.errors import UserError
from petriscope.run.studies import DEFAULT, find_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("folder", metavar="DIR", help="folder with dataset.yaml, or that file")
    parser.add_argument(
        "--study", metavar="NAME", default=DEFAULT, help=f"whose data set (default: {DEFAULT})"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was understood; status 2 and the first fault in a line where anything is wrong."""
    study = find_study(args.study)
    if study.check is None:
        raise UserError("brings no check of its data sets", field=f"study {study.name}")
    checked = study.check(args.folder)
    print("\n".join(checked.lines()), flush=True)
    checked.refuse()
    return 0
