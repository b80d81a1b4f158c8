"""Kind 7: another user, umask, locale, archive or path."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
import yaml
from cases.conftest import Cli, Refused, Small
from ruamel.yaml import YAML
from sae.test_coder import make_sae
from safetensors.torch import save_file

from petriscope.cli import main
from petriscope.commands import status
from petriscope.errors import UserError
from petriscope.files import atomic_folder, atomic_path, write_json
from petriscope.run.dvc import Hasher
from petriscope.run.graph import load_graph
from petriscope.run.params import load_params
from petriscope.run.status import pipeline_status
from petriscope.run.workspace import allow_without_git, create_workspace, scalar, set_dataset
from petriscope.sae.exchange import FORMATS
from petriscope.sae.train import Checkpoint, save_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = [
    "plate #2", "K562: rep1", "back\\gslash", "it's", 'so "called"', "${dataset}", "$HOME", "%s",
    "*", "[b]", "&a", "!t", "yes", "1e3", "ü ñ 😀", "a|b", "- x", "? y", "@", "`x`", "a,b", "\\n",
]  # fmt: skip
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")


# ---- B04: files follow the umask -----------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_b04_files_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_text("x")
        make_sae("topk").save(tmp_path / "sae")
        for name in ("saelens", "dictionary_learning", "sparsify"):
            save = FORMATS[name].save
            assert save is not None
            save(make_sae("topk"), tmp_path / name)
        sae = make_sae("topk")
        save_checkpoint(tmp_path / "kept", sae.config, Checkpoint(1, {"w": sae.W_enc}, {}))
        write_json(tmp_path / "a.json", 1)
        with atomic_path(tmp_path / "b.safetensors") as temporary:
            save_file({"x": torch.zeros(2)}, temporary)
        with atomic_folder(tmp_path / "c") as folder:
            (folder / "in").mkdir(mode=0o700)
            np.save(folder / "in/x.npy", np.zeros(2))
            (folder / "in/x.npy").chmod(0o600)
    finally:
        os.umask(before)
    wanted = (tmp_path / "plain").stat().st_mode & 0o777
    for path in tmp_path.rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode == (wanted if path.is_file() else 0o777 & ~mask), path


def as_nobody(arguments: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process that becomes another user once everything is loaded, since the
    interpreter itself may lie where only root reads."""
    code = (
        "import os, sys, petriscope.commands.sae; from petriscope.cli import main; "
        "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3); "
        "sys.exit(main(sys.argv[1:]))"
    )
    return warm.run(arguments, cwd=cwd, code=code)


