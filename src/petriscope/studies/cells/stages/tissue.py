"""Stage tissue: does a dictionary of two tissues show regulons that one of a single tissue does
not?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.parallel import in_processes
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE, encode_rows
from petriscope.sae.config import sae_config
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.regulons import Material, Specific, respond
from petriscope.studies.cells.stages.perturbation import Ground, asked_of, prepare
from petriscope.studies.cells.tissues import mixed, paired, too_few

Pair = tuple[list[Specific], list[Specific]]
"""B of each TF by the dictionary of one tissue, and by that of two."""


@dataclass(frozen=True)
class ModelTissue:
    """One model, its layer fixed beforehand."""

    layer: int
    tokens: int
    """different training tokens of either dictionary"""
    of_second: int
    """of these, from the second tissue"""
    tfs: int
    one: int
    """TFs whose responding features are those of their regulon, dictionary of one tissue"""
    two: int
    gained: int
    lost: int
    p: float
    detectable: float | None
    """smallest net gain found with power .8"""
    by_seed: list[list[int]]
    """gained and lost with each seed of both dictionaries"""


@dataclass(frozen=True)
class TissueNumbers:
    """Over the trained models."""

    untestable: str | None
    models: dict[str, ModelTissue] | None = None
    p: float | None = None
    """lowest over models"""
    detectable: float | None = None
    """largest over models"""


def run(workspace: Workspace, params: Params) -> TissueNumbers:
    """Write results/tissue/: tfs.csv (a row per model, seed and TF)."""
    out, ground = workspace.table("tissue"), prepare(workspace, params)
    why = ground if isinstance(ground, str) else None
    if isinstance(ground, Ground) and not (ground.cells.obs.split == "second").any():
        why = "the data set holds cells of one tissue"
    if why is not None or isinstance(ground, str):
        write_not_run(out, str(why))
        return TissueNumbers(untestable=why)
    models, frames = {}, []
    trained = [branch for branch in branches(workspace, params) if branch.trained]
    items = [(branch, seed) for branch in trained for seed in params.sae.seeds]

    def one(item: tuple[Branch, int]) -> Pair:
        return by_two_dictionaries(params, *item, ground)

    found = in_processes(one, items, "dictionaries of two tissues", unit="seed")
    made = dict(zip(items, found))
    for branch in trained:
        pairs = [made[branch, seed] for seed in params.sae.seeds]
        models[branch.name], frame = compared(params, branch, pairs)
        frames.append(frame.assign(model=branch.family))
    with atomic_folder(out) as folder:
        write_csv(folder / "tfs.csv", pd.concat(frames, ignore_index=True))
    p = min(one.p for one in models.values())
    limits = [one.detectable for one in models.values()]
    largest = None if None in limits else max(limit for limit in limits if limit is not None)
    return TissueNumbers(too_few(p, largest, params.cds.alpha), models, p, largest)


def two_tissues(params: Params, branch: Branch) -> np.ndarray:
    """bool (n,): the tokens that the dictionary of two tissues is trained on."""
    axis = branch.tokens()
    return mixed(axis.split.astype(str), axis.window, params.seed)


def by_two_dictionaries(params: Params, branch: Branch, seed: int, ground: Ground) -> Pair:
    """B by a dictionary of the run, and by one of both tissues."""
    axis, gene = branch.tokens(), branch.places().gene.to_numpy(np.int64)
    layer, asked = _layer(params, branch), asked_of(params)
    stream = branch.streams(layer)
    second = train_dictionary(
        sae_config(params.sae, stream.shape[1], params.seed + seed),
        TokenSource(stream, keep=two_tissues(params, branch)),
        heldout=None,
        device=choose_device(params.device),
        name=f"{branch.name}, two tissues",
    ).sae
    both: list[SAE] = [branch.dictionary(layer, seed), second]
    found = []
    for sae in both:
        codes = encode_rows(sae, np.asarray(stream))
        material = Material(codes, gene, axis.window.astype(np.int64))
        args = (ground.who, ground.scored, ground.regulons, ground.degree, asked)
        found.append(respond(material, *args).specific)
    return found[0], found[1]


def compared(
    params: Params, branch: Branch, made: Sequence[Pair]
) -> tuple[ModelTissue, pd.DataFrame]:
    """One model: `by_two_dictionaries` of each seed, paired over TFs."""
    keep, split = two_tissues(params, branch), branch.tokens().split
    tests, frames = [], []
    for seed, (single, double) in zip(params.sae.seeds, made, strict=True):
        test, frame = paired(single, double, params.cds.alpha)
        tests.append(test)
        frames.append(frame.assign(seed=seed))
    first, table = tests[0], frames[0]
    return ModelTissue(
        _layer(params, branch),
        int(keep.sum()),
        int((keep & (split == "second")).sum()),
        len(table),
        int(table.one.sum()),
        int(table.two.sum()),
        first.gained,
        first.lost,
        first.p,
        first.detectable,
        [[test.gained, test.lost] for test in tests],
    ), pd.concat(frames, ignore_index=True)


def _layer(params: Params, branch: Branch) -> int:
    return chosen_layer(params.layer, max(branch.layers()), "layer")
