"""What a case from a public report needs: a small valid data set that a case damages, and the
command line run for real.

A case is five lines: damage one file of `small`, run a verb, and say what is right::

    def test_b27_genes_without_chr(small: Small, refused: Refused) -> None:
        small.write("genes.bed", small.read("genes.bed").replace("chr", ""))
        refused(["data", "check", small.folder], "genes.bed", "chr1")
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import warm
import yaml

Answer = subprocess.CompletedProcess[str]
Cli = Callable[..., Answer]
Refused = Callable[..., str]


@dataclass(frozen=True)
class Small:
    """A copy of the tiny data set (1.6 Mb of genome, twelve biosamples)."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> str:
        return self.path(name).read_text()

    def write(self, name: str, text: str | bytes) -> Path:
        """Replace one file, whatever folder it lies in."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a hard link to the session's copy, which stays
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text)
        return path

    def describe(self, **fields: Any) -> None:
        """Set fields of dataset.yaml, nested ones as `annotation__motifs={"file": ...}`; None takes
        one out."""
        raw = yaml.safe_load(self.read("dataset.yaml"))
        for name, value in fields.items():
            *above, last = name.split("__")
            inner = raw
            for part in above:
                inner = inner[part]
            if value is None:
                inner.pop(last)
            else:
                inner[last] = value
        self.write("dataset.yaml", yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))

    def description(self) -> dict[str, Any]:
        """dataset.yaml as it is."""
        return dict(yaml.safe_load(self.read("dataset.yaml")))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, simulated once. Never write into it: a test has `small`."""
    from petriscope.studies.chromatin.simulate.dataset import simulate_demo
    from petriscope.studies.chromatin.tiny import TINY_DATA

    folder = tmp_path_factory.mktemp("cases") / "tiny"
    simulate_demo(folder, TINY_DATA)
    return folder


@pytest.fixture
def small(tiny_data: Path, tmp_path: Path) -> Small:
    """A copy that a test may damage with `Small.write` and `Small.describe`."""
    shutil.copytree(tiny_data, tmp_path / "small", copy_function=os.link)
    return Small(tmp_path / "small")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `petriscope ARGUMENTS` for real, in ``cwd`` (else an empty folder), with ``env`` on top
    of this environment."""

    def run(
        arguments: Sequence[object], *, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Answer:
        empty = tmp_path / "elsewhere"
        empty.mkdir(exist_ok=True)
        return warm.run(arguments, cwd=cwd or empty, env={**os.environ, **(env or {})})

    return run


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli` without a process of its own: for verbs that read and print."""

    def run(arguments: Sequence[object]) -> Answer:
        from petriscope.cli import main

        words = [str(one) for one in arguments]
        status = main(words)
        said = capsys.readouterr()
        return Answer(words, status, said.out, said.err)

    return run


@pytest.fixture
def wrong(small: Small, here: Cli) -> Refused:
    """`petriscope data check` on `small` must end with status 2 and one line that holds every word
    of ``words``; the line comes back."""

    def check(*words: str) -> str:
        answer = here(["data", "check", small.folder])
        (line,) = answer.stderr.strip().splitlines()
        assert answer.returncode == 2, (answer.returncode, answer.stdout, answer.stderr)
        for word in words:
            assert word in line, (word, line)
        return line

    return check


@pytest.fixture
def right(small: Small, here: Cli) -> Callable[[], str]:
    """`petriscope data check` on `small` must find nothing wrong; what it printed comes back."""

    def check() -> str:
        answer = here(["data", "check", small.folder])
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return check


@pytest.fixture
def refused(cli: Cli) -> Refused:
    """Run a verb that must end with status 2 and one line on the error stream that holds every
    word of ``words``; the line comes back."""

    def check(arguments: Sequence[object], *words: str, **options: Any) -> str:
        answer = cli(arguments, **options)
        line = answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else ""
        assert "Traceback" not in answer.stderr, answer.stderr
        assert answer.returncode == 2, (answer.returncode, answer.stdout, answer.stderr)
        assert line.startswith("petriscope: "), answer.stderr
        for word in words:
            assert word in line, (word, line)
        return line

    return check
