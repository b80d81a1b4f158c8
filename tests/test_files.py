"""Writers are whole or absent: an exception or a full disk leaves the earlier file as it was."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from petriscope.files import atomic_folder, atomic_path, read_json, sha256, write_json


def test_failure_keeps_the_earlier_file_and_leaves_no_part(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as folder:
        (folder / "b").write_text("2")
        raise KeyboardInterrupt
    assert [p.name for p in target.iterdir()] == ["a"]
    with atomic_folder(target) as folder:
        (folder / "c").write_text("3")
    assert [p.name for p in target.iterdir()] == ["c"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "m.json", {"a": np.float32(0.5), "b": float("nan"), "c": np.arange(2)})
    assert read_json(tmp_path / "m.json") == {"a": 0.5, "b": None, "c": [0, 1]}
    assert "NaN" not in (tmp_path / "m.json").read_text()
    json.loads((tmp_path / "m.json").read_text())


def test_sha256_equals_hashlib_and_sees_names(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "d" / "x") == hashlib.sha256(b"abc").hexdigest()
    before = sha256(tmp_path / "d")
    (tmp_path / "d" / "x").rename(tmp_path / "d" / "y")
    assert sha256(tmp_path / "d") != before


def test_processes_that_replace_one_folder_at_once_leave_it_whole(tmp_path: Path) -> None:
    script = (
        "import sys; from petriscope.files import atomic_folder\n"
        "for i in range(150):\n"
        "    with atomic_folder(sys.argv[1]) as folder:\n"
        "        for name in 'ab': (folder / name).write_text(f'{sys.argv[2]} {i}')\n"
    )
    target = tmp_path / "shared"
    runs = [subprocess.Popen([sys.executable, "-c", script, str(target), str(n)]) for n in range(3)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    assert (target / "a").read_text() == (target / "b").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
