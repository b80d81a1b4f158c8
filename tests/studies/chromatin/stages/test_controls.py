"""Reference: the shipped parameters and claims; a control that is off or impossible says so in its
folder and its metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from causal_toy import biosamples

from petriscope.claims.rules import read_rules
from petriscope.claims.texts import names, render
from petriscope.files import plain
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace, template
from petriscope.stages import label_shuffle
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.stages import (
    depth_matched,
    input_controls,
    leaderboard,
    random_init,
)
from petriscope.studies.chromatin.stages.depth_matched import common_depth

STAGES = {
    "random_init": random_init,
    "depth_matched": depth_matched,
    "input_controls": input_controls,
    "label_shuffle": label_shuffle,
    "leaderboard": leaderboard,
}


def workspace(folder: Path, table: pd.DataFrame) -> Workspace:
    made = Workspace(folder)
    made.tracks.mkdir(parents=True)
    made.params.write_text(template("params.yaml").read_text())
    table.to_parquet(made.tracks / "biosamples.parquet")
    window = {
        "window": ["w0"],
        "chrom": ["chr1"],
        "start": [0],
        "end": [4096],
        "split": ["test"],
        "block": [0],
    }
    pd.DataFrame(window).to_parquet(made.windows)
    return made


def params(**controls: bool) -> Params:
    shipped = load_params(template("params.yaml"))
    return dataclasses.replace(shipped, controls=dataclasses.replace(shipped.controls, **controls))


@pytest.mark.parametrize("name", list(STAGES))
def test_a_control_switched_off_says_so(tmp_path: Path, name: str) -> None:
    made = workspace(tmp_path, biosamples().assign(fragments=range(1000, 1012)))
    found = dataclasses.asdict(STAGES[name].run(made, params(**{name: False})))
    why = f"controls.{name} is false in params.yaml"
    assert found["untestable"] == why
    assert [path.name for path in made.table(name).iterdir()] == ["not_run.txt"]
    assert (made.table(name) / "not_run.txt").read_text() == why + "\n"
    rules = read_rules(template("claims.yaml"))
    printed = [
        text
        for rule in rules
        for control in rule["controls"]
        for text in control.get("printed", [])
        if {entry.split(".")[0] for entry in names(text)} & {name}
    ]
    said = {render(text, {name: found, "cds": {"context_count": [1]}}) for text in printed}
    assert any(text.endswith(f"not run: {why}") for text in said)
    assert all(text == "-" or text.endswith(f"not run: {why}") for text in said)


def test_impossible_controls_name_the_reason(tmp_path: Path) -> None:
    single = biosamples().drop_duplicates(["lineage", "context"]).assign(fragments=pd.NA)
    made = workspace(tmp_path, single)
    shuffled = label_shuffle.run(made, params())
    assert "blood has 1 in_vitro and 1 in_vivo biosample(s)" in str(shuffled.untestable)
    unknown = str(depth_matched.run(made, params()).untestable)
    assert unknown.startswith("no fragments are known of blood_in_vitro_0")
    one_sided = workspace(tmp_path / "b", single[single.context == "in_vivo"])
    assert leaderboard.run(one_sided, params()).untestable == "no lineage has both contexts"


def test_the_common_depth_is_the_smallest() -> None:
    table = biosamples().assign(fragments=range(1012, 1000, -1))
    assert common_depth(table) == (1001, None)
    depth, why = common_depth(table.assign(fragments=pd.array([pd.NA, *range(11)], dtype="Int64")))
    assert depth == 0
    assert why == "no fragments are known of blood_in_vitro_0"


def test_a_variant_in_which_nothing_fires_says_so_in_the_ledgers_text() -> None:
    rows = {
        "variant": ["real", "ATAC zero"],
        "layer": 2,
        "alive": [9, 0],
        "context_count": [4, 0],
        "auroc": [0.71, 0.5],
    }
    rows |= {
        "context_fraction": [4 / 9, 0.0],
        "z_correlation": [0.9, np.nan],
        "model_r": 0.5,
        "model_r_condition": 0.4,
    }
    found = plain(dataclasses.asdict(input_controls.summarize(pd.DataFrame(rows), 24)))
    claim = next(x for x in read_rules(template("claims.yaml")) if x["id"] == "ctx-count")
    text = render(claim["controls"][3]["printed"][1], {"input_controls": found})
    assert "real 4 / 0.71 / +0.90" in text and "nan" not in text
    assert "ATAC zero none fires often enough to be tested / 0.50 / too few to correlate" in text
