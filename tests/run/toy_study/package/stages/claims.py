"""Stage claims: the ledger."""

from __future__ import annotations

from typing import Any

from petriscope.studies.toy.study import Params

from petriscope.claims.rules import evaluate, read_rules
from petriscope.files import read_json, write_json
from petriscope.run.workspace import Workspace


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    metrics = {"letters": read_json(workspace.metrics("letters"))}
    claims = evaluate(read_rules(workspace.claims_rules), metrics)
    ledger = {"dataset": "words", "claims": [claim.as_dict() for claim in claims]}
    write_json(workspace.figures / "claims.json", ledger)
    (workspace.figures / "claims.md").write_text(f"# {claims[0].id}: {claims[0].verdict}\n")
    return {"supported": sum(claim.verdict == "supported" for claim in claims)}
