"""A run that is stopped stops whole: what the run's process started is looked up in the process
table."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from petriscope.commands.reproduce import _browse
from petriscope.run.workspace import Workspace

RUN = """
import os, sys
from pathlib import Path
from petriscope.commands.reproduce import run_whole
stage = "import signal, time; print('begun', flush=True); time.sleep(600)"
if sys.argv[1] == "stubborn":
    stage = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)];" + stage
dvc = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {stage!r}]))"
try:
    run_whole([sys.executable, "-c", dvc], cwd=Path.cwd(), env=dict(os.environ), grace=0.5, patience=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("stage", ["willing", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_run_alone_ends_all_it_started(stage: str, number: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, stage], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert run.stdout is not None and run.stdout.readline() == b"begun\n"
    family = psutil.Process(run.pid).children(recursive=True)
    assert len(family) == 2
    run.send_signal(number)
    assert run.wait(30) == 130
    assert psutil.wait_procs(family, timeout=1)[1] == []


def test_the_status_of_what_ran_is_handed_back() -> None:
    from pathlib import Path

    from petriscope.commands.reproduce import run_whole

    started = time.monotonic()
    assert run_whole([sys.executable, "-c", "raise SystemExit(7)"], cwd=Path.cwd(), env={}) == 7
    assert time.monotonic() - started < 30


def test_the_command_that_opens_a_run_names_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    monkeypatch.chdir(tmp_path)
    assert _browse(Workspace(run)) == f"petriscope tui '{run}'"
    monkeypatch.chdir(run)
    assert _browse(Workspace(run)) == "petriscope tui"
