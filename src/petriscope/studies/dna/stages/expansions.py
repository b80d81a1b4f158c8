"""Stage expansions: dictionaries of several sizes at every layer, as published and corrected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import layer_paths, open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.loader import TokenSource
from petriscope.studies.dna.dictionaries import (
    ExpansionNumbers,
    Judged,
    Sizes,
    baselines,
    forms,
    histogram,
    quality_rows,
)
from petriscope.studies.dna.params import Params

HELD_OUT = 20_000
"""Tokens of the select split that judge, and as many of train for the bases, drawn once a layer."""


def run(workspace: Workspace, params: Params) -> ExpansionNumbers:
    """Write results/expansions/: quality.csv, firing.parquet (histograms of firing rates) and the
    corrected TopK dictionaries, layer_<k>/factor_<f>/."""
    given, out = params.expansions, workspace.table("expansions")
    if not given.run:
        why = "expansions.run is false in params.yaml"
        write_not_run(out, why)
        return ExpansionNumbers(untestable=why)
    device, seed = choose_device(params.device), params.seed + params.sae.seeds[0]
    stores, tokens = layer_paths(workspace.activations), Tokens.load(workspace.tokens)
    width = open_layers(workspace.activations)[min(stores)].shape[-1]
    plans = [(layer, factor) for layer in stores for factor in (0, *given.factors)]
    with atomic_folder(out) as folder:

        def one(plan: tuple[int, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
            layer, factor = plan
            train = TokenSource.of_split(stores[layer], tokens, "train")
            heldout = TokenSource.of_split(stores[layer], tokens, "select").sample(HELD_OUT, seed)
            if not factor:
                found = list(baselines(train.sample(HELD_OUT, seed), heldout, params.sae.k))
            else:
                sizes = Sizes(
                    d=width,
                    latents=factor * width,
                    k=params.sae.k,
                    tokens=given.tokens,
                    batch=given.batch,
                    rate=given.learning_rate,
                    penalty=given.l1,
                    sequences=given.sequences,
                    published_rate=given.published_rate,
                    seed=seed,
                )
                found = list(forms(sizes, train, heldout, device))
                _save(found, folder / f"layer_{layer}" / f"factor_{factor}")
            of = {"layer": layer, "factor": factor}
            firing = [histogram(one.rates).assign(**one.named(of)) for one in found]
            return quality_rows(found, of), pd.concat(firing)

        made = list(in_processes(one, plans, "expansions", unit="dictionary size"))
        quality = pd.concat([rows for rows, _ in made], ignore_index=True)
        write_csv(folder / "quality.csv", quality)
        write_parquet(
            folder / "firing.parquet", pd.concat([rows for _, rows in made], ignore_index=True)
        )
    return ExpansionNumbers.of(quality, params.sae.k, params.sae.gate)


def _save(found: list[Judged], folder: Path) -> None:
    """The corrected TopK dictionary of ``found``."""
    for one in found:
        if one.variant == "topk" and one.sae is not None:
            one.sae.save(folder)
