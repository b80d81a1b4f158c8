"""The terminal UI on an atlas of 110,000 features: first paint, scroll, sort, filter, search,
feature page, memory.

Rival in the same run, taking turns (--rival): Textual's own DataTable with every row of the nine
columns loaded. Times run from the key press (or the start of the process) to the drawn screen;
medians and 95th percentiles stand beside the budget.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
BUDGETS = {"scroll": 100, "sort": 100, "filter": 150, "search": 150, "feature page": 200}
FILTERS = (
    "layer>=4 cds_q<.01 lineage:liver motif:HNF4A",
    "q<.05 is:stable",
    "go:lipid",
    "GATA1",
    "gene:APOL1",
    "is:context",
)
SEARCHES = ("hnf4a", "lipid metab", "chr22:37,500,000-37,600,000", "gatta1", "L6/123", "TssA")
SORTS = ("cds", "q", "density", "label", "stability", "effect")
COLUMNS = (
    "label",
    "density",
    "cds",
    "q",
    "effect",
    "lineage",
    "direction",
    "stability",
    "causal_percentile",
)

FIRST_PAINT = """
import sys, time, os
from pathlib import Path
from typing import NamedTuple
from petriscope_tui.app import PetriscopeApp
class Timed(PetriscopeApp):
    def on_mount(self):
        self.call_after_refresh(self.call_after_refresh, self.painted)
    def painted(self):
        self.exit()
        with open(sys.argv[2], "w") as handle:
            rss = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
            handle.write(f"{time.time()} {rss} {time.process_time()}")
app = Timed(Path(sys.argv[1])); app.run()
"""

RIVAL_PAINT = """
import sys, time
from textual.app import App
from textual.widgets import DataTable
sys.path.insert(0, sys.argv[3])
from petriscope.atlas.query import Atlas
class Rival(App):
    def compose(self):
        yield DataTable()
    def on_mount(self):
        atlas = Atlas(sys.argv[1] + "/results/atlas.sqlite")
        names = sys.argv[4].split(",")
        table = self.query_one(DataTable)
        table.add_columns(*names)
        rows = [tuple("" if v is None else str(v) for v in r) for r in atlas.stream(atlas.order(), names)]
        table.add_rows(rows)
        self.call_after_refresh(self.call_after_refresh, self.painted)
    def painted(self):
        self.exit()
        with open(sys.argv[2], "w") as handle:
            rss = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
            handle.write(f"{time.time()} {rss} {time.process_time()}")
