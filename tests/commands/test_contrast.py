"""The command writes the table that the function makes; what a user gets wrong is one line and
status 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from petriscope.cli import main
from petriscope.contrast.design import Design
from petriscope.contrast.score import contrast
from petriscope.probe.tokens import Tokens
from petriscope.sae.codes import Codes


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """codes/ as `petriscope sae encode` writes them, and units.csv."""
    rng = np.random.default_rng(0)
    windows = pd.DataFrame({"block": np.arange(8), "split": ["train", "test"] * 4})
    tokens = Tokens.grid(windows, 6, 5)
    values = rng.gamma(2, 1, (len(tokens), 7)) * (rng.random((len(tokens), 7)) < 0.5)
    values[tokens.unit % 2 == 0, 3] *= 5
    matrix = sp.csr_matrix(values.astype(np.float32))
    Codes(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, 7, tokens).save(
        tmp_path / "codes"
    )
    pd.DataFrame(
        {
            "donor": list("abcdef"),
            "drug": ["treated", "none"] * 3,
            "site": ["x"] * 6,
            "age": [30, 40, 50, 20, 35, 61],
        }
    ).to_csv(tmp_path / "units.csv", index=False)
    return tmp_path


def arguments(folder: Path, *more: str, **changed: str) -> list[str]:
    given = {
        "codes": str(folder / "codes"),
        "units": str(folder / "units.csv"),
        "condition": "drug",
        "target": "treated",
        **changed,
    }
    return [
        "contrast",
        *(part for name, value in given.items() for part in (f"--{name}", value)),
        *more,
    ]


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_it_prints_the_head_and_writes_the_table(
    inputs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = inputs / name
    more = ["--strata", "site", "--adjust", "age", "--permutations", "300", "--alpha", ".2"]
    assert main(arguments(inputs, *more, "--split", "test", "--out", str(out))) == 0
    said = capsys.readouterr().out
    assert "6 donors: 3 treated against 3 none, adjusted for age" in said
    assert "q <= 0.2: " in said and "family: 7 alive features" in said
    units = pd.read_csv(inputs / "units.csv")
    design = Design(units, condition="drug", target="treated", strata="site", adjust=["age"])
    codes = Codes.load(inputs / "codes")
    expected = contrast(codes, design, split="test", permutations=300, alpha=0.2).table()
    written = pd.read_csv(out) if name.endswith("csv") else pd.read_parquet(out)
    pd.testing.assert_frame_equal(written, expected, rtol=1e-5, check_dtype=False)
    assert main(arguments(inputs, "--adjust", "age,", "--permutations", "99")) == 0


def told(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("petriscope: ")
    return line


def test_mistakes_are_one_line_and_status_2(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for changed, expected in (
        ({"condition": "Drug"}, "units.csv: Drug: column is missing. Did you mean 'drug'?"),
        ({"target": "Treated"}, "units.csv: drug: no unit has the value 'Treated'. Did you mean"),
        ({"condition": "site", "target": "x"}, "units.csv: site: every unit has the value 'x'"),
        ({"units": str(inputs / "no.csv")}, "no.csv: --units: does not exist"),
        ({"units": str(inputs / "units.xlsx")}, "--units: ends in '.xlsx'. Use .csv, .tsv"),
        ({"codes": str(inputs)}, "cannot be read"),
        ({"adjust": "drug"}, "units.csv: drug: is the condition itself"),
        ({"adjust": "donor"}, "units.csv: donor: 'a' in row 1 (a) is no finite number"),
        ({"id": "site"}, "units.csv: site: 'x' occurs twice (again in row 2)"),
        ({"out": str(inputs / "table.xls")}, "--out: ends in '.xls'. Use .csv, .parquet"),
        ({"split": "dev"}, "split: no window is in 'dev'. The token index has train, test"),
        ({"alpha": "7"}, "alpha: is 7. Give a share between 0 and 1"),
    ):
        assert expected in told(capsys, arguments(inputs, **changed)), changed
    units = pd.read_csv(inputs / "units.csv")
    units[:5].to_csv(inputs / "few.csv", index=False)
    said = told(capsys, arguments(inputs, units=str(inputs / "few.csv")))
    assert "5 donors are described but the codes hold 6" in said
    (inputs / "empty.csv").write_text("")
    assert "empty.csv" in told(capsys, arguments(inputs, units=str(inputs / "empty.csv")))


def test_a_token_index_that_does_not_match_is_refused(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = inputs / "codes" / "tokens" / "tokens.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "positions": 4}))
    assert "has 240 rows, the token axis 192 tokens" in told(capsys, arguments(inputs))
    path.unlink()
    assert "tokens" in told(capsys, arguments(inputs))
