"""A run that is killed, starved, raced or tampered with: the reference is the same run undisturbed,
byte for byte."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm
import yaml

from petriscope.files import read_json
from petriscope.run.dvc import damaged_copies
from petriscope.run.graph import load_graph
from petriscope.run.snapshot import refresh_code
from petriscope.run.stage import run_stage
from petriscope.run.verify import cached
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.tiny import tiny_workspace

REPOSITORY = Path(__file__).resolve().parents[2]
KILL = """
import multiprocessing, os, signal, sys
from petriscope import files
from petriscope.cli import main
count, kill_at = 0, int(sys.argv[2])
replace = os.replace
def counted(source, target, **more):
    global count
    count += 1
    if count == kill_at:
        stage = os.getpid() if multiprocessing.parent_process() is None else os.getppid()  # a worker writes too
        os.kill(stage, signal.SIGKILL)
        signal.pause()
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
    return warm.run(arguments, cwd=workspace.root, code=script)


@pytest.mark.parametrize(
    ("stage", "kill_at"), [("windows", 1), ("cds", 2), ("codes", 1), ("labels", 1)]
)
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
def test_every_stage_killed_at_its_first_write_then_run_again_gives_identical_outputs(
    tiny_copy: Workspace,
):
    stages = [s.name for s in load_graph(tiny_copy.root).stages.values() if not s.is_data]
    wanted = {stage: contents(tiny_copy, stage) for stage in stages}
    for stage in stages:
        killed = run(KILL, tiny_copy, stage, "1")
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stderr)
        run_stage(stage, tiny_copy)
    for stage in stages:
        found = contents(tiny_copy, stage)
        assert {
            name for name in wanted[stage] if wanted[stage][name] != found.get(name)
        } == set(), stage


def test_a_full_disk_is_one_line_and_leaves_the_earlier_output(tiny_copy: Workspace):
    """RLIMIT_FSIZE lets no file grow beyond 2000 bytes: what a full disk or a quota does, without a
    disk to fill."""
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


