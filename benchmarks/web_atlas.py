"""What the web atlas costs a visitor: bytes, requests and milliseconds of what people do, on a
made-up atlas of 110,010 features, in headless Chromium; the median of a few runs.

    python benchmarks/web_atlas.py ATLAS.sqlite FOLDER [--rival SITE]

ATLAS.sqlite is written by benchmarks/synthetic_web.py where it is absent, and exported to FOLDER.
SITE is the authors' atlas of Geneformer (18 layers x 4,608 features, React) as built from its
source; the same actions are measured there in the same run, and the last column is its time over
ours. Both are served by the same server in a process of its own, compressed as static hosts do, so
that no round trip and no bandwidth is in the times. Milliseconds are printed, never asserted.
"""

from __future__ import annotations

import functools
import gzip
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page

HERE = Path(__file__).resolve().parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE = 120_000
# The first time that a selector is matched and the frame with it has been painted, in milliseconds
# since navigation began.
WATCH = """
window.seen = null;
new MutationObserver((_, observer) => {
  if (!document.querySelector(SELECTOR)) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.seen = performance.now(); }, 0));
}).observe(document, { childList: true, subtree: true, attributes: true });
"""
# An action, until `done` holds and the frame with it has been painted.
ACT = """
async ({ act, done, argument }) => {
  const acts = {
    hash: (value) => { location.hash = value; },
    type: ({ selector, value }) => {
      const field = document.querySelector(selector);
      field.focus();
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, value);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    },
    click: (selector) => document.querySelector(selector).click(),
    key: (value) => (document.activeElement ?? document.body).dispatchEvent(
      new KeyboardEvent("keydown", { key: value, bubbles: true })),
  };
  const holds = () => {
    const found = document.querySelector(done.selector);
    if (document.querySelector(".wait") || !found) return false;
    const text = found.textContent;
    return done.not === undefined ? text.includes(done.text) : text !== done.not;
  };
  const start = performance.now();
  acts[act](argument);
  await new Promise((resolve) => {
    if (holds()) { resolve(); return; }
    const observer = new MutationObserver(() => {
      if (holds()) { observer.disconnect(); resolve(); }
    });
    observer.observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
  });
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  return performance.now() - start;
}
"""


class Cost(NamedTuple):
    """Of one action."""

    milliseconds: float
    kilobytes: float
    requests: int


class _Handler(SimpleHTTPRequestHandler):
    """Compresses text as static hosts do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        body = packed(str(path))
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@functools.cache
def packed(path: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6, mtime=0)


def _serve(folder: str, pipe: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=folder))
    pipe.send(server.server_port)
    server.serve_forever()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(str(folder), there), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        server.terminate()
        server.join()


class Visitor:
    """A browser with an empty cache, and what came over the line."""

    def __init__(self, browser: Browser, address: str, selector: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH.replace("SELECTOR", json.dumps(selector)))
        self.line = self.context.new_cdp_session(self.page)
        self.bytes = self.requests = 0
        self.line.on("Network.loadingFinished", self._came)
        self.line.on("Network.requestWillBeSent", self._asked)
        self.line.send("Network.enable")
        self.page.goto(address, wait_until="commit")
        self.page.locator(selector).first.wait_for()
        seen = None
        while seen is None:
            seen = self.page.evaluate("() => window.seen")
        self.cold = Cost(seen, self.bytes / 1024, self.requests)

    def _came(self, event: dict[str, Any]) -> None:
        self.bytes += event["encodedDataLength"]

    def _asked(self, event: dict[str, Any]) -> None:
        self.requests += event["request"]["url"].startswith("http")

    def act(self, act: str, argument: Any, done: dict[str, str]) -> Cost:
        """One action in the page, until ``done``: the selector's text holds a text, or is not one."""
        before = self.bytes, self.requests
        told = {"act": act, "argument": argument, "done": done}
        took = float(self.page.evaluate(ACT, told))
        return Cost(took, (self.bytes - before[0]) / 1024, self.requests - before[1])

    def heap(self) -> float:
        """Script heap in use after a collection, in MB."""
        self.line.send("HeapProfiler.collectGarbage")
        self.line.send("Performance.enable")
        metrics = self.line.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize") / 1e6

    def close(self) -> None:
        self.context.close()
