"""Reference: a real terminal (tmux) and a real browser protocol (textual-serve's websocket): type,
capture, compare."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from petriscope.atlas.build import build_atlas
from petriscope.run.dvc import process_alive
from petriscope_tui.command import app_command, is_loopback

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY / "tui")])
PIPELINE = """\
stages:
  quick: {cmd: "echo quickly; echo x > quick.txt", outs: [quick.txt]}
  slow: {cmd: "echo begun; sleep 600", deps: [quick.txt], outs: [slow.txt]}
  wrong: {cmd: "echo the last words >&2; exit 3", outs: [wrong.txt]}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location(
        "synthetic_atlas", REPOSITORY / "benchmarks" / "synthetic_atlas.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("terminal")
    build_atlas(root / "results" / "atlas.sqlite", module.synthetic_tables(layers=2, per_layer=50))
    (root / "dvc.yaml").write_text(PIPELINE)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True)
    return root


class Terminal:
    """One tmux session of its own server."""

    def __init__(self, name: str) -> None:
        self.name = name

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-u", "-L", self.name, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def start(
        self,
        workspace: Path,
        *arguments: str,
        size: tuple[int, int] = (110, 32),
        **environment: str,
    ) -> None:
        settings = {
            "PYTHONPATH": SOURCES,
            "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_HOME": str(workspace / "config"),
            **environment,
        }
        words = [f"{k}={v}" for k, v in settings.items()]
        shell = shlex.join(
            [
                "env",
                "-u",
                "COLUMNS",
                "-u",
                "LINES",
                *words,
                sys.executable,
                "-m",
                "petriscope_tui",
                str(workspace),
                *arguments,
            ]
        )
        ending = "; echo; echo ended with $?; sleep 600"
        self.tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), shell + ending)

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.tmux("send-keys", key)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def wait(self, words: str, seconds: float = 150) -> str:
        end = time.monotonic() + seconds
        text = ""
        while time.monotonic() < end:
            text = self.tmux("capture-pane", "-p")
            if words in text:
                return text
            time.sleep(0.1)
        raise AssertionError(f"{words!r} did not appear in:\n{text}")


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    one = Terminal(f"petriscope-{os.getpid()}-{abs(hash(request.node.name)) % 10_000}")
    yield one
    one.tmux("kill-server")


def test_browse_in_a_terminal(terminal: Terminal, workspace: Path) -> None:
    terminal.start(workspace, "--feature", "L1/7", size=(120, 40))
    assert "Contrast: in vivo against in vitro" in terminal.wait("L1/7")
    terminal.keys("2")
    terminal.wait("100 of 100")
    terminal.keys("f")
    terminal.wait("Enter: to the table")
    terminal.type("layer:1 lineage:liver")
    terminal.wait("filter   layer:1 lineage:liver")
    terminal.keys("Enter")
    terminal.wait("▌L1/")
    terminal.keys("Down")
    terminal.wait(" 2/")
    terminal.keys("Enter")
    terminal.wait("measured checks hold")
    terminal.keys("q")
    terminal.wait("ended with 0")


def test_pipeline_in_a_terminal(terminal: Terminal, workspace: Path) -> None:
    """Run, see a failure's last words, leave a run going, find it again, cancel it; nothing stays
    behind."""
    terminal.start(workspace)
    terminal.wait("Claims")
    terminal.keys("7")
    terminal.wait("3 of 3 stages are not up to date")
    terminal.keys("u")
    terminal.wait("run finished")
    terminal.wait("2 of 3 stages are not up to date")
    terminal.keys("Down", "Down")
    terminal.wait("exit 3")
    terminal.keys("u")
    assert "the last words" in terminal.wait("status 255")
    terminal.keys("Up")
    terminal.wait("sleep 600")
    terminal.keys("u")
    terminal.wait("running slow")
    terminal.keys("q")
    terminal.wait("A run is in progress")
    terminal.keys("k")
    terminal.wait("ended with 0")
    pid = json.loads((workspace / ".dvc" / "tmp" / "petriscope" / "current.json").read_text())[
        "pid"
    ]
    assert process_alive(pid)
    terminal.tmux("kill-server")
    while terminal.tmux("list-sessions"):
        time.sleep(0.05)
    assert process_alive(pid)
    terminal.start(workspace)
    terminal.wait("Claims")
    terminal.keys("7")
    terminal.wait("running slow")
    terminal.keys("x")
    terminal.wait("run cancelled")
    end = time.monotonic() + 60
    while process_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not process_alive(pid)


def test_ascii_locale_and_no_color_in_a_terminal(terminal: Terminal, workspace: Path) -> None:
    terminal.start(workspace, LC_ALL="C", NO_COLOR="1", size=(80, 24))
    text = terminal.wait("Claims")
    assert text.isascii() and "+- Claims" in text


def test_wrong_feature_is_one_line(workspace: Path) -> None:
    command = [sys.executable, "-m", "petriscope_tui", str(workspace), "--feature", "nonsense"]
    done = subprocess.run(
        command, env={"PYTHONPATH": SOURCES}, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 2
        and done.stderr == "petriscope: 'nonsense' is no feature. Write for example L6/1234\n"
    )


def test_loopback_is_told_from_exposure(tmp_path: Path) -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.0.0.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.5", "example.org", "::")))
    assert app_command(tmp_path / "a b", "L1/2").endswith(
        f"-m petriscope_tui '{tmp_path}/a b' --feature L1/2"
    )


async def test_browser_gets_the_same_pages(workspace: Path) -> None:
    """Speak to the server as its page does: one websocket, bytes of terminal output back."""
    aiohttp = pytest.importorskip("aiohttp")
    if importlib.util.find_spec("textual_serve") is None:
        pytest.skip("textual-serve (extra web) is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "petriscope_tui", str(workspace), "--web", "--port", str(port)]
    paths = os.pathsep.join([SOURCES, *(p for p in sys.path if p)])
    server = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
    )
    try:
        assert (
            server.stdout is not None
            and f"http://127.0.0.1:{port}/" in server.stdout.readline().decode()
        )
        async with aiohttp.ClientSession() as session:
            page = ""
            for _ in range(100):
                try:
                    async with session.get(f"http://127.0.0.1:{port}/") as response:
                        page = await response.text()
                        break
                except aiohttp.ClientError:
                    time.sleep(0.1)
            assert "Petriscope" in page
            async with session.ws_connect(
                f"http://127.0.0.1:{port}/ws?width=120&height=40"
            ) as socket_:
                received = b""
                sent = False
                async with asyncio.timeout(150):
                    async for message in socket_:
                        received += (
                            message.data
                            if isinstance(message.data, bytes)
                            else str(message.data).encode()
                        )
                        if b"Claims" in received and not sent:
                            await socket_.send_json(["stdin", "2"])
                            sent = True
                        if b"of 100" in received:
                            break
                assert sent and b"of 100" in received
    finally:
        server.terminate()
        server.wait(timeout=20)
