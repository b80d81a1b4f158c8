"""Covariates of libraries: logs worked out by hand, known for all biosamples or not at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from petriscope.errors import UserError
from petriscope.studies.chromatin.units import design_of

FRAME = pd.DataFrame(
    {
        "biosample": list("abc"),
        "lineage": "blood",
        "context": ["in_vitro", "in_vivo", "in_vivo"],
        "fragments": [2.0**10, 2.0**12, 2.0**14],
        "frip": [0.25, 0.5, 0.5],
    }
)


def test_covariates_are_logs_in_the_order_of_need_and_only_where_known_for_all() -> None:
    design = design_of(FRAME)
    assert design.adjust == ("depth", "frip", "depth squared")
    assert design.covariates is not None
    np.testing.assert_allclose(design.covariates.T, [[10, 12, 14], [-2, -1, -1], [4, 0, 4]])
    assert design_of(FRAME, ["frip"]).adjust == ("frip",)
    assert design_of(FRAME, []).covariates is None
    assert design_of(FRAME.assign(fragments=[1.0, np.nan, 2.0])).adjust == ("frip",)
    assert design_of(FRAME.assign(frip=[0.0, 0.5, 0.5])).adjust == ("depth", "depth squared")
    assert design_of(FRAME.drop(columns=["fragments", "frip"])).adjust == ()


def test_the_sides_are_in_vitro_and_in_vivo_and_no_other_context() -> None:
    design = design_of(FRAME)
    assert design.strata == ("blood",) and design.is_target.tolist() == [False, True, True]
    assert design.words == ("biosample", "lineage", "in_vitro", "in_vivo", "depth and FRiP")
    with pytest.raises(UserError, match=r"unknown context 'invivo'.*in_vivo"):
        design_of(FRAME.assign(context=["in_vitro", "invivo", "in_vivo"]))
