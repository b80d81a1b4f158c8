"""A container engine for the checks: the one that is there, or Debian's own daemon on a private
socket, for this run only."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class NoEngine(Exception):
    """No engine can be had here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A client bound to a daemon; `base` is the stand-in for the Dockerfile's base image, None
    where that can be pulled."""

    client: str
    environment: dict[str, str]
    base: str | None
    private: bool

    def __call__(
        self, *arguments: str, check: bool = True, **options
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENTS`; output is captured unless told otherwise."""
        options = {"capture_output": True, "text": True, **options}
        result = subprocess.run(
            [self.client, *arguments], env=self.environment, check=False, **options
        )
        if check and result.returncode:
            tail = "\n".join(((result.stdout or "") + (result.stderr or "")).splitlines()[-30:])
            raise AssertionError(
                f"docker {' '.join(arguments)} ended with {result.returncode}:\n{tail}"
            )
        return result


def run(*command: str) -> None:
    """Run a command of the host; on failure its last lines are the message."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NoEngine(f"{' '.join(command[:3])} failed: {(result.stdout + result.stderr)[-800:]}")


@contextlib.contextmanager
def engine(scratch: Path, base: str | None = None) -> Iterator[Engine]:
    """The engine to use, with ``base`` in place of the Dockerfile's if named.

    A private daemon is stopped by its process and its files below ``scratch`` are removed.
    """
    distribution = Path("/usr/bin/docker")  # other clients on the path may lack the builder
    found = str(distribution) if distribution.exists() else shutil.which("docker")
    if (
        found is not None
        and subprocess.run([found, "info"], capture_output=True, check=False).returncode == 0
    ):
        yield Engine(found, {**os.environ, "DOCKER_BUILDKIT": "1"}, base, private=False)
        return
    if os.geteuid() != 0:
        raise NoEngine("no docker daemon answers, and starting one needs root")
    if not Path("/etc/debian_version").is_file() or shutil.which("apt-get") is None:
        raise NoEngine("no docker daemon answers, and installing one is written for Debian")
    missing = [
        p
        for p, f in (("docker.io", "/usr/sbin/dockerd"), ("mmdebstrap", "/usr/bin/mmdebstrap"))
        if not Path(f).exists()
    ]
    if missing:
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    with _daemon(scratch) as environment, _wheels() as find_links:
        docker = Engine("/usr/bin/docker", environment, "petriscope-base:stand-in", private=True)
        _stand_in_base(docker, scratch, find_links)
        yield docker


@contextlib.contextmanager
def _daemon(scratch: Path) -> Iterator[dict[str, str]]:
    socket = scratch / "docker.sock"
    command = [
        "/usr/sbin/dockerd",
        "--data-root",
        str(scratch / "data"),
        "--exec-root",
        str(scratch / "exec"),
    ]
    command += ["-H", f"unix://{socket}", "--pidfile", str(scratch / "docker.pid")]
    command += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1"}
    with (scratch / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 90
            while subprocess.run(
                ["/usr/bin/docker", "info"], env=environment, capture_output=True, check=False
            ).returncode:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    tail = (scratch / "dockerd.log").read_text()[-800:]
                    raise NoEngine(f"dockerd does not start here: {tail}")
                time.sleep(0.5)
            yield environment
        finally:
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(60)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(scratch)):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(scratch / "data", ignore_errors=True)


@contextlib.contextmanager
def _wheels() -> Iterator[str | None]:
    """Serve the host's folder of wheels to the build, where its pip is set up with one; yields the
    address."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    folder = os.environ.get("PIP_FIND_LINKS") or told
    if not folder or not Path(folder).is_dir():
        yield None
        return
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _stand_in_base(docker: Engine, scratch: Path, find_links: str | None) -> None:
    """A minimal Debian of the base image's release with the host's certificates and package-client
    settings."""
    assert docker.base is not None
    settings = [
        f"cert = {CERTIFICATES}",
        "retries = 1",
        "timeout = 180",
        "disable-pip-version-check = true",
    ]
    if find_links:
        settings.append(f"find-links = {find_links}")
    if os.environ.get("PIP_INDEX_URL"):
        settings.append(f"index-url = {os.environ['PIP_INDEX_URL']}")
    (scratch / "pip.conf").write_text("[global]\n" + "\n".join(settings) + "\n")
    tar = scratch / "base.tar"
    hooks = [f"--customize-hook=upload {scratch / 'pip.conf'} /etc/pip.conf"]
    hooks.append(f"--customize-hook=upload {CERTIFICATES} {CERTIFICATES}")
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=ca-certificates",
        *hooks,
        "bookworm",
        str(tar),
    )
    docker("import", str(tar), docker.base)
    tar.unlink()
