"""Stage dependency: which bases a feature depends on, how local that is against models that learnt
nothing, and whether a planted long-range rule is followed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.executors import Resources, current, fan_out, once
from petriscope.files import atomic_folder, write_csv
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import load_dataset, read_truth
from petriscope.studies.dna.dependency import (
    Reader,
    effects,
    map_arrays,
    published_shares,
    reduction_table,
)
from petriscope.studies.dna.inputs import load_model, load_places, load_random_model
from petriscope.studies.dna.locality import (
    Locality,
    OfSequence,
    against,
    bootstrap_weights,
    by_feature,
    by_sequence,
    decay_table,
    interval,
    joined,
    locality,
    locality_of,
    matched_on_firing,
)
from petriscope.studies.dna.longrange import Rule, planted_rule
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences

PUBLISHED = (4, 8)
"""sequences and features of the maps as published: they cost a set of forward passes a base"""
REDUCED = 8
"""features whose maps are reduced to vectors"""
AT_ZERO = 2
"""sequences tried at layer 0"""


@dataclass(frozen=True)
class DependencyNumbers:
    """How local dependency is; shares of the change of features (each in units of its standard
    deviation) beyond the substituted token, with intervals over sequences."""

    rule: Rule
    layer: int
    sequences: int
    features: int
    off_share: float
    off_low: float
    off_high: float
    layer_0_share: float
    """0 by construction"""
    top_share: float
    """of the features kept as maps"""
    matched_share: float
    """of as many others that fire as often"""
    near_share: float
    """of the mass beyond the substituted token, what lies within three tokens (a word's length)"""
    published_own: float
    """of the map as published: share on the substituted token"""
    published_next: float
    """on the token after it"""
    untestable: str | None = None
    random_share: float | None = None
    random_low: float | None = None
    random_high: float | None = None
    difference: float | None = None
    """trained minus random: below 0 the trained model is the more local"""
    difference_low: float | None = None
    difference_high: float | None = None


def run(workspace: Workspace, params: Params) -> DependencyNumbers:
    """Write results/dependency/: maps.npz (corrected maps of the strongest features, own-token
    blocks, sequences), reductions.csv, locality.csv (a row per sequence), features.csv, decay.csv
    (by distance in tokens) and longrange.csv (a row per probed sequence)."""
    asked, frame = params.dependency, load_sequences(workspace).frame
    model = load_model(workspace, choose_device(params.device))
    layer = chosen_layer(params.layer, model.n_layers, "layer")
    picked = _picked(frame, asked.sequences)
    texts = picked.sequence.tolist()
    trained, alive, sizes = _measured(workspace, params, layer, texts)
    strongest = np.argsort(-sizes.total.to_numpy()[alive], kind="stable")[: asked.features]
    top = np.sort(alive[strongest])
    rate = sizes.rate.to_numpy()
    matched = matched_on_firing(top, np.where(np.isin(np.arange(len(rate)), alive), rate, 0), 0)
    weights = bootstrap_weights(len(texts), params.cds.bootstrap, params.seed)
    shares = trained.share(weights)
    random, random_model, why = None, None, _not_run(workspace)
    if why is None:
        random_model = load_random_model(workspace, choose_device(params.device))
        random = _measured(workspace, params, layer, texts, random=True)[0]
    zero = _measured(workspace, params, 0, texts[:AT_ZERO])[0]
    reader = _reader(workspace, params, layer)
    stretches = [text[: asked.length] for text in texts]
    maps = [effects(reader, text, features=top) for text in stretches]
    own, following = published_shares(reader, stretches[: PUBLISHED[0]], top[: PUBLISHED[1]])
    truth = load_dataset(workspace.dataset(params.dataset)).truth
    rule, probes = planted_rule(
        None if truth is None else read_truth(truth),
        model,
        random_model,
        frame,
        most=asked.probes,
        draws=params.cds.bootstrap,
        seed=params.seed,
    )
    ids, decay = picked.id.tolist(), trained.decay()[1]
    with atomic_folder(workspace.table("dependency")) as folder:
        np.savez_compressed(folder / "maps.npz", **map_arrays(maps, stretches, ids, top))
        write_csv(folder / "reductions.csv", reduction_table(maps[0], top[:REDUCED]))
        write_csv(folder / "locality.csv", by_sequence(ids, trained, random))
        write_csv(folder / "features.csv", by_feature(alive, trained, rate, top))
        write_csv(folder / "decay.csv", decay_table(trained, random))
        write_csv(folder / "longrange.csv", probes)
    low, high = interval(shares[1:])
    return DependencyNumbers(
        rule=rule,
        layer=layer,
        sequences=len(texts),
        features=len(alive),
        off_share=float(shares[0]),
        off_low=low,
        off_high=high,
        layer_0_share=float(zero.share(np.ones((1, len(zero.own))))[0]),
        top_share=float(trained.share(weights[:1], np.searchsorted(alive, top))[0]),
        matched_share=float(trained.share(weights[:1], np.searchsorted(alive, matched))[0]),
        near_share=float(decay[1:4].sum() / max(decay[1:].sum(), np.finfo(float).tiny)),
        published_own=own,
        published_next=following,
        untestable=why,
        **against(shares, None if random is None else random.share(weights)),
    )


def _not_run(workspace: Workspace) -> str | None:
    """Why there is nothing to compare with, or None."""
    if (workspace.table("random_init") / "model").is_dir():
        return None
    return "the randomly initialized model was not run (controls.random_init is false)"


def _picked(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many test sequences without N, evenly spaced. Raises `UserError` where none is
    left."""
    free = frame[(frame.split == "test") & ~frame.sequence.str.contains("N")]
    if free.empty:
        remedy = "Give sequences of A, C, G and T, or more groups."
        raise UserError("no test sequence is free of N", field="dataset", remedy=remedy)
    return free.iloc[np.linspace(0, len(free) - 1, min(most, len(free))).round().astype(int)]


def _reader(workspace: Workspace, params: Params, layer: int, random: bool = False) -> Reader:
    """The probed model, or the random one, with its dictionary."""
    device = choose_device(params.device)
    model = (load_random_model if random else load_model)(workspace, device)
    folder = workspace.table("random_init") / "sae" if random else workspace.sae
    sae = saved_sae(folder, layer, params.sae.seeds[0]).to(device)
    return Reader(model, sae, layer, model.config.form)


def _measured(
    workspace: Workspace, params: Params, layer: int, texts: list[str], random: bool = False
) -> tuple[Locality, np.ndarray, pd.DataFrame]:
    """Locality of the latents that are alive, which those are, and the sizes of all."""
    folder = workspace.table("random_init") / "codes" if random else workspace.codes
    sizes = feature_sizes(folder, layer, load_places(workspace).width.to_numpy())
    alive = np.flatnonzero((sizes.tokens >= params.cds.min_events) & (sizes.sd > 0))
    scale, positions = sizes.sd.to_numpy()[alive], params.dependency.positions
    what = "random model" if random else f"layer {layer}"
    if current().runs_here(int(choose_device(params.device) != "cpu")):
        reader = _reader(workspace, params, layer, random)
        found = locality(reader, texts, alive, scale, positions=positions, what=what)
    else:
        given = Substituted(workspace, params, layer, random, tuple(texts), alive, scale)
        needs = Resources(gpus=int(choose_device(params.device) != "cpu"), memory_gb=4)
        rows = fan_out(
            *(substitute, given, range(len(texts)), what), unit="sequence", resources=needs
        )
        found = joined(list(rows))
    return found, alive, sizes


class Substituted(NamedTuple):
    """Sequences whose bases are substituted, and the latents that are watched."""

    workspace: Workspace
    params: Params
    layer: int
    random: bool
    texts: tuple[str, ...]
    alive: np.ndarray
    scale: np.ndarray


def substitute(given: Substituted, number: int) -> OfSequence:
    """What substitutions do in one of the sequences."""
    positions = given.params.dependency.positions
    text = given.texts[number]
    return locality_of(once(_reader_of, given), text, given.alive, given.scale, positions)


def _reader_of(given: Substituted) -> Reader:
    return _reader(given.workspace, given.params, given.layer, given.random)


def feature_sizes(folder: Path, layer: int, width: np.ndarray) -> pd.DataFrame:
    """Columns tokens (on which it fires), rate, sd, total (summed activation) of each latent over
    the tokens that hold bases; ``width``: (n,) bp of every token."""
    codes = encoded_layers(folder)[layer].codes().scipy()[width > 0]
    n, tokens = codes.shape[0], codes.getnnz(0)
    total = np.asarray(codes.sum(0), np.float64).ravel()
    squares = np.asarray(codes.multiply(codes).sum(0), np.float64).ravel()
    sd = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
    return pd.DataFrame({"tokens": tokens, "rate": tokens / n, "sd": sd, "total": total})
