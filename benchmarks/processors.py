"""Simulate other processors on this one: the tables of a run from released weights, column by column.

    python benchmarks/processors.py SOURCE SCRATCH [--kinds avx2 default ...] [--summary]

SOURCE is a workspace that holds a release (`released/`, see docs/dvc.md). Each kind runs the whole
released path in SCRATCH/KIND with its libraries told to use the instructions of another processor;
the tables are compared with those that the release ships. Printed: for each table the columns that
differ, in how many cells, and the largest absolute and relative error. A kind whose run is finished
is not run again; --summary runs none.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from petriscope.files import write_csv
from petriscope.run.compare import column_errors, shipped_results, study_tolerances
from petriscope.run.release import released_workspace
from petriscope.run.stage import stage_names
from petriscope.run.workspace import Workspace, create_workspace

KINDS = {
    "native": {},
    "two-threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "no-bfloat16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
"""Environment of each simulated processor; ONEDNN_MAX_CPU_ISA without bfloat16 makes the filter of
candidates (`petriscope.sae.select`) float32 where the measured speed chooses it."""
KINDS["avx2-two-threads"] = KINDS["avx2"] | KINDS["two-threads"]


def place(source: Workspace, root: Path) -> Workspace:
    """A workspace in ``root`` that runs from the release of ``source``, on the same data."""
    own = create_workspace(root, study=source.study)
    link = own.root / "released"
    if not link.exists():
        link.symlink_to(source.root / "released")
    data = own.root / "data"
    if not data.exists():
        data.symlink_to(source.root / "data")
    return released_workspace(own)


def run(workspace: Workspace, kind: str) -> None:
    """Every stage that has not run yet, each in a process of the simulated processor."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, **threads, **KINDS[kind]}
    for stage in stage_names(workspace):
        if stage == "web" or workspace.provenance(stage).is_file():
            continue
        started, before = time.time(), _processor_seconds()
        command = [sys.executable, "-m", "petriscope", "stage", stage]
        subprocess.run(
            command, cwd=workspace.root, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        wall, busy = time.time() - started, _processor_seconds() - before
        print(f"{kind:<18} {stage:<16} {wall:6.1f} s, {busy:6.1f} s of processor", flush=True)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the kinds asked for and print their worst errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--reference", type=Path, help="a paper_figures folder to compare with")
    args = parser.parse_args()
    source = Workspace(args.source.resolve())
    rows = []
    for kind in args.kinds:
        workspace = place(source, args.scratch.resolve() / kind)
        if not args.summary:
            run(workspace, kind)
        shipped = shipped_results(workspace, args.reference)
        assert shipped is not None, "the release ships no tables yet"
        tolerances = study_tolerances(workspace.study, released=True)
        for name, content in shipped[0].items():
            path = workspace.figures / "tables" / f"{name}.csv"
            if not path.is_file():
                continue
            tolerance = tolerances.get(name, tolerances["default"])
            found = column_errors(path.read_bytes(), content, tolerance)
            rows += [{"kind": kind, "table": name, **row} for row in found]
    table = pd.DataFrame(rows)
    if len(table):
        write_csv(args.scratch / "errors.csv", table)
        with pd.option_context("display.width", 200, "display.max_rows", None):
            print(table.to_string(index=False, float_format=lambda x: f"{x:.2g}"))
    else:
        print("every table is identical, byte for byte")


if __name__ == "__main__":
    main()
