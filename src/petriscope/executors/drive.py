"""What the driver of a plan does, whichever engine runs its tasks: submit, wait, look at the files,
submit again what was lost, stop everything on an interrupt.

A task is a piece of the plan: some items that follow each other. Once it has left the engine each
of its items is done, has failed, or was lost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from petriscope.errors import UserError
from petriscope.executors.plans import Plan
from petriscope.executors.state import SHOWN, call_state, read_head
from petriscope.progress import bar

RETRIES = 3
"""of a task that was lost and had got no further than the time before"""
LOG_LINES = 20
PROGRAM = "petriscope: "
"""begins what a task says of itself"""


class TaskError(RuntimeError):
    """A task raised what is no mistake of the user's; holds the end of its log."""


class Engine(Protocol):
    """Something that runs tasks; it may have run some for an earlier driver of the same plan."""

    def submit(self, pieces: Collection[int], avoid: str | None = None) -> None:
        """Run some pieces of the plan, not on host ``avoid`` where there is another."""

    def alive(self) -> set[int]:
        """Wait a moment; pieces that wait or run."""

    def said(self, piece: int) -> str:
        """What the engine knows of a piece that left no file: why, or where it ran."""

    def known(self) -> list[str]:
        """Numbers under which the engine knows its tasks, for the next driver."""

    def cancel(self) -> None:
        """Stop all tasks."""

    def close(self) -> None:
        """Nothing is left to run."""


@dataclass
class Piece:
    """One task, and what became of it so far."""

    places: range
    lost: int = 0
    """times since it last got further"""
    mark: float = 0.0
    """how far its items had got when it was last lost"""
    raised: int = 0
    unseen_since: float | None = None


@dataclass
class Run:
    """State of a plan that is carried out; `petriscope status` shows what is saved of it."""

    plan: Plan
    pieces: dict[int, Piece]
    failed: dict[int, Exception] = field(default_factory=dict)
    lost: int = 0
    retried: int = 0

    def tell(self, engine: Engine) -> dict[str, Any]:
        """Write the state file, and return what it and the items' files say."""
        self.plan.tell(lost=self.lost, retried=self.retried, tasks=engine.known())
        return call_state(self.plan.state)


