"""The audit of the comparative atlas against the values that its design lists, each found by hand
from the released tables, and its two computations against brute force, scipy and statsmodels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.multitest import multipletests

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE
from petriscope.enrich.genesets import GeneSets
from petriscope.errors import UserError
from petriscope.studies.cells.audit import (
    COVERAGE,
    NOT_HERE,
    Chance,
    audit_folder,
    audit_rows,
    chance,
    families,
)
from petriscope.studies.cells.released import FILES, Released


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    return shared / "data/single_cell/published_atlas"


@pytest.fixture(scope="module")
def rows(published: Path) -> dict[str, object]:
    go = published.parents[1] / "real/genesets/GO_Biological_Process_2021.gmt.gz"
    return {row.claim: row for row in audit_rows(Released(published), go)}


def test_counts_of_the_tables(rows: dict) -> None:
    found = {claim: row.recomputed for claim, row in rows.items()}
    assert found["Geneformer: alive features"] == 82_525
    assert found["scGPT: alive features"] == 24_527
    assert found["Geneformer: annotated features"] == 43_268
    assert "52.4 %" in rows["Geneformer: annotated features"].how
    assert found["scGPT: annotated features"] == 7_595
    assert "31.0 %" in rows["scGPT: annotated features"].how
    assert (found["Geneformer: modules"], found["scGPT: modules"]) == (141, 76)
    for name in ("Geneformer", "scGPT"):
        assert found[f"{name}: active features per position"] == pytest.approx(32, abs=1e-3)
        assert found[f"{name}: cell types"] == 63 and rows[f"{name}: cell types"].stated == 56
    rare = "alive features that fire on fewer than 100 positions, %"
    assert found[f"Geneformer: {rare}"] == pytest.approx(1.06, abs=0.005)
    assert found[f"scGPT: {rare}"] == pytest.approx(10.5, abs=0.05)
    assert "0.0039" in rows[f"Geneformer: {rare}"].how and "0.0046" in rows[f"scGPT: {rare}"].how
    deciles = found["Geneformer: annotated by how often they fire"].split()
    assert (deciles[0], max(deciles), deciles[-1]) == ("0.36", "0.69", "0.39")
    assert found["Geneformer: features of layer 0 found again in layer 1"] == 114
    assert found["Geneformer: clusters of novel features"] == "15/19/11/12"


def test_coverage_specificity_and_highways(rows: dict) -> None:
    inside = "alive features in a module, %"
    assert rows[f"scGPT: {inside}"].recomputed == pytest.approx(88.2, abs=0.05)
    assert "21,644 of 24,527" in rows[f"scGPT: {inside}"].how
    assert "66 % at layer 10, 11" in rows[f"scGPT: {inside}"].how
    assert rows[f"scGPT: {inside}"].verdict == NOT_SUPPORTED and COVERAGE["scgpt"] == 96.3
    assert rows[f"Geneformer: {inside}"].recomputed == pytest.approx(98.4, abs=0.05)
    assert rows["Geneformer: features invisible to SVD, %"].recomputed == pytest.approx(99.77, 1e-4)
    causal = rows["Geneformer: median causal specificity"]
    assert causal.recomputed == pytest.approx(2.357, abs=0.003) and causal.verdict == SUPPORTED
    assert "negative in 62 %" in causal.how and "-0.61" in causal.how and "8.98" in causal.how
    scgpt = rows["scGPT: median causal specificity"]
    assert scgpt.recomputed == pytest.approx(0.975, abs=0.003) and "largest 2.0" in scgpt.how
    shares = [row.recomputed for claim, row in rows.items() if "Geneformer: highways" in claim]
    assert shares == pytest.approx([98.3, 96.9, 99.3], abs=0.05)
    assert [row.stated for claim, row in rows.items() if "Geneformer: highways" in claim] == [
        *(98.4, 97.4, 99.8)
    ]
    (last,) = [row for claim, row in rows.items() if claim.startswith("scGPT: highways, layers 8")]
    assert "downstream coverage 62.9 %" in last.how


def test_what_annotation_rests_on(rows: dict) -> None:
    found = {claim: row.recomputed for claim, row in rows.items()}
    places = ("Geneformer layer 5", "Geneformer layer 17", "scGPT layer 0", "scGPT layer 11")
    pairs = [found[f"{x}: significant entries with an overlap of 2, %"] for x in places]
    assert pairs[:2] == pytest.approx([81, 81], abs=1)
    once = [found[f"{x}: entries of gene lists that fired once, %"] for x in places]
    assert once == pytest.approx([6, 15, 14, 51], abs=0.6)
    assert "first-ranked genes 49 %" in rows[f"{places[3]}: entries of gene lists that fired"
                                             " once, %"].how  # fmt: skip
    edges = [found[f"{x}: annotated by edges alone, %"] for x in places]
    assert edges == pytest.approx([0.6, 0.6, 3, 3], abs=0.5)
    # section 0.3; its exact admission of terms is not written down, hence the tolerance
    admitted = [rows[f"{x}: annotated, all admitted terms in the family, %"] for x in places]
    assert [row.recomputed for row in admitted] == pytest.approx([0.7, 1.5, 7.3, 4.4], abs=0.7)
    for row, within in zip(admitted, (1.9, 2.3)):
        said = float(row.how.split("within each feature ")[1].split(" ")[0])
        assert said == pytest.approx(within, abs=0.25)
    as_published = [float(row.how.split("uncut) ")[1].split(" ")[0]) for row in admitted]
    assert 34 <= as_published[0] <= 37 and 34 <= as_published[1] <= 37
    assert 27.5 <= as_published[2] <= 31 and 27.5 <= as_published[3] <= 31


def test_knock_downs(rows: dict) -> None:
    specific = rows["CRISPRi: factors with a specific response"]
    assert specific.recomputed == 3 and specific.verdict == NOT_SUPPORTED
    assert "of 48" in specific.how and "1.3-17.2 %" in specific.how
    low, high = map(
        float, rows["CRISPRi: factors that chance makes specific"].recomputed.split("-")
    )
    assert 1.9 <= low <= high <= 2.0
    for said in (
        *("90 % range 0-4, P(3 or more) 0.29, P(5 or more) 0.03", "SRF"),
        "top 5 of all features of layer 11: 0.46 expected",
    ):
        assert said in specific.control + specific.how
    dead = rows["CRISPRi: responses of features that fire fewer than 40 times, %"]
    assert dead.recomputed == pytest.approx(87.7, abs=0.05)
    assert "summed activation of 2.5 (2.2-2.9)" in dead.how and "of 220" in dead.how


def test_chance_is_that_of_drawing_features() -> None:
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(40)]
    lists = {i: frozenset(rng.choice(names, 5, replace=False)) for i in range(30)}
    known = {"g0": frozenset(names[1:4]), "g7": frozenset(names[20:22])}
    rows = pd.DataFrame({"gene": ["g0", "g7", "g9"], "nr": [2, 3, 0]})
    ours = chance(rows, known, lists)
    assert ours.p[2] == 0
    wanted = [known["g0"] | {"g0"}, known["g7"] | {"g7"}]
    drawn = rng.integers(0, 30, (20_000, 5))
    hit = np.array([[bool(lists[i] & w) for i in range(30)] for w in wanted])
    either = hit[0][drawn[:, :2]].any(1).astype(int) + hit[1][drawn[:, 2:]].any(1)
    assert ours.expected == pytest.approx(either.mean(), abs=0.02)
    assert ours.at_least(2) == pytest.approx((either == 2).mean(), abs=0.02)
    assert Chance.of(np.full(4, 0.5)).at_least(3) == pytest.approx(5 / 16)


def test_families_are_those_of_scipy_and_statsmodels() -> None:
    rng = np.random.default_rng(1)
    names = np.array([f"G{i}" for i in range(120)])
    # three lists in four hold most of a term
    terms = {f"t{j}": tuple(names[12 * j : 12 * j + 8]) for j in range(8)}
    terms |= {"aliens": (*names[:6], *(f"X{i}" for i in range(20))), "few": tuple(names[:3])}
    lists = {}
    for i in range(20):
        own = terms[f"t{i % 8}"][: rng.integers(2, 7)] if i % 4 else ()
        lists[i] = frozenset([*own, *rng.choice(names, 10 - len(own), replace=False)])
    found = families(lists, GeneSets(terms, ()), alive=25)
    background = set().union(*lists.values())
    n = len(background)
    cut = {t: set(g) & background for t, g in terms.items()}
    cut = {t: g for t, g in cut.items() if len(g) >= 5}
    assert (found.terms, found.background) == (len(cut), n) and "few" not in cut
    p = np.array(
        [[hypergeom.sf(len(x & g) - 1, n, len(g), len(x)) for g in cut.values()]
         for x in lists.values()]
    )  # fmt: skip
    ones = np.ones((25 - 20) * len(cut))

    def share(values: np.ndarray) -> float:
        q = multipletests(values, method="fdr_bh")[1][: p.size].reshape(p.shape)
        return (q < 0.05).any(1).sum() / 25

    assert 0 < found.alive == share(np.concatenate([p.ravel(), ones]))
    assert found.admitted == share(p.ravel())
    rows = [multipletests(row, method="fdr_bh")[1].min() < 0.05 for row in p]
    assert found.within == sum(rows) / 25
    some = [(i, len(x & set(g)), len(g), len(x)) for i, x in lists.items() for t, g in terms.items()
            if len(g) >= 5 and len(x & set(g)) >= 2]  # fmt: skip
    q = multipletests(
        [hypergeom.sf(a - 1, n, size, drawn) for _, a, size, drawn in some], method="fdr_bh"
    )[1]
    hit = [one for one, value in zip(some, q) if value < 0.05]
    assert found.published == len({one[0] for one in hit}) / 25
    assert len({found.published, found.admitted, found.alive}) > 1


def test_a_missing_file_is_said_and_a_damaged_one_is_one_line(
    published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("geneformer_modules.json.gz", "geneformer_celltypes_summary.tsv"):
        shutil.copy(published / name, folder)
    table = audit_folder(folder, None).set_index("claim")
    assert list(table.columns) == ["stated", "recomputed", "how"]
    assert table.recomputed["Geneformer: modules"] == 141
    missing = table[table.recomputed == NOT_HERE]
    assert "no scgpt_modules.json.gz here" in missing.how["scGPT: modules"]
    assert "no geneformer_features.tsv.gz" in missing.how["Geneformer: alive features"]
    assert len(missing) == len(table) - 3
    verdicts = {row.claim: row.verdict for row in audit_rows(Released(folder))}
    assert verdicts["scGPT: modules"] == UNTESTABLE
    (folder / "geneformer_modules.json.gz").write_text('[{"id": 1}]')
    with pytest.raises(UserError, match=r"geneformer_modules.json.gz: lacks 0.layer"):
        audit_folder(folder, None)
    (folder / "geneformer_modules.json.gz").write_text("[")
    with pytest.raises(UserError, match="is no JSON"):
        audit_folder(folder, None)


def test_the_files_are_those_released(published: Path) -> None:
    assert set(FILES) == {path.name for path in published.iterdir()}
