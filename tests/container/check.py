"""Build the image with a real engine and hold it to its promises: `python tests/container/check.py --log FILE`.

What runs in the container is compared with a bare run from the same lock files on the same machine.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare import REPOSITORY, STRANGER, bare_environment, bare_run, git, identical, small_demo, workspace
from engine import Engine, NoEngine, engine

LIMIT = {"cpu": 2.5e9, "cuda": 6e9}


@dataclass
class Report:
    """Checks done so far; each is a line of the log."""

    lines: list[str] = field(default_factory=list)
    failed: int = 0

    def check(self, name: str, body: Callable[[], str]) -> bool:
        """Run one check: it returns what it measured, or raises."""
        started = time.monotonic()
        try:
            verdict, said = "ok", body()
        except AssertionError as error:
            verdict, said = "FAILED", str(error)
            self.failed += 1
        line = f"{verdict:6}  {name:34} {time.monotonic() - started:7.1f} s  {said}"
        print(line, flush=True)
        self.lines.append(line)
        return verdict == "ok"


@dataclass(frozen=True)
class Image:
    """The built image and how it is run here: no network unless asked for."""

    docker: Engine
    tag: str

    def options(self, out: Path | None, *more: str) -> list[str]:
        volume = [] if out is None else ["-v", f"{out}:/out"]
        return ["run", "--rm", "--network", "none", *volume, *more, self.tag]

    def run(self, out: Path | None, *command: str, options: tuple[str, ...] = (), check: bool = True):
        return self.docker(*self.options(out, *options), *command, check=check)


def build(docker: Engine, torch: str) -> str:
    revision = git("describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*")
    command = ["build", "--network", "host", "--build-arg", f"TORCH={torch}", "--build-arg", f"REVISION={revision}"]
    command += [] if docker.base is None else ["--build-arg", f"BASE_IMAGE={docker.base}"]
    docker(*command, "-t", f"petriscope:{torch}", str(REPOSITORY))
    size = int(docker("image", "inspect", "-f", "{{.Size}}", f"petriscope:{torch}").stdout)
    assert size <= LIMIT[torch], f"{size / 1e9:.2f} GB, more than {LIMIT[torch] / 1e9} GB"
    return f"{size / 1e9:.2f} GB (limit {LIMIT[torch] / 1e9})"


def manifest(image: Image) -> str:
    """User, labels, health check, signal handling, and nothing secret in the configuration."""
    config = json.loads(image.docker("image", "inspect", image.tag).stdout)[0]["Config"]
    assert config["User"] not in ("", "root", "0"), "runs as root"
    assert config["Entrypoint"][0].endswith("tini") and config["Healthcheck"]["Test"]
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in config["Labels"].items()}
    assert {"title", "version", "revision", "licenses", "base.name"} <= labels.keys()
    secret = [item for item in config["Env"] if re.search(r"(?i)token|secret|passw|key=", item)]
    assert not secret, f"environment names secrets: {secret}"
    return f"user {config['User']}, revision {labels['revision']}"


def refuses(image: Image, scratch: Path) -> str:
    """An /out that belongs to somebody else: one line with the remedy, status 2."""
    closed = scratch / "closed"
    closed.mkdir(mode=0o755)
    result = image.run(closed, options=("--user", STRANGER), check=False)
    assert result.returncode == 2, f"status {result.returncode}"
    assert "/out is not writable" in result.stderr and "Traceback" not in result.stderr
    return "status 2 and the remedy"


def bill(image: Image, scratch: Path) -> str:
    text = image.run(None, "sbom").stdout
    components = {item["name"].lower(): item["version"] for item in json.loads(text)["components"]}
    for name in ("torch", "petriscope", "numpy", "bedtools", "samtools", "tini"):
        assert name in components, f"{name} is not in the bill of materials"
    (scratch / "sbom.cdx.json").write_text(text)
    return f"{len(components)} components, torch {components['torch']}, bedtools {components['bedtools']}"


def verify(image: Image) -> str:
    return image.run(None, "verify", options=("--tmpfs", "/out:mode=1777")).stdout.strip().splitlines()[-1]


def tests_inside(image: Image, selection: list[str]) -> str:
    offline = ("--read-only", "--tmpfs", "/tmp:exec", "--user", STRANGER)
    return image.run(None, "test", *selection, options=offline).stdout.strip().splitlines()[-1]


def killed_and_resumed(image: Image, out: Path) -> str:
    """The demo with no network, a read-only image and an unknown user: killed in a stage, stopped in another, finished."""
    options = ("--read-only", "--tmpfs", "/tmp", "--user", STRANGER)
    start_and_end(image, out, options, "windows", ("kill",))
    seconds = start_and_end(image, out, options, "model", ("stop", "-t", "60"))
    assert seconds < 5, f"docker stop took {seconds:.1f} s"
    result = image.run(out, options=options)
    assert "done in" in result.stdout, result.stdout[-500:]
    given = {"params.yaml", "data"} | {path.name for path in (out / "data").rglob("*")}
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in out.rglob("*") if path.name not in given}
    assert owners == {tuple(int(part) for part in STRANGER.split(":"))}, f"owners {owners}"
    record = json.loads((out / "results/provenance/figures.json").read_text())
    assert record["revision"] not in ("", "unknown"), "provenance without revision"
    return f"docker stop {seconds:.1f} s, all files {STRANGER}, revision {record['revision']}"


def start_and_end(image: Image, out: Path, options: tuple[str, ...], stage: str, how: tuple[str, ...]) -> float:
    """Start the run, wait until ``stage`` runs, end the container; returns how long that took."""
    name = f"petriscope-{how[0]}"
    command = [image.docker.client, *image.options(out, *options, "--name", name)]
    process = subprocess.Popen(
        command, env=image.docker.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if f"'{stage}'" in line and "unning" in line:
            break
    else:
        raise AssertionError(f"ended before stage {stage}: {''.join(said)[-1500:]}")
    started = time.monotonic()
    image.docker(how[0], *how[1:], name)
    seconds = time.monotonic() - started
    process.stdout.read()
    process.wait()
    return seconds


def up_to_date(image: Image, out: Path) -> str:
    result = image.run(out, options=("--read-only", "--tmpfs", "/tmp", "--user", STRANGER))
    assert "Running stage" not in result.stdout, "a second run did something"
    return "a second run does nothing"


def terminal(image: Image, out: Path) -> str:
    """The terminal UI under a real terminal: it draws, and `q` ends it with status 0."""
    name = "petriscope-tui"
    command = [image.docker.client, *image.options(out, "-it", "--name", name, "--user", STRANGER), "tui"]
    pid, screen = pty.fork()
    if pid == 0:
        os.execve(image.docker.client, command, {**image.docker.environment, "TERM": "xterm-256color"})
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    drawn = ""
    asked = False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([screen], [], [], 1)[0]:
            try:
                drawn += os.read(screen, 1 << 16).decode(errors="replace")
            except OSError:
                break
        if not asked and "Overview" in drawn and "Quit" in drawn:
            os.write(screen, b"q")
            asked = True
    else:
        image.docker("rm", "-f", name, check=False)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert asked, f"nothing drawn: {drawn[-500:]!r}"
    assert status == 0, f"status {status}"
    return f"{len(drawn):,} characters drawn, q ends it"


def web(image: Image, out: Path) -> str:
    """The web terminal answers inside, and the health check knows it."""
    name = "petriscope-web"
    options = image.options(out, "-d", "--name", name, "--user", STRANGER)
    image.docker(*options, "web")
    try:
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8765/').status)"
        deadline = time.monotonic() + 90
        while True:
            healthy = image.docker("exec", name, "petriscope-health", check=False).returncode == 0
            page = image.docker("exec", name, "python", "-c", ask, check=False) if healthy else None
            if page is not None and page.stdout.strip() == "200":
                return "page 200, healthy"
            assert time.monotonic() < deadline, image.docker("logs", name).stdout[-500:]
            time.sleep(1)
    finally:
        image.docker("rm", "-f", name)


def bare_reproduce(venv: Path, bare: Path) -> str:
    said = bare_run(venv, bare, "petriscope", "reproduce", "--workspace", str(bare))
    return next(line for line in said.splitlines() if line.startswith("done in"))


def overhead(image: Image, venv: Path, bare: Path, boxed: Path, rounds: int) -> str:
    """Four stages bare and in the container, in turn; medians. Processor time decides: wall time needs an idle machine."""
    stages = " && ".join(f"petriscope stage {name}" for name in ("model", "activations", "codes", "ablation"))
    wall: dict[str, list[float]] = {"bare": [], "container": []}
    busy: dict[str, list[float]] = {"bare": [], "container": []}
    for number in range(rounds):
        for side in ("bare", "container") if number % 2 == 0 else ("container", "bare"):
            started = time.monotonic()
            if side == "bare":
                said = bare_run(venv, bare, "sh", "-c", f"{stages} && times")
            else:
                said = image.run(boxed, "shell", "sh", "-c", f"{stages} && times", options=("--user", STRANGER)).stdout
            wall[side].append(time.monotonic() - started)
            minutes = re.findall(r"(\d+)m([\d.]+)s", said.strip().splitlines()[-1])
            busy[side].append(sum(60 * int(m) + float(s) for m, s in minutes))
    ratios = {}
    for name, times in (("wall", wall), ("processor", busy)):
        ratios[name] = statistics.median(times["container"]) / statistics.median(times["bare"])
    detail = "; ".join(
        f"{name} {side} {'/'.join(f'{s:.1f}' for s in times[side])} s"
        for name, times in (("wall", wall), ("processor", busy))
        for side in times
    )
    result = f"container/bare: processor {ratios['processor']:.3f}, wall {ratios['wall']:.3f} ({detail})"
    assert ratios["processor"] <= 1.05, result
    return result


@contextmanager
def scratch_folder(keep: Path | None) -> Iterator[Path]:
    """Where daemon, environments and runs live; on disk, since images are large."""
    folder = keep or Path(tempfile.mkdtemp(prefix="petriscope-container-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def checks(report: Report, docker: Engine, scratch: Path, args: argparse.Namespace) -> None:
    image = Image(docker, f"petriscope:{args.torch}")
    if not report.check(f"build, {args.torch}", lambda: build(docker, args.torch)):
        return
    report.check("manifest", lambda: manifest(image))
    report.check("closed /out", lambda: refuses(image, scratch))
    report.check("bill of materials", lambda: bill(image, scratch))
    if "verify" in image.run(None, "--help").stdout:
        report.check("verify", lambda: verify(image))
    venv = bare_environment(scratch)
    demo = None if args.full else small_demo(venv, scratch / "demo")
    boxed, bare = (workspace(scratch / side, not args.full, demo) for side in ("boxed", "bare"))
    report.check("demo: offline, read-only, any user", lambda: killed_and_resumed(image, boxed))
    report.check("run again", lambda: up_to_date(image, boxed))
    report.check("terminal UI", lambda: terminal(image, boxed))
    report.check("web terminal", lambda: web(image, boxed))
    report.check("bare run", lambda: bare_reproduce(venv, bare))
    report.check("same results", lambda: identical(bare, boxed))
    report.check("overhead", lambda: overhead(image, venv, bare, boxed, args.rounds))
    if args.tests:
        report.check("tests inside", lambda: tests_inside(image, args.tests.split()))


def main() -> int:
    """Status 0: all held; 1: something did not; 77: no engine can be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--base", metavar="IMAGE", help="an image at hand instead of the Dockerfile's base")
    parser.add_argument("--full", action="store_true", help="the whole demo, not the small one")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the overhead measurement")
    parser.add_argument("--tests", default="tests/test_files.py", help="what pytest runs inside ('' skips)")
    parser.add_argument("--scratch", type=Path, help="keep everything in this folder (default: temporary, removed)")
    parser.add_argument("--log", type=Path, help="write the lines here too")
    args = parser.parse_args()
    report = Report()
    with scratch_folder(args.scratch) as scratch:
        try:
            with engine(scratch, args.base) as docker:
                checks(report, docker, scratch, args)
        except NoEngine as reason:
            print(f"no engine: {reason}")
            return 77
    if args.log:
        args.log.write_text("\n".join(report.lines) + "\n")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
