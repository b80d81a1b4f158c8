"""The bare side of the comparison: a run from the same lock files without a container, and what of it must be equal."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STRANGER = "12345:23456"  # a user nobody has an entry for
# The whole graph in about a minute: the demo's data with small models and few draws
SMALL = {
    "model": {
        "layers": 2,
        "d_model": 32,
        "heads": 2,
        "sequence_filters": [8, 8, 16, 16, 32, 32],
        "random_features": 16,
        "epochs": 1,
    },
    "sae": {"latents": 64, "tokens": 200_000, "seeds": [0]},
    "cds": {"permutations": 999, "bootstrap": 200},
    "calibration": {"nulls": 20},
    "ablation": {"random_sets": 10, "windows": 4, "ks": [5, 10]},
    "steering": {"features": 5, "windows": 4},
    "annotation": {"max_features": 5, "random_draws": 5},
    "controls": {"random_init_tokens": 100_000, "input_windows": 4, "label_shuffle_draws": 2},
}


def hashes(root: Path) -> dict[str, str]:
    """Every table, figure and result of a workspace by content; provenance and metrics carry times, DVC's files paths."""
    found = {}
    for top in ("paper_figures", "results"):
        for path in sorted((root / top).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and "/provenance/" not in name and not name.endswith((".sqlite", ".log")):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differing(bare: Path, boxed: Path) -> tuple[int, list[str]]:
    """Number of files compared, and the names of those that differ or exist on one side alone."""
    left, right = hashes(bare), hashes(boxed)
    assert left, f"{bare} holds no results"
    return len(left), sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def workspace(folder: Path, small: bool) -> Path:
    """A folder for /out, open to any user; with ``small`` its parameters are the quick ones."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    if small:
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        for section, values in SMALL.items():
            params[section].update(values)
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        (folder / "params.yaml").chmod(0o666)
    return folder


def git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def bare_environment(scratch: Path) -> Path:
    """A virtual environment from the same lock files: the bare side of every comparison."""
    python = next((p for p in ("python3.11", sys.executable) if shutil.which(p)), sys.executable)
    venv = scratch / "venv"
    pip = [str(venv / "bin/pip"), "install", "-q", "--no-deps"]
    complete = venv / "locks-installed"
    locks = () if complete.exists() else ("build", "base", "torch-cpu")
    if locks:
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
    for lock in locks:
        more = ["--require-hashes", "--no-build-isolation"] if lock == "base" else ["--require-hashes"]
        result = subprocess.run(
            [*pip, *more, "-r", str(REPOSITORY / f"requirements/{lock}.lock")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-800:]
    complete.touch()
    subprocess.run([*pip, "--no-build-isolation", "--force-reinstall", str(REPOSITORY)], check=True)
    return venv


def bare_run(venv: Path, out: Path, *command: str) -> None:
    environment = {**os.environ, "PATH": f"{venv}/bin:{os.environ['PATH']}"}
    environment["PETRISCOPE_REVISION"] = git("describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*")
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-1500:]


def identical(bare: Path, boxed: Path) -> str:
    count, names = differing(bare, boxed)
    assert not names, f"{len(names)} of {count} files differ: {', '.join(names[:8])}"
    return f"{count} files of results and paper_figures identical"
