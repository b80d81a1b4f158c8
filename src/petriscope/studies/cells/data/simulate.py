"""The demo of study cells is written here: simulated cells of a planted world, what is known about
its genes, and the truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from petriscope.files import Output, atomic_folder
from petriscope.studies.cells.data.knowledge import (
    Known,
    alias_table,
    annotated,
    draw_known,
    symbol_table,
    token_table,
)
from petriscope.studies.cells.data.world import (
    ATLAS,
    CONTROLS,
    TISSUES,
    DemoConfig,
    DrawnCells,
    World,
    carriers,
    concentrations,
    draw_cells,
    draw_world,
)
from petriscope.studies.cells.data.write import write_cells, write_gmt, write_table

CONTROL = "non-targeting"
LICENCE = "CC0 1.0 (simulated)"
DEMO = Output(
    "a simulated set of cells",
    (
        *("dataset.yaml", "cells.h5ad", "tokens.tsv", "aliases.tsv", "vocabulary.tsv"),
        *("go_bp.gmt", "reactome.gmt", "trrust.tsv", "string.tsv", "truth.json"),
    ),
    lambda path: f"\nlicence: {LICENCE}\n" in path.read_text("utf-8", errors="replace"),
)


def simulate_demo(
    folder: str | Path,
    *,
    seed: int = DemoConfig.seed,
    cells: int = DemoConfig.cells,
    controls: int = DemoConfig.controls,
    per_target: int = DemoConfig.per_target,
    second: int = DemoConfig.second,
    genes: int = DemoConfig.genes,
    donors: int = DemoConfig.donors,
    n_types: int = DemoConfig.n_types,
    n_programmes: int = DemoConfig.n_programmes,
    programme_genes: int = DemoConfig.programme_genes,
    novel: int = DemoConfig.novel,
    encoded: int = DemoConfig.encoded,
    coexpressed: int = DemoConfig.coexpressed,
    silent: int = DemoConfig.silent,
    regulation: bool = DemoConfig.regulation,
    programmes: bool = DemoConfig.programmes,
    types: bool = DemoConfig.types,
    annotation: bool = DemoConfig.annotation,
    difficulty: str = DemoConfig.difficulty,
) -> None:
    """Write the planted world into ``folder`` (replaced as a whole, or left as it was on failure).

    Same arguments, same bytes. For what they mean see `DemoConfig`. Raises `UserError` for one that
    is out of range.
    """
    given = {name: value for name, value in locals().items() if name != "folder"}
    config = DemoConfig(**given)
    config.check()
    with atomic_folder(folder, DEMO) as scratch:
        _write_all(scratch, config)


def _write_all(folder: Path, config: DemoConfig) -> None:
    world = draw_world(config)
    drawn = draw_cells(config, world)
    counts = drawn.counts.toarray()
    atlas = counts[drawn.obs.part == ATLAS]
    known = draw_known(config, world, (atlas > 0).sum(axis=0))
    var = world.genes.set_index("symbol")[["ensembl"]].rename(columns={"ensembl": "ensembl_id"})
    write_cells(folder / "cells.h5ad", drawn.counts, _named_obs(world, drawn), var)
    write_table(folder / "tokens.tsv", token_table(world, counts))
    write_table(folder / "aliases.tsv", alias_table(world))
    write_table(folder / "vocabulary.tsv", symbol_table(world))
    for name, collection in known.collections.items():
        write_gmt(folder / f"{name}.gmt", collection.terms, "simulated")
    write_table(folder / "trrust.tsv", known.trrust)
    write_table(folder / "string.tsv", known.string)
    text = json.dumps(_truth(config, world, known), indent=1) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8")
    text = yaml.safe_dump(_description(config), sort_keys=False, width=1000)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")


def _donor(number: int) -> str:
    return f"donor_{number + 1:02d}"


def _type(tissue: int, number: int) -> str:
    return f"{TISSUES[tissue]} type {number + 1}"


def _programme(number: int) -> str:
    return f"programme_{number + 1:02d}"


def _named_obs(world: World, drawn: DrawnCells) -> pd.DataFrame:
    """The columns of obs in words; cells that were not in the screen have no target."""
    obs = drawn.obs
    tfs = world.genes.symbol.to_numpy()[world.tfs.gene]
    target = np.full(len(obs), None, object)
    target[obs.target >= 0] = tfs[obs.target[obs.target >= 0]]
    target[obs.part == CONTROLS] = CONTROL
    columns = {
        "donor": [_donor(number) for number in obs.donor],
        "cell_type": [_type(*both) for both in zip(obs.tissue, obs.type)],
        "target": target,
        "batch": [f"lane_{number + 1}" for number in obs.batch],
        "tissue": [TISSUES[number] for number in obs.tissue],
    }
    return pd.DataFrame(columns, index=[f"CELL{i + 1:05d}-1" for i in range(len(obs))])


def _truth(config: DemoConfig, world: World, known: Known) -> dict[str, Any]:
    """What was planted; genes by symbol."""
    symbol = world.genes.symbol.to_numpy()
    loadings = concentrations(config)
    loadings = loadings / loadings.sum(axis=-1, keepdims=True)
    moves = {"encoded": config.regulation, "coexpressed": False, "silent": config.regulation}
    varies = {"encoded": config.regulation, "coexpressed": config.programmes, "silent": False}
    tissues = range(2 if config.second else 1)
    return {
        "format": 1,
        "world": asdict(config),
        "programmes": {
            _programme(number): {
                "genes": symbol[world.members(number)].tolist(),
                "annotated": number in annotated(config) and config.annotation,
                "together": config.programmes,
            }
            for number in range(config.n_programmes)
        },
        "second_programmes": {
            _programme(number): symbol[world.genes.second == number].tolist()
            for number in range(config.n_programmes)
        },
        "types": {
            _type(tissue, number): {
                "programmes": {
                    _programme(i): float(f"{share:.6g}")
                    for i, share in enumerate(loadings[tissue, number])
                },
                "real": config.types and config.programmes,
            }
            for tissue in tissues
            for number in range(config.n_types)
        },
        "tfs": {
            symbol[row]: {
                "kind": kind,
                "targets": symbol[world.targets[number]].tolist(),
                "knock_down_moves_targets": moves[kind],
                "varies_with_targets": varies[kind],
            }
            for number, (row, kind) in enumerate(zip(world.tfs.gene, world.tfs.kind))
        },
        "genes": {
            "housekeeping": symbol[world.rows("housekeeping")].tolist(),
            "donor": symbol[world.rows("donor")].tolist(),
            "unmapped": symbol[world.rows("unmapped")].tolist(),
            "background": symbol[world.rows("background")].tolist(),
        },
        "carriers": [_donor(number) for number in np.flatnonzero(carriers(config)).tolist()],
        "genesets": {
            name: {
                "true": {term: _programme(number) for term, number in found.true.items()},
                "decoys": found.decoys,
            }
            for name, found in known.collections.items()
        },
    }


def _description(config: DemoConfig) -> dict[str, Any]:
    """The content of dataset.yaml."""
    off = [name for name in ("regulation", "programmes", "types", "annotation")]
    off = [name for name in off if not getattr(config, name)]
    described = f"Simulated cells with programmes, cell types and regulons ({config.difficulty})"
    columns = ["donor", "cell_type", "target", "batch", "tissue"]
    return {
        "kind": "cells",
        "name": "demo-cells",
        "description": described + (f", without {' and '.join(off)}" if off else ""),
        "licence": LICENCE,
        "cells": "cells.h5ad",
        "layer": "X",
        "ids": "auto",
        "columns": {name: name for name in columns},
        "control": CONTROL,
        "counts_are_fine": False,
        "vocabularies": {
            "geneformer": "tokens.tsv",
            "aliases": "aliases.tsv",
            "scgpt": "vocabulary.tsv",
        },
        "genesets": {"go_bp": "go_bp.gmt", "reactome": "reactome.gmt"},
        "networks": {"trrust": "trrust.tsv", "string": "string.tsv"},
        "truth": "truth.json",
    }
