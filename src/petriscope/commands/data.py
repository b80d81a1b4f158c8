"""`petriscope data KIND`: make, fetch or check a data set."""

from __future__ import annotations

import argparse
import importlib

from petriscope.run.studies import find_study, study_names

CHECK = (
    "petriscope.commands.check",
    "look at every file of a data set and print what was understood",
)
FRAGMENTS = (
    "petriscope.commands.fragments",
    "turn paired-end ATAC alignments into a fragment file",
)
# here and not in the study's own record, on which stages depend: a download makes none stale
CELLS_MODELS = (
    "petriscope.studies.cells.fetch.models",
    "download the vocabularies and weights of Geneformer, and scGPT's vocabulary",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per verb that a study brings."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    offered: dict[str, tuple[str, str]] = {}
    for study in study_names():
        offered |= find_study(study).data
    offered |= {"cells-models": CELLS_MODELS, "check": CHECK, "fragments": FRAGMENTS}
    for name, (module, line) in offered.items():
        child = kinds.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        verb = importlib.import_module(module)
        verb.add_arguments(child)
        child.set_defaults(run=verb.run)


def run(args: argparse.Namespace) -> int:
    """Never reached: each sub-command sets its own body."""
    raise AssertionError(args)
