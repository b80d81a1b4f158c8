"""The verb ``petriscope tui``: its arguments and what they start."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from petriscope.atlas.schema import parse_feature
from petriscope.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "workspace",
        nargs="?",
        type=Path,
        default=Path(),
        help="folder with dvc.yaml and results (here)",
    )
    parser.add_argument("--study", metavar="NAME", help="that study's workspace, from this one")
    parser.add_argument("--feature", metavar="L6/1234", help="open this feature's page")
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    parser.add_argument(
        "--web",
        action="store_true",
        help="serve to a browser on this machine (extra: petriscope[web])",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on (127.0.0.1; others can run commands!)",
    )
    parser.add_argument("--port", type=int, default=8765, help="port to serve on (8765)")
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="address the browser uses, where it is another (a forwarded port)",
    )


def check_feature(name: str | None) -> None:
    """Raises UserError where ``name`` is given and no feature's name."""
    if name is not None and parse_feature(name) is None:
        raise UserError(f"{name!r} is no feature", remedy="Write for example L6/1234")


def run(args: argparse.Namespace) -> int:
    """Start the terminal UI, or serve it; returns the exit status. Raises UserError."""
    check_feature(args.feature)
    folder = args.workspace
    if args.study is not None:
        from petriscope.run.workspace import find_workspace

        folder = find_workspace(folder, args.study).root
    if args.ascii:
        os.environ["PETRISCOPE_ASCII"] = "1"
    if args.web:
        from petriscope_tui.web import serve

        return serve(folder, args.host, args.port, args.feature, args.public_url)
    served = "TEXTUAL_DRIVER" in os.environ  # by --web, over pipes
    if not served and not (sys.stdin.isatty() and sys.stdout.isatty()):
        remedy = (
            "Run it in one, with `docker run -it` or `ssh -t` where it is remote, or serve it "
            "with --web."
        )
        raise UserError("the terminal UI needs a terminal", remedy=remedy)
    from petriscope_tui.app import run as run_app

    return run_app(folder, args.feature)
