"""What the web atlas costs a visitor: bytes, requests and milliseconds of what people do, on a
made-up atlas of 110,010 features, in headless Chromium; the median of a few visits.

    python benchmarks/web_atlas.py ATLAS.sqlite FOLDER [--busy] [--rival SITE] [--times 3]

ATLAS.sqlite is written by benchmarks/synthetic_web.py where it is absent, and exported to FOLDER
where FOLDER is none: an exported folder is used again. With --busy the visits are made a second
time beside a process that keeps one core busy. An action that has not ended within --patience
seconds is named in the table and left out.

SITE is the authors' atlas of Geneformer (18 layers x 4,608 features, React) as built from its
source (github.com/Biodyn-AI/geneformer-atlas: `npm ci && npx vite build`, its dist/ renamed to
geneformer-atlas); the same actions are measured there in the same run, and the last column is its
time over ours. Both are served by the same server in a process of its own, compressed as static
hosts do, so that no round trip and no bandwidth is in the times. Milliseconds are printed, never
asserted.
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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
import web_pilot

PATIENCE = 30.0
"""Seconds until an action is given up, unless told otherwise."""
BUDGET = {
    "first paint of the overview": 1000,
    "a feature's page, cold": 500,
    "filter, warm": 150,
    "sort, warm": 150,
    "search, warm": 150,
}
"""Milliseconds that the design allows on an idle machine; 250 for the last three beside a busy
core."""
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
async ({ act, done, argument, patience }) => {
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
    return found.textContent.includes(done.text ?? "");
  };
  const start = performance.now();
  acts[act](argument);
  const ended = await new Promise((resolve) => {
    if (holds()) { resolve(true); return; }
    const observer = new MutationObserver(() => {
      if (holds()) { observer.disconnect(); resolve(true); }
    });
    observer.observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
    setTimeout(() => { observer.disconnect(); resolve(false); }, patience);
  });
  if (!ended) return null;
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  return performance.now() - start;
}
"""


class Late(Exception):
    """An action did not end in time."""


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

    def __init__(
        self, browser: Browser, root: str, address: str, selector: str, patience: float
    ) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.patience = 1000 * patience
        self.context.set_default_timeout(self.patience)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH.replace("SELECTOR", json.dumps(selector)))
        self.line = self.context.new_cdp_session(self.page)
        self.bytes = self.requests = 0
        self.line.on("Network.loadingFinished", self._came)
        self.line.on("Network.requestWillBeSent", self._asked)
        self.line.send("Network.enable")
        seen = None
        try:
            self.page.goto(root + address, wait_until="commit")
            self.page.locator(selector).first.wait_for()
            end = time.monotonic() + patience
            while seen is None and time.monotonic() < end:
                seen = self.page.evaluate("() => window.seen")
            if seen is None:
                raise Late(f"{selector} was not painted within {patience:g} s")
        except BaseException:
            self.close()
            raise
        self.cold = Cost(seen, self.bytes / 1024, self.requests)

    def _came(self, event: dict[str, Any]) -> None:
        self.bytes += event["encodedDataLength"]

    def _asked(self, event: dict[str, Any]) -> None:
        self.requests += event["request"]["url"].startswith("http")

    def act(self, act: str, argument: Any, done: dict[str, str]) -> Cost:
        """One action in the page, until ``done``: something matches the selector and has the text."""
        before = self.bytes, self.requests
        told = {"act": act, "argument": argument, "done": done, "patience": self.patience}
        took = self.page.evaluate(ACT, told)
        if took is None:
            raise Late(
                f"{act} {argument!r}: no {done['selector']} within {self.patience / 1000:g} s"
            )
        return Cost(float(took), (self.bytes - before[0]) / 1024, self.requests - before[1])

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
PLACES = (("the next feature", "L12/346"), ("a feature elsewhere", "L20/1234"))
SORTS = ("density", "cds", "q", "effect")
Add = Callable[[str, Cost], None]
Visit = tuple[str, str, Callable[[Visitor, Add], None]]
"""Address, what is there once the page is painted, and what is done then."""


def shows(words: str) -> dict[str, str]:
    """The feature browser shows the rows of a filter and a sorting: ``FILTER rows/SORT``."""
    return {"selector": f"main .total[data-shows={json.dumps(words)}]"}


def _overview(one: Visitor, add: Add) -> None:
    add("first paint of the overview", one.cold)


def _feature(one: Visitor, add: Add) -> None:
    add("a feature's page, cold", one.cold)
    for name, place in PLACES:
        done = {"selector": "main h1", "text": place}
        add(name, one.act("hash", f"#/feature/{place}", done))


def _browser(one: Visitor, add: Add) -> None:
    add("feature browser, cold: its first rows", one.cold)
    one.page.locator("main button:enabled", has_text="CSV of").wait_for()
    for name in ("filter, first use of its data", "filter, warm"):
        for query in FILTERS:
            typed = {"selector": "#filter", "value": query, "enter": True}
            add(name, one.act("type", typed, shows(f"{query} rows/layer")))
    typed = {"selector": "#filter", "value": "", "enter": True}
    one.act("type", typed, shows(" rows/layer"))
    for name in ("sort, first use of its column", "sort, warm"):
        for column in SORTS:
            for down in ("", "-down"):
                head = f"main th[data-column={column}]"
                add(name, one.act("click", head, shows(f" rows/{column}{down}")))
    for name in ("search, first use of its names", "search, warm"):
        for text in SEARCHES:
            typed = {"selector": "#search", "value": text}
            done = {"selector": f".hits[data-shows={json.dumps(text)}]"}
            add(name, one.act("type", typed, done))
    one.page.keyboard.press("Escape")
    add("map of all features", one.act("hash", "#/map", {"selector": "main figure image"}))
    add("script heap, MB", Cost(one.heap(), 0, 0))


