"""The web atlas in a real browser, for tests: pages served or opened from the disk, and what the
browser said and asked for meanwhile.

Everything waits for elements, never for the clock: the page's policy forbids `eval`, so that
Playwright's `wait_for_function` cannot work in it, and a loaded machine changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE = 120_000
FEATURE = "L1/3"
"""A feature that fires in the made-up atlas of tests/web/conftest.py."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"]
# Violations of the policy, asked of the browser itself: they carry what was blocked.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + ": " + (event.blockedURI || event.sample)));
"""


def needs_browser() -> None:
    """Skip where there is no browser to drive."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra: web-test)")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium under Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


class Static(SimpleHTTPRequestHandler):
    """Files of a folder, as the standard library's server gives them."""

    def log_message(self, *_: object) -> None:
        pass


class Compressed(Static):
    """The same, compressed as static hosts do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        body = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@functools.cache
def packed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6, mtime=0)


@contextlib.contextmanager
def served(folder: Path, handler: type[Static] = Static) -> Iterator[str]:
    """``folder`` behind a server on this computer, as a stranger would put it up; the address."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def loaded(path: Path) -> ModuleType:
    """A file of Python that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Visit:
    """One visitor with an empty cache: a page, and what was wrong while it was looked at."""

    def __init__(self, chromium: Any, root: str, **options: Any) -> None:
        self.root = root
        self.context = chromium.new_context(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.bytes = 0
        self.line = self.context.new_cdp_session(self.page)
        self.line.on("Network.loadingFinished", self._came)
        self.line.send("Network.enable")
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.said.append(f"failed: {request.url}"))

    def _came(self, event: dict[str, Any]) -> None:
        self.bytes += event["encodedDataLength"]

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(f"{message.type}: {message.text}")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open(self, address: str) -> Visit:
        """A cold deep link: the document is loaded anew."""
        self.page.goto("about:blank")
        self.page.goto(self.root + "index.html" + address)
        return self.settle()

    def go(self, address: str) -> Visit:
        """The address is changed within the page, as by a link."""
        self.page.evaluate("(hash) => { location.hash = hash; }", address)
        return self.settle()

    def settle(self) -> Visit:
        """Until nothing says that it is loading."""
        self.page.locator("main").first.wait_for()
        while True:  # what has come may ask for more
            waiting = self.page.locator(".wait")
            waiting.first.wait_for(state="detached")
            self.page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"
            )
            if waiting.count() == 0:
                return self

    def text(self, selector: str = "main") -> str:
        return str(self.page.locator(selector).first.inner_text())

    def wrong(self) -> list[str]:
        """Errors in the console, blocked requests, requests to anywhere else."""
        blocked = self.page.evaluate("() => window.violations")
        elsewhere = [
            url for url in self.asked if not url.startswith((self.root, "data:", "blob:", "about:"))
        ]
        return [*self.said, *blocked, *elsewhere]
