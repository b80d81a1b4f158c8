"""Annotation of every alive feature of every layer of a finished run, stage by stage: the issue's
limit is two minutes.

``python benchmarks/annotation_demo.py [WORKSPACE]``: copies nothing but the feature table and the
parameters; in a temporary workspace every alive feature counts as a context feature and
``annotation.max_features`` is lifted. Prints wall and CPU seconds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace

STAGES = ("foregrounds", "chromhmm", "motifs", "genesets", "labels")


def everything_is_context(source: Path, target: Path) -> int:
    """Link the results into ``target`` and give every alive feature q = 0; returns how many."""
    (target / "results").mkdir()
    for path in (source / "results").iterdir():
        if path.name not in {*STAGES, "cds", "metrics"}:
            (target / "results" / path.name).symlink_to(path.resolve())
    for name in ("cds", "metrics"):
        (target / "results" / name).mkdir()
        for path in (source / "results" / name).iterdir():
            (target / "results" / name / path.name).symlink_to(path.resolve())
    for name in ("params.yaml", "data"):
        (target / name).symlink_to((source / name).resolve())
    table = target / "results" / "cds" / "features.parquet"
    features = pd.read_parquet(table)
    table.unlink()
    columns = [name for name in ("q_biosample", "q_locus") if features[name].notna().any()]
    features.assign(
        **dict.fromkeys(columns, features.alive.map({True: 0.0, False: 1.0}))
    ).to_parquet(table)
    return int(features.alive.sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path, nargs="?", default=Path())
    source = parser.parse_args().workspace
    params = load_params(source / "params.yaml")
    params = replace(params, annotation=replace(params.annotation, max_features=1_000_000))
    with tempfile.TemporaryDirectory() as name:
        alive = everything_is_context(source, Path(name))
        workspace = Workspace(Path(name))
        print(
            f"{alive:,} alive features, {params.annotation.random_draws} random draws, "
            f"{os.cpu_count()} cores"
        )
        wall_total = cpu_total = 0.0
        for stage in STAGES:
            begin, cpu = time.perf_counter(), time.process_time()
            importlib.import_module(f"petriscope.studies.chromatin.stages.{stage}").run(
                workspace, params
            )
            wall, used = time.perf_counter() - begin, time.process_time() - cpu
            wall_total, cpu_total = wall_total + wall, cpu_total + used
            print(f"  {stage:<12}{wall:8.1f} s wall {used:8.1f} s CPU", flush=True)
        print(f"  {'all':<12}{wall_total:8.1f} s wall {cpu_total:8.1f} s CPU")


if __name__ == "__main__":
    main()
