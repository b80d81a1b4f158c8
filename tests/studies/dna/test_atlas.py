"""The dna study's atlas from small arrays: counts and places by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.studies.dna.atlas import (
    Fired,
    activation_rows,
    context_rows,
    graph_of,
    map_rows,
    shown,
)
from petriscope.studies.dna.sequences import Sequences

# Two sequences: <cls> and two tokens, <cls> and one; features fire as (token, feature, value).
CODES = Codes(
    np.array([0, 1, 3, 4, 5, 6]),
    np.array([0, 0, 1, 0, 1, 0], np.int32),
    np.array([9.0, 1.0, 2.0, 3.0, 9.0, 4.0], np.float32),
    3,
)
PLACES = pd.DataFrame({"id": 0, "start": [0, 0, 6, 0, 0], "width": [0, 6, 1, 0, 6]})
FRAME = pd.DataFrame(
    {
        "id": ["one", "two"],
        "sequence": ["ACGTACG", "TTTTTT"],
        "label": ["bound", None],
        "split": "test",
        "group": [0, 1],
        "block": [0, 1],
        "chrom": ["chr1", None],
        "start": [100, None],
        "end": [107, None],
        "strand": ["-", None],
        "n_tokens": [3, 2],
        "gene": [None, None],
    }
)
WINDOW = np.array([0, 0, 0, 1, 1])


def test_the_graph_leaves_out_tokens_without_a_base_and_says_where_a_feature_fires() -> None:
    graph = graph_of(Fired.of(CODES), WINDOW, PLACES, np.array(["one", "two"]), 4)
    edges = graph.edges.set_index(["document", "feature"]).sort_index()
    assert edges.index.tolist() == [("one", 0), ("one", 1), ("two", 0)]
    assert edges.tokens.tolist() == [2, 1, 1]
    assert edges.activation.tolist() == [4.0, 2.0, 4.0]
    assert edges.spans.tolist() == ["0-6,6-7", "0-6", "0-6"]
    assert (edges.layer == 4).all() and graph.degree.tolist() == [2, 1]


def test_activation_by_class_counts_every_token() -> None:
    side = np.array(["bound", "no class"], dtype=object)[WINDOW]
    table = activation_rows(2, Fired.of(CODES), side, ["bound", "no class"])
    rows = table.set_index(["unit", "feature"])
    assert rows.density["bound", 0] == 1.0 and rows.density["no class", 0] == 0.5
    assert np.isclose(rows["mean"]["bound", 0], 13 / 3)
    assert rows.maximum["no class", 0] == 9.0
    assert sum(rows.histogram["bound", 0]) == 3 and rows.histogram["bound", 0][-1] == 1
    assert 2 not in table.feature.to_numpy()


def test_a_token_on_the_other_strand_lies_at_the_far_end() -> None:
    top = pd.DataFrame(
        {"feature": [0, 0, 1], "window": [0, 0, 1], "position": [1, 0, 1], "activation": [3, 2, 1]}
    )
    tokens = Tokens.ragged(
        FRAME.drop(columns="sequence"), 1, WINDOW, np.zeros(5, int), np.array([0, 1, 2, 0, 1])
    )
    sequences = Sequences(FRAME, "bound", None)
    found = context_rows(1, top, tokens, PLACES, sequences, FRAME.label.fillna("no class"))
    assert found.name.tolist() == ["one:1-6", "one:<cls>", "two:1-6"]
    assert found.sequence.tolist() == ["ACGTACg", "<cls>", "TTTTTT"]
    assert (found.start[0], found.end[0], found.chrom[0]) == (101, 107, "chr1")
    assert found.chrom.isna().tolist() == [False, True, True]
    assert found.unit.tolist() == ["bound", "bound", "no class"]
    assert shown("A" * 30, 20, 6) == "a" * 18 + "A" * 6 + "a" * 4


def test_a_map_is_kept_token_by_token_in_the_sequence_that_shows_most(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert map_rows(workspace, 1).empty
    own = np.zeros((2, 8, 8), bool)
    own[:, :6, :6] = own[:, 6, 6] = own[:, 7, 7] = True
    maps = np.zeros((2, 1, 8, 8), np.float32)
    maps[0, 0, 0, 0] = 100  # on its own token: no dependency on others
    maps[1, 0, 7, :6] = 3
    maps[1, 0, 0, 6] = 6
    workspace.table("dependency").mkdir(parents=True)
    texts = np.array(["ACGTACGT", "TTTTTTCA"])
    np.savez(workspace.table("dependency") / "maps.npz", maps=maps, own_block=own,
             ids=np.array(["one", "two"]), features=np.array([5]), sequences=texts)  # fmt: skip
    (row,) = map_rows(workspace, 1).itertuples()
    assert (row.layer, row.feature, row.document, row.pieces) == (1, 5, "two", "TTTTTT C A")
    assert json.loads(row.cells) == [[None, 1.0, 0.0], [0.0, None, 0.0], [3.0, 0.0, None]]
