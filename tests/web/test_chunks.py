"""Reference: Python's gzip and base64, a script engine that is not ours (node), and the terminal
UI's own printing of numbers."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import web_reader
from hypothesis import example, given
from hypothesis import strategies as st

from petriscope.atlas.show import show
from petriscope.errors import UserError
from petriscope.web import chunks, digits

NODE = shutil.which("node")
LOADED = """
const fs = require("fs"), zlib = require("zlib"), [, , folder, file] = process.argv;
const found = {};
const P = (name, text, more = 0) => { found[name] = [text, more]; };
const load = (name) => {
  new Function("P", fs.readFileSync(`${folder}/data/${name}.js`, "utf8"))(P);
  return found[name];
};
let [text, more] = load(file), parts = [Buffer.from(text, "base64")];
for (let k = 1; k <= more; k++) parts.push(Buffer.from(load(`${file}~p${k}`)[0], "base64"));
process.stdout.write(zlib.gunzipSync(Buffer.concat(parts)));
"""


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "é\u2028</script>": '"\\'}
    chunks.write_json(tmp_path, "f/12", value)
    assert web_reader.value(tmp_path, "f/12") == value == chunks.read_json(tmp_path, "f/12")


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    chunks.write_json(tmp_path, "n", [math.nan, math.inf, np.float64(1), np.int64(2)])
    assert web_reader.value(tmp_path, "n") == [None, None, 1.0, 2]


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<u2", "<i4", "|u1"])
def test_items_come_back(tmp_path: Path, kind: str) -> None:
    items = np.random.default_rng(1).integers(0, 200, 1001).astype(kind)
    chunks.write_items(tmp_path, "col/x", items)
    assert (web_reader.items(tmp_path, "col/x", kind) == items).all()
    assert (chunks.read_items(tmp_path, "col/x", kind) == items).all()
    chunks.write_items(tmp_path, "col/none", items[:0])
    assert len(chunks.read_items(tmp_path, "col/none", kind)) == 0


def test_a_large_chunk_goes_on_in_further_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).bytes(1_000_000)
    written = chunks.write(tmp_path, "col/noise", noise)
    assert [one.path for one in written] == [
        "data/col/noise.js",
        "data/col/noise~p1.js",
        "data/col/noise~p2.js",
    ]
    assert max(one.size for one in written) <= 512 * 1024
    assert web_reader.raw(tmp_path, "col/noise") == noise == chunks.read(tmp_path, "col/noise")


@pytest.mark.skipif(NODE is None, reason="no node here")
def test_a_script_engine_reads_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).bytes(900_000)
    chunks.write(tmp_path, "noise", noise)
    name = "col/t_B cell's/<é>"
    chunks.write_json(tmp_path, name, ["<!--", "</script>", "\u2029"])
    script = tmp_path / "load.js"
    script.write_text(LOADED)

    def load(file: str) -> bytes:
        return subprocess.run(
            [NODE, script, tmp_path, file], check=True, capture_output=True
        ).stdout

    assert load("noise") == noise
    assert json.loads(load(chunks.safe(name))) == ["<!--", "</script>", "\u2029"]


def test_odd_names_are_safe_and_differ() -> None:
    assert chunks.safe("col/t_B cell") == "col/t_B~20cell"
    assert chunks.safe("col/é~") == "col/~c3~a9~7e"
    assert chunks.safe("col/../.x") == "col/~2e./~2ex"
    names = [
        'a"b',
        "a<b",
        "a>b",
        "a?b",
        "a#b",
        "a%b",
        "a~b",
        "a:b",
        "a*b",
        "a|b",
        "a\\b",
        "a b",
        "ä",
    ]
    made = {chunks.safe(name) for name in names}
    assert len(made) == len(names)
    assert all(c.isalnum() or c in "_.-~/" for name in made for c in name)


def test_same_bytes_again(tmp_path: Path) -> None:
    (one,) = chunks.write_json(tmp_path / "1", "x", [1, 2])
    (two,) = chunks.write_json(tmp_path / "2", "x", [1, 2])
    assert one == two
    assert (tmp_path / "1" / one.path).stat().st_size == one.size


def test_damage_is_named(tmp_path: Path) -> None:
    chunks.write_json(tmp_path, "x", list(range(1000)))
    path = tmp_path / "data" / "x.js"
    whole = path.read_bytes()
    for bad in (
        whole[:-40],
        whole.replace(b'P("x"', b'P("y"'),
        whole[:60] + bytes([65 + (whole[60] == 65)]) + whole[61:],
        b"",
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"x\.js"):
            chunks.read(tmp_path, "x")
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        chunks.read(tmp_path, "x")


def printed(value: float) -> list[str]:
    """In every form; shares and probabilities are at most 1."""
    forms = (
        ("number", "signed", "p", "share", "percent") if abs(value) <= 1 else ("number", "signed")
    )
    return [show(value, form) for form in forms]


@given(st.lists(st.floats(allow_nan=True) | st.none(), min_size=1, max_size=20))
@example([0.01249999999, 0.00099999996, 999.99996, 1e-30, 9.9999999e-31, 0.125, 5.0])
@example([0.12345000001, 12345000001e-16, 1234.5, 0.05, 69 / 200, 1 / 3, 1e22, 123456.5])
def test_the_page_prints_what_the_terminal_prints(values: list[float | None]) -> None:
    for value, back in zip(values, json.loads(chunks.as_json(digits.reals(values)))):
        if value is None or not math.isfinite(value) or value == 0:
            assert not back
            continue
        assert math.isclose(back, value, rel_tol=1e-5, abs_tol=1e-320)
        assert printed(back) == printed(value), (value, back)


@given(st.integers(1, 10**6), st.integers(-12, 3), st.floats(-1e-9, 1e-9))
def test_numbers_beside_a_tie_print_alike(mantissa: int, power: int, nudge: float) -> None:
    value = (mantissa + 0.5) * 10.0**power * (1 + nudge)
    (back,) = json.loads(chunks.as_json(digits.reals([value])))
    assert printed(back) == printed(value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_six_digits_are_those_of_printf(values: list[float]) -> None:
    """Where nothing asks for more digits, the JSON has those of C's %.6g."""
    for value, text in zip(values, chunks.as_json(digits.reals(values))[1:-1].split(b",")):
        if len(text.strip(b"-").replace(b".", b"").split(b"e")[0].strip(b"0")) <= 6:
            assert float(text) == float(f"{value:.6g}"), value


def test_a_column_keeps_what_it_holds() -> None:
    assert digits.anything([1, None, 2**40]) == [1, None, 2**40]
    assert digits.anything(["a", None]) == ["a", None]
    assert digits.anything([1, 0.12345678, None]) == [1, 0.123457, None]
    assert digits.anything([]) == []
    few = digits.anything([0.12345678, None, float("inf")])
    assert json.loads(chunks.as_json(few)) == [0.123457, None, None]
