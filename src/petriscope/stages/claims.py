"""Stage claims: hold every stage's metrics against the ledger's frozen rules."""

from __future__ import annotations

from typing import Any

from petriscope.claims import as_markdown, evaluate, read_rules
from petriscope.data.dataset import load_dataset
from petriscope.files import atomic_path, read_json, write_json
from petriscope.params import Params
from petriscope.workspace import Workspace

STAGES = (
    *("model", "sae", "cds", "calibration", "recovery", "ablation", "steering", "random_init"),
    *("depth_matched", "input_controls", "label_shuffle", "leaderboard"),
    *("chromhmm", "motifs", "genesets"),
)


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write paper_figures/claims.json and claims.md."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    metrics = {stage: read_json(workspace.metrics(stage)) for stage in STAGES}
    claims = evaluate(read_rules(workspace.claims_rules), metrics, str(workspace.claims_rules))
    stamp = {"dataset": dataset.name, "seed": params.seed, "params": params.digest()}
    write_json(workspace.figures / "claims.json", {**stamp, "claims": [claim.as_dict() for claim in claims]})
    notes = [f"data set {dataset.name}: {dataset.description}", f"seed {params.seed}, parameters {params.digest()}"]
    with atomic_path(workspace.figures / "claims.md") as temporary:
        temporary.write_text(as_markdown(claims, "Claims ledger", [*notes, *dataset.untestable()]))
    verdicts: dict[str, int] = {}
    for claim in claims:
        verdicts[claim.verdict] = verdicts.get(claim.verdict, 0) + 1
    return {"verdicts": verdicts, "claims": {claim.id: claim.verdict for claim in claims}}
