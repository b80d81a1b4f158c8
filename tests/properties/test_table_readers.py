"""A user's table of units against pandas, and a user's vectors against `numpy.load`."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from properties_of import reads

from petriscope.commands.contrast import MISSING, read_table
from petriscope.errors import UserError
from petriscope.sae.loader import TokenSource, as_float32, open_shard

FOLDER = Path(tempfile.mkdtemp(prefix="properties-"))


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Any:
    FOLDER.mkdir(exist_ok=True)
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)


CELL = st.sampled_from(
    [
        *(
            "0012",
            "1e3",
            "x",
            " x ",
            "NA",
            "",
            "None",
            "٣",
            "é",
            "a b",
            "'q'",
            "1.0",
            "True",
            "inf",
            "-",
        ),
        "#c",
        "\u2028",
    ]
)


@st.composite
def units_text(draw: Any) -> bytes:
    """A table of text, a few cells too few or too many, quoted, or in another encoding."""
    names = draw(
        st.lists(st.sampled_from(["u", "drug", "age", "site", " u", ""]), min_size=1, max_size=4)
    )
    rows = [
        names,
        *draw(st.lists(st.lists(CELL, min_size=len(names), max_size=len(names)), max_size=5)),
    ]
    if draw(st.integers(0, 3)) == 0:
        row = draw(st.sampled_from(rows))
        row.append("x") if draw(st.booleans()) else row and row.pop()
    if draw(st.integers(0, 3)) == 0:
        row = draw(st.sampled_from(rows))
        if row:
            row[0] = draw(st.sampled_from(['"a,b"', '"a', 'a"b', '"a""b"', '"x"y', '"two\nlines"']))
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = end.join(",".join(row) for row in rows).encode()
    text += draw(st.sampled_from([b"", end.encode(), 2 * end.encode()]))
    what = draw(st.sampled_from(["no"] * 6 + ["bom", "latin", "nul", "cr", "cut"]))
    if what == "bom":
        return b"\xef\xbb\xbf" + text
    at = draw(st.integers(0, len(text)))
    if what == "cut":
        return text[:at]
    return text[:at] + {"latin": b"\xe9", "nul": b"\0", "cr": b"\r"}.get(what, b"") + text[at:]


def plain_units(raw: bytes) -> list[list[str]] | None:
    """The cells of a table without quotes; None where it is not one, or is not sound."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    rows = [row for row in rows if row != [""]]
    rows = rows[:1] + [row for row in rows[1:] if any(row)]
    if not rows or any(mark in "".join(lines) for mark in '"\r\0'):
        return None
    sound = (
        len(set(rows[0])) == len(rows[0])
        and all(rows[0])
        and {len(row) for row in rows} == {len(rows[0])}
    )
    return rows if sound else None


@reads(units_text())
def units(raw: bytes) -> None:
    path = FOLDER / "u.csv"
    path.write_bytes(raw)
    expected = plain_units(raw)
    try:
        got = read_table(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: line "), error
        assert expected is None, (error, raw)
        return
    if expected is not None:
        assert got.columns.tolist() == expected[0]
        cells = [[None if pd.isna(cell) else cell for cell in row] for row in got.to_numpy(object)]
        assert cells == [[None if c in MISSING else c for c in row] for row in expected[1:]]
    if not len(got.columns):
        assert not raw.decode("utf-8-sig").strip(", \r\n\t\u2028\x85")
        return
    kept = [line for line in raw.splitlines(keepends=True) if line.decode("utf-8-sig").strip()]
    if b'"' in raw and len(kept) < len(raw.splitlines()):
        return  # pandas takes a line of blanks for a row, and a quoted cell may hold one
    raw = b"".join(kept)
    theirs = pd.read_csv(io.BytesIO(raw), dtype="str", keep_default_na=False, index_col=False)
    cells = [[cell.strip() for cell in row] for row in theirs.to_numpy(object).tolist()]
    cells = [[None if cell in MISSING else cell for cell in row] for row in cells if any(row)]
    assert [
        [None if pd.isna(cell) else cell for cell in row] for row in got.to_numpy(object)
    ] == cells


@reads(
    st.sampled_from(
        ["<f2", "<f4", "<f8", ">f4", ">f2", "<i4", "<c8", "|b1", "|V2", "<U3", "|O", "<f16"]
    ),
    st.lists(st.integers(0, 5), min_size=0, max_size=4),
    st.booleans(),
    st.sampled_from(["no"] * 3 + ["nan", "inf", "huge"]),
    st.one_of(
        st.none(), st.tuples(st.sampled_from(["cut", "flip"]), st.floats(0, 1), st.integers(1, 255))
    ),
    st.integers(1, 7),
)
def vectors(
    dtype: str,
    shape: list[int],
    fortran: bool,
    value: str,
    damage: tuple[str, float, int] | None,
    block: int,
) -> None:
    path = FOLDER / "x.npy"
    rng = np.random.default_rng(len(shape))
    if dtype == "|V2":
        array = (
            rng.integers(0, 2**14, shape).astype(np.uint16).view("V2")
            if shape
            else np.zeros((), "V2")
        )
    else:
        array = np.asarray(rng.normal(size=shape)).astype(np.dtype(dtype))
    if value != "no" and array.size and array.dtype.kind == "f":
        limit = np.finfo(array.dtype).max
        array.reshape(-1)[-1] = {"nan": np.nan, "inf": np.inf, "huge": limit}[value]
    np.save(path, np.asfortranarray(array) if fortran else array, allow_pickle=True)
    if damage is not None:
        raw = bytearray(path.read_bytes())
        at = min(int(damage[1] * len(raw)), len(raw) - 1)
        raw[at] ^= damage[2]
        path.write_bytes(bytes(raw[:at] if damage[0] == "cut" else raw))
    expected = None
    try:
        loaded = np.load(path, allow_pickle=False)
    except Exception:  # whatever numpy makes of it
        loaded = None
    if (
        isinstance(loaded, np.ndarray)
        and loaded.ndim >= 2
        and loaded.size
        and (loaded.dtype == "V2" or (loaded.dtype.kind == "f" and loaded.dtype.itemsize <= 8))
    ):
        flat = as_float32(np.ascontiguousarray(loaded).reshape(-1, loaded.shape[-1]))
        expected = flat if np.isfinite(flat).all() else None
    try:
        source = TokenSource([path], block_rows=block)
        got = as_float32(np.concatenate(list(source.in_order(8))))
        sampled = source.sample(10**6, 0)
    except UserError as error:
        assert str(path) in str(error) or "no rows are left" in str(error), error
        assert expected is None, error
        return
    assert expected is not None
    np.testing.assert_array_equal(got, expected)
    assert np.isfinite(sampled).all() and open_shard(path).shape[-1] == expected.shape[-1]


test_units, test_units_at_length = units
test_vectors, test_vectors_at_length = vectors
