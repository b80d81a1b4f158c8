"""Stage svd: features against the principal axes of the stream, as published; how much of a feature
lies in the first axes, and what the axes reconstruct at the dictionary's own cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.files import atomic_folder, write_csv, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.sae.judge import quality
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.chosen import FIRST, codes_of, gene_rows
from petriscope.studies.cells.counts import TRAINED
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.svd import (
    PURSUED,
    Axes,
    covariance_energy,
    drawn_directions,
    energy,
    fvu_leading,
    fvu_pursuit,
    fvu_strongest,
    principal_axes,
    published_axes,
    published_svd,
    random_dictionary,
)

QUANTILES = {"low": 0.25, "median": 0.5, "high": 0.75}


@dataclass(frozen=True)
class ModelSvd:
    """Superposition in one model, over the layers behind its blocks."""

    layers: int
    alive: int
    aligned: int
    """features within the published cosine of an axis"""
    unaligned: float
    """share of the others: published as features that SVD cannot see"""
    m: int
    """axes that are judged: the published number, or half the width where that is less"""
    energy: float
    """median over features of what lies in the first m axes, mean over layers"""
    uniform: float
    covariance: float
    """of a direction that knows nothing of the data, and of one drawn from its covariance"""
    second_seed: float | None
    nearer: float
    """share of layers whose features are nearer the covariance than to nothing"""
    fvu: float
    """of the dictionary, test cells"""
    fvu_strongest: float
    """of as many principal axes, chosen for each token"""
    fvu_leading: float
    """of the first axes, as many as numbers are stored"""
    fvu_random: float
    """of a random dictionary of that size, by matching pursuit"""
    holds: float
    """share of layers with features below the covariance's energy and axes worse than the
    dictionary"""


@dataclass(frozen=True)
class SvdNumbers:
    """What axes see of features, by model."""

    untestable: str | None
    models: dict[str, ModelSvd]
    random: dict[str, ModelSvd]
    """of the randomly initialized models"""
    least_holds: float | None
    """the least of the trained models' shares of layers"""


class _Found(NamedTuple):
    of: dict[str, object]
    row: dict[str, object]
    energy: pd.DataFrame
    features: pd.DataFrame
    axes: pd.DataFrame


def run(workspace: Workspace, params: Params) -> SvdNumbers:
    """Write results/svd/: layers.csv, energy.csv (quartiles of E_m by layer), features.parquet (a
    row per latent) and axes.csv (the feature nearest each axis)."""
    found = branches(workspace, params)
    places = {b.name: (b.tokens(), b.places().gene.to_numpy()) for b in found}

    def one(item: tuple[Branch, int]) -> _Found:
        return _layer(*item, *places[item[0].name], params)

    items = [(branch, layer) for branch in found for layer in branch.layers()]
    layers = list(in_processes(one, items, "svd", unit="layer"))
    table = pd.DataFrame([{**part.of, **part.row} for part in layers])
    with atomic_folder(workspace.table("svd")) as folder:
        write_csv(folder / "layers.csv", table)
        for name in ("energy", "axes"):
            write_csv(folder / f"{name}.csv", _joined(layers, name))
        write_parquet(folder / "features.parquet", _joined(layers, "features"))
    judged = table[table.layer >= FIRST]
    models, random = (
        {str(name): _numbers(rows) for name, rows in part.groupby("model", sort=False)}
        for part in (judged[judged.trained], judged[~judged.trained])
    )
    return SvdNumbers(
        None, models, random, min((model.holds for model in models.values()), default=None)
    )


