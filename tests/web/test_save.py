"""Reference: Python's csv module and C's %.6g. A table saved by the page, bundled and run in node,
is read back field by field."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
ESBUILD = WEB / "node_modules" / ".bin" / "esbuild"
HEADS = ["name", 'a "quoted" head', "low,high"]
WORDS = ["GATA1", "a, b", 'says "no"', "two\nlines", " ends with space ", "µ é", "", "=1+1"]
HOME = {
    "program": "1.2",
    "atlas": {"sha256": "ab" * 32, "format": 9},
    "run": {"dataset": "toy\nset", "seed": "7", "revision": None},
}


def _rows() -> list[list[str | float | int | None]]:
    draw = random.Random(3)
    size = lambda: draw.uniform(-1, 1) * 10.0 ** draw.randint(-12, 12)
    rows: list[list[str | float | int | None]] = [[w, size(), None] for w in WORDS * 200]
    return [*rows, ["whole", 123456789, -3], ["edge", 0.0001, 0.00009999996], ["edge", 999999.7, 0]]


def test_csv_is_read_back(tmp_path: Path) -> None:
    if shutil.which("node") is None or not ESBUILD.exists():
        pytest.skip("node, or the page's packages, are not on this machine (npm ci in web/)")
    rows, bundle = _rows(), tmp_path / "save.mjs"
    asked, answers = tmp_path / "asked.json", tmp_path / "answers.json"
    question = {"home": HOME, "title": "A table", "heads": HEADS, "rows": rows}
    asked.write_text(json.dumps(question), encoding="utf-8")
    build = [str(ESBUILD), "test/save.ts", "--bundle", "--format=esm", f"--outfile={bundle}"]
    jsx = ["--jsx=automatic", "--jsx-import-source=preact", "--log-level=error"]
    subprocess.run([*build, *jsx], check=True, cwd=WEB)
    subprocess.run(["node", WEB / "test" / "run.mjs", bundle, tmp_path, asked, answers], check=True)
    text = json.loads(answers.read_text(encoding="utf-8"))
    comments = [line for line in text.split("\r\n") if line.startswith("# ")]
    assert comments[:3] == ["# table: A table", "# dataset: toy set", "# seed: 7"]
    assert f"# atlas sha256: {'ab' * 32}" in comments
    body = text[text.index("\r\n", text.index(comments[-1])) + 2 :]
    heads, *found = csv.reader(body.splitlines(keepends=True), strict=True)
    assert heads == HEADS
    assert len(found) == len(rows)
    for row, fields in zip(rows, found):
        assert fields == [_printed(value) for value in row]


def _printed(value: str | float | int | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return str(int(value)) if value == int(value) else f"{value:.6g}"