def pieces_of(plan: Plan) -> dict[int, Piece]:
    """The pieces of a plan, about four for each task that may run at once."""
    size = -(-len(plan.items) // (4 * plan.settings.limit))
    starts = range(0, len(plan.items), size)
    return {n: Piece(range(s, min(s + size, len(plan.items)))) for n, s in enumerate(starts)}


def run(kind: Callable[[Plan, list[str]], Engine], plan: Plan, left: list[int], unit: str) -> None:
    """Carry out a plan: the items ``left`` are done afterwards. Raises what `fan_out` does."""
    wanted = set(left)
    all_of_it = pieces_of(plan)
    state = Run(plan, {n: p for n, p in all_of_it.items() if wanted & set(p.places)})
    before = read_head(plan.state)
    joined = before.get("tasks", []) if before.get("digest") == plan.digest else []
    if not joined:
        plan.begin(left)
        plan.save()
    meter = bar(plan.what, total=len(plan.items), unit=unit)
    engine = kind(plan, joined)
    try:
        alive = engine.alive() & state.pieces.keys() if joined else set()
        engine.submit(sorted(state.pieces.keys() - alive))
        state.tell(engine)
        open_, next_word = set(state.pieces), 0.0
        while open_:
            alive = engine.alive() & open_
            for number in sorted(open_ - alive):
                if _settled(state, engine, number):
                    open_.discard(number)
            if time.monotonic() < next_word:
                continue
            shown, next_word = state.tell(engine), time.monotonic() + 1.0
            told = ", ".join(f"{shown[name]} {name}" for name in SHOWN[1:])
            meter.set_postfix_str(told, refresh=False)
            meter.update(shown["done"] - meter.n)
        meter.close()
    except BaseException:
        engine.cancel()
        plan.state.unlink(missing_ok=True)
        raise
    finally:
        engine.close()
    plan.note(lost=state.lost, retried=state.retried)
    plan.state.unlink(missing_ok=True)
    if state.failed:
        raise state.failed[min(state.failed)]


def _settled(state: Run, engine: Engine, number: int) -> bool:
    """Look at a piece that has left the engine: whether it is done or failed for good. What was
    lost is submitted again."""
    plan, piece = state.plan, state.pieces[number]
    missing = [place for place in piece.places if not plan.is_done(place)]
    failures = {place: head for place in missing if (head := plan.failure(place))}
    if not missing:
        return True
    if len(failures) == len(missing):
        others = {p: head for p, head in failures.items() if not head["user"]}
        if others and not piece.raised:
            piece.raised, state.retried = 1, state.retried + 1
            for place in others:
                plan.path(place, "failed").unlink(missing_ok=True)
            engine.submit([number], avoid=next(iter(others.values()))["host"])
            return False
        state.failed |= {place: _error(plan, place, head) for place, head in failures.items()}
        return True
    now = time.monotonic()
    piece.unseen_since = piece.unseen_since or now
    if now - piece.unseen_since < plan.settings.settle:
        return False  # what another node wrote is not seen here at once
    piece.unseen_since = None
    state.lost += 1
    further = _mark(plan, piece)
    piece.lost = 1 if further > piece.mark else piece.lost + 1
    piece.mark = max(piece.mark, further)
    place = next(place for place in missing if place not in failures)
    unseen = not any(plan.progress(place) for place in missing)
    why = engine.said(number)
    if piece.lost > RETRIES or (unseen and piece.lost > 1):
        state.failed[place] = _lost(plan, place, piece, why, unseen)
        return True
    state.retried += 1
    hint = f" {_memory(plan)}" if piece.lost == RETRIES else ""
    text = f"petriscope: {plan.keys[place]} was lost ({why or 'killed'}) and runs again.{hint}"
    print(text, file=sys.stderr, flush=True)
    engine.submit([number])
    return False


def _mark(plan: Plan, piece: Piece) -> float:
    """How far the items of a piece have got: each that is done, and the share of the others."""
    return sum(
        1.0 if plan.is_done(p) else said.get("done", 0) / max(said.get("total", 0), 1e-9)
        for p in piece.places
        for said in [plan.progress(p)]
    )


def _memory(plan: Plan) -> str:
    asked = plan.settings.memory_gb or plan.resources.memory_gb
    return f"Out of memory? Give more than {asked:g} GB: memory_gb in executor.yaml."


def _lost(plan: Plan, place: int, piece: Piece, why: str, unseen: bool) -> Exception:
    last = log_end(log_file(plan, place)).strip().splitlines()[-1:]
    if unseen and last and last[0].startswith(PROGRAM):
        return UserError(last[0].removeprefix(PROGRAM))
    if unseen:
        what = f"left no file in {plan.folder} ({why or 'the engine says nothing'})"
        remedy = "Use a folder that every node sees under one path and may write to."
        return UserError(what, field=plan.keys[place], remedy=remedy)
    host = plan.progress(place).get("host", "?")
    what = f"was killed {piece.lost} times, last on {host} ({why or 'no reason given'})"
    remedy = f"{_memory(plan)} Log: {plan.path(place, 'log')}."
    return UserError(what, field=plan.keys[place], remedy=remedy)


def _error(plan: Plan, place: int, head: dict[str, Any]) -> Exception:
    """What a failed file says, as an exception here."""
    where = f"({plan.keys[place]} on {head['host']}; log {log_file(plan, place)})"
    if head["user"]:
        return UserError(f"{head['text']} {where}")
    return TaskError(f"{where}\n{log_end(log_file(plan, place)) or head['text']}")


def log_file(plan: Plan, place: int) -> Path:
    """The log of the task that ran an item: that of the piece's first item."""
    size = len(pieces_of(plan)[0].places)
    return plan.path(place - place % size, "log")


def log_end(path: Path) -> str:
    """The last lines of a log."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])
