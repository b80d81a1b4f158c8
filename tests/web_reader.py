"""Reads the files of a web atlas without any of its code: regular expression, base64, gzip, and
numpy for arrays."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.atlas.build import AtlasTables

REPOSITORY = Path(__file__).resolve().parents[1]


def piece(path: Path, name: str) -> tuple[bytes, int]:
    """Compressed bytes of one file, and how many files follow."""
    text = path.read_text(encoding="ascii")
    found = re.fullmatch(r'P\("([^"]+)","([A-Za-z0-9+/=]+)"(?:,(\d+))?\)\n', text)
    assert found and found[1] == name, path
    return base64.b64decode(found[2]), int(found[3] or 0)


def raw(folder: Path, name: str) -> bytes:
    """Bytes of a chunk whose name is plain."""
    whole, more = piece(folder / "data" / f"{name}.js", name)
    for part in range(1, more + 1):
        whole += piece(folder / "data" / f"{name}~p{part}.js", f"{name}~p{part}")[0]
    return gzip.decompress(whole)


def value(folder: Path, name: str) -> Any:
    """JSON of a chunk."""
    return json.loads(raw(folder, name))


def items(folder: Path, name: str, kind: str) -> np.ndarray:
    """Items of a chunk whose bytes are shuffled."""
    data, width = raw(folder, name), np.dtype(kind).itemsize
    count = len(data) // width
    plain = bytearray(len(data))
    for place in range(width):
        plain[place::width] = data[place * count : (place + 1) * count]
    return np.frombuffer(bytes(plain), kind)


def pack_of(folder: Path, row: int, size: int) -> tuple[str, Any, int]:
    """Name and value of the pack that holds a row, and the row's place in it."""
    name = f"f/{row // size}"
    return name, value(folder, name), row % size


def feature(folder: Path, row: int, home: dict[str, Any]) -> dict[str, Any]:
    """The record of a row, out of the columns of its pack."""
    _, pack, place = pack_of(folder, row, home["pack"])

    def record(columns: dict[str, Any], at: int) -> dict[str, Any]:
        return {n: c[at] if isinstance(c, list) else record(c, at) for n, c in columns.items()}

    def rows(name: str) -> list[dict[str, Any]]:
        columns = dict(pack["tables"].get(name, {"ends": [0] * (place + 1)}))
        ends = [0, *columns.pop("ends")]
        assert all(len(c) == ends[-1] for c in columns.values() if isinstance(c, list)), name
        return [record(columns, i) for i in range(ends[place], ends[place + 1])]

    def by_kind(name: str, kinds: list[str] | None) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for one in rows(name):
            kind = one.pop("kind")
            found.setdefault(kinds[kind] if kinds else kind, []).append(one)
        return found

    asks = pack["asks"]
    lists = ("effects", "activation", "contexts", "ablation", "steering", "genes", "links")
    lists += ("celltypes", "responses", "documents")
    return {
        "id": pack["id"][place],
        "values": record(pack["values"], place),
        "contexts_total": pack["contexts_total"][place],
        "checks": [
            {"ask": asks[c["ask"]][0], "found": c["found"], "holds": c["holds"],
             "null": asks[c["ask"]][1]}
            for c in rows("checks")
        ],
        "annotations": by_kind("annotations", [kind["name"] for kind in home["kinds"]]),
        "neighbors": by_kind("neighbors", None),
        "modules": [[m["graph"], m["module"]] for m in rows("modules")],
        "dependency": pack["dependency"].get(str(place)),
        **{name: rows(name) for name in lists},
    }  # fmt: skip


def synthetic(layers: int, per_layer: int) -> AtlasTables:
    """A made-up atlas with every table of the chromatin study."""
    path = REPOSITORY / "benchmarks" / "synthetic_atlas.py"
    spec = importlib.util.spec_from_file_location("synthetic_atlas", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.synthetic_tables(layers=layers, per_layer=per_layer)


def features(**more: Any) -> pd.DataFrame:
    """Three features of two layers."""
    return pd.DataFrame({"layer": [0, 0, 1], "feature": [0, 1, 0], **more})
