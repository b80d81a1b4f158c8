"""Where a programme is open is read from the truth table's columns, whatever the programme is
called."""

from __future__ import annotations

import pandas as pd

from petriscope.studies.chromatin.truth import programme_biosamples, programme_openings

TRUTH = pd.DataFrame(
    {
        "programme": ["zeta", "blood_in_vitro", "alpha", "zeta"],
        "lineages": ["blood", "blood,liver", "liver", "blood"],
        "contexts": ["in_vivo", "in_vitro,in_vivo", "in_vitro,in_vivo", "in_vivo"],
    }
)


def test_programmes_are_open_where_the_table_says_not_where_their_name_does() -> None:
    biosamples = pd.DataFrame(
        {
            "lineage": ["blood", "blood", "liver", "liver"],
            "context": ["in_vitro", "in_vivo", "in_vitro", "in_vivo"],
        }
    )
    openings = programme_openings(TRUTH)
    assert list(openings) == ["alpha", "blood_in_vitro", "zeta"]
    rows = {name: programme_biosamples(x, biosamples).tolist() for name, x in openings.items()}
    assert rows == {"zeta": [1], "blood_in_vitro": [0, 1, 2, 3], "alpha": [2, 3]}
