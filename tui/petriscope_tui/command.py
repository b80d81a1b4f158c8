"""The verb ``petriscope tui`` starts the terminal UI, or serves it to a browser through
textual-serve (the extra ``web``), on this machine alone unless told otherwise."""

from __future__ import annotations

import argparse
import ipaddress
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from petriscope.atlas.schema import parse_feature
from petriscope.errors import UserError

TEMPLATES = Path(__file__).with_name("templates")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(bound: str, host: str, origin: str | None, public_url: str | None = None) -> str | None:
    """Why a request is refused, if it is: a page of another site must not reach the terminal
    through the visitor's browser.

    ``bound`` is the address served on, ``host`` and ``origin`` the request's headers. A browser
    names the page that opens a connection in ``origin``; a name that was made to point at this
    machine shows in ``host``. What the user declared as ``public_url`` is allowed.
    """
    declared = urlsplit(public_url).netloc if public_url else None
    if origin is not None and urlsplit(origin).netloc not in (host, declared):
        return f"this page may not be used from {origin}"
    if (
        host != declared
        and is_loopback(bound)
        and not is_loopback(urlsplit(f"//{host}").hostname or "")
    ):
        return f"served for this machine alone, not as {host}"
    return None


def app_command(workspace: Path, feature: str | None) -> str:
    """The shell command that the server runs for every visitor."""
    words = [sys.executable, "-m", "petriscope_tui", os.fspath(Path(workspace).absolute())]
    return shlex.join([*words, *(["--feature", feature] if feature else [])])


def serve(
    workspace: Path,
    host: str = "127.0.0.1",
    port: int = 8765,
    feature: str | None = None,
    public_url: str | None = None,
) -> int:
    """Serve until interrupted. The page's own addresses are relative; ``public_url`` is where the
    browser finds it (default: host and port), printed and let in where a proxy gives it another
    name.

    Raises UserError where textual-serve is missing or the port is taken.
    """
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise UserError(
            "the browser version needs textual-serve", remedy="Run: pip install 'petriscope[web]'"
        ) from None

    @web.middleware
    async def guard(request: Any, handler: Any) -> Any:
        reason = refusal(host, request.host, request.headers.get("Origin"), public_url)
        if reason:
            raise web.HTTPForbidden(text=f"Petriscope: {reason}\n")
        return await handler(request)

    class Guarded(Server):
        async def _make_app(self) -> Any:
            app = await super()._make_app()
            app.middlewares.append(guard)
            return app

    if not is_loopback(host):
        warning = (
            f"WARNING: {host} can be reached from other machines. Whoever opens the page can read "
            f"this workspace and run "
            "its pipeline, that is, commands in your name. There is no password."
        )
        print(warning, file=sys.stderr)
    print(f"Petriscope on {public_url or f'http://{host}:{port}/'} (Ctrl+C ends it)", flush=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    try:
        command = app_command(workspace, feature)
        Guarded(command, host, port, "Petriscope", public_url, templates_path=TEMPLATES).serve()
    except OSError as error:
        raise UserError(
            f"cannot serve on {host}:{port} ({error.strerror})", remedy="Choose another --port"
        ) from None
    return 0


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
