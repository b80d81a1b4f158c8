"""The same application in a browser, through textual-serve (the extra ``web``); on this machine
alone unless told otherwise."""

from __future__ import annotations

import ipaddress
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
