"""Waiting for the terminal UI in tests by what it has done, never by the clock, so that a loaded
machine changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.app import App
from textual.pilot import Pilot


async def settle(pilot: Pilot, calm_rounds: int = 3) -> None:
    """Until every message, whatever followed from it, and the layout are done.

    ``pilot.pause()`` measures processor time, and takes a process that is given none for an idle
    one.
    """
    calm = 0
    while calm < calm_rounds and pilot.app.is_running:
        await pilot._wait_for_screen()
        await asyncio.sleep(0.001)
        calm = 0 if _busy(pilot.app) else calm + 1


def _busy(app: App) -> bool:
    screen = app.screen
    waiting = any(
        not node._message_queue.empty() or node._next_callbacks for node in (app, *app._registry)
    )
    return waiting or bool(screen._layout_required or screen._dirty_widgets or screen._callbacks)


async def press(pilot: Pilot, *keys: str) -> None:
    """Press keys one after the other, each when the one before has been dealt with."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


async def until(pilot: Pilot, holds: Callable[[], bool], seconds: float = 60) -> None:
    """Until ``holds()``: for what a thread or another process does."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)
    await settle(pilot)
