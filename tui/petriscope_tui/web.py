"""The same application in a browser, through textual-serve (the extra ``web``); on this machine alone unless told otherwise."""

from __future__ import annotations

import ipaddress
import os
import shlex
import sys
from pathlib import Path

from petriscope.errors import UserError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    """Serve until interrupted; the page calls back at ``public_url`` (default: host and port).

    Raises UserError where textual-serve is missing or the port is taken.
    """
    try:
        from textual_serve.server import Server
    except ImportError:
        raise UserError(
            "the browser version needs textual-serve", remedy="Run: pip install 'petriscope[web]'"
        ) from None
    if not is_loopback(host):
        warning = (
            f"WARNING: {host} can be reached from other machines. Whoever opens the page can read this workspace and run "
            "its pipeline, that is, commands in your name. There is no password."
        )
        print(warning, file=sys.stderr)
    print(f"Petriscope on {public_url or f'http://{host}:{port}/'} (Ctrl+C ends it)", flush=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    try:
        command = app_command(workspace, feature)
        Server(command, host=host, port=port, title="Petriscope", public_url=public_url).serve()
    except OSError as error:
        raise UserError(f"cannot serve on {host}:{port} ({error.strerror})", remedy="Choose another --port") from None
    return 0
