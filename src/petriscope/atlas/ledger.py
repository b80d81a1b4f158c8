"""The claims ledger as rows of an atlas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from petriscope.files import read_json


def claim_rows(path: Path) -> pd.DataFrame:
    """The ledger in the file ``path`` (claims.json), its intervals and controls as text; columns
    as in ``schema.TABLES["claims"]``."""
    claims = pd.DataFrame(read_json(path)["claims"])
    return pd.DataFrame(
        {
            "claim": claims.id,
            "statement": claims.statement,
            "published": claims.published,
            "as_published": claims.as_published,
            "corrected": claims.corrected,
            "interval": claims.interval,
            "control": claims.control_results.where(claims.control_results != "-", claims.control),
            "verdict": claims.verdict,
            "rule": claims.rule,
            "note": claims.why,
        }
    )
