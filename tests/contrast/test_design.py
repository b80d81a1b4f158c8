"""Reference: what a user is told. Every mistake in a table of units is one line that names file,
column and remedy; the sides of a design are those that a loop over its rows finds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from petriscope.contrast.design import Design, Units
from petriscope.errors import UserError

FRAME = pd.DataFrame(
    {
        "unit": ["a", "b", "c", "d", "e", "f"],
        "drug": ["none", "treated", "none", "treated", "mock", "treated"],
        "site": ["x", "x", "y", "y", "y", "x"],
        "age": [31.0, 28.0, 40.0, 55.0, 23.0, 61.0],
    }
)


def design(frame: pd.DataFrame = FRAME, **named: object) -> Design:
    given = {"condition": "drug", "target": "treated", "strata": "site", "adjust": ["age"]}
    return Design(Units(frame, source="units.csv"), **{**given, **named})  # type: ignore[arg-type]


def test_sides_strata_and_covariates_are_the_tables() -> None:
    found = design()
    assert found.units == tuple("abcdef") and found.strata == ("x", "y")
    for stratum in found.strata:
        sides = found.sides(stratum)
        for rows, target in ((sides.reference, False), (sides.target, True)):
            expected = [
                i
                for i, row in FRAME.iterrows()
                if row.site == stratum and (row.drug == "treated") == target
            ]
            assert rows.tolist() == expected
    assert found.covariates is not None and found.covariates[:, 0].tolist() == FRAME.age.tolist()
    assert found.words == ("unit", "site", "none or mock", "treated", "age")
    assert (
        repr(found).split("\n")[0]
        == found.heading
        == ("6 units: 3 treated against 3 none or mock, within 2 sites, adjusted for age")
    )
    assert Design(FRAME, condition="drug", target="treated").strata == ("all",)
    numbers = FRAME.assign(drug=[0, 1, 0, 1, 0, 1])
    assert (
        design(numbers, target=1).is_target.tolist()
        == design(numbers, target="1").is_target.tolist()
    )


def test_a_column_goes_along_with_the_one_it_belongs_to() -> None:
    units = Units(FRAME.assign(square=FRAME.age**2), also={"square": "age"})
    assert Design(units, condition="drug", target="treated", adjust=["age"]).adjust == (
        "age",
        "square",
    )
    assert Design(units, condition="drug", target="treated").covariates is None


def test_other_labels_strata_and_parts_leave_the_design_as_it_is() -> None:
    found = design()
    other = found.relabelled(~found.is_target)
    assert (other.is_target != found.is_target).all() and other.units == found.units
    assert found.unadjusted().covariates is None and found.adjust == ("age",)
    part = found.only("y")
    assert part.units == ("c", "d", "e") and part.strata == ("y",)
    assert part.covariates is not None and part.covariates[:, 0].tolist() == [40.0, 55.0, 23.0]
    assert part.sides("y").target.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (FRAME.rename(columns={"drug": "Drug"}), "units.csv: drug: column is missing. Did you mean 'Drug'?"),
        (FRAME.assign(drug="treated"), "units.csv: drug: every unit has the value 'treated'. A contrast needs units of two conditions"),
        (FRAME.assign(drug=["none", "Treated"] * 3), "units.csv: drug: no unit has the value 'treated'. Did you mean 'Treated'?"),
        (FRAME.assign(drug="saline"), "units.csv: drug: no unit has the value 'treated'. There is: saline"),
        (FRAME.assign(unit=list("abcdea")), "units.csv: unit: 'a' occurs twice (again in row 6). Unit ids must be unique"),
        (FRAME.assign(unit=["a", None, *"cdef"]), "units.csv: unit: value is missing in row 2. Fill it in"),
        (FRAME.assign(unit=["a", " ", *"cdef"]), "units.csv: unit: value is missing in row 2"),
        (FRAME.assign(drug=[*FRAME.drug[:5], None]), "units.csv: drug: value is missing in row 6 (f)"),
        (FRAME.assign(site=[None, *FRAME.site[1:]]), "units.csv: site: value is missing in row 1 (a)"),
        (FRAME.assign(age=[1, 2, np.nan, 4, 5, 6]), "units.csv: age: value is missing in row 3 (c). Fill it in"),
        (FRAME.assign(age=[1, 2, np.inf, 4, 5, 6]), "units.csv: age: 'inf' in row 3 (c) is no finite number"),
        (FRAME.assign(age=["1", "2", "old", "4", "5", "6"]), "units.csv: age: 'old' in row 3 (c) is no finite number. A covariate is"),
        (FRAME.drop(columns="age"), "units.csv: age: column is missing"),
        (FRAME.drop(columns="site"), "units.csv: site: column is missing"),
        (FRAME[:0], "units.csv: holds no unit"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_one_line(change: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError) as error:
        design(change)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bad_designs_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"units: is a dict\. Give a table"):
        Design({"unit": ["a"]}, condition="drug", target="treated")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="drug: is the condition itself"):
        design(strata="drug")
    with pytest.raises(UserError, match="drug: is the condition itself"):
        design(adjust=["drug"])
    with pytest.raises(UserError, match=r"name: column is missing.*It names the units"):
        Units(FRAME, "name")
    with pytest.raises(UserError, match=r"site: 'x' occurs twice"):
        Units(FRAME, "site")
    with pytest.raises(UserError, match="6 units are described but the codes hold 7"):
        design().check(7, "codes")
    with pytest.raises(UserError, match=r"site: site 'z' is not in the data set"):
        design().sides("z")


def test_a_named_reference_is_the_only_other_value_and_may_be_absent() -> None:
    alone = design(FRAME.assign(drug="treated"), reference="none")
    assert alone.words.reference == "none" and alone.is_target.all()
    assert alone.why_untestable("x", "locus") == "site x has no none unit"
    with pytest.raises(UserError, match=r"units.csv: drug: unknown drug 'mock'.*'none', 'treated'"):
        design(reference="none")


def test_a_stratum_without_a_side_or_replicates_says_so() -> None:
    found = design()
    assert found.why_untestable("y", "unit") == (
        "site y has 2 none or mock and 1 treated unit(s); a unit-level test needs two a side"
    )
    assert found.why_untestable("y", "locus") is None
    lone = design(FRAME.assign(drug=["treated", *["none"] * 5]))
    assert lone.why_untestable("y", "locus") == "site y has no treated unit"
    assert len(lone.untestable("unit")) == 2
