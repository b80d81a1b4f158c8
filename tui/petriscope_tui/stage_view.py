"""One pipeline stage is told in words: its state, why it is stale, what it is for, how long it
took, what hangs on it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.text import Text

from petriscope.run.graph import Graph
from petriscope_tui.glyphs import Glyphs
from petriscope_tui.theme import Palette

WORDS = {
    "up_to_date": "up to date",
    "changed": "changed",
    "upstream": "waits for input",
    "never_run": "never run",
    "missing": "output missing",
    "unknown": "checking",
    "running": "running",
    "failed": "failed",
}
REASONS = 8


class StageFacts(NamedTuple):
    """What is known of a stage besides the graph."""

    state: str
    reasons: Sequence[str]
    failing_line: str | None
    history: Sequence[dict[str, Any]]
    purpose: str


def color(state: str, p: Palette) -> str:
    """Style of a state."""
    tints = {
        "up_to_date": p.supported,
        "running": f"bold {p.accent}",
        "failed": f"bold {p.not_supported}",
    }
    return tints.get(state, p.dim if state == "unknown" else p.untestable)


def sign(state: str, g: Glyphs) -> str:
    """One character for a state."""
    return {"up_to_date": g.yes, "failed": g.no, "running": g.right, "unknown": g.none}.get(
        state, "~"
    )


def describe(name: str, graph: Graph, facts: StageFacts, p: Palette, g: Glyphs, width: int) -> Text:
    """Everything about one stage."""
    stage, text = graph.stages[name], Text()
    text.append(f"{sign(facts.state, g)} {WORDS[facts.state]}\n", style=color(facts.state, p))
    if facts.failing_line:
        text.append(wrapped(facts.failing_line, width) + "\n", style=p.not_supported)
    for reason in facts.reasons[:REASONS]:
        text.append(wrapped(f"{g.right} {reason}", width) + "\n", style=p.untestable)
    if len(facts.reasons) > REASONS:
        text.append(f"  and {len(facts.reasons) - REASONS} more reasons\n", style=p.dim)
    what = stage.description or facts.purpose
    if what:
        text.append(wrapped(what, width) + "\n")
    if facts.history:
        text.append(f"{'took':<8}", style=p.dim)
        past = [
            duration(e["seconds"]) + ("" if e["ok"] else " (failed)") for e in facts.history[-6:]
        ]
        text.append(wrapped(", ".join(past), width, 8) + "\n")
    for label, items in (
        ("needs", graph.needs[name]),
        ("feeds", graph.feeds[name]),
        ("params", [k for _, keys in stage.params for k in keys]),
        ("outputs", [o.path for o in stage.outs]),
        ("reads", stage.deps),
        ("command", [stage.cmd] if stage.cmd else []),
    ):
        if items:
            text.append(f"{label:<8}", style=p.dim)
            text.append(wrapped(", ".join(items), width, 8) + "\n")
    text.rstrip()
    return text


def wrapped(text: str, width: int, indent: int = 0) -> str:
    """Lines of at most ``width``, those after the first indented; breaks inside long words where it
    must."""
    room = max(width - indent, 10)
    return f"\n{'':<{indent}}".join(textwrap.wrap(text, room, break_long_words=True) or [""])


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "·"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
