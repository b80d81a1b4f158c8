"""Reference: the installed sources themselves, and DVC's view of a stand-alone workspace whose code
is of another day."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import petriscope
from petriscope.errors import UserError
from petriscope.run.dvc import Hasher, state_folder
from petriscope.run.graph import load_graph
from petriscope.run.launch import Runner
from petriscope.run.snapshot import refresh_code
from petriscope.run.status import pipeline_status
from petriscope.run.supervisor import supervise
from petriscope.run.workspace import create_workspace

PACKAGE = Path(petriscope.__file__).parent


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield create_workspace(tmp_path / "alone").root
    for (
        number,
        handler,
    ) in handlers.items():  # the supervisor, called here in this process, takes them
        signal.signal(number, handler)


def test_the_copy_equals_the_sources_and_is_left_alone(workspace: Path) -> None:
    assert refresh_code(workspace)
    copied = {
        p.relative_to(workspace / "code").as_posix()
        for p in (workspace / "code").rglob("*")
        if p.is_file()
    }
    assert copied == {
        p.relative_to(PACKAGE).as_posix()
        for p in PACKAGE.rglob("*")
        if p.suffix in (".py", ".yaml", ".json", ".tsv", ".meme", ".js", ".css", ".html", ".txt")
    }
    assert (workspace / "code" / "errors.py").read_bytes() == (PACKAGE / "errors.py").read_bytes()
    before = (workspace / "code").stat()
    assert not refresh_code(workspace) and (workspace / "code").stat().st_ino == before.st_ino


def test_an_old_copy_is_replaced_and_the_status_says_so(workspace: Path) -> None:
    refresh_code(workspace)
    graph, hasher = load_graph(workspace), Hasher(workspace)
    now = hasher.path("code/stages/sae.py")
    (workspace / "code/stages/sae.py").write_text("yesterday")
    (workspace / "code" / "gone.py").write_text("removed since")
    deps = [{"path": d, "md5": hasher.path(d) or "0"} for d in graph.stages["sae"].deps]
    (workspace / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  sae: {{cmd: petriscope stage sae, deps: {deps}}}\n"
    )
    assert refresh_code(workspace) and not (workspace / "code" / "gone.py").exists()
    assert Hasher(workspace).path("code/stages/sae.py") == now
    status = {s.name: s for s in pipeline_status(workspace, graph, Hasher(workspace))}["sae"]
    assert "dependency code/stages/sae.py changed" in status.reasons


def test_a_run_from_the_ui_uses_todays_code(workspace: Path) -> None:
    state_folder(workspace).mkdir(parents=True)
    assert supervise(workspace, workspace / "log", ["true"]) == 0
    assert (workspace / "code/stages/sae.py").is_file()


def test_a_copy_that_cannot_be_written_ends_the_run_with_its_reason(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_folder(workspace).mkdir(parents=True)

    def full(root: Path) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petriscope.run.supervisor.refresh_code", full)
    assert supervise(workspace, workspace / "log", ["true"]) == 1
    state = Runner(workspace).poll()
    assert (
        not state.running
        and state.exit_status == 1
        and "No space left" in (state.failing_line or "")
    )


def test_a_run_from_the_ui_starts_on_no_damaged_cache(workspace: Path) -> None:
    state_folder(workspace).mkdir(parents=True)
    copy = workspace / ".dvc/cache/files/md5/ab" / ("0" * 30)
    copy.parent.mkdir(parents=True)
    copy.write_text("other bytes than the name says")
    assert supervise(workspace, workspace / "log", ["touch", str(workspace / "ran")]) == 2
    assert f"{copy}: was changed after DVC cached it" in (
        Runner(workspace).poll().failing_line or ""
    )
    assert not (workspace / "ran").exists()


def test_elsewhere_nothing_is_written(tmp_path: Path) -> None:
    assert not refresh_code(tmp_path)
    (tmp_path / "dvc.yaml").write_text("vars:\n- code: src/petriscope\nstages: {}\n")
    assert not refresh_code(tmp_path) and list(tmp_path.iterdir()) == [tmp_path / "dvc.yaml"]
    with pytest.raises(UserError):
        load_graph(tmp_path / "nowhere")
