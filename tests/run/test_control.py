"""Reference: DVC itself, on a small pipeline: `dvc status`, its lock file, its runs and their
interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from petriscope.errors import UserError
from petriscope.run.dvc import Hasher, Stopped, lock_holders, process_alive
from petriscope.run.graph import draw_lanes, load_graph, load_yaml, lookup
from petriscope.run.launch import Runner, RunState, repro_command
from petriscope.run.params import load_params, parse_params
from petriscope.run.params_edit import assign, override, preview, save
from petriscope.run.status import pipeline_status

REPOSITORY = Path(__file__).resolve().parents[2]
PIPELINE = """\
vars:
- folder: made
stages:
  one:
    cmd: mkdir -p ${folder} && cp source.txt ${folder}/x && echo ${pace.wait} > ${folder}/y
    deps: [source.txt, code]
    params: [pace.wait]
    outs: [made: {persist: true}]
  two:
    cmd: cat made/x > two.txt
    deps: [made]
    params: [rate]
    outs: [two.txt: {cache: false}]
  three:
    cmd: >-
      echo before; python -c 'raise SystemExit("petriscope: no such layer")'
    deps: [two.txt]
    outs: [three.txt]
  slow:
    cmd: python -c 'import time; print("begun", flush=True); time.sleep(600)'
    deps: [source.txt]
    outs: [slow.txt]
  each:
    foreach: [a, b]
    do:
      cmd: echo ${item} > each_${item}.txt
      outs: ["each_${item}.txt"]
"""


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which DVC has run ``one`` and ``two``."""
    root = tmp_path_factory.mktemp("pipeline")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("pace: {wait: 1}\nrate: 1e-3\n")
    (root / "source.txt").write_text("source\n")
    (root / ".dvcignore").write_text("__pycache__\n*.tmp\n")
    (root / "code" / "__pycache__").mkdir(parents=True)
    (root / "code" / "__pycache__" / "x.pyc").write_text("compiled")
    (root / "code" / "a.py").write_text("1")
    (root / "code" / "sub").mkdir()
    (root / "code" / "sub" / "b.py").write_text("2")
    assert dvc(root, "init", "--no-scm", "-q").returncode == 0
    assert dvc(root, "repro", "two").returncode == 0
    return root


@pytest.fixture
def workspace(reproduced: Path, tmp_path: Path) -> Path:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(reproduced, root, symlinks=True)
    return root


