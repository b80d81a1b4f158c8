"""Stage persistence: which features live on in the next layer, as published by their decoders, and
by what they do, against how well a second dictionary of the same layer finds them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.chosen import FIRST, codes_of, gene_rows
from petriscope.studies.cells.counts import TRAINED
from petriscope.studies.cells.highways import MOST
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.persistence import (
    Alive,
    Below,
    PublishedTracking,
    below_ceiling,
    carried,
    code_matches,
    cosines,
    matched,
    published_tracking,
)


@dataclass(frozen=True)
class ModelPersistence:
    """Persistence of one model's features, over pairs of layers behind its blocks."""

    pairs: int
    features: int
    published: float
    """share with a decoder of the next layer within the published cosine, either sign"""
    carried: float
    """the same after the best linear map between the layers, one to one"""
    persists: Below | None
    """share whose match by activation is as alike as a stable feature, less the share that a second
    seed finds again"""
    within: Below | None
    """the same of what genes leave"""
    share: float
    within_share: float
    random: float | None
    """share of the randomly initialized model"""
    random_within: float | None


@dataclass(frozen=True)
class PersistenceNumbers:
    """How many features live on, by model."""

    untestable: str | None
    models: dict[str, ModelPersistence]
    highest: float | None = None
    """the highest upper limit of the models' share less their ceiling"""


class _Found(NamedTuple):
    of: dict[str, object]
    features: pd.DataFrame


def run(workspace: Workspace, params: Params) -> PersistenceNumbers:
    """Write results/persistence/: features.parquet (a row per alive feature of each layer but the
    last), pairs.csv, and as published adjacent.csv, reference.csv and spans.csv."""
    found, out = branches(workspace, params), workspace.table("persistence")
    items = [(b, k) for b in found for k in b.layers() if k >= FIRST and k + 1 in b.layers()]
    if not items:
        why = "no model has two blocks"
        write_not_run(out, why)
        return PersistenceNumbers(why, {})
    axes = {b.name: (b.tokens(), b.places().gene.to_numpy()) for b in found}

    def one(item: tuple[Branch, int]) -> _Found:
        return _pair(*item, *axes[item[0].name], params)

    layers = list(in_processes(one, items, "persistence", unit="pair of layers"))
    features = pd.concat([part.features.assign(**part.of) for part in layers], ignore_index=True)
    tracked = {branch.name: _tracked(branch, *axes[branch.name], params) for branch in found}
    with atomic_folder(out) as folder:
        write_parquet(folder / "features.parquet", features)
        write_csv(folder / "pairs.csv", _pairs(features))
        for name, frame in _tables(found, tracked).items():
            write_csv(folder / f"{name}.csv", frame)
    resampling = {"resamples": params.cds.bootstrap, "seed": params.seed}
    models = {
        str(family): _numbers(
            features[features.model == family], tracked[str(family)].adjacent, **resampling
        )
        for family in features.model[features.trained].unique()
    }
    limits = [one.persists.high for one in models.values() if one.persists is not None]
    if not limits or len(limits) < len(models):
        return PersistenceNumbers("sae.seeds has one seed: there is no ceiling", models)
    return PersistenceNumbers(None, models, max(limits))


def _pair(branch: Branch, layer: int, tokens: Tokens, gene: np.ndarray, params: Params) -> _Found:
    seeds, stable = params.sae.seeds, params.cds.stable
    rows = gene_rows(tokens, gene, "test", most=MOST, seed=params.seed)
    stratum = np.unique(gene[rows], return_inverse=True)[1]
    least = params.cds.min_events
    one, other = (
        Alive.of(codes_of(branch, at, seeds, 0, rows), least) for at in (layer, layer + 1)
    )
    plain, within = code_matches(one, other), code_matches(one, other, stratum)
    table = {
        "other_feature": plain.partner,
        "r": plain.value,
        "r_within": within.value,
        "cosine": _carried(branch, layer, tokens, gene, params, one, other),
        "second_r": np.nan,
        "second_within": np.nan,
    }
    if branch.trained and len(seeds) > 1:
        again = Alive.of(codes_of(branch, layer, seeds, 1, rows), least)
        table["second_r"] = code_matches(one, again).value
        table["second_within"] = code_matches(one, again, stratum).value
    frame = pd.DataFrame({"feature": np.arange(one.codes.m), **table})[one.alive]
    frame = frame.reset_index(drop=True)
    for name, value in (
        ("persists", "r"),
        ("persists_within", "r_within"),
        ("carried", "cosine"),
        ("again", "second_r"),
        ("again_within", "second_within"),
    ):
        frame[name] = (frame[value] >= stable).astype(bool)
    of: dict[str, object] = {"model": branch.family, "trained": branch.trained, "layer": layer}
    return _Found({**of, "other_layer": layer + 1, "ceiling": len(seeds) > 1}, frame)


