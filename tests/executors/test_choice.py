"""Who runs the tasks, how that is chosen, and what of it is told: reference by hand."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from petriscope.commands.status import task_lines
from petriscope.errors import UserError, disk_is_full
from petriscope.executors import LOCAL, Executor, current, fan_out, once, using
from petriscope.executors.config import VARIABLE, Settings, choose, config_file
from petriscope.executors.drive import pieces_of
from petriscope.executors.slurm import _ranges
from petriscope.executors.state import report, reporting
from petriscope.run.provenance import ran_by


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's settings file that does not exist yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    config_file().parent.mkdir()
    return config_file()


def test_the_command_line_comes_before_the_environment_before_the_file(home, monkeypatch):
    assert choose(None) == Settings()
    home.write_text("executor: slurm\npartition: short\nsetup: [module load python]\nlimit: 100\n")
    assert choose(None) == Settings("slurm", "short", setup=("module load python",), limit=100)
    monkeypatch.setenv(VARIABLE, "ray")
    assert choose(None).executor == "ray"
    assert choose("local").executor == "local" and choose("local").limit == 100


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partitoin: x\n", r"executor.yaml: partitoin: is no entry. Did you mean partition\?"),
        ("limit: 0\n", r"limit: is 0. Give a number."),
        ("limit: many\n", r"limit: is 'many'. Give a number."),
        ("memory_gb: true\n", r"memory_gb: is True. Give a number."),
        ("setup: module\n", r"setup: is no list of lines"),
        ("executor: slrum\n", r"executor: is 'slrum'. Did you mean slurm\?"),
        ("- a\n", r"is no mapping"),
        ("a: [\n", r"is no YAML"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_names_file_and_field(home, text, told):
    home.write_text(text)
    with pytest.raises(UserError, match=told):
        choose(None)


def test_an_executor_that_does_not_exist_is_refused(home, monkeypatch):
    with pytest.raises(UserError, match=r"--executor: is 'slrm'. Did you mean slurm"):
        choose("slrm")
    monkeypatch.setenv(VARIABLE, "dask")
    with pytest.raises(UserError, match=VARIABLE):
        choose(None)


def test_without_a_stage_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert current() is LOCAL
    assert list(fan_out(pow, 2, range(5), "powers")) == [1, 2, 4, 8, 16]
    other = Executor("slurm")
    with using(other):
        assert current() is other
    assert current() is LOCAL and not list(tmp_path.iterdir())


def test_what_is_loaded_once_belongs_to_one_object():
    calls: list[object] = []
    first, second = [1], [1]
    load = lambda context: calls.append(context) or len(calls)  # type: ignore[func-returns-value]
    assert [once(load, x) for x in (first, first, second, first)] == [1, 1, 2, 3]


def test_a_long_plan_is_cut_into_about_four_tasks_a_slot():
    plan = SimpleNamespace(items=range(1000), settings=Settings(limit=32))
    pieces = pieces_of(plan)
    assert len(pieces) == 125 and [p for x in pieces.values() for p in x.places] == list(
        range(1000)
    )
    assert len(pieces_of(SimpleNamespace(items=range(90), settings=Settings(limit=32)))) == 90


def test_numbers_of_an_array():
    assert _ranges([0, 1, 2, 3, 7, 9, 10]) == "0-3,7,9-10" and _ranges([4]) == "4"


def test_status_tells_what_is_done_running_waiting_lost_and_retried(tmp_path):
    stage = tmp_path / "sae"
    stage.mkdir()
    state = {"what": "Training SAEs", "engine": "slurm", "total": 5, "lost": 1, "retried": 2}
    state |= {"host": "elsewhere", "pid": 1}
    (stage / "sae.state").write_text(json.dumps(state) + "\n")
    for item in (0, 1):
        (stage / f"sae.{item}.done").write_text("{}\n")
    with reporting(stage / "sae.2.progress", {"host": "node7"}):
        report(9, 10)  # too soon after the first report
    lines = list(task_lines(tmp_path, 200))
    told = "2 done, 1 running, 2 waiting, 1 lost, 2 retried of 5"
    assert lines[0] == f"sae: Training SAEs (slurm): {told}"
    assert lines[1].startswith("  longest silent: sae.2 on node7, 0 s ago")
    dead = {**state, "host": socket.gethostname(), "pid": 2**22 + 1}  # above the kernel's largest
    (stage / "sae.state").write_text(json.dumps(dead) + "\n")
    assert next(task_lines(tmp_path, 200)).endswith(f"{told}; its driver has ended")
    assert list(task_lines(tmp_path / "nowhere", 80)) == []


def test_several_kinds_of_processor_are_told(tmp_path, capsys):
    task = {"key": "a.0", "host": "n1", "seconds": 1, "engine": "slurm"}
    kinds = ["AMD (AVX2)", "AMD (DEFAULT)"]
    notes = {"a": {"lost": 1, "retried": 1, "tasks": [{**task, "cpu": cpu} for cpu in kinds]}}
    (tmp_path / "notes.json").write_text(json.dumps(notes))
    found = ran_by(Executor("slurm", tmp_path))
    assert found["processors"] == kinds and found["hosts"] == ["n1"] and found["lost"] == 1
    assert "ran on 2 kinds of processor (AMD (AVX2); AMD (DEFAULT))" in capsys.readouterr().err
    assert ran_by(LOCAL)["tasks"] == [] and capsys.readouterr().err == ""


def test_a_full_disk_is_known_by_number_or_words():
    assert disk_is_full(OSError(28, "No space left on device"))
    assert disk_is_full(OSError("1000 requested and 12 written"))  # numpy
    assert disk_is_full(RuntimeError("I/O error: (os error 28)"))  # safetensors
    assert not disk_is_full(OSError(13, "Permission denied")) and not disk_is_full(ValueError("x"))