@pytest.fixture(scope="session")
def one_stage(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny data set and a graph of one stage, so that `petriscope reproduce` takes seconds;
    stage windows ran once."""
    workspace = tiny_workspace(tmp_path_factory.mktemp("one stage") / "w")
    graph = yaml.safe_load((workspace.root / "dvc.yaml").read_text())
    alone = {"vars": graph["vars"], "stages": {"windows": graph["stages"]["windows"]}}
    (workspace.root / "dvc.yaml").write_text(yaml.safe_dump(alone))
    workspace.figures.mkdir()
    shutil.copy(
        REPOSITORY / "paper_figures/claims.json", workspace.figures
    )  # `reproduce` ends with the ledger
    run_stage("windows", workspace)
    return workspace


@pytest.fixture
def workspace(one_stage: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it, in a folder with a space and letters of two scripts in its name."""
    shutil.copytree(one_stage.root, tmp_path / "Läufe 模型" / "w 1")
    return Workspace(tmp_path / "Läufe 模型" / "w 1")


def petriscope(
    workspace: Workspace, *arguments: str, before: tuple[str, ...] = (), **environment: str
):
    """A verb in a process of its own, in the workspace."""
    given = {**os.environ, **environment}
    if not before:
        return warm.run(arguments, cwd=workspace.root, env=given)
    command = [*before, sys.executable, "-m", "petriscope", *arguments]
    return subprocess.run(
        command, cwd=workspace.root, env=given, capture_output=True, text=True, check=False
    )


def test_a_copy_tampered_with_in_the_cache_is_refused_and_made_anew(workspace: Workspace):
    """DVC hands out a read-only copy unread; the reference is the output as the stage wrote it."""
    assert cached(workspace).state == "skipped"
    assert petriscope(workspace, "reproduce").returncode == 0
    wanted = workspace.windows.read_bytes()
    assert cached(workspace).state == "ok"
    copy = next(
        p
        for p in (workspace.root / ".dvc/cache/files/md5").glob("??/*")
        if p.read_bytes() == wanted
    )
    copy.chmod(0o644)
    copy.write_bytes(bytes([wanted[0] ^ 1]) + wanted[1:])
    copy.chmod(0o444)
    check = cached(workspace)
    assert check.state == "failed" and f"{copy.parent.name}/{copy.name}" in check.seen
    assert "petriscope reproduce" in check.remedy
    workspace.windows.unlink()  # now DVC would restore it
    refused = petriscope(workspace, "reproduce")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert f"petriscope: {copy}: was changed after DVC cached it" in refused.stderr
    assert "Remove it and run the same command again" in refused.stderr
    assert not workspace.windows.exists()
    copy.unlink()
    again = petriscope(workspace, "reproduce")
    assert again.returncode == 0, again.stderr
    assert workspace.windows.read_bytes() == wanted
    assert cached(workspace).state == "ok"


def test_a_cache_elsewhere_is_looked_at_too(workspace: Workspace, tmp_path: Path):
    assert damaged_copies(workspace.root) == []
    folder = tmp_path / "kept elsewhere"
    (workspace.root / ".dvc/config.local").write_text(
        f"[cache]\n    dir = {folder}\n['remote \"store\"']\n    url = x\n"
    )
    (folder / "files/md5/ab").mkdir(parents=True)
    wrong = folder / "files/md5/ab" / ("0" * 30)
    wrong.write_text("not what the name says")
    (wrong.parent / "tmp-of-a-transfer").write_text("")
    assert damaged_copies(workspace.root) == [wrong]


def test_two_reproductions_at_once_leave_whole_outputs_and_one_says_why_it_did_nothing(
    workspace: Workspace,
):
    before = contents(workspace, "windows")
    command = [sys.executable, "-m", "petriscope", "reproduce"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, cwd=workspace.root, **pipes) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    status = [process.returncode for process in both]
    assert 0 in status and set(status) <= {0, 1}, said
    for text, code in zip(said, status, strict=True):
        assert "Traceback" not in text
        assert code == 0 or re.search(r"is busy|[Uu]nable to acquire lock", text), text
    assert contents(workspace, "windows") == before
    assert "didn't change" in petriscope(workspace, "reproduce").stdout


def plain_user() -> tuple[str, ...]:
    """What to put before a command so that permissions count: root gives up its capabilities for
    it."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip(
            "root writes everywhere, and setpriv (util-linux) is not installed to give that up"
        )
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def read_only_sources(tmp_path: Path):
    """The program's source tree as a clone that its user may not write."""
    sources = tmp_path / "clone"
    names = (
        "src",
        "tui",
        "params.yaml",
        "dvc.yaml",
        "claims.yaml",
        "paper_figures",
        "pyproject.toml",
    )
    for name in names:
        found = REPOSITORY / name
        if found.is_dir():
            shutil.copytree(found, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, sources / name)
    every = [sources, *sources.rglob("*")]
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield sources
    for path in every:
        path.chmod(0o755 if path.is_dir() else 0o644)


def from_read_only(sources: Path, workspace: Workspace, *arguments: str):
    """A verb of the read-only sources, by a user who may not write them."""
    found = petriscope(
        workspace,
        *arguments,
        before=plain_user(),
        PYTHONPATH=f"{sources}/src{os.pathsep}{sources}/tui",
    )
    written = [
        p for p in sources.rglob("*") if p.name == "__pycache__" or os.stat(p).st_mode & 0o222
    ]
    assert not written, written
    return found


def test_a_read_only_source_tree_runs_in_a_workspace_elsewhere(
    read_only_sources: Path, workspace: Workspace
):
    wanted = workspace.windows.read_bytes()
    workspace.windows.unlink()
    by_hand = from_read_only(read_only_sources, workspace, "stage", "windows")
    assert by_hand.returncode == 0, by_hand.stderr
    assert workspace.windows.read_bytes() == wanted
    drawn = from_read_only(read_only_sources, workspace, "status", "--graph")
    assert drawn.returncode == 0 and "windows  never run" in drawn.stdout, drawn.stderr
    workspace.windows.unlink()
    command = [sys.executable, "-m", "dvc", "repro", "-q"]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{read_only_sources}/src",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    result = subprocess.run(
        [*plain_user(), *command],
        cwd=workspace.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert workspace.windows.read_bytes() == wanted
    inside = from_read_only(read_only_sources, Workspace(read_only_sources), "reproduce")
    assert inside.returncode == 1 and inside.stderr.count("\n") == 1, inside.stderr
    assert (
        "Permission denied. Choose a writable folder (for a run: --workspace DIR)" in inside.stderr
    )


@pytest.mark.slow
def test_the_whole_graph_through_dvc_from_a_read_only_tree_in_a_folder_with_an_odd_name(
    read_only_sources: Path, tiny_run: Workspace, tmp_path: Path
):
    """The reference is the run of the same stages in one process, in a folder of another name."""
    workspace = tiny_workspace(tmp_path / "Ärger mit 'Namen' & 模型")
    result = from_read_only(read_only_sources, workspace, "reproduce")
    assert result.returncode == 0, (result.stdout + result.stderr)[-2000:]
    assert (
        "Data and pipelines are up to date"
        in from_read_only(read_only_sources, workspace, "status").stdout
    )
    compared = 0
    for stage in (s.name for s in load_graph(workspace.root).stages.values() if not s.is_data):
        wanted, found = contents(tiny_run, stage), contents(workspace, stage)
        assert wanted.keys() == found.keys()
        tables = {
            name for name in wanted if name.endswith((".csv", ".parquet", ".npy", ".safetensors"))
        }
        assert {name for name in tables if wanted[name] != found[name]} == set(), stage
        compared += len(tables)
    assert compared > 50


FULL = """
mount -t tmpfs -o size=16m tmpfs "$1" || exit 99
cp -r data dvc.yaml params.yaml claims.yaml .dvc code results "$1"/ && cd "$1" || exit 98
sum() { md5sum results/windows.parquet results/metrics/windows.json results/provenance/windows.json; }
before=$(sum)
cat /dev/zero >filler 2>/dev/null
"$2" -m petriscope stage windows; echo "status $?"
"$2" -m dvc repro -q windows; echo "dvc $?"
[ "$before" = "$(sum)" ] && echo "as before"
rm filler
"$2" -m petriscope stage windows >/dev/null; echo "status $?"
"""


def test_a_disk_that_is_really_full_is_one_line_and_the_next_run_goes_on(
    workspace: Workspace, tmp_path: Path
):
    """A small file system in memory, filled to the last byte; it goes with the private mount
    namespace it lives in."""
    alone = (
        ["unshare", "--mount"]
        if os.geteuid() == 0
        else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    (tmp_path / "disk").mkdir()
    command = [*alone, "sh", "-c", FULL, "sh", str(tmp_path / "disk"), sys.executable]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no private mount namespace can be had here (unshare --mount)")
    result = subprocess.run(
        command, cwd=workspace.root, capture_output=True, text=True, check=False
    )
    if result.returncode == 99:
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    assert [line for line in result.stdout.splitlines() if line.startswith("status")] == [
        "status 1",
        "status 0",
    ], result
    assert "as before" in result.stdout
    assert "the disk is full. Free space and run the same command again" in result.stderr
    assert "Traceback" not in result.stderr, result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_workspace_that_cannot_be_written_is_one_line(tiny_copy: Workspace):
    tiny_copy.results.chmod(0o500)
    try:
        command = [sys.executable, "-m", "petriscope", "stage", "windows"]
        result = subprocess.run(
            command, cwd=tiny_copy.root, capture_output=True, text=True, check=False
        )
        assert result.returncode == 1 and "Choose a writable folder" in result.stderr
    finally:
        tiny_copy.results.chmod(0o700)


def test_nothing_in_the_package_unpickles_or_runs_what_it_reads():
    """Pickle, unsafe YAML, torch.load of anything but weights, and shells are ways to execute an
    input."""
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
                # ruamel's round trip builds no objects; a module that overrides `find_class` looks
                # no foreign name up (tests/studies/cells/fetch/test_models.py gives it code to run)
                # executors read the plans and done files that the same program left in
                # results/cache while a stage runs: whoever writes there owns the run
                safe = (
                    (what == "unsafe YAML" and "YAML()" in path.read_text())
                    or (match.group() == "import pickle" and "def find_class(" in text)
                    or (what == "pickle" and path.parts[-2:] == ("executors", "plans.py"))
                )
                assert safe, f"{path.relative_to(REPOSITORY)}: {what}: {line.strip()}"