def _carried(
    branch: Branch,
    layer: int,
    tokens: Tokens,
    gene: np.ndarray,
    params: Params,
    one: Alive,
    other: Alive,
) -> np.ndarray:
    """(features,) cosine of each decoder, mapped, with its match in the next layer; the map is of
    tokens of the select split."""
    rows = gene_rows(tokens, gene, "select", most=params.svd.rows, seed=params.seed)
    source, target = (np.asarray(branch.streams(at)[rows]) for at in (layer, layer + 1))
    decoder, following = (
        branch.dictionary(at, params.sae.seeds[0]).W_dec.numpy() for at in (layer, layer + 1)
    )
    likeness = cosines(carried(decoder, source, target), following)
    return matched(likeness, one.alive, other.alive).value


def _tracked(branch: Branch, tokens: Tokens, gene: np.ndarray, params: Params) -> PublishedTracking:
    """As published, through the layers behind the blocks."""
    rows, seeds = gene_rows(tokens, gene, *TRAINED), params.sae.seeds
    layers = [layer for layer in branch.layers() if layer >= FIRST]
    decoders = [branch.dictionary(layer, seeds[0]).W_dec.numpy() for layer in layers]
    alive = [
        Alive.of(codes_of(branch, layer, seeds, 0, rows), params.cds.min_events).alive
        for layer in layers
    ]
    return published_tracking(decoders, alive)


def _tables(found: list[Branch], tracked: dict[str, PublishedTracking]) -> dict[str, pd.DataFrame]:
    """adjacent, reference and spans (features by the number of layers in which they have a match),
    of all branches; layers as we number them."""
    parts: dict[str, list[pd.DataFrame]] = {"adjacent": [], "reference": [], "spans": []}
    for branch in found:
        one, of = tracked[branch.name], {"model": branch.family, "trained": branch.trained}
        spans = np.bincount(one.layers[one.layers > 0], minlength=2)
        counted = pd.DataFrame({"layers": np.arange(len(spans)), "features": spans})[1:]
        for name, frame in (
            ("adjacent", one.adjacent),
            ("reference", one.reference),
            ("spans", counted),
        ):
            moved = {c: frame[c] + FIRST for c in ("from_layer", "to_layer") if c in frame}
            parts[name].append(frame.assign(**moved, **of))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def _pairs(features: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of layers: features and the shares of each kind."""
    key = ["model", "trained", "layer", "other_layer"]
    kinds = ["persists", "persists_within", "carried", "again", "again_within"]
    grouped = features.groupby(key, sort=False)
    found = grouped[kinds].mean().reset_index()
    found.insert(len(key), "features", grouped.size().to_numpy())
    known = found.trained & grouped.ceiling.first().to_numpy()
    for name in ("again", "again_within"):
        found[name] = found[name].where(known)
    return found


def _numbers(
    features: pd.DataFrame, adjacent: pd.DataFrame, *, resamples: int, seed: int
) -> ModelPersistence:
    """Of one family; all pairs of layers together."""
    mine, random = features[features.trained], features[~features.trained]

    def below(kind: str, ceiling: str) -> Below | None:
        if not len(mine) or not mine.ceiling.all():
            return None
        one, other = mine[kind].to_numpy(), mine[ceiling].to_numpy()
        return below_ceiling(one, other, resamples=resamples, seed=seed)

    return ModelPersistence(
        pairs=int(mine.layer.nunique()),
        features=len(mine),
        published=float(adjacent.matches.sum() / max(1, adjacent.alive.sum())),
        carried=float(mine.carried.mean()),
        persists=below("persists", "again"),
        within=below("persists_within", "again_within"),
        share=float(mine.persists.mean()),
        within_share=float(mine.persists_within.mean()),
        random=float(random.persists.mean()) if len(random) else None,
        random_within=float(random.persists_within.mean()) if len(random) else None,
    )
