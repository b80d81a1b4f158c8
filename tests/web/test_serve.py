"""Reference: what the standard library's HTTP client receives."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_reader import features

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.schema import Thresholds
from petriscope.errors import UserError
from petriscope.run.workspace import Workspace
from petriscope.web import export, serve
from petriscope.web.export import export_atlas

PAGE = {
    "index.html": b"<!doctype html><title>atlas</title>",
    "app.js": b"'use strict'",
    "app.css": b"",
    "LICENSES.txt": "ISC ©".encode(),
}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in place of the built one, which a checkout may lack."""
    monkeypatch.setattr(export, "read_assets", lambda: PAGE)


@pytest.fixture
def folder(tmp_path: Path, page: None) -> Path:
    build_atlas(tmp_path / "a.sqlite", AtlasTables(features(), Thresholds(0.05, 0.7)))
    export_atlas(tmp_path / "a.sqlite", tmp_path / "web")
    return tmp_path / "web"


@pytest.fixture
def served(folder: Path) -> Iterator[http.client.HTTPConnection]:
    with serve.server(folder) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        connection = http.client.HTTPConnection(*serving.server_address[:2])
        yield connection
        connection.close()
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/data/home.js", "text/javascript; charset=utf-8"),
        ("/LICENSES.txt", "text/plain; charset=utf-8"),
        ("/manifest.json", "application/json"),
    ],
)
def test_files_have_their_types(
    served: http.client.HTTPConnection, folder: Path, path: str, kind: str
) -> None:
    served.request("GET", path)
    answer = served.getresponse()
    name = path.strip("/") or "index.html"
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.read() == (folder / name).read_bytes()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/data/", "/absent.js", "/../a.sqlite", "/%2e%2e/a.sqlite"])
def test_nothing_else_is_served(served: http.client.HTTPConnection, path: str) -> None:
    served.request("GET", path)
    assert served.getresponse().status == 404


def test_this_computer_alone_and_a_taken_port(folder: Path) -> None:
    with serve.server(folder) as serving:
        host, port = serving.server_address[:2]
        assert host == "127.0.0.1"
        with pytest.raises(UserError, match=f"port {port}"):
            serve.server(folder, int(port))
    with pytest.raises(UserError, match="--port"):
        serve.server(folder, 70_000)


def workspace(root: Path, label: str = "x") -> Workspace:
    found = Workspace(root)
    tables = AtlasTables(features(label=label), Thresholds(0.05, 0.7))
    found.results.mkdir(parents=True, exist_ok=True)
    build_atlas(found.atlas, tables)
    return found


def test_a_workspace_is_exported_when_it_has_changed(
    tmp_path: Path, page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = workspace(tmp_path / "run")
    folder = serve.exported(run)
    assert folder.is_relative_to(tmp_path / "cache")
    made = (folder / "manifest.json").stat().st_mtime_ns
    assert serve.exported(run) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == made
    first = (folder / "data" / "dict" / "label.js").read_bytes()
    workspace(tmp_path / "run", "another")
    assert serve.exported(run) == folder
    assert (folder / "data" / "dict" / "label.js").read_bytes() != first


def test_its_own_export_is_taken_first(tmp_path: Path, page: None) -> None:
    run = workspace(tmp_path / "run")
    export_atlas(run.atlas, run.web)
    assert serve.exported(run) == run.web


def test_what_cannot_be_shown_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="neither a web atlas nor a finished run"):
        serve.exported(Workspace(tmp_path / "empty"))
    export_atlas(tmp_path / "a.sqlite", tmp_path / "bare", assets=False)
    with pytest.raises(UserError, match="without a page"):
        serve.serve(tmp_path / "bare", browser=False)


def test_an_interrupt_ends_it_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "petriscope", "atlas", "open", str(folder), "--no-browser"]
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        # whoever runs the tests in the background has the signal ignored, and a child inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    assert run.stdout is not None and run.stderr is not None
    line = run.stdout.readline()
    address = re.match(r"http://127\.0\.0\.1:(\d+)/", line)
    assert address, line + run.stderr.read()
    connection = http.client.HTTPConnection("127.0.0.1", int(address[1]))
    connection.request("GET", "/")
    assert connection.getresponse().read() == PAGE["index.html"]
    connection.close()
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
