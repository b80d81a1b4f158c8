"""Build the image with a real engine and hold it to its promises: `python tests/container/check.py
--log FILE`.

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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare import (
    REPOSITORY,
    STRANGER,
    bare_environment,
    bare_run,
    identical,
    recorded_seconds,
    revision,
    small_demo,
    workspace,
)
from engine import Engine, NoEngine, engine

CLOSED = ("--read-only", "--tmpfs", "/tmp", "--user", STRANGER)
LIMIT = {"cpu": 2.5e9, "cuda": 6e9}


class NotChecked(Exception):
    """What a check needs is not on this machine; the message says what."""


@dataclass
class Report:
    """Checks done so far; each is a line of the log, written as it comes."""

    log: Path | None = None
    failed: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        print(line, flush=True)
        if self.log is not None:
            with self.log.open("a") as handle:
                handle.write(line + "\n")

    def check(self, name: str, body: Callable[[], str]) -> bool:
        """Run one check: it returns what it measured, or raises."""
        started = time.monotonic()
        try:
            verdict, said = "ok", body()
        except NotChecked as reason:
            verdict, said = "not", f"checked: {reason}"
        except AssertionError as error:
            verdict, said = "FAILED", str(error)
            self.failed.append(name)
        self.say(f"{verdict:6}  {name:34} {time.monotonic() - started:7.1f} s  {said}")
        return verdict == "ok"


@dataclass(frozen=True)
class Image:
    """The built image and how it is run here: no network unless asked for."""

    docker: Engine
    tag: str

    def options(self, out: Path | None, *more: str) -> list[str]:
        volume = [] if out is None else ["-v", f"{out}:/out"]
        return ["run", "--rm", "--network", "none", *volume, *more, self.tag]

    def run(
        self, out: Path | None, *command: str, options: tuple[str, ...] = (), check: bool = True
    ):
        return self.docker(*self.options(out, *options), *command, check=check)


def build(docker: Engine, torch: str) -> str:
    command = [
        "build",
        "--network",
        "host",
        "--build-arg",
        f"TORCH={torch}",
        "--build-arg",
        f"REVISION={revision()}",
    ]
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
    """On an empty /out: the installation, with the tiny run of every stage."""
    return (
        image.run(None, "verify", options=("--tmpfs", "/out:mode=1777", *CLOSED))
        .stdout.strip()
        .splitlines()[-1]
    )


def verify_run(image: Image, out: Path, full: bool) -> str:
    """On the finished run: records and cache hold; of the whole demo, tables and verdicts are the
    shipped ones too."""
    found = image.run(
        out, "verify", "--results", "--json", "/out/verify.json", options=CLOSED, check=full
    )
    states = {
        check["name"]: check for check in json.loads((out / "verify.json").read_text())["checks"]
    }
    assert {"records", "cache"} <= states.keys(), found.stdout
    wrong = [
        f"{name}: {states[name]['seen']}"
        for name in ("records", "cache")
        if states[name]["state"] != "ok"
    ]
    assert not wrong, "; ".join(wrong)
    if not full:
        return "records and cache hold (small models: no shipped tables to compare with)"
    return found.stdout.strip().splitlines()[-1]


def traced(image: Image, out: Path) -> str:
    """A figure's and a claim's chain to raw inputs without a broken link, and the run as an
    RO-Crate, made in the container."""
    for target in ("fig5", "ctx-count"):
        image.run(out, "provenance", target, options=CLOSED)
    said = image.run(out, "crate", "/out/crate", options=CLOSED).stdout.strip().splitlines()[-1]
    graph = json.loads((out / "crate/ro-crate-metadata.json").read_text())["@graph"]
    actions = [item for item in graph if item["@type"] == "CreateAction"]
    assert len(actions) >= len(recorded_seconds(out)), f"{len(actions)} actions"
    shutil.rmtree(out / "crate")
    return f"fig5 and ctx-count to raw inputs; crate with {len(actions)} actions ({said})"


def tests_inside(image: Image, selection: list[str]) -> str:
    """The tests in the image, as a stranger: how many passed, how many were skipped and why."""
    options = ("--read-only", "--tmpfs", "/tmp:exec", "--user", STRANGER)
    shared = REPOSITORY.parent / "shared"  # reference material, beside the sources there too
    if (shared / "golden").is_dir():
        options += ("-v", f"{shared}:/tmp/shared:ro")
    lines = image.run(None, "test", "-rs", *selection, options=options).stdout.strip().splitlines()
    skipped: Counter[str] = Counter()
    for number, reason in re.findall(r"(?m)^SKIPPED \[(\d+)\] \S+: (.*)$", "\n".join(lines)):
        skipped[reason] += int(number)
    assert " passed" in lines[-1], lines[-1]
    reasons = [f"{'':8}{number:3} skipped: {reason}" for reason, number in skipped.most_common()]
    return "\n".join([lines[-1].strip("= "), *reasons])


def composed(image: Image, scratch: Path) -> str:
    """compose.yaml is valid, and its service runs: nobody's root, nothing written but /out."""
    for command in (["/usr/bin/docker-compose"], [image.docker.client, "compose"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "version"], capture_output=True, check=False).returncode
            == 0
        ):
            break
    else:
        raise NotChecked("neither docker-compose nor docker's compose plugin is installed")
    (scratch / "compose/out").mkdir(parents=True)
    (scratch / "compose/out").chmod(0o777)
    here = [
        *command,
        "-f",
        str(REPOSITORY / "compose.yaml"),
        "--project-directory",
        str(scratch / "compose"),
    ]
    given = {"env": image.docker.environment, "capture_output": True, "text": True}
    version = subprocess.run([*command, "version", "--short"], check=False, **given).stdout.strip()
    valid = subprocess.run([*here, "config", "-q"], check=False, **given)
    assert valid.returncode == 0, valid.stderr
    if image.tag != "petriscope:cpu":
        return f"docker-compose {version}: valid"
    inside = "id -u; touch /out/mine && echo written; touch /elsewhere 2>/dev/null || echo refused"
    ran = subprocess.run(
        [*here, "run", "--rm", "-T", "reproduce", "shell", "sh", "-c", inside], check=False, **given
    )
    assert ran.stdout.split() == ["1000", "written", "refused"], ran.stdout + ran.stderr
    return f"docker-compose {version}: valid, service reproduce runs read-only"


