"""A second study, driven through the real command line and the real DVC: one sub-package of
petriscope.studies and one folder of a checkout made for it are all there is to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.run.studies import find_study, study_names

REPOSITORY = Path(__file__).resolve().parents[2]
TOY = Path(__file__).parent / "toy_study"


class Checkout:
    """A checkout with the toy study in it, and commands that run from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        path = os.pathsep.join([str(root / "src"), str(REPOSITORY / "tui")])
        first = os.pathsep.join([str(root / "bin"), str(Path(sys.executable).parent)])
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PATH": os.pathsep.join([first, os.environ["PATH"]]),
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, *command: str, folder: str = ".", status: int = 0) -> str:
        place = self.root / folder
        if command[0] == "petriscope":
            result = warm.run(command[1:], cwd=place, env=self.environment)
        else:
            result = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=place,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
        assert result.returncode == status, f"{command}: {result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    root = tmp_path_factory.mktemp("checkout ü") / "w"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "src" / "petriscope", root / "src" / "petriscope", ignore=ignored)
    # .dvcignore: compiled caches that appear between two runs are no change of the code
    for name in ("params.yaml", "dvc.yaml", "claims.yaml", ".dvcignore"):
        shutil.copyfile(REPOSITORY / name, root / name)
    shutil.copytree(
        TOY / "package", root / "src" / "petriscope" / "studies" / "toy", ignore=ignored
    )
    shutil.copytree(TOY / "workspace", root / "studies" / "toy")
    (root / "bin").mkdir()
    program = root / "bin" / "petriscope"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m petriscope "$@"\n')
    program.chmod(0o755)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    made = Checkout(root)
    made.run("dvc", "init", "-q")
    return made


@pytest.fixture(scope="module")
def finished(checkout: Checkout) -> Checkout:
    """The toy study run by `reproduce`, from the top of the checkout."""
    out = checkout.run("petriscope", "reproduce", "--study", "toy")
    assert "data set   words: two texts" in out and "letters-many  supported" in out
    return checkout


def test_reproduce_runs_the_study_named_in_its_own_folder(finished: Checkout) -> None:
    toy = finished.root / "studies" / "toy"
    assert read_json(toy / "results/metrics/letters.json") == {
        "texts": 2,
        "letters": 8,
        "untestable": None,
    }
    assert (toy / "dvc.lock").is_file() and not (toy / ".dvc").exists()
    assert not (finished.root / "results").exists()
    assert "Running stage" not in finished.run("petriscope", "reproduce", folder="studies/toy")


def test_the_studies_are_listed_with_state_and_place(finished: Checkout) -> None:
    lines = finished.run("petriscope", "reproduce", "--list-studies").splitlines()
    assert lines[0].split()[:7] == ["chromatin", "0", "of", "26", "stages", "have", "run"]
    toy = next(at for at, line in enumerate(lines) if line.startswith("toy "))
    assert lines[toy].startswith("toy          2 of 2 stages have run")
    assert lines[toy].endswith(str(finished.root / "studies" / "toy"))
    assert lines[toy + 1].strip() == "how many letters two words have"


def test_each_verb_finds_the_workspace_of_the_study(finished: Checkout, tmp_path: Path) -> None:
    study = ("--study", "toy")
    assert "letters-many: supported" in finished.run("petriscope", "claims", *study)
    assert "`petriscope stage letters`" in finished.run("petriscope", "claims", "--how", *study)
    graph = finished.run("petriscope", "status", "--graph", *study)
    assert "letters  up to date" in graph and "2 nodes: 2 up to date" in graph
    chain = finished.run("petriscope", "provenance", "letters-many", *study)
    assert "data/demo" in chain and "every file is as recorded, over 2 stages" in chain
    table = finished.run("petriscope", "verify", "--results", *study)
    assert "2 stages, every input and output as recorded" in table
    finished.run("petriscope", "crate", str(tmp_path / "crate"), *study)
    assert (tmp_path / "crate" / "results" / "letters" / "letters.csv").is_file()
    assert "needs a terminal" in finished.run("petriscope", "tui", *study, status=2)
    assert '"letters": 8' in finished.run("petriscope", "stage", "letters", *study)
    finished.run("petriscope", "data", "toy-demo", str(tmp_path / "words"))
    assert (tmp_path / "words" / "texts.json").is_file()