@needs_root
def test_b04_a_read_that_fails_is_called_that(tmp_path: Path) -> None:
    """In a process of another user: who may read and who may write differ only there."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    np.save(tmp_path / "x.npy", np.zeros((30, 20), np.float32))
    make_sae("topk").save(tmp_path / "sae")
    (tmp_path / "sae/cfg.json").chmod(0o600)
    said = as_nobody(["sae", "export", "sae", "/tmp/never-made", "--format", "sparsify"], tmp_path)
    assert "sae/cfg.json: cannot be read (Permission denied). Ask its owner" in said.stderr
    assert "writable" not in said.stderr
    (tmp_path / "sae/cfg.json").chmod(0o644)
    tmp_path.chmod(0o755)
    said = as_nobody(["sae", "encode", "--sae", "sae", "--input", "x.npy", "--out", "o"], tmp_path)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
    assert "is read-only. Choose a writable folder" in said.stderr


def test_b04_a_status_says_what_it_could_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path
    (root / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: x\n    outs: [a]\n  two:\n    cmd: y\n    outs: [b]\n"
    )
    (root / "dvc.lock").write_text(
        "stages:\n  one:\n    cmd: x\n    outs: [{path: a, md5: 1}]\n"
        "  two:\n    cmd: y\n    outs: [{path: b, md5: 7}]\n"
    )
    for name in "ab":
        (root / name).write_text("x")

    def closed(self: Hasher, relative: str) -> str:
        raise PermissionError(13, "Permission denied", relative)

    monkeypatch.setattr(Hasher, "path", closed)
    found = list(pipeline_status(root, load_graph(root), Hasher(root)))
    assert [status.state for status in found] == ["changed", "changed"]
    assert "cannot be read: Permission denied" in found[0].reasons[0]


# ---- B19: names and paths ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_b19_a_path_is_quoted(tmp_path: Path, name: str) -> None:
    """As this program reads params.yaml (YAML 1.1) and as DVC does (1.2)."""
    workspace = create_workspace(tmp_path / "w", tmp_path / name)
    assert load_params(workspace.params).dataset == str(tmp_path / name)
    text = workspace.params.read_text(encoding="utf-8")
    assert YAML(typ="safe").load(text)["dataset"] == str(tmp_path / name)
    before = text
    set_dataset(workspace.params, tmp_path / "plain")
    set_dataset(workspace.params, tmp_path / name)
    assert workspace.params.read_text(encoding="utf-8") == before
    assert yaml.safe_load(f"x: {scalar(name)}")["x"] == name


@pytest.mark.parametrize("name", ["plate #2", "back\\gslash", "K562: rep1"])
def test_b19_dvc_runs_there(small: Small, tmp_path: Path, name: str) -> None:
    data = tmp_path / f"data {name}"
    shutil.copytree(small.folder, data, copy_function=os.link)
    workspace = create_workspace(tmp_path / "runs" / name, data)
    from petriscope.run.snapshot import refresh_code

    refresh_code(workspace.root)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "windows"],
        cwd=workspace.root, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert workspace.windows.is_file()


def test_b19_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has { or } in its path"):
        create_workspace(tmp_path / "{9}")
    assert not (tmp_path / "{9}").exists()
    with pytest.raises(UserError, match="line break"):
        create_workspace(tmp_path / "w", tmp_path / "a\nb")


# ---- B20: no git ---------------------------------------------------------------------------------


def test_b20_an_unpacked_archive_runs_without_git(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    shutil.copy(REPOSITORY / ".dvc/config", tmp_path / ".dvc/config")
    (tmp_path / "dvc.yaml").write_text("stages:\n  a:\n    cmd: echo x > a\n    outs: [a]\n")
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "not a git repository" in done.stderr  # what it was
    (tmp_path / ".dvc/config.local").write_text("['remote \"x\"']\n    url = /y\n")
    allow_without_git(tmp_path)
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / ".dvc/config.local").read_text()
    assert "url = /y" in told and "no_scm = true" in told
    allow_without_git(tmp_path)
    assert (tmp_path / ".dvc/config.local").read_text() == told


def test_b20_a_checkout_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".git").mkdir()
    allow_without_git(tmp_path)
    assert list((tmp_path / ".dvc").iterdir()) == []


# ---- B21: terminals and locales ------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "ascii:strict"])
def test_b21_every_verb_prints_on_any_terminal(cli: Cli, tmp_path: Path, encoding: str) -> None:
    from petriscope.cli import VERBS

    workspace = create_workspace(tmp_path / "w ü")
    env = {"PYTHONIOENCODING": encoding}
    verbs = [[verb, "--help"] for verb in VERBS] if encoding == "ascii" else []
    for command in [*verbs, ["status", "--graph"], ["claims", "--how"], ["claims"]]:
        answer = cli(command, cwd=workspace.root, env=env)
        assert "Traceback" not in answer.stderr, (command, answer.stderr)


def test_b21_a_drawing_keeps_its_shape() -> None:
    code = (
        "from petriscope.cli import _print_anywhere; _print_anywhere(); "
        "print('├┼●─ ≥ é α \\udcff 😀 …')"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout == b"++o- >= e a ? ? ~\n"


def test_b21_files_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """A workspace is made and its parameters read where the locale's encoding is ASCII, and no file
    is opened without an encoding."""
    code = (
        "import sys; from pathlib import Path; from petriscope.run.workspace import *; "
        "from petriscope.run.params import load_params; "
        "w = create_workspace('w', Path('x #2')); print(load_params(w.params).dataset[-4:])"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-X", "warn_default_encoding", "-W",
         "error::EncodingWarning:petriscope", "-c", code],
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "x #2", done.stdout


@pytest.mark.parametrize("name", ["params.yaml", "claims.yaml"])
def test_b17_a_latin1_file_is_named(refused: Refused, tmp_path: Path, name: str) -> None:
    workspace = create_workspace(tmp_path / "w")
    (workspace.root / name).write_bytes(b"# caf\xe9\n" + (workspace.root / name).read_bytes())
    verb = ["claims", "--how"] if name == "claims.yaml" else ["stage", "windows"]
    refused(verb, name, "is not UTF-8 text (byte 5)", cwd=workspace.root)


# ---- what a file is called -----------------------------------------------------------------------


def test_a_file_that_is_no_array_is_called_what_it_is(tmp_path: Path) -> None:
    from petriscope.sae.loader import open_shard

    torch.save({"x": torch.zeros(2)}, tmp_path / "a.pt")
    torch.save(torch.zeros(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(64))
    np.save(tmp_path / "cut.npy", np.zeros((100, 4)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:200])
    np.savez(tmp_path / "a.npz", np.zeros((4, 4)))
    (tmp_path / "folder.npy").mkdir()
    for name, what in {
        "a.pt": "is a PyTorch file (.pt)",
        "old.pt": "is a pickle or an old PyTorch file",
        "a.safetensors": "is a safetensors file",
        "a.h5": "is an HDF5 file",
        "a.gz": "is compressed (gzip)",
        "cut.npy": "is a damaged or truncated .npy array",
        "a.npz": "holds several arrays (.npz)",
        "folder.npy": "is a folder",
    }.items():
        with pytest.raises(UserError) as refusal:
            open_shard(tmp_path / name)
        assert what in str(refusal.value), (name, str(refusal.value))


def _without_encoding(call: ast.Call) -> bool:
    """Whether a call opens text and leaves the encoding to the locale."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return False
    if name == "read_text":
        return isinstance(call.func, ast.Attribute) and not call.args
    return name == "write_text" and isinstance(call.func, ast.Attribute)


def test_b21_no_text_is_read_or_written_in_the_locales_encoding() -> None:
    """What ruff's PLW1514 misses because it does not know the type of what is read."""
    found = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for folder in ("src", "tui")
        for path in (REPOSITORY / folder).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _without_encoding(call)
    ]
    assert found == []


def test_b04_another_user_sees_the_state_of_a_run(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC would lock the owner's folder; the records can be read all the same."""
    workspace = create_workspace(small.folder.parent / "w", small.folder)
    theirs = lambda path, mode: not (mode == os.W_OK and Path(path).name == ".dvc")
    monkeypatch.setattr(status.os, "access", theirs)
    monkeypatch.setattr(subprocess, "run", None)  # DVC is not asked
    assert main(["status", "--workspace", str(workspace.root)]) == 0
    shown = capsys.readouterr()
    assert "is another user's" in shown.err and "nodes: " in shown.out
