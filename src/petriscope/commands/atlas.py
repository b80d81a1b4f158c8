"""`petriscope atlas VERB`: what can be done with an atlas beside looking at it in the terminal.

`export` writes an atlas as a folder that any browser opens, `open` shows it, `verify` tells whether
such a folder is whole. `import DIR` makes an atlas of the features that a paper's authors released;
its claims are the rows of the audit. The files in DIR tell which study's paper it is.
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
from petriscope.web.export import WEB, export_atlas
from petriscope.web.serve import HOST, exported, is_web, serve
from petriscope.web.verify import verify_web


def is_atlas(path: Path) -> bool:
    """Whether the file says that it is an atlas (the application id of SQLite's header)."""
    with path.open("rb") as handle:
        return handle.read(72)[68:] == APPLICATION_ID.to_bytes(4, "big")


WORKSPACE = "folder of a finished run (default: this folder)"
ATLAS = Output("an atlas", known=is_atlas)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per verb."""
    verbs = parser.add_subparsers(dest="kind", metavar="VERB", required=True)
    line = "write the atlas as a folder that any browser opens, from a disk or a web host"
    child = verbs.add_parser("export", help=line, description=line[0].upper() + line[1:] + ".")
    child.add_argument("workspace", nargs="?", default=".", metavar="WORKSPACE", help=WORKSPACE)
    child.add_argument(
        "--out", metavar="DIR", help="folder to write (default: results/web in the workspace)"
    )
    child.set_defaults(run=export)
    line = "show the atlas in a browser, served to this computer alone"
    child = verbs.add_parser("open", help=line, description=line[0].upper() + line[1:] + ".")
    child.add_argument(
        "folder",
        nargs="?",
        default=".",
        metavar="DIR",
        help="a folder that `petriscope atlas export` wrote, or a workspace, whose atlas is "
        "exported first where it has changed (default: this folder)",
    )
    child.add_argument("--port", type=int, default=0, help="port to serve on (default: a free one)")
    child.add_argument(
        "--host",
        metavar="ADDRESS",
        default=HOST,
        help="address to listen on (default: this computer alone; 0.0.0.0: whoever reaches the "
        "port, as a container needs)",
    )
    child.add_argument("--no-browser", action="store_true", help="print the address alone")
    child.set_defaults(run=open_web)
    line = "tell whether an exported folder is whole: every file, byte for byte"
    child = verbs.add_parser("verify", help=line, description=line[0].upper() + line[1:] + ".")
    child.add_argument(
        "folder", metavar="DIR", help="a folder that `petriscope atlas export` wrote"
    )
    child.set_defaults(run=verify)
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


def export(args: argparse.Namespace) -> int:
    """Write OUT, or WORKSPACE/results/web."""
    workspace = Workspace(Path(args.workspace))
    inputs = [workspace.atlas]
    out = claim(args.out or workspace.web, WEB, inputs=inputs, field="--out")
    found = export_atlas(workspace.atlas, out)
    size = sum(one.size for one in found) / 1e6
    shown = args.out or workspace.web
    print(f"{len(found):,} files, {size:,.1f} MB: open {shown}/index.html in a browser")
    return 0


def open_web(args: argparse.Namespace) -> int:
    """Serve a folder until interrupted; a workspace's atlas is exported first."""
    given = Path(args.folder)
    folder = given if is_web(given) else exported(Workspace(given))
    serve(folder, port=args.port, host=args.host, browser=not args.no_browser)
    return 0


def verify(args: argparse.Namespace) -> int:
    """Print each file that is not as it was written; status 1 where there is one."""
    checked, problems = verify_web(Path(args.folder))
    for problem in problems:
        print(problem)
    if problems:
        print(f"Problems: {len(problems):,}, in {checked:,} files.")
        return 1
    print(f"{checked:,} files are as they were written.")
    return 0


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
