"""`petriscope data KIND`: make or fetch a data set."""

from __future__ import annotations

import argparse

from petriscope.commands import fragments as fragments_command
from petriscope.studies.chromatin.data import demo, paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per kind of data set."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, module, line in (
        ("demo", demo, "simulate the demo data set with planted truth"),
        ("paper", paper, "download the paper's data"),
        ("fragments", fragments_command, "turn paired-end ATAC alignments into a fragment file"),
    ):
        child = kinds.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        module.add_arguments(child)
        child.set_defaults(run=module.run)


def run(args: argparse.Namespace) -> int:
    """Never reached: each sub-command sets its own body."""
    raise AssertionError(args)
