"""The chromatin study's units are biosamples: who is in vitro and who in vivo within a lineage, and
what makes libraries differ whatever their context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from petriscope.contrast.design import Design, Units
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.params import Params

CONTEXTS = ("in_vitro", "in_vivo")
"""Reference and target."""
SHOWN = {"frip": "FRiP"}
ADJUSTABLE = {"depth": "fragments", "frip": "frip"}
"""What can be adjusted for (`cds.adjust`), and the column of the biosample table that it is the
log2 of."""


def load_biosamples(workspace: Workspace) -> pd.DataFrame:
    """Columns biosample, lineage, context, donor, fragments, in the order of every S axis."""
    return pd.read_parquet(workspace.tracks / "biosamples.parquet")


def load_design(workspace: Workspace, params: Params) -> Design:
    """Who is compared, with the technical covariates that ``cds.adjust`` names."""
    return design_of(load_biosamples(workspace), params.cds.adjust)


def units_of(frame: pd.DataFrame) -> Units:
    """The unit table of a biosample table (columns biosample, lineage, context and more), with the
    technical covariates that are known of every biosample.

    *depth*: log2 fragments; its square goes along with it, since the effect of depth levels off.
    *frip*: log2 of the fraction of reads in peaks, the field's measure of signal to noise (ENCODE
    ATAC-seq standards; Landt et al. 2012), counted with the peaks' flanks: a covariate must not
    depend on context itself, and bare borders do where elements differ in width
    (`data.coverage.share_in_peaks`). A covariate that is unknown for one biosample is left out for
    all.
    """
    known = {name: _log2(frame, column) for name, column in ADJUSTABLE.items()}
    table = frame.drop(columns=[name for name in known if name in frame])
    table = table.assign(**{name: values for name, values in known.items() if values is not None})
    if "depth" not in table:
        return Units(table, "biosample", shown=SHOWN, source="biosamples")
    table["depth squared"] = (table.depth - table.depth.mean()) ** 2
    also = {"depth squared": "depth"}
    return Units(table, "biosample", also=also, shown=SHOWN, source="biosamples")


def design_of(frame: pd.DataFrame, adjust: Sequence[str] = tuple(ADJUSTABLE)) -> Design:
    """In vivo against in vitro within each lineage, adjusted for those of ``adjust`` that are
    known; ``frame`` in the row order of the arrays."""
    units = units_of(frame)
    known = [name for name in ADJUSTABLE if name in adjust and name in units.frame]
    return Design(
        units,
        condition="context",
        target=CONTEXTS[1],
        reference=CONTEXTS[0],
        strata="lineage",
        adjust=known,
    )


def _log2(frame: pd.DataFrame, column: str) -> np.ndarray | None:
    if column not in frame or frame[column].isna().any() or (frame[column] <= 0).any():
        return None
    return np.log2(frame[column].to_numpy(dtype=np.float64))
