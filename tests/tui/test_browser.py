"""Reference: headless Chromium, driven through its own debugging protocol: what a visitor sees and
types."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import io
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from petriscope.atlas.build import build_atlas
from petriscope_tui.command import refusal

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
]
# Without a canvas the page's terminal falls back to plain elements, whose text can be read.
PLAIN = "HTMLCanvasElement.prototype.getContext = function () { return null; };"
SHOWN = "document.querySelector('.xterm-rows')?.innerText ?? ''"
LOADED = "performance.getEntriesByType('resource').map(e => e.name)"
PATIENCE = 120
serves = pytest.mark.skipif(
    importlib.util.find_spec("textual_serve") is None,
    reason="textual-serve (extra web) is not installed",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location(
        "synthetic_atlas", REPOSITORY / "benchmarks" / "synthetic_atlas.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("browser")
    build_atlas(root / "results" / "atlas.sqlite", module.synthetic_tables(layers=2, per_layer=50))
    return root


@contextlib.asynccontextmanager
async def served(workspace: Path) -> AsyncIterator[str]:
    """`petriscope tui --web` on a free port; the address, once it answers."""
    import aiohttp

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "petriscope_tui", str(workspace), "--web", "--port", str(port)]
    paths = os.pathsep.join(
        [str(REPOSITORY / "src"), str(REPOSITORY / "tui"), *(p for p in sys.path if p)]
    )
    server = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while server.poll() is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(address):
                        break
                await asyncio.sleep(0.05)
        assert server.poll() is None, "the server has ended"
        yield address
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.session, self.numbers = connection, None, itertools.count(1)

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self.connection.send_json(
            {**message, "sessionId": self.session} if self.session else message
        )
        async for answer in self.connection:
            found = answer.json()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]
        raise AssertionError("the browser went away")

    async def open(self, address: str, before: str = "") -> None:
        self.session = None
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self.session = attached["sessionId"]
        await self.send("Page.enable")
        if before:
            await self.send("Page.addScriptToEvaluateOnNewDocument", source=before)
        await self.send("Page.navigate", url=address)

    async def value(self, script: str) -> Any:
        result = await self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    async def until(self, script: str, holds: Callable[[Any], bool]) -> Any:
        found = None
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds(found := await self.value(script)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"waited in vain; last: {found}") from None
        return found

    async def type(self, text: str) -> None:
        for character in text:
            await self.send("Input.dispatchKeyEvent", type="char", text=character)

    async def picture(self) -> Image.Image:
        shot = await self.send("Page.captureScreenshot", format="png")
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


@contextlib.asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    import aiohttp

    process = subprocess.Popen(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            line = await asyncio.to_thread(process.stderr.readline)
            assert line, "the browser did not start"
            found = re.search(rb"ws://\S+", line)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(found[0].decode(), max_msg_size=0) as connection,
        ):
            yield Browser(connection)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)


@serves
@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)
async def test_a_visitor_sees_types_and_goes_on(workspace: Path, tmp_path: Path) -> None:
    async with served(workspace) as address, chromium(tmp_path / "profile") as browser:
        await browser.open(address, before=PLAIN)
        text = await browser.until(SHOWN, lambda shown: "Context features grow" in (shown or ""))
        assert "Overview" in text and "not supported" in text
        await browser.type("2")
        await browser.until(SHOWN, lambda shown: "100 of 100" in shown)
        await browser.type("f")
        await browser.until(SHOWN, lambda shown: "Enter: to the table" in shown)
        await browser.type("layer:1")
        await browser.until(SHOWN, lambda shown: "50 of 100" in shown)
        assert all(
            name.startswith(address) for name in await browser.value(LOADED)
        )  # nothing from elsewhere
        await browser.open(address)  # as visitors have it: drawn on a canvas
        await browser.until("document.body.classList.contains('-first-byte')", bool)
        async with asyncio.timeout(PATIENCE):
            while (
                len((await browser.picture()).getcolors(1 << 24) or []) < 200
            ):  # letters, frames, colors
                await asyncio.sleep(0.2)
        kept = os.environ.get("PETRISCOPE_KEEP_PICTURE")
        if kept:
            (await browser.picture()).save(kept)
        await browser.type("q")
        await browser.until("document.body.classList.contains('-closed')", bool)


@serves
async def test_other_sites_are_refused(workspace: Path) -> None:
    import aiohttp

    async with served(workspace) as address, aiohttp.ClientSession() as session:
        async with session.get(address, headers={"Host": "evil.example"}) as response:
            assert response.status == 403 and "this machine alone" in await response.text()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(address + "ws", headers={"Origin": "https://evil.example"})
        async with session.ws_connect(
            address + "ws", headers={"Origin": address.rstrip("/")}
        ) as connection:
            assert (await connection.receive(PATIENCE)).data


def test_who_is_refused() -> None:
    here = "127.0.0.1:8765"
    assert (
        refusal("127.0.0.1", here, None) is None
        and refusal("127.0.0.1", here, f"http://{here}") is None
    )
    assert (
        refusal("::1", "[::1]:8765", "http://[::1]:8765") is None
        and refusal("localhost", "localhost:1", None) is None
    )
    assert "https://evil.example" in (refusal("127.0.0.1", here, "https://evil.example") or "")
    assert "null" in (refusal("127.0.0.1", here, "null") or "")
    assert "evil.example" in (
        refusal("127.0.0.1", "evil.example:8765", "http://evil.example:8765") or ""
    )
    assert refusal("0.0.0.0", "lab.example:8765", "http://lab.example:8765") is None
    assert refusal("0.0.0.0", "lab.example:8765", "http://evil.example") is not None
    behind = "https://lab.example/petri/"
    assert refusal("127.0.0.1", "lab.example", "https://lab.example", behind) is None
    assert refusal("127.0.0.1", here, "https://lab.example", behind) is None
    assert refusal("127.0.0.1", "lab.example", "https://evil.example", behind) is not None
