"""Stage sae with `sae.source: stream` on the tiny run of each study, against the stored path."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from stage_trace import Trace

from petriscope.errors import UserError
from petriscope.run.params import parse_params
from petriscope.run.stage import run_stage
from petriscope.run.workspace import Workspace

FVU, L0 = 0.05, 0.6
"""Tolerances between two dictionaries that saw the same tokens in another order, on tiny runs."""
REPOSITORY = Path(__file__).parents[2]


def streamed(workspace: Workspace, root: Path) -> Workspace:
    """A copy of a finished run whose dictionaries are to be trained in a stream."""
    shutil.copytree(workspace.root, root, symlinks=True)
    copy = Workspace(root)
    text = copy.params.read_text()
    copy.params.write_text(re.sub(r"(?m)^sae:\n", "sae:\n  source: stream\n", text, count=1))
    return copy


@pytest.mark.parametrize("study", ["chromatin", "dna", "cells"])
def test_streamed_dictionaries_are_as_good_as_stored_ones(
    study: str,
    traced_tiny_runs: Callable[[str], tuple[Workspace, dict[str, Trace]]],
    tmp_path: Path,
) -> None:
    made = traced_tiny_runs(study)[0]
    copy = streamed(made, tmp_path / "w")
    run_stage("sae", copy)
    stored, live = (pd.read_csv(place.sae / "quality.csv") for place in (made, copy))
    assert stored[["layer", "seed", "n_tokens"]].equals(live[["layer", "seed", "n_tokens"]])
    difference = (live[["fvu", "l0"]] - stored[["fvu", "l0"]]).abs()
    print(study, stored[["layer", "seed", "fvu", "l0"]], live[["fvu", "l0"]], sep="\n")
    assert difference.fvu.max() < FVU and difference.l0.max() < L0, difference
    assert not stored.fvu.equals(live.fvu)  # not the stored ones again
    curves = sorted(path.name for path in (copy.results / "plots/sae").iterdir())
    assert curves == sorted(path.name for path in (made.results / "plots/sae").iterdir())


def test_a_rate_is_not_swept_in_a_stream() -> None:
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    raw["sae"] |= {"source": "stream", "learning_rate": "auto"}
    with pytest.raises(UserError, match=r"sae\.learning_rate: is auto.*Give a number"):
        parse_params(raw)
    with pytest.raises(UserError, match=r"sae\.source: is 'both'"):
        parse_params({**raw, "sae": {**raw["sae"], "source": "both"}})


def test_an_entry_at_its_default_leaves_the_stamp_as_it_was() -> None:
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    plain = parse_params(raw)
    assert plain.sae.source == "store"
    named = {**raw, "sae": {**raw["sae"], "source": "store"}}
    assert parse_params(named).digest() == plain.digest()
    other = {**raw, "sae": {**raw["sae"], "source": "stream"}}
    assert parse_params(other).digest() != plain.digest()
