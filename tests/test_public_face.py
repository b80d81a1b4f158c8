"""The notebook's lines on a finished run: what they return, how it shows itself, and that it is
what the stages found where it is the same thing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import petriscope as ps
from petriscope.run.scored import scoring

LAYER = 2


def test_hidden_states_are_those_of_the_run(notebook, tiny_run):
    hidden, run = notebook["hidden"], notebook["run"]
    store = np.load(tiny_run.activations / f"layer_{LAYER}.npy")
    chosen = np.unique(np.linspace(0, len(store) - 1, min(128, len(store))).round().astype(int))
    assert np.array_equal(hidden.values, store[chosen].reshape(-1, store.shape[-1]))
    assert hidden.tokens.windows.start.tolist() == run.windows.start[chosen].tolist()


def test_codes_of_the_probed_dictionary_are_those_of_the_run(notebook):
    run = notebook["run"]
    some = ps.harvest(run.model, run.inputs, layer=LAYER, windows=[1, 5])
    mine = run.sae(LAYER).encode(some)
    of_run = np.isin(run.tokens.window, [1, 5])
    stored = run.codes(LAYER).scipy()[of_run]
    assert np.array_equal(mine.scipy().indices, stored.indices)
    np.testing.assert_allclose(mine.values, stored.data, rtol=1e-5)


def test_the_contrast_is_that_of_stage_cds(notebook):
    run = notebook["run"]
    score = ps.contrast(
        run.codes(LAYER), notebook["design"], split="select", **scoring(run.params)._asdict()
    )
    table = score.table()
    stage = run.table("cds", "features.parquet").query("layer == @LAYER")
    assert table.alive.tolist() == stage.alive.tolist() and table.alive.any()
    for mine, theirs in (("statistic", "z"), ("estimate", "estimate"), ("low", "low"), ("p", "p")):
        np.testing.assert_allclose(table[mine], stage[f"{theirs}_biosample"], rtol=1e-6, atol=1e-12)


def test_the_enrichment_is_that_of_stage_motifs(notebook):
    run = notebook["run"]
    stage = run.table("motifs", "enrichment.csv").query("kind == 'feature' and layer == @LAYER")
    assert len(stage)
    feature, rows = next(iter(stage.groupby("feature")))
    frame = run.units.frame
    where = (frame.lineage == rows.lineage.iloc[0]) & (frame.context == rows.context.iloc[0])
    most = run.params.annotation.max_foreground
    found = ps.enrich(
        run.codes(LAYER), [feature], run.motifs, background=run.strata, units=where.to_numpy(),
        most=most,
    )  # fmt: skip
    both = rows.set_index("name").join(found.rows.set_index("name"), rsuffix="_mine")
    assert len(both) == len(run.motifs.names)
    np.testing.assert_allclose(both.fold_mine, both.fold, rtol=1e-4)
    np.testing.assert_allclose(both.ln_p_mine, both.ln_p, rtol=1e-4)


def test_what_the_lines_return(notebook):
    hidden, codes, score = notebook["hidden"], notebook["codes"], notebook["score"]
    assert notebook["sae"].m == codes.m == 32 and codes.n == len(hidden)
    assert codes.layer == LAYER and codes.tokens is hidden.tokens
    top = score.top(10)
    assert len(top) == len(set(top.tolist())) == 10
    size = score.table().statistic.abs()
    assert size[top[0]] == size.max() and np.isfinite(size[top]).all()
    cut, against = notebook["cut"], notebook["against"]
    effect = cut.effect()
    assert 0 < effect.low <= effect.value <= effect.high and effect.n == len(cut.blocks)
    assert len(against.random) == 100 and np.isfinite(against.random).all()
    assert against.numbers["value"] == pytest.approx(effect.value)
    assert not np.isin(against.sets, cut.features).any()
    assert notebook["toward"].vector.shape == (hidden.d,)
    table = notebook["enriched"].table(top=1)
    assert set(table.feature) <= set(top.tolist()) and table.p.between(0, 1).all()
    moved = ps.steer(
        notebook["run"].model, notebook["run"].inputs, notebook["toward"], 0.2, windows=2
    )
    closed = moved.gap_closed().closed
    assert np.isfinite([closed.value, closed.low, closed.high]).all()


def steered(notebook):
    run = notebook["run"]
    return ps.steer(run.model, run.inputs, notebook["toward"], alpha=0.2, windows=2, draws=2)


SHOWN = {
    "Run": lambda names: names["run"],
    "Hidden": lambda names: names["hidden"],
    "SAE": lambda names: names["sae"],
    "Codes": lambda names: names["codes"],
    "Design": lambda names: names["design"],
    "Score": lambda names: names["score"],
    "FeatureEdit": lambda names: names["cut"],
    "AgainstRandom": lambda names: names["against"],
    "Direction": lambda names: names["toward"],
    "Steered": steered,
    "GapClosed": lambda names: steered(names).gap_closed(),
    "Enrichment": lambda names: names["enriched"],
}


@pytest.mark.parametrize("kind", SHOWN)
def test_shows_itself_as_text_as_a_table_and_as_a_figure(kind, notebook, tmp_path):
    from matplotlib.figure import Figure

    result = SHOWN[kind](notebook)
    assert type(result).__name__ == kind
    text, page = repr(result), result._repr_html_()
    assert str(result) == text and "object at 0x" not in text and "array(" not in text
    assert "<table" in page and page.count("<tr") >= 2
    assert max(map(len, text.splitlines())) < 200 and len(text.splitlines()) < 80
    if kind != "Run":
        assert isinstance(result.table(), pd.DataFrame) and len(result.table())
        assert text.startswith(result.heading)
    figure = result.plot()
    assert isinstance(figure, Figure) and figure.axes[0].has_data()
    figure.savefig(tmp_path / f"{kind}.png")


def test_the_page_holds_what_the_cells_printed(notebook):
    printed = [text for text, _ in notebook["printed"] if text]
    assert any(text.startswith("mean |change|") for text in printed)
    assert any("gap closed" in text for text in printed)
    shown = [value for _, value in notebook["printed"] if value is not None]
    assert notebook["score"] in shown and sum(hasattr(value, "savefig") for value in shown) == 3
