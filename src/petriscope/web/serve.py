"""A web atlas is shown by a server of its own that answers this computer alone unless told
otherwise."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.files import read_json, sha256
from petriscope.run.workspace import Workspace
from petriscope.web.export import MANIFEST, WEB, export_atlas, program

HOST, EVERYWHERE = "127.0.0.1", "0.0.0.0"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder, quietly: the types do not depend on the computer's own table, and no
    folder is listed."""

    extensions_map = {**TYPES, "": "application/octet-stream"}  # noqa: RUF012  # as the base has it

    def end_headers(self) -> None:
        """A folder that is written anew shows at the next look."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """A folder without an index is not found."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal stays quiet."""


def is_web(folder: Path) -> bool:
    """Whether a folder is an exported atlas."""
    path = folder / MANIFEST
    return path.is_file() and WEB.known(path)


def server(folder: Path, port: int = 0, host: str = HOST) -> ThreadingHTTPServer:
    """The server of a folder, on a free port unless one is given. Raises `UserError`."""
    if not 0 <= port < 65_536:
        raise UserError(
            f"is {port}", field="--port", remedy="Give 1 to 65535, or 0 for a free one."
        )
    try:
        return ThreadingHTTPServer((host, port), partial(Handler, directory=os.fspath(folder)))
    except OSError as error:
        what = f"cannot be served on: {error.strerror}"
        remedy = "Leave --port out: a free one is taken."
        field = f"port {port}" if host == HOST else f"{host}, port {port}"
        raise UserError(what, field=field, remedy=remedy) from None


def serve(folder: Path, *, port: int = 0, host: str = HOST, browser: bool = True) -> None:
    """Serve a folder until interrupted (Ctrl-C). ``host``: the address to listen on; 0.0.0.0
    answers other computers too."""
    if not (folder / "index.html").is_file():
        raise UserError(
            "holds data without a page", file=folder, remedy="Run `petriscope atlas export`."
        )
    with server(folder, port, host) as serving:
        name = "localhost" if host == EVERYWHERE else host
        address = f"http://{name}:{serving.server_address[1]}/"
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if browser and not _opened(address):
            print("No browser was found: open the address yourself.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


def _opened(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def exported(workspace: Workspace) -> Path:
    """The web atlas of a workspace: what it exported itself if that is of its present atlas, or
    else one in the user's cache, written now where the atlas or the program has changed."""
    if not workspace.atlas.is_file():
        raise UserError(
            "is neither a web atlas nor a finished run",
            file=workspace.root,
            remedy="Run the pipeline as far as the stage atlas, or name a folder that `petriscope "
            "atlas export` wrote.",
        )
    digest = sha256(workspace.atlas)
    if _is_of(workspace.web, digest):
        return workspace.web
    name = hashlib.sha256(os.fsencode(workspace.atlas.resolve())).hexdigest()[:16]
    folder = cache() / name
    if not _is_of(folder, digest):
        print(f"exporting the atlas to {folder}", file=sys.stderr)
        export_atlas(workspace.atlas, folder)
    return folder


def cache() -> Path:
    """Where exports that nobody asked for by name lie."""
    home = os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache"
    return base / "petriscope" / "web"


def _is_of(folder: Path, digest: str) -> bool:
    """Whether a folder was exported from the atlas with this sha256, by this program."""
    if not is_web(folder):
        return False
    told = read_json(folder / MANIFEST)
    return told.get("atlas") == digest and told.get("program") == program()
