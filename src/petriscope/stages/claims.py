"""Stage claims: hold every stage's metrics against the ledger's frozen rules."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from petriscope.claims.multiplicity import as_markdown as ledger_markdown
from petriscope.claims.multiplicity import multiplicity
from petriscope.claims.rules import (
    as_markdown,
    evaluate,
    headline,
    intervals,
    read_rules,
    stages_of,
)
from petriscope.files import atomic_folder, atomic_path, read_csv, read_json, write_csv, write_json
from petriscope.machine import cpu_model
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace


@dataclass(frozen=True)
class ClaimNumbers:
    """What the ledger says of each claim."""

    verdicts: dict[str, int]
    """Verdict → how many claims have it."""
    claims: dict[str, str]
    """Claim → its verdict."""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> ClaimNumbers:
    """Write paper_figures/claims.json, claims.md, results/headline.json and
    results/claims/ledger.csv (the multiplicity ledger)."""
    dataset = workspace.study.dataset(workspace.dataset(params.dataset))
    rules = read_rules(workspace.claims_rules)
    stages = dict.fromkeys(stage for rule in rules for stage in stages_of(rule))
    metrics = {stage: read_json(workspace.metrics(stage)) for stage in stages}
    claims = evaluate(rules, metrics, str(workspace.claims_rules))
    stamp = {
        "dataset": dataset.name,
        "seed": params.seed,
        "params": params.digest(),
        "processor": cpu_model(),
    }
    write_json(
        workspace.figures / "claims.json",
        {
            **stamp,
            "claims": [claim.as_dict() for claim in claims],
            "intervals": {rule["id"]: intervals(rule, metrics) for rule in rules},
        },
    )
    write_json(workspace.headline, headline(rules, metrics))
    notes = [
        f"data set {dataset.name}: {dataset.description}",
        f"seed {params.seed}, parameters {params.digest()}",
    ]
    words = {"stratum": metrics["cds"]["stratum"]} if "cds" in metrics else {}
    others = workspace.study.adjusted()
    ledger = multiplicity(_tables(workspace), params.cds.alpha, others=others, **words)
    with atomic_folder(workspace.table("claims")) as folder:
        write_csv(folder / "ledger.csv", ledger)
    page = as_markdown(claims, "Claims ledger", [*notes, *dataset.untestable()])
    with atomic_path(workspace.figures / "claims.md") as temporary:
        temporary.write_text(page + ledger_markdown(ledger), encoding="utf-8")
    verdicts: dict[str, int] = {}
    for claim in claims:
        verdicts[claim.verdict] = verdicts.get(claim.verdict, 0) + 1
    return ClaimNumbers(verdicts, {claim.id: claim.verdict for claim in claims})


def _tables(workspace: Workspace) -> dict[str, pd.DataFrame]:
    """Tables with adjusted p-values, by '<stage>/<file>'; an empty file is an empty table."""
    tables = {}
    features = workspace.table("cds") / "features.parquet"
    if features.is_file():
        tables["cds/features"] = pd.read_parquet(features)
    study = workspace.study
    named = [(stage, name) for stage, names in study.tests.items() for name in names]
    for stage, name in dict.fromkeys(
        [*named, *((one.stage, one.file) for one in study.adjusted())]
    ):
        path = workspace.table(stage) / f"{name}.csv"
        whole = path.with_suffix(".parquet")
        if whole.is_file():  # where the CSV holds a part of it, to be read
            tables[f"{stage}/{name}"] = pd.read_parquet(whole)
            continue
        try:
            tables[f"{stage}/{name}"] = read_csv(path) if path.is_file() else pd.DataFrame()
        except pd.errors.EmptyDataError:
            tables[f"{stage}/{name}"] = pd.DataFrame()
    return tables
