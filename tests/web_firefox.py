"""Firefox as it is installed, driven over WebDriver BiDi: what a page says, and what its console
said meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
PATIENCE = 120
"""Seconds for the start and for a page, on a machine that has other things to do."""
ENDPOINT = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")
QUIET = """
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("remote.prefs.recommended", true);
"""


def needs_firefox() -> None:
    """Skip where there is no Firefox to drive."""
    if importlib.util.find_spec("aiohttp") is None:
        pytest.skip("aiohttp is not installed (DVC brings it)")
    if FIREFOX is None:
        pytest.skip("no Firefox on this machine (Debian: apt-get install firefox-esr)")


class Firefox:
    """One window."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.context = ""
        self.said: list[str] = []

    async def ask(self, method: str, **params: Any) -> Any:
        """The answer to a command; events that come before it are kept."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=PATIENCE)
            if message.get("type") == "event":
                told = message["params"]
                if told.get("level") in {"error", "warn"}:
                    self.said.append(f"{told['level']}: {told.get('text')}")
            elif message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]

    async def open(self, address: str, there: str) -> str:
        """A page from a cold address, once ``there`` (a selector) is on it and nothing says that it
        is loading: the text of its content."""
        for url in ("about:blank", address):
            await self.ask(
                "browsingContext.navigate", context=self.context, url=url, wait="complete"
            )
        code = (
            f"[document.querySelector({json.dumps(there)}) !== null"
            " && document.querySelector('.wait') === null,"
            " document.querySelector('main')?.innerText ?? '']"
        )
        end = time.monotonic() + PATIENCE
        while True:
            answer = await self.ask(
                "script.evaluate",
                expression=f"JSON.stringify({code})",
                target={"context": self.context},
                awaitPromise=False,
            )
            ready, text = json.loads(answer["result"]["value"])
            if ready:
                return str(text)
            assert time.monotonic() < end, (
                f"{address}: no {there} on the page that says {text[:600]!r}"
            )
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[Firefox]:
    """A headless Firefox with a profile of its own."""
    import aiohttp

    assert FIREFOX is not None
    profile.mkdir(parents=True)
    (profile / "user.js").write_text(QUIET)
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile)]
    log = profile / "stderr"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--remote-debugging-port", "0"], stdout=stream, stderr=stream
        )
    try:
        end = time.monotonic() + PATIENCE
        while not (found := ENDPOINT.search(log.read_bytes())):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, log.read_text(errors="replace")
            await asyncio.sleep(0.1)
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{found[1].decode()}/session", max_msg_size=0) as socket,
        ):
            one = Firefox(socket)
            await one.ask("session.new", capabilities={})
            await one.ask("session.subscribe", events=["log.entryAdded"])
            tree = await one.ask("browsingContext.getTree", maxDepth=0)
            one.context = tree["contexts"][0]["context"]
            yield one
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
