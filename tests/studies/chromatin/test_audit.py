"""The audit against the numbers printed in the papers (S1/S2) and the facts known of their released
tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.studies.chromatin.audit import audit, read_tables


@pytest.fixture(scope="module")
def table(shared: Path):
    return audit(read_tables(shared / "data" / "published")).set_index("claim").recomputed


def test_counts_and_fractions(table):
    assert [table[f"{layer}: significant features"] for layer in ("early", "mid", "late")] == [
        57,
        82,
        215,
    ]
    assert [table[f"{layer}: alive latents"] for layer in ("early", "mid", "late")] == [
        91,
        185,
        1674,
    ]
    shares = [table[f"{layer}: share of alive, %"] for layer in ("early", "mid", "late")]
    assert shares == pytest.approx([62.6, 44.3, 12.8], abs=0.05)


def test_same_sign_is_below_chance(table):
    found = [table[f"{layer}: same sign in all lineages"] for layer in ("early", "mid", "late")]
    assert found == ["7 of 57", "14 of 82", "30 of 215"]


def test_ablation_and_steering(table, shared):
    assert table["ablation: effect size d"] == pytest.approx(1.789, abs=5e-4)
    # The released p is the floor of a one-sided exact Wilcoxon over 25 pairs, whatever the effect.
    assert table["ablation: p"] == pytest.approx(
        stats.wilcoxon(range(1, 26), alternative="greater").pvalue
    )
    assert table["steering: median gap closure"] == pytest.approx(0.112, abs=5e-4)
    assert table["steering: mean gap closure, same setting"] == pytest.approx(-0.065, abs=5e-4)


def test_a_missing_table_or_column_is_named(tmp_path, shared, capsys):
    effects = shared / "data" / "published" / "effects.tsv"
    (tmp_path / effects.name).write_bytes(effects.read_bytes())
    assert main(["audit", str(tmp_path)]) == 2
    assert "stats.tsv: no such file" in capsys.readouterr().err
    for source in (shared / "data" / "published").glob("*.tsv"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "effects.tsv").write_text("k\tdelta_mean\tseed\n5\t1\t0\n")
    with pytest.raises(UserError, match=r"effects.tsv: lacks the column ablation_type"):
        read_tables(tmp_path)
    gmt = ["--genesets", str(tmp_path / "effects.tsv")]
    assert main(["audit", str(shared / "data" / "published"), *gmt]) == 2
    assert "study chromatin hold no gene list" in capsys.readouterr().err
