"""Vocabularies against small tables written here and the published ones' sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from cells_door_toy import ENSEMBL, SYMBOLS, vocabularies, write_vocabularies

from petriscope.errors import UserError
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary


def genes(*names: str, ensembl: str = "", symbol: str = "") -> pd.DataFrame:
    return pd.DataFrame({"name": names, "ensembl": ensembl, "symbol": symbol}, dtype=object)


def test_names_lead_to_tokens_by_alias_id_and_case(tmp_path: Path) -> None:
    known = vocabularies(tmp_path).geneformer
    assert known is not None and (known.pad, known.mask, known.cls, known.eos) == (0, 1, 2, 3)
    token = dict(zip(known.ensembl, known.token))
    found = known.tokens_of(genes("GENE3", "gene3", "OLD3", ENSEMBL[3], f"{ENSEMBL[3]}.7", "X"))
    assert found.tolist() == [token[ENSEMBL[3]]] * 4 + [-1, -1]
    median = dict(zip(known.ensembl, known.median))
    assert known.medians_of(genes("GENE3", "X"))[0] == median[ENSEMBL[3]]
    assert pd.isna(known.medians_of(genes("X"))[0]) and len(known) == 84
    # an id that the file gives stands, known or not
    assert known.tokens_of(genes("GENE3", ensembl="ENSG9"))[0] == -1
    assert known.tokens_of(genes("X", ensembl=ENSEMBL[5]))[0] == token[ENSEMBL[5]]
    # without aliases symbols serve; the published dictionary knows them letter by letter
    bare = RankVocabulary.load(tmp_path / "tokens.tsv")
    assert bare.tokens_of(genes("gene3", "OLD3")).tolist() == [token[ENSEMBL[3]], -1]
    rows = known.published_rows_of(genes("GENE3", "gene3", "OLD3", ENSEMBL[3]))
    assert rows[0] >= 0 and rows[1:].tolist() == [-1, -1, -1]


def test_an_alias_goes_before_an_id_of_that_name(tmp_path: Path) -> None:
    write_vocabularies(tmp_path)
    with (tmp_path / "aliases.tsv").open("a") as file:
        file.write(f"{ENSEMBL[1]}\t{ENSEMBL[2]}\n")
    known = RankVocabulary.load(tmp_path / "tokens.tsv", tmp_path / "aliases.tsv")
    one, two = known.tokens_of(genes(ENSEMBL[1], ENSEMBL[2]))
    assert one == two


def test_symbols_are_known_letter_by_letter_and_specials_are_appended(tmp_path: Path) -> None:
    known = vocabularies(tmp_path).scgpt
    assert known is not None and (known.pad, known.cls, len(known)) == (80, 81, 83)
    found = known.tokens_of(genes("GENE3", "gene3", "X"))
    assert found[0] == known.ids["GENE3"] and found[1:].tolist() == [-1, -1]
    assert known.tokens_of(genes("X", symbol="GENE4"))[0] == known.ids["GENE4"]
    (tmp_path / "vocab.json").write_text(json.dumps({"A": 1, "<pad>": 0, "<cls>": 2, "<eoc>": 3}))
    found_ = BinVocabulary.load(tmp_path / "vocab.json")
    assert (found_.pad, found_.cls, len(found_), found_.ids["A"]) == (0, 2, 4, 1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("token\t", "id\t", "line 1: has no column 'token'"),
        ("\t<eos>\t", "\tENSG00000000001\t", "line 5: '' is no median"),
        ("\t<pad>\t", "\t<unk>\t", "has no token <pad>"),
        ("\n1\t<mask>\t\t", "", "has no token <mask>"),
        ("\n4\t", "\nfour\t", "line 6: 'four' is no token id"),
        ("\n4\t", "\n5\t", "token: 5 occurs twice"),
        (f"\t{ENSEMBL[0]}\t", f"\t{ENSEMBL[1]}\t", "occurs twice"),
        ("GENE7\n", "\n", None),
        ("\tGENE7\n", "\n", "has 3 columns where the first line has 4"),
    ],
)
def test_damaged_tables_are_refused_by_line(
    tmp_path: Path, old: str, new: str, told: str | None
) -> None:
    write_vocabularies(tmp_path)
    path = tmp_path / "tokens.tsv"
    path.write_text(path.read_text().replace(old, new, 1))
    if told is None:
        RankVocabulary.load(path)
        return
    with pytest.raises(UserError, match=told) as refused:
        RankVocabulary.load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_damaged_aliases_and_symbols_are_refused(tmp_path: Path) -> None:
    write_vocabularies(tmp_path)
    with (tmp_path / "aliases.tsv").open("a") as file:
        file.write("NEW\tENSG00000000001\n")
    with pytest.raises(UserError, match="line 162: leads 'NEW' to 'ENSG00000000001', which has no"):
        RankVocabulary.load(tmp_path / "tokens.tsv", tmp_path / "aliases.tsv")
    with (tmp_path / "symbols.tsv").open("a") as file:
        file.write("GENE3\t90\n")
    with pytest.raises(UserError, match="symbol: 'GENE3' occurs twice"):
        BinVocabulary.load(tmp_path / "symbols.tsv")
    (tmp_path / "v.json").write_text('{"A": "1"}')
    with pytest.raises(UserError, match="is no mapping of symbols to ids"):
        BinVocabulary.load(tmp_path / "v.json")


def test_the_published_vocabularies(shared: Path) -> None:
    data = shared / "data" / "single_cell"
    rank = RankVocabulary.load(
        data / "geneformer_gc104M_tokens.tsv.gz", data / "geneformer_gc104M_aliases.tsv.gz"
    )
    assert (len(rank), len(rank.aliases)) == (20_275, 71_482)
    # each symbol leads to its gene by the aliases too
    symbols = genes(*(s for s in rank.symbol if s))
    assert (rank.tokens_of(symbols) == rank.token[rank.symbol != ""]).mean() > 0.999
    bins = BinVocabulary.load(data / "scgpt_census_vocab.tsv.gz")
    assert (len(bins), bins.pad, bins.cls, bins.ids["<eoc>"]) == (60_697, 60_694, 60_695, 60_696)
    assert SYMBOLS[0] not in bins.ids