def states(root: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    graph = load_graph(root)
    return {s.name: (s.state, s.reasons) for s in pipeline_status(root, graph, Hasher(root))}


def wait(runner: Runner, until: Callable[[RunState], bool], seconds: float = 180) -> RunState:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = runner.poll()
        if until(state):
            return state
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain: {runner.poll()}\n{runner.log()[0]}")


def test_graph_resolves_variables_and_loops(reproduced: Path) -> None:
    graph = load_graph(reproduced)
    assert list(graph.stages) == ["one", "two", "three", "slow", "each@a", "each@b"]
    assert graph.stages["one"].cmd == "mkdir -p made && cp source.txt made/x && echo 1 > made/y"
    assert graph.needs["two"] == ("one",) and graph.feeds["one"] == ("two",)
    assert graph.downstream(["two"]) == ["two", "three"] and graph.depth()["three"] == 2
    assert not graph.stages["two"].outs[0].cached
    assert load_yaml(reproduced / "params.yaml")["rate"] == 0.001
    assert lookup({"a": [{"b": 3}]}, "a.0.b") == (True, 3) and lookup({}, "a") == (False, None)


def test_status_agrees_with_dvc(reproduced: Path) -> None:
    found = states(reproduced)
    assert found["one"] == ("up_to_date", ()) and found["two"] == ("up_to_date", ())
    assert found["three"] == ("never_run", ("never run",))
    clean = dvc(reproduced, "status", "one", "two").stdout
    assert "up to date" in clean


@pytest.mark.parametrize(
    ("change", "stage", "state", "reason"),
    [
        (
            lambda r: (r / "source.txt").write_text("other\n"),
            "one",
            "changed",
            "dependency source.txt changed",
        ),
        (
            lambda r: (r / "code" / "sub" / "b.py").write_text("3"),
            "one",
            "changed",
            "dependency code changed",
        ),
        (
            lambda r: (r / "params.yaml").write_text("pace: {wait: 2}\nrate: 1e-3\n"),
            "one",
            "changed",
            "command changed",
        ),
        (
            lambda r: (r / "params.yaml").write_text("pace: {wait: 1}\nrate: 0.01\n"),
            "two",
            "changed",
            "rate: 0.001 -> 0.01",
        ),
        (
            lambda r: (r / "params.yaml").write_text("pace: {wait: 1}\n"),
            "two",
            "changed",
            "rate is missing from params",
        ),
        (lambda r: (r / "two.txt").unlink(), "two", "missing", "output missing: two.txt"),
        (
            lambda r: (r / "two.txt").write_text("edited"),
            "two",
            "changed",
            "output two.txt changed",
        ),
    ],
)
def test_every_change_is_seen_and_named(
    workspace: Path, change: Callable[[Path], object], stage: str, state: str, reason: str
) -> None:
    change(workspace)
    found = states(workspace)
    assert found[stage][0] == state
    assert any(reason in line for line in found[stage][1])
    if stage == "one":
        assert found["two"] == ("upstream", ("after one",))
    if reason in ("dependency code changed", "rate: 0.001 -> 0.01"):
        assert stage in dvc(workspace, "status", stage).stdout


def test_ignored_files_change_nothing(workspace: Path) -> None:
    (workspace / "code" / "__pycache__" / "y.pyc").write_text("more")
    (workspace / "code" / "z.tmp").write_text("scratch")
    assert states(workspace)["one"][0] == "up_to_date"


def test_data_files_are_nodes(workspace: Path) -> None:
    assert dvc(workspace, "add", "source.txt", "-q").returncode == 0
    graph = load_graph(workspace)
    assert graph.stages["source.txt.dvc"].is_data and graph.needs["one"] == ("source.txt.dvc",)
    assert list(graph.needs) == list(graph.stages) == list(draw_lanes(graph.needs))
    assert states(workspace)["source.txt.dvc"][0] == "up_to_date"
    (workspace / "source.txt").unlink()
    assert states(workspace)["source.txt.dvc"][0] == "missing"


def test_sums_are_remembered_until_a_file_changes(workspace: Path) -> None:
    first = Hasher(workspace)
    expected = first.path("code")
    first.remember()
    assert Hasher(workspace, stop=lambda: True).path("code") == expected  # nothing is read again
    (workspace / "code" / "a.py").write_text("changed")
    assert Hasher(workspace).path("code") != expected


def test_hashing_can_be_stopped(workspace: Path) -> None:
    with pytest.raises(Stopped):
        Hasher(workspace, stop=lambda: True).path("source.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "dvc.yaml: line 1: not valid YAML"),
        ("x: 1", "has no stages. Compare with the shipped dvc.yaml"),
        ("stages: {a: {deps: [x]}}", "dvc.yaml: a: stage has no cmd"),
        (
            "stages: {a: {cmd: x, deps: [b], outs: [a]}, b: {cmd: x, deps: [a], outs: [b]}}",
            "depend on each other in a circle",
        ),
    ],
)
def test_broken_pipelines_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_graph(tmp_path)
    with pytest.raises(UserError, match=r"dvc\.yaml: cannot be read"):
        load_graph(tmp_path / "nowhere")


def test_run_streams_and_names_the_failing_line(workspace: Path) -> None:
    (workspace / "source.txt").write_text("new\n")
    runner = Runner(workspace)
    runner.start("upstream", "three")
    state = wait(runner, lambda s: s.ended_now)
    assert (state.exit_status, state.failed, state.done) == (255, "three", ("one", "two"))
    assert (
        state.failing_line == "petriscope: no such layer" and state.brief == "run failed at three"
    )
    text, offset = runner.log()
    assert "Running stage 'one'" in text and "before" in text and runner.log(offset) == ("", offset)
    history = runner.history()
    assert [e["ok"] for name in ("one", "two", "three") for e in history[name]] == [
        True,
        True,
        False,
    ]
    assert states(workspace)["two"][0] == "up_to_date"
    assert not runner.poll().ended_now


def test_cancel_leaves_no_process_and_a_second_program_sees_the_run(workspace: Path) -> None:
    first, second = Runner(workspace), Runner(workspace)
    first.start("one", "slow")
    wait(first, lambda s: "begun" in first.log()[0])
    assert second.poll().running and second.poll().stage == "slow" and second.holders() == []
    with pytest.raises(UserError, match="a run is in progress"):
        second.start("all")
    group = json.loads((first.folder / "current.json").read_text())["pid"]
    second.cancel()
    state = wait(first, lambda s: not s.running)
    assert state.exit_status != 0 and state.brief == "run cancelled"
    end = time.monotonic() + 60
    while process_alive(group) and time.monotonic() < end:
        first.poll()
        time.sleep(0.02)
    first.poll()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert lock_holders(workspace) == []


def test_a_killed_run_is_not_running_for_ever(workspace: Path) -> None:
    runner = Runner(workspace)
    runner.start("one", "slow")
    wait(runner, lambda s: "begun" in runner.log()[0])
    os.killpg(json.loads((runner.folder / "current.json").read_text())["pid"], signal.SIGKILL)
    state = wait(runner, lambda s: not s.running)
    assert state.exit_status == -9 and state.brief == "run failed"


