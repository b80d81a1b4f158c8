"""Reference: networkx.read_graphml."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from petriscope.graph.export import write_graphml


def test_networkx_reads_what_was_written(tmp_path: Path) -> None:
    nodes = pd.DataFrame(
        {"id": ["a<1>", 'b"2"', "f7"], "kind": ["s & t", None, "f"], "t": [np.nan, 1.5, -2.0]}
    )
    edges = pd.DataFrame(
        {"source": ["a<1>", 'b"2"'], "target": ["f7", "f7"], "tokens": [3, 1], "new": [True, False]}
    )
    write_graphml(tmp_path / "g.graphml", nodes, edges)
    graph = nx.read_graphml(tmp_path / "g.graphml")
    assert graph.is_directed() and not graph.is_multigraph()
    assert graph.nodes["a<1>"] == {"kind": "s & t"}
    assert graph.nodes['b"2"'] == {"t": 1.5}
    assert graph.nodes["f7"] == {"kind": "f", "t": -2.0}
    assert graph.edges["a<1>", "f7"] == {"tokens": 3, "new": True}
    assert graph.edges['b"2"', "f7"] == {"tokens": 1, "new": False}
