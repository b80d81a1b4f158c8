"""A run that is killed, starved, raced or tampered with: the reference is the same run undisturbed, byte for byte."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petriscope.files import read_json
from petriscope.pipeline.graph import load_graph
from petriscope.pipeline.snapshot import refresh_code
from petriscope.runner import run_stage
from petriscope.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
KILL = """
import os, signal, sys
from petriscope import files
from petriscope.cli import main
count, kill_at = 0, int(sys.argv[2])
replace = os.replace
def counted(source, target, **more):
    global count
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target, **more)
os.replace = counted
sys.exit(main(["stage", sys.argv[1]]))
"""
LIMIT = """
import resource, sys
from petriscope.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(["stage", sys.argv[1]]))
"""


def contents(workspace: Workspace, stage: str) -> dict[str, bytes]:
    """Every output of a stage but its record (which holds times)."""
    found = {}
    for out in load_graph(workspace.root).stages[stage].outs:
        if "/provenance/" not in out.path:
            path = workspace.root / out.path
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            found |= {p.relative_to(workspace.root).as_posix(): p.read_bytes() for p in files}
    return found


def run(script: str, workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("stage", "kill_at"), [("windows", 1), ("cds", 2), ("codes", 1), ("labels", 1)])
def test_a_stage_killed_while_it_writes_leaves_earlier_outputs_and_runs_again_to_the_same_bytes(
    tiny_copy: Workspace, stage, kill_at
):
    before = contents(tiny_copy, stage)
    killed = run(KILL, tiny_copy, stage, str(kill_at))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = contents(tiny_copy, stage)
    assert {name: after.get(name) for name in before} == before
    run_stage(stage, tiny_copy)
    assert {name: contents(tiny_copy, stage)[name] for name in before} == before


@pytest.mark.slow
def test_every_stage_killed_at_its_first_write_then_run_again_gives_identical_outputs(tiny_copy: Workspace):
    stages = [s.name for s in load_graph(tiny_copy.root).stages.values() if not s.is_data]
    wanted = {stage: contents(tiny_copy, stage) for stage in stages}
    for stage in stages:
        killed = run(KILL, tiny_copy, stage, "1")
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stderr)
        run_stage(stage, tiny_copy)
    for stage in stages:
        found = contents(tiny_copy, stage)
        assert {name for name in wanted[stage] if wanted[stage][name] != found.get(name)} == set(), stage


def test_a_full_disk_is_one_line_and_leaves_the_earlier_output(tiny_copy: Workspace):
    """RLIMIT_FSIZE lets no file grow beyond 2000 bytes: what a full disk or a quota does, without a disk to fill."""
    before = contents(tiny_copy, "windows")
    result = run(LIMIT, tiny_copy, "windows")
    assert result.returncode != 0
    assert contents(tiny_copy, "windows") == before
    assert not list(tiny_copy.results.glob(".*part*"))


def test_two_runs_of_one_stage_at_once_leave_a_whole_output(tiny_copy: Workspace):
    refresh_code(tiny_copy.root)
    before = contents(tiny_copy, "windows")
    command = [sys.executable, "-m", "petriscope", "stage", "windows"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, cwd=tiny_copy.root, **pipes) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert contents(tiny_copy, "windows") == before
    assert read_json(tiny_copy.provenance("windows"))["stage"] == "windows"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_workspace_that_cannot_be_written_is_one_line(tiny_copy: Workspace):
    tiny_copy.results.chmod(0o500)
    try:
        command = [sys.executable, "-m", "petriscope", "stage", "windows"]
        result = subprocess.run(command, cwd=tiny_copy.root, capture_output=True, text=True, check=False)
        assert result.returncode == 1 and "Choose a writable folder" in result.stderr
    finally:
        tiny_copy.results.chmod(0o700)


def test_nothing_in_the_package_unpickles_or_runs_what_it_reads():
    """Pickle, unsafe YAML, torch.load of anything but weights, and shells are ways to execute an input."""
    forbidden = {
        r"\bimport pickle\b|\bpickle\.load|\bjoblib\b|\bread_pickle\(": "pickle",
        r"allow_pickle\s*=\s*True": "numpy pickle",
        r"torch\.load\((?![^)]*weights_only\s*=\s*True)": "torch.load without weights_only",
        r"yaml\.(load|unsafe_load|full_load)\((?![^)]*SafeLoader)": "unsafe YAML",
        r"shell\s*=\s*True|os\.system\(": "shell",
        r"(?<![\w.])(eval|exec)\(": "eval",
    }
    for path in [*REPOSITORY.glob("src/**/*.py"), *REPOSITORY.glob("tui/**/*.py")]:
        text = path.read_text().replace("yaml = YAML()", "")
        for pattern, what in forbidden.items():
            for match in re.finditer(pattern, text):
                line = text[text.rfind("\n", 0, match.start()) + 1 : text.find("\n", match.start())]
                safe = what == "unsafe YAML" and "YAML()" in path.read_text()  # ruamel's round trip builds no objects
                assert safe, f"{path.relative_to(REPOSITORY)}: {what}: {line.strip()}"