def test_locks_of_others_are_shown_not_fought(workspace: Path) -> None:
    lock = workspace / ".dvc" / "tmp" / "rwlock"
    lock.write_text(
        json.dumps({"x": {"write": {"pid": os.getpid(), "cmd": "dvc repro other"}, "read": []}})
    )
    runner = Runner(workspace)
    assert [(h.pid, h.command, h.alive) for h in runner.holders()] == [
        (os.getpid(), "dvc repro other", True)
    ]
    with pytest.raises(
        UserError, match=r"DVC is busy: process \d+ \(dvc repro other\) holds its lock"
    ):
        runner.start("all")
    lock.write_text(json.dumps({"x": {"read": [{"pid": 2**22 - 1, "cmd": "dvc pull"}]}}))
    assert [h.alive for h in runner.holders()] == [False] and not process_alive(2**22 - 1)
    lock.write_text("not json")
    assert runner.holders() == []


def test_places_where_nothing_can_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a DVC workspace"):
        Runner(tmp_path).start("all")
    assert (
        Runner(tmp_path).poll() == RunState()
        and Runner(tmp_path).history() == {}
        and Runner(tmp_path).log() == ("", 0)
    )


def test_commands() -> None:
    root = REPOSITORY
    assert repro_command(root, "one", "sae", True)[1:] == [
        "-m",
        "dvc",
        "repro",
        "--single-item",
        "--force",
        "--no-run-cache",
        "sae",
    ]
    assert repro_command(root, "downstream", "sae", False)[3:] == ["repro", "--downstream", "sae"]
    assert repro_command(root, "all", None, False)[1:5] == [
        "-m",
        "petriscope",
        "reproduce",
        "--workspace",
    ]


def test_assignments_change_their_lines_alone() -> None:
    path = REPOSITORY / "params.yaml"
    text = path.read_text()
    assert assign(text, [], path) == text
    changed = assign(
        text, ["sae.gate.fvu=0.5", "tracks.match_depth=1000", "ablation.ks=[5, 10]"], path
    )
    lines = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert len(lines) == 3 and all(a.partition("#")[2] == b.partition("#")[2] for a, b in lines)
    new = parse_params(yaml.safe_load(changed))
    assert (new.sae.gate.fvu, new.tracks.match_depth, new.ablation.ks) == (0.5, 1000, [5, 10])
    # PyYAML alone reads 1e-6 as text, and 1e-06 as ruamel writes it
    small = assign(text, ["sae.learning_rate=1e-6", "sae.gate.fvu=2E-2"], path)
    new = parse_params(yaml.safe_load(small))
    assert (new.sae.learning_rate, new.sae.gate.fvu) == (1e-6, 0.02)
    assert "learning_rate: 1.0e-06" in small
    for assignment, message in {
        "sae.k": "--set: 'sae.k' is not an assignment. Write ENTRY=VALUE",
        "sea.k=3": "sea.k: has no such section",
        "sae.kk=3": "sae.kk: is not a parameter. Did you mean sae.k",
        "sae.k=[": "--set sae.k: '\\[' is not a YAML value",
        "sae.k=many": "sae.k: is 'many', not int",
    }.items():
        with pytest.raises(UserError, match=message):
            assign(text, [assignment], path)


def test_a_small_number_that_a_program_sets_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text())
    override(path, {"sae.learning_rate": 1e-6, "steering.alphas": [1e-05, 0.5]})
    new = load_params(path)
    assert new.sae.learning_rate == 1e-6 and new.steering.alphas == [1e-05, 0.5]


def test_parameter_edit_names_what_it_invalidates(tmp_path: Path) -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    graph = load_graph(REPOSITORY)
    path = tmp_path / "params.yaml"
    assert preview(text, text + "\n# remark\n", graph, path).changes == ()
    now = parse_params(yaml.safe_load(text)).calibration.nulls
    edit = preview(text, text.replace(f"nulls: {now}", "nulls: 300"), graph, path)
    assert edit.changes == (f"calibration.nulls: {now} -> 300",) and edit.direct == ("calibration",)
    assert (
        edit.invalidated == tuple(graph.downstream(["calibration"]))
        and "sae" not in edit.invalidated
    )
    assert "sea is not a parameter" in str(
        preview(text, text.replace("\nsae:", "\nsea:"), graph, path).problem
    ).replace(": is", " is")
    assert "line 2" in str(preview(text, "a: 1\n b: [", graph, path).problem)
    save(path, "x: 1\n")
    assert path.read_text() == "x: 1\n" and list(tmp_path.iterdir()) == [path]
