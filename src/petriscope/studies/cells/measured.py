"""What stages measured of layers, of pairs of layers and of knock-downs becomes rows of the atlas's
table of numbers, each beside what its control gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from petriscope.files import read_csv, read_json
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.numbering import FIRST_LAYER, NAMES

RANDOM, CHANCE = "randomly initialized", "random features"
PAIRS = (
    ("highways", "share", "tested", "highways", "away", "a partner beyond their gene (maxT)",
     "tokens dealt out anew within genes", "ceiling"),
    ("persistence", "persists", "features", "persistence", "", "a match that fires alike", "",
     "again"),
    ("persistence", "persists_within", "features", "persistence within genes", "",
     "a match that fires alike within genes", "", "again_within"),
)  # fmt: skip
"""Stage, column of the share, of the features, name, column of the null (the randomly initialized
model's share where there is none), what is counted, what the null is, and the column of the share
that a second dictionary of the same layer gives."""


def measured(workspace: Workspace) -> Iterator[pd.DataFrame]:
    """Rows of the table `numbers` from the stages that ran."""
    yield from _modules(workspace)
    for stage, share, count, name, null, told, told_null, ceiling in PAIRS:
        table = _table(workspace, stage, "pairs.csv")
        if table is not None and share in table:
            yield _pairs(table, share, count, name, null, told, told_null, ceiling)
    responses = _responses(workspace)
    if responses is not None:
        yield responses


def _table(workspace: Workspace, stage: str, name: str) -> pd.DataFrame | None:
    """A stage's table of trained and random models, layers as the atlas numbers them."""
    path = workspace.table(stage) / name
    table = read_csv(path) if path.is_file() else None
    if table is None or "model" not in table or not len(table):
        return None
    first = table.model.map(FIRST_LAYER)
    moved = {at: table[at] + first for at in ("layer", "other_layer") if at in table}
    return table.assign(**moved, trained=table.trained.astype(bool))


def _modules(workspace: Workspace) -> Iterator[pd.DataFrame]:
    """Modularity beside that of graphs dealt out anew, features in modules, agreement of seeds; of
    the graph beyond genes under the plain names."""
    table = _table(workspace, "modules", "graphs.csv")
    if table is None:
        return
    table = table[table.trained]
    name = np.where(table.graph == "gene", "", ", " + table.graph)
    for told, null, note in (
        ("modularity", "rewired", "median over seeds; null: mean of graphs dealt out anew"),
        (
            "modularity, against the highest",
            "rewired_most",
            "null: highest of graphs dealt out anew",
        ),
    ):
        yield pd.DataFrame(
            {
                "name": told + pd.Series(name, table.index),
                "layer": table.layer,
                "value": table.modularity,
                "null": table[null],
                "note": note,
            }
        ).dropna(subset="value")
    yield pd.DataFrame(
        {
            "name": "in a module" + pd.Series(name, table.index),
            "layer": table.layer,
            "value": table.coverage,
            "n": table.alive,
            "unit": "features",
            "note": "a choice of resolution",
        }
    ).dropna(subset="value")
    for column, told in (
        ("agreement", "seeds of the partition"),
        ("agreement_saes", "dictionaries of other seeds"),
    ):
        yield pd.DataFrame(
            {
                "name": f"agreement of modules, {told}" + pd.Series(name, table.index),
                "layer": table.layer,
                "value": table[column],
                "null": 0.0,
                "note": "mean adjusted Rand index, which is 0 by chance",
            }
        ).dropna(subset="value")


def _pairs(
    table: pd.DataFrame,
    share: str,
    count: str,
    name: str,
    null: str,
    told: str,
    told_null: str,
    ceiling: str,
) -> pd.DataFrame:
    key = ["model", "layer", "other_layer"]
    random = table[~table.trained].set_index(key)[share]
    mine = table[table.trained].set_index(key)
    beside = random.reindex(mine.index)
    chance = mine[null] if null else beside
    notes = []
    for low, high in zip(beside, mine[ceiling]):
        parts = [f"features with {told}", f"null: {told_null or f'the {RANDOM} model'}"]
        parts.append("the interval takes features for independent")
        parts += [f"{RANDOM}: {low:.3g}"] if null and pd.notna(low) else []
        parts += [f"a second dictionary of the layer: {high:.3g}"] if pd.notna(high) else []
        notes.append("; ".join(parts))
    low, high = proportion_confint(
        (mine[share] * mine[count]).round(), mine[count], method="wilson"
    )
    found = pd.DataFrame(
        {"value": mine[share], "lo": low, "hi": high, "null": chance, "n": mine[count]}
    )
    found = found.assign(name=name, unit="features", note=notes).reset_index()
    return found.drop(columns="model").dropna(subset="value")


def _responses(workspace: Workspace) -> pd.DataFrame | None:
    """Factors with a specific response by each rule, with exact binomial limits, beside what random
    features or a randomly initialized model give."""
    path, metrics = (
        workspace.table("perturbation") / "counts.csv",
        workspace.metrics("perturbation"),
    )
    if not path.is_file() or not metrics.is_file():
        return None
    counts = read_csv(path)
    of = {(row.measure, row.model): row for row in counts.itertuples() if row.of}
    data, rows = of.get(("data ceiling", "data")), []
    for family, one in (read_json(metrics).get("models") or {}).items():
        if family not in NAMES:
            continue
        random, alone = (
            f"{family} random",
            f"p alone: {one['nominal']}, by chance {one['chance']:.3g}",
        )
        ceiling = "" if data is None else f"; expression itself: {data.found:.3g}"
        for measure, beside, note in (
            (
                "responding features",
                ("responding features", random),
                f"q over factors; null: the {RANDOM} model; {alone}{ceiling}",
            ),
            ("published rule", (f"published rule, {CHANCE}", family), f"null: {CHANCE}"),
            ("in silico", ("in silico", random), f"predicted; null: the {RANDOM} model"),
        ):
            row, null = of.get((measure, family)), of.get(beside)
            if row is not None:
                rows.append(
                    {
                        "name": f"knock-downs with a specific response, {measure}",
                        "layer": one["layer"] + FIRST_LAYER[family],
                        "value": row.found / row.of,
                        "lo": row.low / row.of,
                        "hi": row.high / row.of,
                        "null": np.nan if null is None else null.found / null.of,
                        "n": row.of,
                        "unit": "factors",
                        "note": note,
                    }
                )
    return pd.DataFrame(rows) if rows else None
