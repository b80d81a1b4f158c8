"""A context feature stands on the genome as its bins: those of a lineage's and a condition's
features, and the controls beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import strata, tss_distance
from petriscope.enrich.foregrounds import (
    Foregrounds,
    beyond_others,
    condition_scores,
    feature_bins,
    feature_scores,
    measured_imbalance,
    membership,
    strongest,
)
from petriscope.files import read_json
from petriscope.probe.tokens import Tokens
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.codes import Codes
from petriscope.studies.chromatin.inputs import Arrays
from petriscope.studies.chromatin.model.base import TOKEN
from petriscope.studies.chromatin.params import Params

BALANCED = ("lineage", "condition", "top_activation", "peaks", "planted")
"""Kinds of groups whose balance after matching is measured."""
CONTEXTS = ("in_vitro", "in_vivo")


class Group(NamedTuple):
    """One foreground and whose it is."""

    group: str
    """Unique name, such as `L2/117`, `L2 liver`, `L2 liver in_vivo`, `L2 top liver`, `peaks HepG2`,
    `random 3`."""
    kind: str
    """feature, lineage, condition; or a control: top_activation, peaks, planted, random."""
    layer: int
    """-1 where the group belongs to no layer."""
    feature: int
    """-1 where the group is not one feature."""
    lineage: str
    context: str
    bins: np.ndarray
    """Indices of bins (W·T' axis), strongest first."""


def layer_of_claims(workspace: Workspace, params: Params) -> int:
    """The one layer, fixed beforehand, on which annotation claims are read: that of the
    ablation."""
    layers = int(read_json(workspace.metrics("activations"))["layers"]) - 1
    return chosen_layer(params.ablation.layer, layers, "ablation.layer")


def assembled(
    found: list[tuple[Group, dict[str, np.ndarray]]],
    controls: list[Group],
    bins: pd.DataFrame,
    lineages: list[str],
    most_hits: int,
) -> Foregrounds:
    """Groups and controls over the universe ``bins``, with strata of GC, accessibility and TSS
    distance; groups without a bin are left out.

    Beside each feature's group stands where it fires in every lineage; ``most_hits`` of its bins
    are its strongest.
    """
    found = [(group, firing) for group, firing in found if len(group.bins)]
    groups = [group for group, _ in found] + [group for group in controls if len(group.bins)]
    matrix = membership((group.bins for group in groups), len(bins))
    covariates = bins[["gc", "accessibility", "tss_distance"]]
    classes = strata(*(covariates[name].to_numpy() for name in covariates))
    plain = Foregrounds(matrix, pd.DataFrame(), bins, classes, {})
    background = plain.background()
    table = pd.DataFrame([group[:-1] for group in groups], columns=Group._fields[:-1])
    checked = {i: group.group for i, group in enumerate(groups) if group.kind in BALANCED}
    firing = {
        x: membership((fires[x] for group, fires in found if group.kind == "feature"), len(bins))
        for x in lineages
    }
    return Foregrounds(
        matrix,
        table.assign(size=np.diff(matrix.indptr), dropped=background.dropped),
        bins,
        classes,
        firing,
        strongest_bins(groups, most_hits),
        measured_imbalance(background, covariates, checked),
    )


def strongest_bins(groups: list[Group], most: int) -> pd.DataFrame:
    """Columns group, bin: the first ``most`` bins of every feature."""
    rows = [(g.group, int(place)) for g in groups if g.kind == "feature" for place in g.bins[:most]]
    return pd.DataFrame(rows, columns=["group", "bin"])


def covariates(
    arrays: Arrays, bins: pd.DataFrame, genes: pd.DataFrame, tokens: Tokens
) -> pd.DataFrame:
    """The universe: every predicted bin with GC, mean accessibility and distance to the nearest
    TSS."""
    first = tokens.offset // TOKEN
    inside = slice(first, first + tokens.shape[2])
    gc, accessibility = [], []
    for window in range(len(arrays.sequence)):
        bases = np.asarray(arrays.sequence[window]).reshape(-1, TOKEN)[inside]
        known = (bases < 4).sum(axis=1)
        gc.append(
            np.where(known > 0, np.isin(bases, (1, 2)).sum(axis=1) / np.maximum(known, 1), np.nan)
        )
        signal = np.asarray(arrays.signal[window], dtype=np.float32)
        accessibility.append(signal.reshape(len(signal), -1, 32).sum(axis=2).mean(axis=0)[inside])
    distance = tss_distance(bins.chrom.to_numpy(), bins.start.to_numpy() + 64, genes)
    return bins.assign(
        gc=np.concatenate(gc), accessibility=np.concatenate(accessibility), tss_distance=distance
    )


def peak_bins(peaks: pd.DataFrame, bins: pd.DataFrame, most: int) -> np.ndarray:
    """Bins that hold the summits of the strongest peaks, strongest first, each once.

    ``peaks``: columns chrom, summit, score; ``bins``: chrom, start, end, sorted within chromosome.
    """
    found = []
    for chrom, group in peaks.groupby("chrom", sort=True):
        rows = np.flatnonzero(bins.chrom.to_numpy() == chrom)
        if not rows.size:
            continue
        starts, ends = bins.start.to_numpy()[rows], bins.end.to_numpy()[rows]
        place = np.searchsorted(starts, group.summit.to_numpy(), side="right") - 1
        inside = (place >= 0) & (group.summit.to_numpy() < ends[np.maximum(place, 0)])
        found.append(
            pd.DataFrame({"bin": rows[place[inside]], "score": group.score.to_numpy()[inside]})
        )
    if not found:
        return np.zeros(0, dtype=np.int64)
    table = (
        pd.concat(found).sort_values("score", ascending=False, kind="stable").drop_duplicates("bin")
    )
    return table.bin.to_numpy(np.int64)[:most]


def planted_bins(truth: pd.DataFrame, lineage: str, bins: pd.DataFrame, most: int) -> np.ndarray:
    """Bins of the planted elements that open in one lineage alone, most accessible first: a
    positive control.

    ``truth``: columns chrom, start, lineages, effect; ``bins``: chrom, start.
    """
    own = truth[truth.lineages == lineage].sort_values("effect", ascending=False, kind="stable")
    index = pd.Series(
        np.arange(len(bins)), index=pd.MultiIndex.from_arrays([bins.chrom, bins.start])
    )
    found = (
        index.reindex(pd.MultiIndex.from_arrays([own.chrom, own.start])).dropna().drop_duplicates()
    )
    return found.to_numpy(np.int64)[:most]


def controls(
    peaks: pd.DataFrame,
    truth: pd.DataFrame | None,
    biosamples: pd.DataFrame,
    bins: pd.DataFrame,
    most: int,
    draws: int,
    rng: np.random.Generator,
) -> list[Group]:
    """Raw peaks of each biosample, planted elements of each lineage where they are known, and
    ``draws`` sets of random bins."""
    groups = []
    for b in biosamples.itertuples():
        summits = peak_bins(peaks[peaks.biosample == b.biosample], bins, most)
        groups.append(Group(f"peaks {b.biosample}", "peaks", -1, -1, b.lineage, b.context, summits))
    if truth is not None:
        for lineage in dict.fromkeys(biosamples.lineage):
            planted = planted_bins(truth, lineage, bins, most)
            groups.append(Group(f"planted {lineage}", "planted", -1, -1, lineage, "", planted))
    for draw in range(draws):
        b = biosamples.iloc[draw % len(biosamples)]
        chosen = rng.choice(len(bins), size=min(most, len(bins) // 4), replace=False)
        groups.append(Group(f"random {draw}", "random", -1, -1, b.lineage, b.context, chosen))
    return groups


def feature_groups(
    layers: Iterable[tuple[int, Codes]],
    features: pd.DataFrame,
    biosamples: pd.DataFrame,
    windows: int,
    most: int,
    most_features: int,
) -> list[tuple[Group, dict[str, np.ndarray]]]:
    """Context features one by one, and by lineage and condition, for every layer, and the sets of
    top activation.

    A feature stands where it fires in biosamples of its own lineage and direction: an element that
    another lineage opens says nothing about this one. Beside each feature's group, the bins where
    it fires in every lineage.
    """
    found: list[tuple[Group, dict[str, np.ndarray]]] = []
    lineages = list(dict.fromkeys(biosamples.lineage))
    names = (biosamples.lineage + " " + biosamples.context).tolist()
    for layer, sparse_codes in layers:
        codes = sparse_codes.scipy()
        by_feature = codes.tocsc()
        shape = (windows, len(biosamples), codes.shape[0] // (windows * len(biosamples)))
        here = features[features.layer == layer]
        mine = here[here.context].sort_values("rank")
        for row in mine.head(most_features).itertuples():
            scores = feature_scores(by_feature, row.feature, shape)
            firing = {
                x: feature_bins(scores, _of(biosamples, x, row.direction), most) for x in lineages
            }
            name = f"L{layer}/{row.feature}"
            own = Group(
                name, "feature", layer, row.feature, row.lineage, row.direction, firing[row.lineage]
            )
            found.append((own, firing))
        top = (
            here[here.alive]
            .sort_values("mean_activation", ascending=False, kind="stable")
            .head(len(mine))
        )
        by_context = {x: mine[mine.direction == x] for x in CONTEXTS}
        specific = _specific(codes, by_context, shape, names, lineages)
        for (x, context), score in specific.items():
            name, bins = f"L{layer} {x} {context}", strongest(score, most)
            found.append((Group(name, "condition", layer, -1, x, context, bins), {}))
        by_top = _specific(codes, dict.fromkeys(by_context, top), shape, names, lineages)
        for kind, label, scored in (("lineage", "", specific), ("top_activation", "top ", by_top)):
            for x in lineages:
                parts = [score for (lineage, _), score in scored.items() if lineage == x]
                if parts:
                    both = strongest(np.max(parts, axis=0), most)
                    found.append((Group(f"L{layer} {label}{x}", kind, layer, -1, x, "", both), {}))
    return found


def _of(biosamples: pd.DataFrame, lineage: str, context: str) -> np.ndarray:
    """(S,) bool: biosamples of a lineage in a context, or of the lineage where it has none in that
    context."""
    own = (biosamples.lineage == lineage).to_numpy()
    both = own & (biosamples.context == context).to_numpy()
    return both if both.any() else own


def _specific(
    codes: sparse.csr_matrix,
    sets: dict[str, pd.DataFrame],
    shape: tuple[int, int, int],
    conditions: list[str],
    lineages: list[str],
) -> dict[tuple[str, str], np.ndarray]:
    """(lineage, context) → how far the activity of the context's feature set exceeds that in every
    other lineage."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for context, chosen in sets.items():
        weight = np.zeros(codes.shape[1])
        weight[chosen.feature] = 1 / np.maximum(
            chosen.mean_activation / np.maximum(chosen.density, 1e-12), 1e-12
        )
        activity = condition_scores(codes, weight, shape, conditions)
        own = {x: activity[f"{x} {context}"] for x in lineages if f"{x} {context}" in activity}
        found |= {(x, context): beyond_others(own, x) for x in own}
    return found