def _layer(branch: Branch, layer: int, tokens: Tokens, gene: np.ndarray, params: Params) -> _Found:
    given, seeds, streams = params.svd, params.sae.seeds, branch.streams(layer)
    train, test = (
        np.asarray(streams[gene_rows(tokens, gene, split, most=given.rows, seed=params.seed)])
        for split in ("train", "test")
    )
    codes = codes_of(branch, layer, seeds, 0, gene_rows(tokens, gene, *TRAINED))
    alive = np.bincount(codes.indices, minlength=codes.m) >= params.cds.min_events
    sae, axes, d = branch.dictionary(layer, seeds[0]), principal_axes(train), train.shape[1]
    decoder, judged = sae.W_dec.numpy(), min(given.published_m, d // 2)
    original = published_axes(train, train.mean(0, dtype=np.float64), given.published_m)
    aligned = published_svd(decoder, alive, original.vectors, cosine=given.published_cos)
    ms = sorted({m for m in (*given.ms, judged, d // 2) if m <= d})
    inside = energy(decoder, axes, ms)
    second = branch.dictionary(layer, seeds[1]) if branch.trained and len(seeds) > 1 else None
    others = None if second is None else energy(second.W_dec.numpy(), axes, ms)
    at = ms.index(judged)
    share, uniform = covariance_energy(axes, ms), np.array(ms) / d
    middle = float(np.median(inside[alive, at])) if alive.any() else np.nan
    row = {
        "d": d,
        "alive": int(alive.sum()),
        "aligned": int(aligned.aligned.sum()),
        "axes": len(original.vectors),
        "covered": aligned.covered,
        "variance": float(original.share.sum()),
        "m": judged,
        "energy": middle,
        "uniform": float(uniform[at]),
        "covariance": float(share[at]),
        "second_seed": np.nan if others is None else float(np.median(others[:, at])),
        **_reconstructed(branch, layer, test, axes, params),
    }
    row["below"] = bool(middle < share[at])
    row["nearer"] = bool(share[at] - middle < middle - uniform[at])
    row["worse"] = bool(row["fvu_strongest"] > row["fvu"])
    drawn = energy(drawn_directions(axes, params.seed), axes, ms)
    sources = {"features": inside[alive], "second seed": others, "data covariance": drawn}
    curves = [_quartiles(of, values, ms) for of, values in sources.items() if values is not None]
    curves.append(pd.DataFrame({"of": "uniform", "m": ms, **dict.fromkeys(QUANTILES, uniform)}))
    features = pd.DataFrame(
        {
            "feature": np.arange(codes.m),
            "alive": alive,
            "cosine": aligned.cosine,
            "axis": aligned.axis,
            "aligned": aligned.aligned,
            "energy": inside[:, at],
        }
    )
    nearest = pd.DataFrame(
        {
            "axis": np.arange(len(original.vectors)),
            "variance": original.share,
            "feature": aligned.axis_feature,
            "cosine": aligned.axis_cosine,
        }
    )
    of = {"model": branch.family, "trained": branch.trained, "layer": layer}
    return _Found(of, row, pd.concat(curves), features, nearest)


def _reconstructed(
    branch: Branch, layer: int, test: np.ndarray, axes: Axes, params: Params
) -> dict[str, float]:
    """FVU of test tokens by the dictionary and by its rivals at the same cost."""
    sae = branch.dictionary(layer, params.sae.seeds[0])
    found, d = quality(sae, test), test.shape[1]
    active = min(d, int(np.ceil(found.l0 - 1e-9)))
    few = test[np.linspace(0, len(test) - 1, min(PURSUED, len(test))).astype(int)]
    dictionary = random_dictionary(sae.m, d, params.seed)
    return {
        "l0": found.l0,
        "fvu": found.fvu,
        "fvu_strongest": fvu_strongest(test, axes, active),
        "fvu_leading": fvu_leading(test, axes, min(d, 2 * active)),
        "fvu_random": fvu_pursuit(few, axes.mean, dictionary, active),
    }


def _quartiles(of: str, values: np.ndarray, ms: list[int]) -> pd.DataFrame:
    """Columns of, m, low, median, high; nothing of no direction."""
    if not len(values):
        return pd.DataFrame(columns=["of", "m", *QUANTILES])
    found = np.quantile(values, list(QUANTILES.values()), axis=0)
    return pd.DataFrame({"of": of, "m": ms, **dict(zip(QUANTILES, found))})


def _joined(layers: list[_Found], name: str) -> pd.DataFrame:
    parts = [getattr(part, name).assign(**part.of) for part in layers]
    return pd.concat(parts, ignore_index=True)


def _numbers(rows: pd.DataFrame) -> ModelSvd:
    """Of one model's layers."""
    alive, aligned = int(rows.alive.sum()), int(rows.aligned.sum())
    return ModelSvd(
        layers=len(rows),
        alive=alive,
        aligned=aligned,
        unaligned=1 - aligned / max(1, alive),
        m=int(rows.m.iloc[0]),
        **{name: float(rows[name].mean()) for name in ("energy", "uniform", "covariance")},
        second_seed=float(rows.second_seed.mean()) if rows.second_seed.notna().any() else None,
        nearer=float(rows.nearer.mean()),
        fvu=float(rows.fvu.mean()),
        **{name: float(rows[name].mean()) for name in ("fvu_strongest", "fvu_leading")},
        fvu_random=float(rows.fvu_random.mean()),
        holds=float((rows.below & rows.worse).mean()),
    )
