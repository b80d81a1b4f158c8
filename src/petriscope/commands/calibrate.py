"""`petriscope calibrate`: try every test where nothing differs, with more seeds or null sets than
params.yaml says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from petriscope.claims.rules import read_rules
from petriscope.claims.texts import render
from petriscope.commands import add_workspace_arguments, workspace_of
from petriscope.contrast.calibration import calibrate, summarize
from petriscope.errors import UserError
from petriscope.files import Output, claim, write_csv
from petriscope.run.params import load_params
from petriscope.run.stage import run_stage
from petriscope.run.workspace import Workspace
from petriscope.stages.calibration import middle_layer, null_data
from petriscope.stages.cds import study_design

TABLE = Output(
    "a table of `petriscope calibrate`",
    known=lambda path: path.read_bytes()[:20].startswith(b"test,null,sets,"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--seeds", type=int, help="how many seeds, starting at that of params.yaml")
    parser.add_argument("--nulls", type=int, help="null data sets of each kind and seed")
    parser.add_argument(
        "--out", help="CSV file for the table (with --seeds or --nulls results/ is left alone)"
    )
    add_workspace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table; without --seeds and --nulls this is stage calibration, results and all."""
    workspace = workspace_of(args)
    if args.seeds is None and args.nulls is None:
        found = run_stage("calibration", workspace)
        print(found["untestable"] or _words(found, workspace))
        return 0
    if args.out:
        claim(args.out, TABLE, inputs=[workspace.results, workspace.figures], field="--out")
    params = load_params(workspace.params)
    for name, low in (("seeds", 1), ("nulls", 20)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise UserError(
                f"is {value}", field=f"--{name}", remedy=f"Give a number of at least {low}."
            )
    chosen = replace(
        params.calibration,
        seeds=args.seeds or params.calibration.seeds,
        nulls=args.nulls or params.calibration.nulls,
    )
    data = null_data(
        workspace, replace(params, calibration=chosen), study_design(workspace, params)
    )
    seeds = [params.seed + i for i in range(chosen.seeds)]
    rates = calibrate(data, seeds=seeds, alpha=params.cds.alpha).rates
    if args.out:
        write_csv(args.out, rates)
    shown = rates.assign(what=rates.test.fillna(rates.what))[
        ["seed", "what", "null", "share", "low", "high"]
    ]
    print(shown.to_string(index=False, float_format="{:.4f}".format))
    covariates = data.design.words.covariates
    summary = summarize(rates, params.cds.alpha, middle_layer(workspace), covariates)
    print(_words(asdict(summary), workspace))
    return 0


def _words(found: Mapping[str, Any], workspace: Workspace) -> str:
    """What the ledger says of the calibration."""
    path = workspace.claims_rules
    claim = next(entry for entry in read_rules(path) if entry["id"] == "calibration")
    texts = (
        render(claim[name], {"calibration": found}, str(path), name)
        for name in ("corrected", "interval")
    )
    return "\n".join(texts)
