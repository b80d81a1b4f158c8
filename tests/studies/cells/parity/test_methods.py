"""Reference: the authors' own scripts on a small simulated world (golden/single_cell), unmodified but
for paths and sizes."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.run.fixtures import Compared, read_fixture
from petriscope.studies.cells.parity import methods
from petriscope.studies.cells.parity.methods import KINDS, PARTS, World, compare, relative


@pytest.fixture(scope="module")
def given(shared: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    path = shared / "golden/single_cell/bio_sae_methods.npz"
    with gzip.open(path.with_suffix(".json.gz"), "rt") as handle:
        return path, read_fixture(path), json.load(handle)


def wrong(rows: Iterator[Compared]) -> list[str]:
    return [row.array for row in rows if not row.error <= row.allowed]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_authors_results_come_out_again(given: tuple, part: Any) -> None:
    rows = list(part(World(*given)))
    assert rows and wrong(iter(rows)) == []


@pytest.mark.parametrize(
    ("part", "key", "edit", "said"),
    [
        # each result moved by as little as its script could be wrong
        ("catalog", "catalog_1", lambda r: r["features"][5].update(fire_count=1), "counts"),
        ("svd", "catalog_0", lambda r: r["features"][2].update(max_svd_alignment=0.9), "alignment"),
        ("terms", "annotations_2", lambda r: r["summary"].update(total_tests=1), "summary"),
        ("coactivation", "coactivation_0", lambda r: r["top_pmi_edges"].pop(), "edges"),
        ("highways", "highways_1_2", lambda r: r["summary"].update(n_highways=41), "n_highways"),
        ("celltypes", "celltypes_1", lambda r: r["types"].reverse(), "cell_types"),
    ],
)
def test_a_result_that_differs_is_named(
    given: tuple, part: str, key: str, edit: Any, said: str
) -> None:
    path, arrays, results = given
    changed = {**results, key: json.loads(json.dumps(results[key]))}
    edit(changed[key])
    assert any(said in name for name in wrong(getattr(methods, part)(World(path, arrays, changed))))


def test_another_order_of_positions_changes_the_gene_lists(given: tuple) -> None:
    path, arrays, results = given
    turned = {**arrays, "gene_ids": np.roll(arrays["gene_ids"], 1)}
    assert "catalog_0.top_genes" in wrong(methods.catalog(World(path, turned, results)))


def test_both_files_are_needed(given: tuple, tmp_path: Path) -> None:
    path, arrays, _ = given
    shutil.copy(path, tmp_path)
    with pytest.raises(UserError, match="lacks its other half"):
        compare(tmp_path / path.name, arrays)
    (kind,) = KINDS
    assert kind.holds <= set(arrays)
    assert relative([1.0, np.nan], [1.0, np.nan]) == 0 and relative([1.0], [1.0, 2.0]) == np.inf


def test_either_file_names_both(given: tuple, tmp_path: Path, capsys: Any) -> None:
    """The verb computes two halves of one fixture once; a result that was changed is status 1."""
    path, _, results = given
    half = tmp_path / "another name.json.gz"
    shutil.copy(path, tmp_path / "another name.npz")
    shutil.copy(path.with_suffix(".json.gz"), half)
    both = [str(half), str(tmp_path / "another name.npz")]
    assert main(["verify", "--parity", *both]) == 0
    assert capsys.readouterr().out.count("methods of the comparative atlas") == 1
    changed = json.loads(json.dumps(results))
    changed["highways_0_1"]["summary"]["n_highways"] += 1
    with gzip.open(half, "wt") as handle:
        json.dump(changed, handle)
    assert main(["verify", "--parity", str(half)]) == 1
    out = capsys.readouterr().out
    assert "failed   highways_0_1.n_highways" in out and "1 of 107 arrays" in out
