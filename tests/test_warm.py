"""`warm.run` against `subprocess.run` of the same command: status, both streams, folder, sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

ENDINGS = {
    "falls off its end": ("print('é')", {}),
    "a status": ("import sys; print('x', file=sys.stderr); sys.exit(7)", {}),
    "last words": ("raise SystemExit('no')", {}),
    "its arguments": ("import sys; print(sys.argv, sys.path[0] in ('', sys.argv[1]))", {}),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}),
    "where it is": ("import os, sys; print(os.getcwd(), sys.stdin.read() == '')", {}),
    "its environment": ("import os; print(os.environ['GIVEN'])", {"GIVEN": "ü"}),
    "its encoding": ("print('é'.encode(), '\\u2265')", {"PYTHONIOENCODING": "ascii:replace"}),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends_as_an_interpreter_does(ending: str, tmp_path: Path) -> None:
    code, more = ENDINGS[ending]
    env = {**os.environ, **more}
    wanted = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = warm.run([tmp_path], cwd=tmp_path, env=env, code=code)
    assert (found.returncode, found.stdout) == (wanted.returncode, wanted.stdout)
    assert found.stderr == wanted.stderr


def test_an_error_is_a_traceback_and_status_1(tmp_path: Path) -> None:
    found = warm.run([], cwd=tmp_path, code="1 / 0")
    assert found.returncode == 1
    assert found.stderr.startswith("Traceback") and "ZeroDivisionError" in found.stderr


def test_the_program_is_that_of_the_path(tmp_path: Path) -> None:
    """No process sees what another has loaded: the sources may differ from one start to the next."""
    for number in (3, 4):
        package = tmp_path / str(number) / "petriscope"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(f"raise SystemExit({number})")
        env = {**os.environ, "PYTHONPATH": str(package.parent)}
        assert warm.run([], cwd=tmp_path, env=env).returncode == number
    said = warm.run(["--version"], cwd=tmp_path)
    assert said.returncode == 0 and said.stdout.startswith("petriscope ")
