"""`petriscope atlas VERB`: what can be done with an atlas beside looking at one's own.

`import DIR` makes an atlas of the features that a paper's authors released; its claims are the rows
of the audit. The files in DIR tell which study's paper it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.atlas.build import build_atlas
from petriscope.atlas.layout import with_layout
from petriscope.atlas.schema import APPLICATION_ID
from petriscope.commands.audit import audits, which
from petriscope.errors import UserError
from petriscope.files import Output, claim
from petriscope.run.workspace import Workspace


def is_atlas(path: Path) -> bool:
    """Whether the file says that it is an atlas (the application id of SQLite's header)."""
    with path.open("rb") as handle:
        return handle.read(72)[68:] == APPLICATION_ID.to_bytes(4, "big")


ATLAS = Output("an atlas", known=is_atlas)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per verb."""
    verbs = parser.add_subparsers(dest="kind", metavar="VERB", required=True)
    line = "make an atlas of the features that a paper's authors released"
    child = verbs.add_parser("import", help=line, description=line[0].upper() + line[1:] + ".")
    child.add_argument("folder", metavar="DIR", help="folder with the authors' released tables")
    child.add_argument(
        "--out",
        metavar="DIR",
        default="released",
        help="folder to write: `petriscope tui DIR` opens it (default: released)",
    )
    child.add_argument("--genesets", metavar="FILE", help="GMT file for the audit, as there")
    child.set_defaults(run=import_released)


def run(args: argparse.Namespace) -> int:
    """Never reached: each sub-command sets its own body."""
    raise AssertionError(args)


def import_released(args: argparse.Namespace) -> int:
    """Write OUT/results/atlas.sqlite."""
    folder = Path(args.folder)
    genesets = None if args.genesets is None else Path(args.genesets)
    offered = audits()
    study = which(folder, offered)
    audit = offered[study]
    if audit.atlas is None:
        what = f"holds tables of study {study}, whose authors released no features"
        raise UserError(what, file=folder, remedy="`petriscope audit` reads them.")
    out = claim(Workspace(Path(args.out)).atlas, ATLAS, inputs=[folder], field="--out")
    tables = with_layout(audit.atlas(folder, genesets))
    build_atlas(out, tables)
    print(f"{len(tables.features):,} features: petriscope tui {args.out}")
    return 0
