"""Reference: the same filter, sort or overlap computed with pandas on the frames the atlas was
built from."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.filters import MAX_END, FilterError, Region, bin_of, bin_ranges, parse_region
from petriscope.atlas.query import Atlas, search
from petriscope.atlas.schema import feature_name, parse_feature
from petriscope.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tables() -> AtlasTables:
    spec = importlib.util.spec_from_file_location(
        "synthetic_atlas", REPOSITORY / "benchmarks" / "synthetic_atlas.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.synthetic_tables(layers=3, per_layer=200)


@pytest.fixture(scope="module")
def atlas(tables: AtlasTables, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = tmp_path_factory.mktemp("atlas") / "atlas.sqlite"
    build_atlas(path, tables)
    return Atlas(path)


def ids(frame: pd.DataFrame) -> set[int]:
    return set((frame["layer"] * 1_000_000 + frame["feature"]).tolist())


def enriched(tables: AtlasTables, kind: str, text: str) -> set[int]:
    a = tables.annotations
    return ids(
        a[(a.kind == kind) & a.term.str.contains(text, case=False, regex=False) & (a.q < 0.05)]
    )


COMPARISONS: list[tuple[str, Callable[[pd.DataFrame], pd.Series]]] = [
    ("q<.01", lambda f: f.q < 0.01),
    ("cds_q<1%", lambda f: f.q < 0.01),
    ("layer>=1 q<.05", lambda f: (f.layer >= 1) & (f.q < 0.05)),
    ("layer:0,2", lambda f: f.layer.isin([0, 2])),
    ("cds:-2..1.5", lambda f: f.cds.between(-2, 1.5)),
    ("lineage:LIVER", lambda f: f.lineage == "liver"),
    ("lineage:liver,blood", lambda f: f.lineage.isin(["liver", "blood"])),
    ("-lineage:liver", lambda f: f.lineage != "liver"),
    ("lineage=live", lambda f: f.lineage == "live"),
    ("lineage!=liver", lambda f: f.lineage != "liver"),
    ("context:vivo", lambda f: f.direction == "in_vivo"),
    ("t_liver>3 is:alive", lambda f: (f.t_liver > 3) & (f.alive == 1)),
    ("is:dead", lambda f: f.alive == 0),
    ("label:gata", lambda f: f.label.str.contains("gata", case=False, na=False)),
    ('label:"GATA1 T"', lambda f: f.label.str.contains("GATA1 T", na=False)),
    ("label:G*A", lambda f: f.label.str.contains("G.*A", case=False, na=False)),
    ("L1/17", lambda f: (f.layer == 1) & (f.feature == 17)),
    ("", lambda f: f.layer >= 0),
    ("ga", lambda f: f.label.str.lower().str.startswith("ga", na=False)),
]


@pytest.mark.parametrize(
    ("query", "reference"), COMPARISONS, ids=[c[0] or "empty" for c in COMPARISONS]
)
def test_filter_equals_pandas(
    atlas: Atlas, tables: AtlasTables, query: str, reference: Callable
) -> None:
    expected = ids(tables.features[reference(tables.features).fillna(False)])
    assert set(atlas.order(query)) == expected
    assert atlas.count(query) == len(expected)


def test_annotation_filters(atlas: Atlas, tables: AtlasTables) -> None:
    assert set(atlas.order("motif:hnf4a")) == enriched(tables, "motif", "hnf4a") != set()
    assert set(atlas.order('go:"lipid m"')) == enriched(tables, "geneset", "lipid m")
    assert set(atlas.order("state:Tss,Enh")) == enriched(tables, "chromhmm", "Tss") | enriched(
        tables, "chromhmm", "Enh"
    )
    both = enriched(tables, "motif", "HNF4A") & ids(
        tables.features[(tables.features.layer >= 1) & (tables.features.q < 0.5)]
    )
    assert set(atlas.order("layer>=1 cds_q<.5 motif:HNF4A")) == both
    labelled = ids(tables.features[tables.features.label.str.contains("GATA1", na=False)])
    assert set(atlas.order("GATA1")) == labelled | enriched(tables, "motif", "GATA1")


@pytest.mark.parametrize("column", ["cds", "q", "label", "module", "feature", "layer", "lo"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("query", ["", "layer>=1"])
def test_sort_puts_empty_cells_last(
    atlas: Atlas, tables: AtlasTables, column: str, descending: bool, query: str
) -> None:
    order = atlas.order(query, column, descending)
    values = [row[0] for row in atlas.rows(list(order), [column])]
    filled = [v for v in values if v is not None]
    assert values[: len(filled)] == filled
    key = str.casefold if column == "label" else None
    assert filled == sorted(filled, key=key, reverse=descending)
    assert len(order) == len(set(order)) == (600 if not query else 400)


def test_region_equals_brute_force(atlas: Atlas, tables: AtlasTables) -> None:
    region = parse_region("chr22:37,500,000-37,600,000")
    assert region == Region("chr22", 37_499_999, 37_600_000)
    t = tables.contexts
    inside = t[(t.chrom == region.chrom) & (t.start < region.end) & (t.end > region.start)]
    got = atlas.region(region, limit=10_000)
    assert sorted(b.activation for b in got) == sorted(inside.activation)
    assert set(atlas.order(str(region))) == ids(inside)
    assert set(atlas.order(f"region:{region}")) == ids(inside)
    hits = tables.motif_hits
    expected = hits[(hits.start < region.end) & (hits.end > region.start)]
    assert len(atlas.motif_hits(region)) == len(expected) > 0


def test_gene_filter_reaches_100_kb(atlas: Atlas, tables: AtlasTables) -> None:
    gene = tables.genes[tables.genes.symbol == "APOL1"].iloc[0]
    t = tables.contexts
    near = t[(t.start < gene.tss + 100_000) & (t.end > gene.tss - 100_000)]
    assert set(atlas.order("gene:apol1")) == ids(near)
    assert atlas.gene("apol1")[0].tss == gene.tss


@given(
    st.integers(0, MAX_END - 2),
    st.integers(1, 10**6),
    st.integers(0, MAX_END - 2),
    st.integers(1, 10**7),
)
def test_bins_never_miss_an_overlap(start: int, length: int, other: int, width: int) -> None:
    end, stop = min(start + length, MAX_END), min(other + width, MAX_END)
    if start < stop and other < end:
        number = bin_of(start, end)
        assert any(low <= number <= high for low, high in bin_ranges(other, stop))


def test_bin_numbers_equal_the_specification() -> None:
    """Worked values of the SAM specification's reg2bin."""
    assert (
        bin_of(0, 1) == 4681
        and bin_of(0, 1 << 14) == 4681
        and bin_of(1 << 14, (1 << 14) + 1) == 4682
    )
    assert (
        bin_of(0, (1 << 14) + 1) == 585
        and bin_of(0, (1 << 17) + 1) == 73
        and bin_of(0, MAX_END) == 0
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nocolumn:3", "no column nocolumn"),
        ("cds_w<1", "no column cds_w. Did you mean"),
        ("q<abc", "'abc' is not a number. Write for example q<.01"),
        ("q<", "has no value"),
        ("lineage>3", "lineage is text. Write lineage:3"),
        ("is:alvie", "unknown flag. Use is:alive"),
        ("region:nowhere", "'nowhere' is not a region. Write region:chr22"),
    ],
)
def test_wrong_terms_are_named(atlas: Atlas, query: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        atlas.order(query)


@given(st.text(max_size=40))
def test_no_text_breaks_out_of_the_filter(atlas: Atlas, text: str) -> None:
    with contextlib.suppress(UserError):
        assert len(atlas.order(text)) <= 600
    with contextlib.suppress(UserError):
        search(atlas, text)


def test_search_finds_by_kind_and_forgives_slips(atlas: Atlas) -> None:
    assert search(atlas, "HNF4A")[0].kind == "motif"
    assert "GATA1" in [f.name for f in search(atlas, "gatta1")]
    assert search(atlas, "L1/20")[0].query == "L1/20"
    assert search(atlas, "chr22:37,500,000-37,600,000")[0].kind == "region"
    assert search(atlas, "scaffold1:1-100")[0].query == "region:scaffold1:1-100"
    assert search(atlas, "apol1")[0] == ("gene", "APOL1", None, "gene:APOL1")
    assert (
        search(atlas, "zzzzqq") == [] and search(atlas, " ") == [] and search(atlas, "L99/1") == []
    )
    for found in search(atlas, "lipid"):
        assert found.features is None or atlas.count(found.query) == found.features


def test_names_and_regions_round_trip() -> None:
    assert (
        parse_feature(" l6/1234 ") == 6_001_234
        and feature_name(6_001_234) == "L6/1234"
        and parse_feature("6/12") is None
    )
    assert str(parse_region("chr1:1_000-2,000")) == "chr1:1,000-2,000" and parse_region(
        "chr1:7"
    ) == Region("chr1", 6, 7)
    with pytest.raises(UserError, match="empty or out of range"):
        parse_region("chr1:20-10")


def test_rows_keep_the_asked_order(atlas: Atlas) -> None:
    wanted = np.array([2_000_003, 7, 1_000_001]).tolist()
    assert [r[:2] for r in atlas.rows(wanted, ["layer", "feature"])] == [(2, 3), (0, 7), (1, 1)]
    assert [r[1] for r in atlas.stream(list(atlas.order()), ["layer", "feature"])][:3] == [0, 1, 2]


def test_read_interface_needs_no_heavy_package() -> None:
    code = (
        "import sys, petriscope.atlas.query, petriscope.atlas.query;"
        "print([m for m in ('numpy', 'pandas', 'torch', 'dvc', 'yaml') if m in sys.modules])"
    )
    path = {"PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
