"""Kind 4: nothing of the user's is overwritten or deleted, whatever a verb is told to write where.

Every output goes through `files.claim` (before any work) and, for folders, `atomic_folder` (again
at the swap).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cases.conftest import Cli, Small
from sae.test_coder import make_sae

from petriscope.cli import main
from petriscope.commands.reproduce import choose_workspace
from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, claim, json_with, write_json
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import create_workspace, run_name
from petriscope.sae.codes import Codes
from petriscope.sae.exchange import FORMATS

REPOSITORY = Path(__file__).resolve().parents[2]
THING = Output("a thing", ("thing.json", "*.npy"), json_with(thing=None))


@pytest.fixture
def stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`refused` of the other cases, without a fresh interpreter for each."""

    def run(arguments: list[object], *words: str, cwd: Path) -> str:
        monkeypatch.chdir(cwd)
        status = main([str(part) for part in arguments])
        said = capsys.readouterr()
        assert (status, said.err.count("\n")) == (2, 1), said.err
        assert all(word in said.err for word in words), said.err
        return said.out

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Vectors, an autoencoder of ours, one of SAELens, one of sparsify, and a folder with a note."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4000, 20)).astype(np.float32))
    make_sae("topk").save(tmp_path / "ours")
    make_sae("topk").save(tmp_path / "other")
    for name in ("saelens", "sparsify"):
        save = FORMATS[name].save
        assert save is not None
        save(make_sae("topk"), tmp_path / name)
    (tmp_path / "noted").mkdir()
    (tmp_path / "noted/note.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("noted")
    return tmp_path


def held(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, by name."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


TRAIN = ["sae", "train", "--input", "x.npy", "--k", "3", "--lr", "0.01", "--tokens", "2048"]
ENCODE = ["sae", "encode", "--sae", "ours", "--input", "x.npy"]
LOSSES: list[tuple[list[str], str]] = [
    *((["sae", "import", "saelens", out, "--format", "saelens"], word) for out, word in (
        ("noted", "note.txt"), ("file", "is a file"), ("link", "note.txt"), (".", "holds the input"),
        ("saelens", "input itself"), ("./saelens/../saelens", "input itself"),
        ("saelens/in", "lies inside"), ("sparsify", "other files than a dictionary"),
        ("noted/note.txt", "is a file"), ("file/x", "is no folder"),
    )),
    *((["sae", "export", "ours", out, "--format", "sparsify"], word) for out, word in (
        ("noted", "note.txt"), ("file", "is a file"), ("ours", "input itself"),
        ("other", "other files than a sparsify folder"), ("ours/in", "lies inside"),
        ("saelens", "sae_weights.safetensors"),
    )),
    *(([*TRAIN, "--out", out], word) for out, word in (
        ("noted", "note.txt"), ("file", "is a file"), ("x.npy", "input itself"),
        ("saelens", "sae_weights"), ("sparsify", "other files"),
    )),
    *(([*ENCODE, "--out", out], word) for out, word in (
        ("noted", "note.txt"), ("file", "is a file"), ("ours", "input itself"), ("other", "cfg.json"),
    )),
    (["data", "demo", "noted"], "note.txt"),
    (["data", "demo", "file"], "is a file"),
    (["data", "paper", "noted", "--only", "hg38"], "note.txt"),
    (["data", "fragments", "x.npy", "noted.tsv.gz"], "is not known as an output of this program"),
    (["verify", "--results", "--json", "file"], "is not a table"),
    (["reproduce", "--workspace", "file"], "is a file"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "word"), LOSSES, ids=lambda part: " ".join(part[-3:]))
def test_b01_what_is_there_stays(
    place: Path, stopped: Callable[..., str], command: list[str], word: str
) -> None:
    (place / "noted.tsv.gz").write_text("mine")
    before = held(place)
    stopped(command, word, cwd=place)
    assert held(place) == before


def test_an_earlier_output_of_the_same_kind_is_replaced(place: Path, cli: Cli) -> None:
    for command in (
        ["sae", "import", "saelens", "other", "--format", "saelens"],
        ["sae", "export", "ours", "sparsify", "--format", "sparsify"],
        [*ENCODE, "--out", "codes"],
        [*ENCODE, "--out", "codes"],
    ):
        answer = cli(command, cwd=place)
        assert answer.returncode == 0, answer.stderr
    (place / "other/note.txt").write_text("mine")
    assert cli(["sae", "import", "saelens", "other", "--format", "saelens"], cwd=place).returncode
    assert (place / "other/note.txt").read_text() == "mine"


def test_an_output_through_a_link_goes_where_the_link_points(place: Path, cli: Cli) -> None:
    (place / "disk").mkdir()
    (place / "out").symlink_to("disk")
    assert cli([*ENCODE, "--out", "out"], cwd=place).returncode == 0
    assert (place / "out").is_symlink() and (place / "disk/codes.json").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--out", "."], ("is the current folder",)),
        (["--out", ".."], ("is the current folder or holds it",)),
        (["--out", "out", "--seed", "-1"], ("seed: is -1",)),
        (["--out", "out", "--latents", "0"], ("--latents: is 0",)),
        (["--out", "out", "--lr", "nan"], ("lr",)),
        (["--out", "o" * 300], ("too long a name",)),
    ],
)
def test_b25_before_training(
    place: Path, stopped: Callable[..., str], changes: list[str], words: tuple[str, ...]
) -> None:
    (place / "empty/inner").mkdir(parents=True)
    command = ["sae", "train", "--input", place / "x.npy", "--k", "3", *changes]
    said = stopped(command, *words, cwd=place / "empty/inner")
    assert "learning rate" not in said and not list((place / "empty/inner").iterdir())


