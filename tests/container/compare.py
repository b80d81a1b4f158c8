"""The bare side of the comparison: a run from the same lock files without a container, and what of
it must be equal."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STRANGER = "12345:23456"  # a user nobody has an entry for
# The whole graph in about a minute: little data, small models, few draws. The numbers mean nothing.
SMALL_DATA = "chromosomes=4, mean_length=200_000, replicates=2, deepest=20_000"
SMALL = {
    "windows": {"length": 4096, "crop": 1, "block_bp": 20_000},
    "tracks": {"max_peaks": 200},
    "model": {
        "layers": 2,
        "d_model": 16,
        "heads": 2,
        "sequence_filters": [8, 8, 8, 16, 16, 16],
        "atac_filters": [8, 8],
        "random_features": 16,
        "epochs": 1,
        "mask_folds": 2,
        "windows_per_step": 8,
    },
    "sae": {
        "latents": 32,
        "learning_rate": 0.001,
        "batch": 256,
        "tokens": 20_000,
        "seeds": [0, 1],
        "gate": {"fvu": 1.0, "l0_low": 0, "l0_high": 32, "dead": 1.0},
    },
    "codes": {"top_bins": 4},
    "cds": {"alpha": 0.5, "permutations": 200, "bootstrap": 100},
    "calibration": {"nulls": 20},
    "ablation": {"random_sets": 10, "windows": 4, "ks": [2, 4]},
    "steering": {"features": 4, "windows": 4, "alphas": [1.0, 2.0]},
    "annotation": {"max_features": 4, "random_draws": 4, "max_foreground": 50},
    "controls": {
        "random_init_tokens": 20_000,
        "input_windows": 4,
        "label_shuffle_draws": 2,
        "leaderboard_features": 4,
    },
}


def content(path: Path) -> bytes:
    """A file's bytes, without what its writer leaves open: compression (the zlib at hand) and the
    order of a header."""
    raw = path.read_bytes()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return b"".join(
                name.encode() + archive.read(name) for name in sorted(archive.namelist())
            )
    if path.suffix == ".js" and raw.startswith(b'P("'):
        return gzip.decompress(base64.b64decode(raw.split(b'"')[3]))
    if path.suffix == ".safetensors":
        size = int.from_bytes(raw[:8], "little")
        return json.dumps(json.loads(raw[8 : 8 + size]), sort_keys=True).encode() + raw[8 + size :]
    return raw


def hashes(root: Path) -> dict[str, str]:
    """Every table, figure and result of a workspace by content; provenance and metrics carry times,
    DVC's files paths."""
    found = {}
    for top in ("paper_figures", "results"):
        for path in sorted((root / top).rglob("*")):
            name = path.relative_to(root).as_posix()
            private = "/provenance/" in name or name.startswith(
                "results/cache/"
            )  # inodes and times
            # of the web atlas, these carry the digest of the SQLite file and of what they name
            told = name in ("results/web/manifest.json", "results/web/data/home.js")
            private = private or told
            if path.is_file() and not private and not name.endswith((".sqlite", ".log")):
                found[name] = hashlib.sha256(content(path)).hexdigest()
    return found


def differing(bare: Path, boxed: Path) -> tuple[int, list[str]]:
    """Number of files compared, and the names of those that differ or exist on one side alone."""
    left, right = hashes(bare), hashes(boxed)
    assert left, f"{bare} holds no results"
    return len(left), sorted(
        name for name in left.keys() | right.keys() if left.get(name) != right.get(name)
    )


def small_demo(venv: Path, folder: Path) -> Path:
    """A demo of a megabase instead of ten."""
    script = "import sys; from pathlib import Path; from petriscope.studies.chromatin.simulate.dataset import DemoConfig, simulate_demo; "
    script += f"simulate_demo(Path(sys.argv[1]), DemoConfig({SMALL_DATA}))"
    subprocess.run(
        [str(venv / "bin/python"), "-c", script, str(folder)], check=True, capture_output=True
    )
    return folder


def workspace(folder: Path, small: bool, demo: Path | None = None) -> Path:
    """A folder for /out, open to any user; with ``small`` its parameters are the quick ones, its
    data ``demo``."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    if small:
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        for section, values in SMALL.items():
            params[section].update(values)
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        (folder / "params.yaml").chmod(0o666)
        if demo is not None:
            shutil.copytree(demo, folder / "data/demo")
    return folder


def git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return (
        subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        or "unknown"
    )


@functools.cache
def revision() -> str:
    """What both sides write onto figures and tables, read once: a commit made meanwhile is no
    difference of results."""
    return git("describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*")


def recorded_seconds(root: Path) -> dict[str, float]:
    """Seconds of each stage's run that made the results which lie there."""
    return {
        path.stem: json.loads(path.read_text())["seconds"]
        for path in (root / "results/provenance").glob("*.json")
    }


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
        more = (
            ["--require-hashes", "--no-build-isolation"] if lock == "base" else ["--require-hashes"]
        )
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


def bare_run(venv: Path, out: Path, *command: str) -> str:
    """Run a command of the bare environment in ``out``; returns what it printed."""
    environment = {**os.environ, "PATH": f"{venv}/bin:{os.environ['PATH']}"}
    environment["PETRISCOPE_REVISION"] = revision()
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(
        command, cwd=out, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-1500:]
    return result.stdout


def identical(bare: Path, boxed: Path) -> str:
    count, names = differing(bare, boxed)
    assert not names, f"{len(names)} of {count} files differ: {', '.join(names[:8])}"
    return f"{count} files of results and paper_figures identical"