Rival().run()
"""


class Paint(NamedTuple):
    """Seconds from process start to the first painted screen, by the clock and of processor time,
    and peak MB."""

    wall: float
    processor: float
    megabytes: float


def in_terminal(code: str, workspace: Path) -> Paint:
    """Run ``code`` in a pseudo-terminal."""
    import pty

    source = HERE.parent
    with tempfile.NamedTemporaryFile() as stamp:
        leader, follower = pty.openpty()
        os.set_blocking(leader, False)
        paths = os.pathsep.join([str(source / "src"), str(source / "tui")])
        environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            "LINES": "40",
        }
        started = time.time()
        command = [
            sys.executable,
            "-c",
            code,
            str(workspace),
            stamp.name,
            str(source / "src"),
            ",".join(COLUMNS),
        ]
        process = subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, env=environment
        )
        os.close(follower)
        while process.poll() is None:
            try:
                os.read(leader, 65536)
            except (BlockingIOError, OSError):
                time.sleep(0.005)
        os.close(leader)
        ended, kilobytes, busy = Path(stamp.name).read_text(encoding="utf-8").split()
    return Paint(float(ended) - started, float(busy), int(kilobytes) / 1024)


class Took(NamedTuple):
    """Milliseconds by the wall clock and of processor time (the latter does not depend on a busy
    machine)."""

    wall: float
    processor: float


async def timed(pilot, action: Callable[[], Awaitable[object] | object]) -> Took:  # type: ignore[no-untyped-def]
    """Time from ``action`` until every message it caused is handled and the screen is drawn."""
    from tui_pilot import settle

    await settle(pilot)
    start, busy = time.perf_counter(), time.process_time()
    result = action()
    if asyncio.iscoroutine(result):
        await result
    await settle(pilot, calm_rounds=1)
    pilot.app.screen._compositor.render_strips()
    return Took(1000 * (time.perf_counter() - start), 1000 * (time.process_time() - busy))


async def ours(workspace: Path, rounds: int) -> dict[str, list[Took]]:
    """The actions in our UI."""
    from textual.widgets import Input

    from petriscope_tui.app import PetriscopeApp

    times: dict[str, list[Took]] = {name: [] for name in BUDGETS}
    app = PetriscopeApp(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await pilot.pause()
        page = app.screen
        for number in range(rounds):
            for key in ("pagedown", "end", "pageup", "home", "down"):
                times["scroll"].append(await timed(pilot, lambda key=key: app.simulate_key(key)))
            page.set_filter("")
            sort = SORTS[number % len(SORTS)]
            times["sort"].append(await timed(pilot, lambda sort=sort: page.sort_by(sort)))
            query = FILTERS[number % len(FILTERS)]
            times["filter"].append(await timed(pilot, lambda query=query: page.set_filter(query)))
            identifier = page.order[number % len(page.order)]
            times["feature page"].append(
                await timed(pilot, lambda identifier=identifier: app.open_feature(identifier))
            )
            app.action_visit("search")
            await pilot.pause()
            line = app.screen.query_one("#needle", Input)
            text = SEARCHES[number % len(SEARCHES)]
            times["search"].append(
                await timed(pilot, lambda text=text, line=line: setattr(line, "value", text))
            )
            app.action_visit("features")
            await pilot.pause()
    return times


async def rival(workspace: Path, rounds: int) -> dict[str, list[Took]]:
    """The same in a DataTable: a filter clears and refills it, a sort sorts its rows."""
    from textual.app import App, ComposeResult
    from textual.widgets import DataTable

    from petriscope.atlas.query import Atlas

    atlas = Atlas(workspace / "results" / "atlas.sqlite")
    names = list(COLUMNS)

    class Rival(App[None]):
        def compose(self) -> ComposeResult:
            yield DataTable()

    def rows(query: str) -> list[tuple[str, ...]]:
        return [
            tuple("" if v is None else str(v) for v in r)
            for r in atlas.stream(atlas.order(query), names)
        ]

    times: dict[str, list[Took]] = {"scroll": [], "sort": [], "filter": []}
    app = Rival()
    async with app.run_test(size=(120, 40)) as pilot:
        table = app.query_one(DataTable)
        keys = table.add_columns(*names)
        table.add_rows(rows(""))
        table.focus()
        for number in range(rounds):
            for key in ("pagedown", "end", "pageup", "home", "down"):
                times["scroll"].append(await timed(pilot, lambda key=key: app.simulate_key(key)))
            key = keys[names.index(SORTS[number % len(SORTS)])]
            times["sort"].append(await timed(pilot, lambda key=key: table.sort(key)))

            def refill(query: str = FILTERS[number % len(FILTERS)]) -> None:
                table.clear()
                table.add_rows(rows(query))

            times["filter"].append(await timed(pilot, refill))
            table.clear()
            table.add_rows(rows(""))
    return times


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--workspace",
        type=Path,
        help="a workspace whose atlas is used (default: 110,000 made-up features)",
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--rival", action="store_true", help="also the DataTable with every row (several minutes)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workspace = args.workspace or Path(scratch)
        if args.workspace is None:
            generator = [
                sys.executable,
                str(HERE / "synthetic_atlas.py"),
                str(workspace / "results" / "atlas.sqlite"),
                "--bins",
                "6",
            ]
            paths = os.pathsep.join([str(HERE.parent / "src"), str(HERE.parent / "tui")])
            subprocess.run(generator, check=True, env={**os.environ, "PYTHONPATH": paths})
        report(workspace, args.rounds, args.rival)


def _extend(all_: dict[str, list[Took]], more: dict[str, list[Took]]) -> None:
    for name, values in more.items():
        all_.setdefault(name, []).extend(values)


def report(workspace: Path, rounds: int, with_rival: bool) -> None:
    """Measure and print."""
    paints = [in_terminal(FIRST_PAINT, workspace) for _ in range(3)]
    wall, busy = (statistics.median(p[i] for p in paints) for i in (0, 1))
    print(f"{'first paint':<14} {wall:8.2f} s   of it processor time {busy:.2f} s   budget 0.8 s")
    print(
        f"{'memory':<14} {max(p.megabytes for p in paints):8.0f} MB  budget 150 MB (at first paint)"
    )
    if with_rival:
        other_paint = in_terminal(RIVAL_PAINT, workspace)
        ratio = other_paint.processor / busy
        print(
            f"{'  DataTable':<14} {other_paint.wall:8.2f} s   of it processor time "
            f"{other_paint.processor:.2f} s = {ratio:.0f}x;"
            f" {other_paint.megabytes:.0f} MB"
        )
    times: dict[str, list[Took]] = {}
    other: dict[str, list[Took]] = {}
    for _ in range(2 if with_rival else 1):  # the two take turns
        _extend(times, asyncio.run(ours(workspace, rounds)))
        if with_rival:
            _extend(other, asyncio.run(rival(workspace, 1)))
    print(f"\n{'':<14} {'wall clock':>18}   {'processor':>18}")
    print(
        f"{'action':<14} {'median':>9} {'p95':>8}   {'median':>9} {'p95':>8} {'budget':>9}   "
        f"DataTable, processor median"
    )
    for name, values in times.items():
        line = f"{name:<14}"
        for one in ([v.wall for v in values], [v.processor for v in values]):
            line += f" {statistics.median(one):>6.0f} ms {percentile(one, 0.95):>5.0f} ms  "
        line += f" {BUDGETS[name]:>5} ms"
        if name in other:
            theirs = statistics.median(v.processor for v in other[name])
            line += f"   {theirs:.0f} ms = {theirs / statistics.median(v.processor for v in values):.1f}x"
        print(line)
    peak = [
        line
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM")
    ]
    if not with_rival:
        print(f"peak memory after all actions {int(peak[0].split()[1]) / 1024:.0f} MB")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent / folder) for folder in ("src", "tui", "tests")]
    main()
