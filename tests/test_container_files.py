"""Dockerfile, .dockerignore and entry point, without an engine: hadolint, the shell itself, and the
rules of the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
ENTRY = REPOSITORY / "docker/bin/petriscope-container"


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra: dev)")
    result = subprocess.run(
        [hadolint, str(REPOSITORY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "script", sorted((REPOSITORY / "docker/bin").iterdir()), ids=lambda path: path.name
)
def test_shell_scripts_parse_and_are_executable(script):
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    assert os.access(script, os.X_OK)
    subprocess.run([shell, "-n", str(script)], check=True)


def test_the_base_is_pinned_and_the_user_is_not_root():
    base = re.search(r"(?m)^ARG BASE_IMAGE=(\S+)$", DOCKERFILE)
    assert base is not None and re.fullmatch(
        r"[a-z/]+:[\w.-]*\d{8}[\w.-]*@sha256:[0-9a-f]{64}", base[1]
    )
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"(?m)^USER (?!0|root)\S+$", last)
    assert "HEALTHCHECK" in last and "tini" in last
    installs = re.findall(r"(?m)pip(?: --python \S+)? install [^&\n]*-r [^&\n]*", DOCKERFILE)
    assert len(installs) == 4 and all("--require-hashes" in line for line in installs)


def test_the_context_is_an_allow_list():
    lines = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    for source in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE):
        for name in source.split():
            if name != ".":
                assert any(name == entry or name.startswith(entry + "/") for entry in allowed), (
                    f"{name} is left out"
                )
    assert not allowed & {".git", "results", "data", "runs", ".venv"}


def test_the_entry_point_says_what_to_do_about_an_unwritable_out(tmp_path):
    """The script itself, with /out and /opt moved: an unwritable /out is status 2 and one line with
    the remedy."""
    text = ENTRY.read_text().replace("/out", f"{tmp_path}/absent/out")
    script = tmp_path / "entry"
    script.write_text(text.replace("HOLD=/opt/petriscope", f"HOLD={tmp_path}"))
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "fontlist.json").write_text("{}")
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "cache")}
    result = subprocess.run(
        ["sh", str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert (
        result.returncode == 2
        and "is not writable" in result.stderr
        and "docker run --user" in result.stderr
    )
    assert "Traceback" not in result.stderr


def test_every_service_of_compose_is_closed_and_calls_a_verb_of_the_entry_point():
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    assert {"reproduce", "gpu", "tui", "web", "atlas"} == services.keys()
    verbs = set(re.findall(r"(?m)^    ([a-z |]+)\)", ENTRY.read_text()))
    for name, service in services.items():
        assert service["command"][0] in {word for line in verbs for word in line.split(" | ")}, name
        assert (
            service["read_only"]
            and service["cap_drop"] == ["ALL"]
            and service["volumes"] == ["./out:/out"]
        ), name
        port = {"web": 8765, "atlas": 8766}.get(name)
        published = None if port is None else [f"127.0.0.1:{port}:{port}"]
        assert service.get("ports") == published, name
        assert published or service["network_mode"] == "none", name


def test_compose_itself_finds_the_file_valid(tmp_path):
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run(
                [*command, "version"], capture_output=True, check=False
            ).returncode
        ):
            break
    else:
        pytest.skip("neither docker's compose plugin nor docker-compose is installed")
    command += [
        "-f",
        str(REPOSITORY / "compose.yaml"),
        "--project-directory",
        str(tmp_path),
        "config",
        "-q",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