# ---- the one function ----------------------------------------------------------------------------


def test_a_thing_replaces_a_thing_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert claim(out, THING) == out
    with atomic_folder(out, THING) as folder:
        write_json(folder / "thing.json", {"thing": 1})
    assert claim(out, THING) == out
    (out / "sub").mkdir()
    with pytest.raises(UserError, match=r"other files than a thing, which would be lost \(sub\)"):
        claim(out, THING)
    (out / "sub").rmdir()
    write_json(out / "thing.json", {"other": 1})
    with pytest.raises(UserError, match="other files than a thing"):
        claim(out, THING)


def test_what_comes_to_lie_there_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"note\.txt"), atomic_folder(out, THING) as folder:
        write_json(folder / "thing.json", {"thing": 1})
        out.mkdir()
        (out / "note.txt").write_text("mine")
    assert held(tmp_path) == {"out/note.txt": b"mine"}
    with pytest.raises(UserError, match="is a file"), atomic_folder(tmp_path / "f") as folder:
        (tmp_path / "f").write_text("mine")
    assert (tmp_path / "f").read_text() == "mine"


@pytest.mark.parametrize("save", [make_sae("topk").save], ids=["SAE"])
def test_the_notebook_is_no_back_door(tmp_path: Path, save: Callable[[Path], None]) -> None:
    (tmp_path / "note.txt").write_text("mine")
    for body in (save, _codes().save):
        with pytest.raises(UserError, match=r"note\.txt"):
            body(tmp_path)
    assert held(tmp_path) == {"note.txt": b"mine"}


def _codes() -> Codes:
    return Codes(np.array([0, 1]), np.array([0], np.int32), np.array([1.0], np.float32), 4)


def test_every_verb_that_writes_where_the_user_says_claims_it() -> None:
    """A module of the command line that declares an output asks `claim`, so that a new verb cannot
    forget it."""
    declares = re.compile(r'"--out"|"--json", type=Path|"out"|"target", type=Path')
    asked = [
        path
        for folder in ("commands", "studies/chromatin/data", "studies/chromatin/model")
        for path in (REPOSITORY / "src/petriscope" / folder).glob("*.py")
        if declares.search(path.read_text(encoding="utf-8")) and "add_arguments" in path.read_text()
    ]
    assert len(asked) >= 8
    silent = [p.name for p in asked if "claim(" not in p.read_text(encoding="utf-8")]
    assert silent == ["crate.py", "demo.py"]  # what they call claims it: run.crate, simulated
    for name in ("run/crate.py", "simulated.py"):
        assert "claim(" in (REPOSITORY / "src/petriscope" / name).read_text(encoding="utf-8")


# ---- workspaces ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dvc.yaml", "claims.yaml", "code/mine.py", "results/mine.csv"])
def test_another_projects_folder_becomes_no_workspace(tmp_path: Path, name: str) -> None:
    (tmp_path / "w" / name).parent.mkdir(parents=True)
    (tmp_path / "w" / name).write_text("stages: {}\n")
    with pytest.raises(UserError, match="of something else, which a run would replace"):
        create_workspace(tmp_path / "w")
    assert list(held(tmp_path / "w")) == [name]


def test_another_projects_params_stay(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/params.yaml").write_text("dataset: mine\nlr: 0.1\n")
    with pytest.raises(UserError, match=r"params\.yaml"):
        create_workspace(tmp_path / "w", tmp_path)
    assert held(tmp_path / "w") == {"params.yaml": b"dataset: mine\nlr: 0.1\n"}


def test_two_data_sets_of_one_name_are_two_runs(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small.describe(name="plate")
    os.system(f"cp -r '{small.folder}' '{tmp_path / 'second'}'")
    first = choose_workspace(None, str(small.folder), None)
    before = held(first.root)
    with pytest.raises(UserError, match=r"is the run of another data set of this name"):
        choose_workspace(None, str(tmp_path / "second"), None)
    assert held(first.root) == before
    assert choose_workspace(None, str(small.folder), None) == first
    assert choose_workspace("own", str(tmp_path / "second"), None).root == tmp_path / "own"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".", "", "a\nb", " a", "a" * 300])
def test_a_name_leads_nowhere_else(name: str) -> None:
    with pytest.raises(UserError, match="which cannot name the folder of its run"):
        run_name(name, Path("data"))


def test_a_tokens_folder_with_a_note_stays(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match=r"note\.txt"):
        Tokens.save(None, tmp_path)  # type: ignore[arg-type]  # looked at before anything else
