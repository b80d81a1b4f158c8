"""A world whose structure is planted: streams, dictionaries and codes of both models, trained and
randomly initialized, as the stages before svd leave them, without a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.studies import find_study
from petriscope.run.workspace import Workspace, template
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.studies.cells.params import Params

GENES, PROGRAMMES, SIZE, PER_CELL = 60, 4, 12, 30
LATENTS, COMMON, WIDTH, LAYERS = 40, 4, 36, 3
CELLS = {"train": 100, "select": 40, "test": 100}
FLEETING = 0.3
"""Share of latents of a layer that do not live on and follow no state of the cell."""


def planted(
    root: Path, seed: int, *, knows: bool = True, seeds: int = 2, random: bool = True
) -> tuple[Workspace, Params]:
    """A workspace after stage annotate, and its parameters.

    Every latent but the first four fires on six genes of one programme. Where the world ``knows``, 70 % of the latents
    of the trained models fire where their programme is on in the cell, the same in every layer, and
    a second seed finds all latents; their dictionaries hold more directions than dimensions, of
    which the first four, one for each programme, carry most variance. Else, and in the random models, latents follow genes
    alone, anew in each layer, a second seed finds none of them, and directions are orthogonal,
    and a third of what they should be.
    """
    rng = np.random.default_rng(seed)
    split = np.repeat(list(CELLS), list(CELLS.values()))
    windows = pd.DataFrame({"split": split, "block": np.arange(len(split)) % 5})
    windows["cell_type"] = np.where(np.arange(len(split)) % 2, "B", "T")
    state = rng.random((len(split), PROGRAMMES)) < 0.5
    workspace = Workspace(root)
    for family in ("geneformer", "scgpt"):
        gene = np.array(
            [np.r_[-1, rng.choice(GENES, PER_CELL, replace=False)] for _ in range(len(split))]
        )
        window = np.repeat(np.arange(len(split)), PER_CELL + 1)
        place = np.tile(np.arange(PER_CELL + 1), len(split))
        axis = Tokens.ragged(windows, 1, window, np.zeros_like(window), place)
        places = pd.DataFrame({"gene": gene.ravel(), "value": place.astype(np.float32)})
        for trained in (True, False) if random else (True,):
            parent = workspace.results if family == "geneformer" else workspace.table("second")
            parent = parent if trained else workspace.table("random_init") / family
            axis.save(parent / "activations" / "tokens")
            places.to_parquet(parent / "activations" / "places.parquet")
            on = state[window] if knows and trained else None
            numbers = seeds if trained else 1
            _layers(parent, np.random.default_rng([seed, 1]), rng, gene.ravel(), on, numbers)
    _terms(workspace, knows)
    return workspace, _params(seed, seeds)


def _layers(
    parent: Path,
    world: np.random.Generator,
    rng: np.random.Generator,
    gene: np.ndarray,
    on: np.ndarray | None,
    seeds: int,
) -> None:
    """``world``: what both models share, the genes of latents; ``on``: bool (tokens, programmes),
    None where latents follow genes alone."""
    programme = np.arange(LATENTS) % PROGRAMMES
    fires_on = np.zeros((LATENTS, GENES + 1), bool)  # the last: special tokens
    for latent in range(COMMON, LATENTS):
        fires_on[latent, world.choice(SIZE, 6, replace=False) + SIZE * programme[latent]] = True
    where = fires_on[:, gene].T

    def fired() -> np.ndarray:
        rate = np.full(where.shape, 0.3)
        if on is not None:
            rate[:, :steady] = np.where(on[:, programme[:steady]], 0.6, 0.05)
        found = where & (rng.random(where.shape) < rate)
        even = gene[:, None] % 2 == np.arange(COMMON) % 2
        found[:, :COMMON] = rng.random(even.shape) < 0.25 if on is None else even & on
        return found * rng.uniform(1, 2, where.shape)

    steady = round((1 - FLEETING) * LATENTS) if on is not None else 0
    kept = fired()
    for layer in range(LAYERS + 1):
        values = np.concatenate([kept[:, :steady], fired()[:, steady:]], axis=1)
        width = WIDTH if on is not None else LATENTS
        if on is not None:
            directions = np.eye(LATENTS, width)
            turn = np.linalg.qr(rng.normal(size=(width - COMMON, width - COMMON)))[0]
            directions[COMMON:width, COMMON:] = turn
            directions[width:, COMMON:] = rng.normal(size=(LATENTS - width, width - COMMON))
            values[:, :COMMON] *= 4
        else:
            directions = np.linalg.qr(rng.normal(size=(width, width)))[0]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        streams = values @ directions + 0.01 * rng.normal(size=(len(gene), width))
        store = parent / "activations" / f"layer_{layer}.npy"
        np.save(store, streams.astype(np.float32))
        for seed in range(seeds):
            order = np.random.default_rng([seed, layer]).permutation(LATENTS)
            order = order if seed else np.arange(LATENTS)
            own = directions[order]
            if on is None and seed:
                own = np.linalg.qr(rng.normal(size=(LATENTS, width)))[0]
            sae = _sae(own, length=1.0 if on is not None else 0.3)
            sae.save(parent / "sae" / f"layer_{layer}" / f"seed_{seed}")
            if not seed:
                codes = sae.encode(streams.astype(np.float32))
                codes.save(parent / "codes" / f"layer_{layer}" / "codes")


def _sae(directions: np.ndarray, length: float) -> SAE:
    rows = torch.from_numpy(directions.astype(np.float32))
    config = SAEConfig(rows.shape[1], len(rows), 4, variant="relu_l1", unit_decoder=False)
    zeros = torch.zeros(len(rows)), torch.zeros(rows.shape[1])
    return SAE(config, rows, zeros[0], length * rows, zeros[1], scale=1.0, threshold=0.7)


def _terms(workspace: Workspace, knows: bool) -> None:
    """Stage annotate's terms: trained models share five of seven, random ones one of five."""
    rows = [
        {"model": model, "trained": trained, "layer": 1, "term": term, "q": 0.01}
        for model, own in (("geneformer", "x"), ("scgpt", "y"))
        for trained in (True, False)
        for term in (["a", "b", "c", "d", "e", own] if trained and knows else ["a", own, own * 2])
    ]
    rows += [dict(rows[0], term="not significant", q=0.5), dict(rows[0], term="input", layer=0)]
    workspace.table("annotate").mkdir(parents=True)
    frame = pd.DataFrame(rows).assign(collection="go", feature=0)
    frame.to_parquet(workspace.table("annotate") / "terms.parquet")


def _params(seed: int, seeds: int) -> Params:
    given = load_params(template("params.yaml", find_study("cells")))
    assert isinstance(given, Params)

    def changed(section: str, **entries: object) -> object:
        return dataclasses.replace(getattr(given, section), **entries)

    return dataclasses.replace(
        given,
        seed=seed,
        sae=changed("sae", seeds=list(range(seeds))),
        cds=changed("cds", bootstrap=200),
        svd=changed("svd", ms=[5, 10], published_m=8, rows=3000),
        modules=changed(
            "modules", min_count=20, resolutions=[0.5, 2.0], leiden_seeds=3, rewirings=3
        ),
        highways=changed("highways", min_count=20, permutations=39),
    )
