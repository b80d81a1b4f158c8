"""The audit of Hidden State Genomics against the values that its design lists, each found by hand
from the released tables, and against networkx."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest

from petriscope.cli import main
from petriscope.commands.audit import audits, which
from petriscope.errors import UserError
from petriscope.graph.centrality import DAMPING
from petriscope.studies.chromatin.audit import COLUMNS
from petriscope.studies.dna.audit import FILES, audit_folder, ranked


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    return shared / "data/hsg/published"


@pytest.fixture(scope="module")
def table(published: Path) -> pd.DataFrame:
    gmt = published.parents[1] / "real/genesets/GO_Biological_Process_2021.gmt.gz"
    return audit_folder(published, gmt).set_index("claim")


def test_graph_and_pagerank(table: pd.DataFrame) -> None:
    found = table.recomputed
    assert found["graph binding: density"] == pytest.approx(4.0106e-4, abs=5e-9)
    assert found["graph non_binding: density"] == pytest.approx(2.1635e-3, abs=5e-8)
    assert table.stated["graph binding: density"] == 4.01e-3
    assert found["PageRank binding: iterations"] == 18
    assert found["PageRank non_binding: iterations"] == 16
    inverse = {
        claim.removeprefix("PageRank binding: 1 / share of feature "): value
        for claim, value in found.items()
        if claim.startswith("PageRank binding: 1 / share")
    }
    nine = "581, 1302, 2351, 3677, 4396, 5644, 6134, 7321, 10170"
    assert inverse == {nine: 19, "438": 18, "6142": 17}
    moving = [found[f"PageRank {x}: mass still moving at the stop, %"] for x in GRAPHS]
    assert moving == pytest.approx([4.5, 4.3], abs=0.05)
    level = [found[f"PageRank {x}: value of every sequence"] for x in GRAPHS]
    assert level == pytest.approx([1.2252e-5, 1.3123e-5], abs=5e-10)
    assert found["PageRank: log10 fold change of a feature equally rare in both graphs"] == (
        pytest.approx(-0.030, abs=5e-4)
    )
    assert found[CLS] == "0.736"
    assert table.stated[CLS] == "largest 0.829 (f1371), then 0.729 (f9853)"
    lost = [found[f"graph {x}: nodes lost when edges are summed"] for x in GRAPHS]
    assert lost == [98, 705]
    assert [found[f"graph {x}: distinct tokens per sequence"] for x in GRAPHS] == pytest.approx(
        [19.4, 104.1], abs=0.05
    )


GRAPHS = ("binding", "non_binding")
CLS = "PageRank: log10 fold change of a feature that is strongest at <cls> alone"


def test_heads_and_edits(table: pd.DataFrame) -> None:
    found = table.recomputed
    assert found["heads: embedding heads with recall 1"] == 13
    assert found["heads: false positives of layer 23"] == 212
    assert found["heads: Spearman of accuracy with depth, embedding head"] == "-0.26"
    assert found["heads: Spearman of accuracy with depth, feature head"] == "0.56"
    assert found["heads: layers in which the feature head is above the embedding head"] == 0
    one_class = "features: settings in which one class is predicted for all"
    assert found[f"edits of binding {one_class}"] == 8
    assert found[f"edits of non-binding {one_class}"] == 12
    assert "Fisher p of both 0.34" in table.how[f"edits of binding {one_class}"]
    assert found["edits: features that collapse in all their settings"] == "f8161"
    assert found["edits: different baseline AUCs"] == 8
    assert table.how["edits: different baseline AUCs"] == (
        "of 8 processes; 6 accuracies; all on 498/502 sequences"
    )
    (strong,) = [c for c in table.index if c.startswith("edits: AUC at clamp 10")]
    assert found[strong] == "0.902-0.990 against 0.532-0.829"
    assert "exact p 0.0079, its floor 0.0079" in table.how[strong]
    assert found["features: firing, % of the tokens of 20 binding sequences"] == "54-98"


def test_rivals_and_terms(table: pd.DataFrame) -> None:
    found = table.recomputed
    runs = ("with duplicates", "without duplicates", "labels shuffled")
    assert [found[f"one-hot CNN, {x}: AUC"] for x in runs] == ["0.955", "0.844", "0.500"]
    assert found["sequences of 100 bp: rows"] == 20_913
    assert "9,146 binding; 14,488 groups" in table.how["sequences of 100 bp: rows"]
    terms = {
        (name, universe): found[f"gene list {name}: terms at q < 0.01, universe {universe}"]
        for name in ("binding", "non-binding")
        for universe in ("all annotated genes", "the two lists")
    }
    # Counts of the function that the stages use; a scan over limits on the size of a term moves the
    # first two by some 25 and leaves the others at 0 and 13 to 15.
    assert list(terms.values()) == [134, 0, 139, 14]


def test_pagerank_of_a_graph_is_that_of_networkx() -> None:
    graph = nx.DiGraph([(f"s{i}", f) for i in range(40) for f in range(i % 7, i % 7 + 3)])
    features = {node for node in graph if isinstance(node, int)}
    row = {"multigraph_nodes": len(graph), "multigraph_edges": graph.size()}
    row |= {"digraph_nodes": len(graph), "feature_nodes": len(features)}
    mine = ranked(pd.DataFrame([{"graph": "g", **row}]), "g")
    theirs = nx.pagerank(graph)
    assert theirs["s0"] == pytest.approx(mine.printed.sequence, rel=1e-12)
    share = {f: graph.in_degree(f) / 3 for f in features}
    assert {f: float(mine.printed.values(x)) for f, x in share.items()} == pytest.approx(
        {f: theirs[f] for f in features}, rel=1e-12
    )
    assert mine.sequences == 40 and DAMPING == 0.85


def test_a_folder_is_known_by_its_tables(published: Path, tmp_path: Path) -> None:
    offered = audits()
    assert set(offered["dna"].files) == set(FILES)
    assert set(offered["chromatin"].files) == set(COLUMNS)
    assert which(published, offered) == "dna"
    assert which(published.parents[1] / "published", offered) == "chromatin"
    with pytest.raises(UserError, match=r"Expected: study chromatin: stats.tsv.*; study dna: gr"):
        which(tmp_path, offered)
    with pytest.raises(UserError, match="is no folder"):
        which(tmp_path / "none", offered)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("graphs.tsv", "848782", "many", "graphs.tsv: line 2, multigraph_edges: 'many' is no num"),
        ("graphs.tsv", "non_binding", "other", "graphs.tsv: graph: has no row of non_binding"),
        ("interventions.tsv", "baseline_auc", "auc0", "lacks the column baseline_auc"),
        ("interventions.tsv", "0.6074\t", "", "line 2: has 13 cells, the header 14"),
        ("cnn_heads_by_layer.tsv", "\t0.989573", "\t", "line 2, accuracy: is empty"),
        ("genes_pos_multiedge.txt", None, "\n", "genes_pos_multiedge.txt: holds no gene"),
        ("go_neg_BP.tsv.gz", None, "", "go_neg_BP.tsv.gz: holds no row"),
    ],
)
def test_a_damaged_table_is_one_line(
    published: Path, tmp_path: Path, capsys, file: str, old: str | None, new: str, said: str
) -> None:
    folder = tmp_path / "tables"
    shutil.copytree(published, folder)
    path = folder / file
    text = new if old is None else path.read_text(encoding="utf-8").replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    assert main(["audit", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out


def test_a_cut_or_missing_file_and_alien_gene_sets(published: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "tables"
    shutil.copytree(published, folder)
    path = folder / "go_neg_CC.tsv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert main(["audit", str(folder)]) == 2
    assert "go_neg_CC.tsv.gz: gzip damaged or truncated" in capsys.readouterr().err
    path.write_bytes(whole)
    sets = tmp_path / "sets.gmt.gz"
    sets.write_bytes(gzip.compress(b"term\t\tYAL001C\tYAL002W\n"))
    assert main(["audit", str(folder), "--genesets", str(sets)]) == 2
    assert "none of its genes is in the released lists" in capsys.readouterr().err
    assert main(["audit", str(folder), "--csv", str(tmp_path / "a.csv")]) == 0
    assert "no cisplatin_100bp.tsv.gz here" in capsys.readouterr().out
    assert (tmp_path / "a.csv").is_file()
    path.unlink()
    assert main(["audit", str(folder)]) == 2
    assert "go_neg_CC.tsv.gz: no such file" in capsys.readouterr().err
