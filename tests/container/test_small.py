"""The quick parameters of the container's checks against the loader of params.yaml: a renamed one
is noticed without an engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from petriscope.run.params import load_params


def test_the_quick_parameters_are_accepted(tmp_path):
    spec = importlib.util.spec_from_file_location("compare", Path(__file__).with_name("compare.py"))
    assert spec is not None and spec.loader is not None
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    params = load_params(compare.workspace(tmp_path / "out", small=True) / "params.yaml")
    assert params.model.epochs == 1 and params.dataset == "data/demo"