def killed_and_resumed(image: Image, out: Path) -> str:
    """The demo with no network, a read-only image and an unknown user: killed in a stage, stopped
    in another, finished."""
    start_and_end(image, out, CLOSED, "windows", ("kill",))
    seconds = start_and_end(image, out, CLOSED, "model", ("stop", "-t", "60"))
    assert seconds < 5, f"docker stop took {seconds:.1f} s"
    result = image.run(out, options=CLOSED)
    assert "done in" in result.stdout, result.stdout[-500:]
    given = {"params.yaml", "data"} | {path.name for path in (out / "data").rglob("*")}
    owners = {
        (path.stat().st_uid, path.stat().st_gid)
        for path in out.rglob("*")
        if path.name not in given
    }
    assert owners == {tuple(int(part) for part in STRANGER.split(":"))}, f"owners {owners}"
    record = json.loads((out / "results/provenance/figures.json").read_text())
    assert record["revision"] not in ("", "unknown"), "provenance without revision"
    return f"docker stop {seconds:.1f} s, all files {STRANGER}, revision {record['revision']}"


def start_and_end(
    image: Image, out: Path, options: tuple[str, ...], stage: str, how: tuple[str, ...]
) -> float:
    """Start the run, wait until ``stage`` runs, end the container; returns how long that took."""
    name = f"petriscope-{how[0]}"
    command = [image.docker.client, *image.options(out, *options, "--name", name)]
    process = subprocess.Popen(
        command,
        env=image.docker.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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
    result = image.run(out, options=CLOSED)
    assert "Running stage" not in result.stdout, "a second run did something"
    return "a second run does nothing"


def terminal(image: Image, out: Path) -> str:
    """The terminal UI under a real terminal: it draws, and `q` ends it with status 0."""
    name = "petriscope-tui"
    command = [
        image.docker.client,
        *image.options(out, "-it", "--name", name, "--user", STRANGER),
        "tui",
    ]
    pid, screen = pty.fork()
    if pid == 0:
        os.execve(
            image.docker.client, command, {**image.docker.environment, "TERM": "xterm-256color"}
        )
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


def served(image: Image, out: Path, word: str, port: int) -> str:
    """What a word of the entry point serves answers inside, and the health check knows it."""
    name = f"petriscope-{word}"
    options = image.options(out, "-d", "--name", name, "--user", STRANGER)
    image.docker(*options, word)
    try:
        ask = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/').status)"
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


def whole_run(bare: Path, boxed: Path) -> str:
    """Seconds of all stages on both sides, as their records say; for reading only, since the two
    ran at different times."""
    left, right = recorded_seconds(bare), recorded_seconds(boxed)
    assert left.keys() == right.keys() and left
    slowest = max(left, key=lambda name: left[name])
    total = f"{sum(right.values()):.0f} s in the container, {sum(left.values()):.0f} s bare"
    return f"{len(left)} stages: {total} ({sum(right.values()) / sum(left.values()):.3f}); longest {slowest}"


def overhead(
    image: Image, venv: Path, bare: Path, boxed: Path, rounds: int, names: tuple[str, ...]
) -> str:
    """Stages bare and in the container, in turn; medians. Processor time decides: wall time needs
    an idle machine."""
    stages = " && ".join(f"petriscope stage {name}" for name in names)
    wall: dict[str, list[float]] = {"bare": [], "container": []}
    busy: dict[str, list[float]] = {"bare": [], "container": []}
    for number in range(rounds):
        for side in ("bare", "container") if number % 2 == 0 else ("container", "bare"):
            started = time.monotonic()
            if side == "bare":
                said = bare_run(venv, bare, "sh", "-c", f"{stages} && times")
            else:
                said = image.run(
                    boxed, "shell", "sh", "-c", f"{stages} && times", options=("--user", STRANGER)
                ).stdout
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
    result = (
        f"container/bare: processor {ratios['processor']:.3f}, wall {ratios['wall']:.3f} ({detail})"
    )
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
    report.check("compose file", lambda: composed(image, scratch))
    report.check("verify: offline, read-only", lambda: verify(image))
    venv = bare_environment(scratch)
    demo = None if args.full else small_demo(venv, scratch / "demo")
    boxed, bare = (workspace(scratch / side, not args.full, demo) for side in ("boxed", "bare"))
    if report.check("demo: offline, read-only, any user", lambda: killed_and_resumed(image, boxed)):
        report.check("run again", lambda: up_to_date(image, boxed))
        report.check("verify the run", lambda: verify_run(image, boxed, args.full))
        report.check("provenance and crate", lambda: traced(image, boxed))
        report.check("terminal UI", lambda: terminal(image, boxed))
        report.check("web terminal", lambda: served(image, boxed, "web", 8765))
        report.check("web atlas", lambda: served(image, boxed, "atlas", 8766))
        if report.check("bare run", lambda: bare_reproduce(venv, bare)):
            report.check("same results", lambda: identical(bare, boxed))
            report.check("time of all stages", lambda: whole_run(bare, boxed))
            rounds = args.rounds or (2 if args.full else 3)
            names = (
                ("codes", "cds", "ablation")
                if args.full
                else ("model", "activations", "codes", "ablation")
            )
            report.check("overhead", lambda: overhead(image, venv, bare, boxed, rounds, names))
    if args.tests != "":
        chosen = args.tests.split() if args.tests else [] if args.full else ["tests/test_files.py"]
        report.check("tests inside", lambda: tests_inside(image, chosen))


def main() -> int:
    """Status 0: all held; 1: something did not; 77: no engine can be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--base", metavar="IMAGE", help="an image at hand instead of the Dockerfile's base"
    )
    parser.add_argument("--full", action="store_true", help="the whole demo, not the small one")
    parser.add_argument(
        "--rounds", type=int, help="rounds of the overhead measurement (default: 3, with --full 2)"
    )
    parser.add_argument(
        "--tests",
        help="what pytest runs inside (default: one file, with --full the whole suite; '' skips)",
    )
    parser.add_argument(
        "--scratch", type=Path, help="keep everything in this folder (default: temporary, removed)"
    )
    parser.add_argument("--log", type=Path, help="write the lines here too, each as it comes")
    args = parser.parse_args()
    if args.log:
        args.log.write_text("")
    report = Report(args.log)
    report.say(
        f"{'whole demo' if args.full else 'small models'}, torch {args.torch}, revision "
        f"{revision()}"
    )
    with scratch_folder(args.scratch) as scratch:
        try:
            with engine(scratch, args.base) as docker:
                checks(report, docker, scratch, args)
        except NoEngine as reason:
            report.say(f"no engine: {reason}")
            return 77
    report.say(f"failed: {', '.join(report.failed)}" if report.failed else "all held")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