def test_verify_runs_the_tiny_workspace_of_the_study(finished: Checkout) -> None:
    out = finished.run("petriscope", "verify", "--study", "toy")
    assert "2 stages, 1 claims judged" in out and "holds no reference values" in out


def test_names_that_are_none_are_one_line(finished: Checkout) -> None:
    out = finished.run("petriscope", "claims", "--study", "toi", status=2)
    assert out == "petriscope: no study 'toi'. Did you mean toy?\n"
    params = finished.root / "studies/toy/params.yaml"
    text = params.read_text()
    try:
        params.write_text(text.replace("study: toy", "study: xyz"))
        out = finished.run("petriscope", "claims", folder="studies/toy", status=0)
        out = finished.run("petriscope", "stage", "letters", folder="studies/toy", status=2)
    finally:
        params.write_text(text)
    assert "params.yaml: study: no study 'xyz'. Studies: chromatin, cells, dna, toy." in out
    out = finished.run("petriscope", "reproduce", "--study", "all", "--set", "seed=2", status=2)
    assert out == "petriscope: --set: goes with one study. Give --study NAME, not all.\n"


def test_dvc_alone_knows_all_pipelines_and_ours_agrees_with_it(finished: Checkout) -> None:
    """`dvc repro -P` at the top reaches the study's graph; a study's own status shows no other's."""
    finished.run("petriscope", "reproduce", "--study", "toy")
    assert "up to date" in finished.run("petriscope", "status", "--study", "toy")
    assert "changed deps" in finished.run("petriscope", "status")  # the demo was not made here
    (finished.root / "dvc.yaml").rename(finished.root / "dvc.yaml.away")
    try:
        params = finished.root / "studies/toy/params.yaml"
        text = params.read_text()
        params.write_text(text.replace("least: 1", "least: 2"))
        out = finished.run("dvc", "repro", "-P")
        assert "Running stage 'studies/toy/dvc.yaml:letters'" in out
        assert read_json(finished.root / "studies/toy/results/metrics/letters.json")["letters"] == 4
        assert (
            "not supported" in (finished.root / "studies/toy/paper_figures/claims.md").read_text()
        )
    finally:
        params.write_text(text)
        (finished.root / "dvc.yaml.away").rename(finished.root / "dvc.yaml")


def test_outside_a_checkout_a_study_gets_the_same_place(checkout: Checkout, tmp_path: Path) -> None:
    outside = Checkout(checkout.root)
    outside.root = tmp_path
    out = outside.run("petriscope", "reproduce", "--study", "toy")
    toy = tmp_path / "petriscope-run" / "studies" / "toy"
    assert f"workspace  {toy}" in out and (toy / "code" / "studies" / "toy").is_dir()
    assert (tmp_path / "petriscope-run" / ".dvc" / "config").is_file()
    assert not (toy / ".dvc").exists()
    again = outside.run("petriscope", "reproduce", "--workspace", str(toy))
    assert "Running stage" not in again


def test_names_here() -> None:
    assert study_names()[0] == "chromatin"
    assert find_study("chromatin").stage("sae") == "petriscope.stages.sae"
    with pytest.raises(UserError, match=r"no study 'chromatine'. Did you mean chromatin\?"):
        find_study("chromatine")
    with pytest.raises(UserError, match=r"study chromatin: has no stage 'saee'"):
        find_study("chromatin").stage("saee")
    with pytest.raises(UserError, match=r"has no stage 'data.dvc'"):  # a node of the graph
        find_study("chromatin").stage("data.dvc")