OURS: tuple[Visit, ...] = (
    ("index.html#/", "main .ledger li", _overview),
    ("index.html#/feature/L12/345", "main #annotations", _feature),
    ("index.html#/features", "main [role=grid] td.n", _browser),
)
"""One visitor's afternoon in the web atlas, with an empty cache for each."""


def _their_feature(one: Visitor, add: Add) -> None:
    add("a feature's page, cold", one.cold)
    for (name, _), (layer, feature) in zip(PLACES, ((5, 5), (6, 1234))):
        done = {"selector": "h1", "text": f"L{layer}:F{feature}"}
        add(name, one.act("hash", f"#/feature/{layer}/{feature}", done))


def _their_search(one: Visitor, add: Add) -> None:
    add("search, first use of its names", one.cold)
    for text in ("GATA", "MYC", "CDK", "RPL"):
        typed = {"selector": "input", "value": text}
        add("search, warm", one.act("type", typed, {"selector": "ul li button", "text": text}))
    add("script heap, MB", Cost(one.heap(), 0, 0))


THEIRS: tuple[Visit, ...] = (
    ("#/", "h1", _overview),
    ("#/feature/5/4", "h1", _their_feature),
    ("#/genes", "input", _their_search),
)
"""What the authors' atlas has of it."""


class Measured(NamedTuple):
    """Of some rounds of visits."""

    costs: dict[str, Cost]
    """the median of each action over rounds and repetitions"""
    late: list[str]
    """what did not end in time"""


def measured(
    visits: tuple[Visit, ...], browser: Browser, root: str, times: int, patience: float
) -> Measured:
    """Medians over ``times`` rounds of visits."""
    found: dict[str, list[Cost]] = {}
    late: list[str] = []

    def add(name: str, cost: Cost) -> None:
        found.setdefault(name, []).append(cost)

    for number in range(times):
        for address, selector, acts in visits:
            print(f"round {number + 1} of {times}: {address}", file=sys.stderr)
            try:
                with closing(Visitor(browser, root, address, selector, patience)) as one:
                    acts(one, add)
            except (Late, PlaywrightTimeout) as error:
                late.append(f"{address}: {str(error).splitlines()[0]}")
                print(late[-1], file=sys.stderr)
    return Measured({name: median(costs) for name, costs in found.items()}, late)


def median(costs: list[Cost]) -> Cost:
    """Of each number."""
    return Cost(*(statistics.median(column) for column in zip(*costs)))


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


def _spin() -> None:
    while True:
        pass


@contextmanager
def beside_a_busy_core() -> Iterator[None]:
    """A process that does nothing as fast as it can."""
    busy = multiprocessing.Process(target=_spin, daemon=True)
    busy.start()
    try:
        yield
    finally:
        busy.terminate()
        busy.join()


def report(what: str, mine: Measured, theirs: Measured | None, budget: dict[str, int]) -> None:
    """Print a table; what came too late stands below it."""
    print(f"\n{what}, load {os.getloadavg()[0]:.1f}")
    heads = f"{'':40}{'ms':>8}{'allowed':>9}{'KB':>9}{'requests':>10}"
    print(heads + (f"{'theirs: ms':>14}{'KB':>9}{'requests':>10}{'ratio':>8}" if theirs else ""))
    for name, cost in mine.costs.items():
        allowed = f"{budget[name]:,}" if name in budget else ""
        line = f"{name:40}{cost.milliseconds:>8.0f}{allowed:>9}{cost.kilobytes:>9.0f}"
        line += f"{cost.requests:>10.0f}"
        other = theirs.costs.get(name) if theirs else None
        if other:
            ratio = other.milliseconds / cost.milliseconds
            line += f"{other.milliseconds:>14.0f}{other.kilobytes:>9.0f}{other.requests:>10.0f}"
            line += f"{ratio:>8.1f}"
        print(line)
    for sentence in [*mine.late, *(theirs.late if theirs else [])]:
        print(f"too late: {sentence}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path, metavar="ATLAS.sqlite")
    parser.add_argument("folder", type=Path, help="an exported atlas, or where to export to")
    parser.add_argument("--rival", type=Path, metavar="SITE", help="a folder with index.html")
    parser.add_argument("--busy", action="store_true", help="again beside one busy core")
    parser.add_argument("--times", type=int, default=3, help="rounds of visits")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for an action")
    args = parser.parse_args()
    exported(args.atlas, args.folder)
    warm = dict.fromkeys(("filter, warm", "sort, warm", "search, warm"), 250)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=web_pilot.CHROMIUM, args=web_pilot.FLAGS
        )
        several = f"Chromium {browser.version}, median of {args.times} rounds"
        with served(args.folder) as root:
            mine = measured(OURS, browser, root, args.times, args.patience)
            theirs = None
            if args.rival:
                with served(args.rival.parent) as other:
                    site = f"{other}{args.rival.name}/"
                    theirs = measured(THEIRS, browser, site, args.times, args.patience)
            report(several, mine, theirs, BUDGET)
            if args.busy:
                with beside_a_busy_core():
                    beside = measured(OURS, browser, root, args.times, args.patience)
                report(f"{several}, beside one busy core", beside, None, warm)
        browser.close()


if __name__ == "__main__":
    main()
