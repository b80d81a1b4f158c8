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

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
import web_pilot

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
    type: ({ selector, value, enter }) => {
      const field = document.querySelector(selector);
      field.focus();
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, value);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      if (enter) field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    },
    click: (selector) => document.querySelector(selector).click(),
    key: (value) => (document.activeElement ?? document.body).dispatchEvent(
      new KeyboardEvent("keydown", { key: value, bubbles: true })),
  };
  const holds = () => {
    const found = document.querySelector(done.selector);
    if (document.querySelector(".wait, .animate-spin") || !found) return false;
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


def _serve(folder: str, pipe: Any) -> None:
    with web_pilot.served(Path(folder), web_pilot.Compressed) as address:
        pipe.send(address)
        pipe.recv()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The tests' server in a process of its own."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(str(folder), there))
    server.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
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


FILTERS = (
    "is:context is:annotated",
    "q<1e-6 lineage:liver",
    "motif:GATA",
    "go:lipid",
    "gene:APOL1",
    "celltype:monocyte",
    "chr22:37,000,000-38,000,000",
    "label:gata density>1%",
)
SEARCHES = ("GATA", "lipid", "GENE19", "chr22:37,000,000-37,100,000", "L12/345", "kromatin")
STATUS = "main p[role=status]"


def ours(browser: Browser, root: str) -> dict[str, Cost]:
    """One visitor's afternoon in the web atlas."""
    costs: dict[str, Cost] = {}
    page = root + "index.html"
    visitor = Visitor(browser, page + "#/", "main .ledger li")
    costs["first paint of the overview"] = visitor.cold
    visitor.close()
    visitor = Visitor(browser, page + "#/feature/L12/345", "main #annotations")
    costs["a feature's page, cold"] = visitor.cold
    for name, place in (("the next feature", "L12/346"), ("a feature elsewhere", "L20/1234")):
        done = {"selector": "main h1", "text": place}
        costs[name] = visitor.act("hash", f"#/feature/{place}", done)
    visitor.close()

    visitor = Visitor(browser, page + "#/features", "main .grid td.n")
    costs["feature browser, cold: its first rows"] = visitor.cold
    visitor.page.locator("main button:enabled", has_text="CSV of").wait_for()
    first, warm = [], []
    for times in (first, warm):
        for query in FILTERS:
            before = visitor.page.locator(STATUS).inner_text()
            typed = {"selector": "#filter", "value": query, "enter": True}
            times.append(visitor.act("type", typed, {"selector": STATUS, "not": before}))
    costs["filter, first use of its data"] = worst(first)
    costs["filter, warm"] = median(warm)
    typed = {"selector": "#filter", "value": "", "enter": True}
    visitor.act("type", typed, {"selector": STATUS, "text": "110,010 of"})
    heads = 'main th[aria-colindex="{}"]'
    sorts = []
    for column in (6, 7, 8, 9):
        selector = heads.format(column)
        for _ in range(2):
            before = visitor.page.locator("main .grid tbody").inner_text()
            done = {"selector": "main .grid tbody", "not": before}
            sorts.append(visitor.act("click", selector, done))
    costs["sort 110,010 rows, warm"] = median(sorts)
    found = []
    for times in ("first", "warm"):
        for text in SEARCHES:
            typed = {"selector": "#search", "value": text}
            cost = visitor.act("type", typed, {"selector": ".hits li[role=option]", "not": ""})
            if times == "warm":
                found.append(cost)
            elif text == SEARCHES[0]:
                costs["search, first key"] = cost
    costs["search, warm"] = median(found)
    visitor.page.keyboard.press("Escape")
    visitor.act("hash", "#/map", {"selector": "main canvas", "text": ""})
    costs["script heap, MB"] = Cost(visitor.heap(), 0, 0)
    visitor.close()
    return costs


def rival(browser: Browser, root: str) -> dict[str, Cost]:
    """What the authors' atlas has of it."""
    costs: dict[str, Cost] = {}
    visitor = Visitor(browser, root + "#/", "h1")
    costs["first paint of the overview"] = visitor.cold
    visitor.close()
    visitor = Visitor(browser, root + "#/feature/5/4", "h1")
    costs["a feature's page, cold"] = visitor.cold
    for name, place in (("the next feature", (5, 5)), ("a feature elsewhere", (6, 1234))):
        layer, feature = place
        done = {"selector": "h1", "text": f"L{layer}:F{feature}"}
        costs[name] = visitor.act("hash", f"#/feature/{layer}/{feature}", done)
    visitor.close()
    visitor = Visitor(browser, root + "#/genes", "input")
    costs["search, first key"] = visitor.cold
    found = []
    for text in ("GATA", "MYC", "CDK", "RPL"):
        typed = {"selector": "input", "value": text}
        found.append(visitor.act("type", typed, {"selector": "ul li button", "text": text}))
    costs["search, warm"] = median(found)
    costs["script heap, MB"] = Cost(visitor.heap(), 0, 0)
    visitor.close()
    return costs


def median(costs: list[Cost]) -> Cost:
    """Of each number."""
    return Cost(*(statistics.median(column) for column in zip(*costs)))


def worst(costs: list[Cost]) -> Cost:
    """Of each number."""
    return Cost(*(max(column) for column in zip(*costs)))


def repeated(
    visit: Callable[[Browser, str], dict[str, Cost]], browser: Browser, root: str, times: int
) -> dict[str, Cost]:
    """The median of several visits."""
    seen = [visit(browser, root) for _ in range(times)]
    return {name: median([costs[name] for costs in seen]) for name in seen[0]}


def exported(atlas: Path, folder: Path) -> None:
    """Make what is absent, and say what it took."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not atlas.exists():
        atlas.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "synthetic_web.py"), str(atlas)]
        subprocess.run(command, check=True, env=environment)
    if not (folder / "manifest.json").exists():
        code = (
            "import sys; from pathlib import Path; from petriscope.web.export import export_atlas; "
        )
        code += "export_atlas(Path(sys.argv[1]), Path(sys.argv[2]))"
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-c", code, atlas, folder], check=True, env=environment)
        took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"export: {took:.0f} s, {work:.0f} s of processor time, {os.cpu_count()} cores")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    total = (
        f"{len(sizes):,} files, {sum(sizes) / 1e6:.0f} MB, the largest {max(sizes) / 1024:.0f} KB"
    )
    print(f"folder: {total}; the atlas {atlas.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path, metavar="ATLAS.sqlite")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rival", type=Path, metavar="SITE", help="a folder with index.html")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    exported(args.atlas, args.folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=web_pilot.CHROMIUM, args=web_pilot.FLAGS
        )
        with served(args.folder) as root:
            mine = repeated(ours, browser, root, args.times)
        theirs = {}
        if args.rival:
            with served(args.rival.parent) as root:
                theirs = repeated(rival, browser, f"{root}{args.rival.name}/", args.times)
        print(f"Chromium {browser.version}, load {os.getloadavg()[0]:.1f}, median of {args.times}")
        browser.close()
    print(f"{'':40}{'ms':>8}{'KB':>9}{'requests':>10}{'theirs: ms':>14}{'KB':>9}{'ratio':>8}")
    for name, cost in mine.items():
        line = f"{name:40}{cost.milliseconds:>8.0f}{cost.kilobytes:>9.0f}{cost.requests:>10.0f}"
        if name in theirs:
            other = theirs[name]
            ratio = other.milliseconds / cost.milliseconds
            line += f"{other.milliseconds:>14.0f}{other.kilobytes:>9.0f}{ratio:>8.1f}"
        print(line)


if __name__ == "__main__":
    main()
