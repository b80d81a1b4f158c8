"""A graph leaves for other programs: GraphML for Cytoscape, Gephi and networkx, an edge list as a
table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pandas as pd

from petriscope.files import atomic_path

TYPES = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
"""GraphML's name of a numpy kind; all else is a string."""


def write_graphml(path: str | Path, nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    """Write a directed graph.

    ``nodes``: column id and any attributes; ``edges``: columns source, target (ids) and any
    attributes. A missing value is left out.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write(
            "<?xml version='1.0' encoding='utf-8'?>\n"
            '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
        )
        for kind, frame, own in (("node", nodes, ["id"]), ("edge", edges, ["source", "target"])):
            for name in frame.columns.drop(own):
                what = TYPES.get(frame[name].dtype.kind, "string")
                out.write(
                    f'<key id="{kind}_{name}" for="{kind}" attr.name={quoteattr(name)} '
                    f'attr.type="{what}"/>\n'
                )
        out.write('<graph edgedefault="directed">\n')
        out.writelines(_elements("node", nodes, ["id"]))
        out.writelines(_elements("edge", edges, ["source", "target"]))
        out.write("</graph>\n</graphml>\n")


def _elements(kind: str, frame: pd.DataFrame, own: Sequence[str]) -> list[str]:
    parts = [f"<{kind}"] * len(frame)
    for name in own:
        parts = [f"{a} {name}={quoteattr(b)}" for a, b in zip(parts, map(str, frame[name]))]
    parts = [f"{part}>" for part in parts]
    for name in frame.columns.drop(list(own)):
        texts = _texts(frame[name])
        parts = [
            part if text is None else f'{part}<data key="{kind}_{name}">{text}</data>'
            for part, text in zip(parts, texts)
        ]
    return [f"{part}</{kind}>\n" for part in parts]


def _texts(column: pd.Series) -> list[str | None]:
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in column]
    missing = column.isna()
    written = (lambda x: repr(float(x))) if column.dtype.kind == "f" else (lambda x: escape(str(x)))
    return [None if gone else written(value) for value, gone in zip(column, missing)]
