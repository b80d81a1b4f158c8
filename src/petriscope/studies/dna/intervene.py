"""The experiment of stage interventions: features are chosen on select groups, edited on test
groups under a head trained on train groups, and suppressed inside the model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy import stats as st

from petriscope.causal.edits import firing, matched_sets
from petriscope.errors import UserError
from petriscope.probe.states import to_host
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes
from petriscope.studies.dna.areas import area_under_roc
from petriscope.studies.dna.edit_effects import (
    ENOUGH,
    LEAST_CONTROLS,
    SIDES,
    Judged,
    Plan,
    Slope,
    choose_features,
    firing_rates,
    judge,
)
from petriscope.studies.dna.head import PADDED_TO, Head, Ragged
from petriscope.studies.dna.inside import masked_loss_under
from petriscope.studies.dna.interventions import GRID, Edited, GridForm, Reader, published_grid
from petriscope.studies.dna.labeled import Labeled
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer
from petriscope.studies.dna.model.tokens import TokenTables
from petriscope.studies.dna.rivals import mean_streams

GRID_FEATURES = 5
"""a side, as published"""
FORMS = {
    "published": GridForm(),
    "bias kept": GridForm(bias_dropped=False),
    "error kept": GridForm(bias_dropped=False, error_dropped=False),
}
INSIDE_SEQUENCES = 64
INSIDE_SETS = 10
_ACTIVE = 5


class Material(NamedTuple):
    """What is edited."""

    labeled: Labeled
    streams: Ragged
    codes: Codes
    """of every token of the run"""
    sae: SAE
    layer: int

    def edited(self, rows: np.ndarray) -> Edited:
        """Some labeled sequences with their codes."""
        streams = self.streams.subset(rows)
        every = sp.csr_matrix(
            (self.codes.values, self.codes.indices, self.codes.indptr),
            (self.codes.n, self.codes.m),
        )
        bias = to_host(self.sae.b_dec) / self.sae.scale
        return Edited(streams, every[streams.rows], to_host(self.sae.directions), bias)


class Request(NamedTuple):
    """What is asked of the experiment."""

    features: int
    doses: tuple[float, ...]
    random: int
    sequences: int
    min_events: float
    length_bin: int
    alpha: float
    bootstrap: int
    seed: int


class Chosen(NamedTuple):
    """Features whose rate differs between classes on select groups."""

    table: pd.DataFrame
    sides: dict[str, np.ndarray]
    test: np.ndarray
    """the sequences on which they are judged"""
    active: np.ndarray
    """the most active features of positives on select groups, whatever their difference"""


class Intervened(NamedTuple):
    """Tables, and what stage interventions prints."""

    tables: dict[str, pd.DataFrame]
    numbers: dict[str, Any]


def choose(material: Material, request: Request) -> Chosen | str:
    """Features of either side with q below alpha on select groups, the clearest first; or why there
    is none."""
    labeled = material.labeled
    select, test = labeled.of_split("select"), labeled.of_split("test")
    kept = np.random.default_rng(request.seed).permutation(test)[: request.sequences]
    kept = np.sort(kept)
    if labeled.label[kept].all() or not labeled.label[kept].any():
        return "the test sequences that are edited are all of one class"
    seen, judged = material.edited(select), material.edited(kept)
    rate = firing_rates(seen.codes, seen.place[0], len(select))
    fires = np.bincount(seen.codes.indices, minlength=seen.m) >= request.min_events
    alive = fires & (np.diff(judged.columns.indptr) > 0)
    stratum = seen.streams.lengths // request.length_bin
    try:
        table = choose_features(rate, labeled.label[select], labeled.group[select], stratum, alive)
    except UserError as error:  # classes of unlike lengths: nothing to choose on, not a mistake
        return str(error)
    clear = table[table.q < request.alpha]
    sides = {
        side: clear.feature.to_numpy()[(clear.t > 0) == (side == "positive")][: request.features]
        for side in SIDES
    }
    if not any(len(features) for features in sides.values()):
        return (
            f"no feature fires at rates that differ between the classes on select groups "
            f"(q < {request.alpha:g}, {len(table)} alive features)"
        )
    positives = labeled.label[select][seen.place[0]]
    weight = firing(seen.codes[np.flatnonzero(positives)], seen.directions).weight
    order = np.argsort(-np.where(alive, weight, -1.0), kind="stable")
    active = order[: min(_ACTIVE, int(alive.sum()))]
    side = pd.Series("", index=table.index)
    for name, features in sides.items():
        side[table.feature.isin(features)] = name
    return Chosen(table.assign(side=side), sides, kept, active)


def intervene(
    material: Material,
    request: Request,
    chosen: Chosen,
    head: Head,
    published: Head,
    model: NucleotideTransformer,
    tables: TokenTables,
) -> Intervened:
    """Judge the chosen features under ``head``, repeat the published grid under ``published``, and
    suppress both sides inside ``model``. Raises `UserError` where a head does not fit the stream,
    or was trained on the groups it is judged on."""
    labeled, edited = material.labeled, material.edited(chosen.test).check_scale()
    group, label = labeled.group[chosen.test], labeled.label[chosen.test]
    width = material.streams.width
    head.check(width, material.layer, padded_to=None).check_held_out(group)
    published.check(width, material.layer, padded_to=PADDED_TO)
    plan = Plan(request.doses, request.random, request.alpha, request.bootstrap, request.seed)
    directions = _directions(material)
    judged = judge(
        head.network, edited, label, group, chosen.sides, directions, plan, chosen.active
    )
    grid = _grid(published, edited, label, chosen)
    inside = masked_loss_under(
        model,
        tables,
        labeled.row[chosen.test][:INSIDE_SEQUENCES],
        group[:INSIDE_SEQUENCES],
        material.sae.to(next(model.parameters()).device),
        material.layer,
        _inside_sets(edited, chosen, request.seed),
        resamples=request.bootstrap,
        seed=request.seed,
    )
    numbers = {
        "sequences": len(label),
        "groups": len(np.unique(group)),
        "off_switch": _off_switch(judged, chosen),
        "dimmer": _dimmer(judged, chosen),
        "asymmetry": _asymmetry(judged, chosen),
        "published": _collapses(grid),
        "inside": _inside_numbers(inside.table)
        | {
            "recovered": inside.recovered.over_zero,
            "recovered_from_mean": inside.recovered.over_mean,
        },
    }
    every = {
        "chosen": chosen.table,
        "effects": judged.effects,
        "controls": judged.controls,
        "copresence": judged.copresence,
        "grid": grid,
        "inside": inside.table,
    }
    return Intervened(every, numbers)


def _directions(material: Material) -> dict[str, np.ndarray]:
    """Difference of class means, and the principal component along which the classes differ most,
    both toward positives, learned on train groups."""
    train = material.labeled.of_split("train")
    label = material.labeled.label[train]
    means = mean_streams(material.streams.subset(train))
    gap = means[label].mean(0) - means[~label].mean(0)
    sample = material.streams.subset(train[:: max(1, len(train) // 1000)])
    hidden = np.asarray(sample.values[sample.rows], np.float64)
    _, vectors = np.linalg.eigh(np.cov(hidden, rowvar=False))
    spread = (means @ vectors).std(0)
    apart = np.divide(gap @ vectors, spread, out=np.zeros(len(gap)), where=spread > 0)
    best = int(np.abs(apart).argmax())
    component = vectors[:, best] * (np.sign(apart[best]) or 1.0)
    return {"the difference of class means": gap, "a principal component": component}


def _grid(published: Head, edited: Edited, label: np.ndarray, chosen: Chosen) -> pd.DataFrame:
    """The published grid in its three forms: a row per feature, setting and form."""
    baseline = Reader(published.network, edited).margin
    rows = []
    for side, features in chosen.sides.items():
        for form, how in FORMS.items() if len(features) else ():
            few = features[:GRID_FEATURES]
            margins = published_grid(published.network, edited, few, GRID, how)
            for feature, settings in zip(few, margins):
                for setting, margin in zip(GRID, settings):
                    share = float((margin > 0).mean())
                    rows.append(
                        {"feature": int(feature), "side": side, "form": form}
                        | setting._asdict()
                        | {"accuracy": float(((margin > 0) == label).mean())}
                        | {"auc": area_under_roc(margin, label), "called_positive": share}
                        | {"one_class": share in (0.0, 1.0)}
                        | {"baseline_auc": area_under_roc(baseline, label)}
                    )
    return pd.DataFrame(rows)


def _collapses(grid: pd.DataFrame) -> dict[str, Any]:
    """In how many settings one class is called for all sequences, by side, and Fisher's p."""
    mine = grid[grid.form == "published"]
    count = {side: mine[mine.side == side].one_class for side in SIDES}
    table = [[int(found.sum()), int((~found.astype(bool)).sum())] for found in count.values()]
    return {
        "collapsed": {side: int(found.sum()) for side, found in count.items()},
        "settings": {side: len(found) for side, found in count.items()},
        "p": float(st.fisher_exact(table)[1]) if all(map(sum, table)) else None,
        "collapsed_error_kept": int(grid[grid.form == "error kept"].one_class.sum()),
    }


def _inside_sets(edited: Edited, chosen: Chosen, seed: int) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for side, features in chosen.sides.items():
        if len(features):
            fired = firing(edited.codes, edited.directions)
            found[side] = [features]
            found[f"matched to {side}"] = list(matched_sets(features, fired, INSIDE_SETS, seed))
    return found


def _inside_numbers(table: pd.DataFrame) -> dict[str, Any]:
    """Change of the masked tokens' loss, nats, by side, beside its largest matched set."""
    found: dict[str, Any] = {}
    for side in SIDES:
        own = table[table.arm == side]
        null = table[table.arm == f"matched to {side}"]
        if len(own):
            first = own.iloc[0]
            found[side] = {
                "change": first.change,
                "low": first.change_low,
                "high": first.change_high,
                "matched_most": null.change.max(),
            }
    return found


def _off_switch(judged: Judged, chosen: Chosen) -> dict[str, Any]:
    side = next((s for s, f in chosen.sides.items() if judged.drop_feature in f), None)
    if side is None:
        why = f"no chosen feature has {LEAST_CONTROLS} others that fire as it does"
        return {"untestable": why, "supported": False}
    return {
        "untestable": _dull(judged),
        "supported": judged.off_switch,
        "auc": judged.auc.value,
        "auc_low": judged.auc.low,
        "feature": judged.drop_feature,
        "side": side,
        "drop": judged.drop.value,
        "drop_low": judged.drop.low,
        "drop_high": judged.drop.high,
        "control_limit": judged.drop_control,
        "p": judged.drop_p,
        "beyond_controls": int((judged.controls.auc_drop > judged.controls.control_95).sum()),
        "features": len(judged.controls),
    }


def _dimmer(judged: Judged, chosen: Chosen) -> dict[str, Any]:
    nothing = None
    if not len(chosen.sides["positive"]):
        nothing = "no feature fires more often in positives on select groups"
    return {
        "untestable": nothing or _dull(judged),
        "supported": judged.dimmer,
        "dose": _slope(judged.dose),
        "present": _slope(judged.present),
    }


def _slope(found: Slope) -> dict[str, Any]:
    value, low, high = found.value
    return {
        "slope": value,
        "low": low,
        "high": high,
        "control_95": found.control,
        "monotone": found.monotone,
        "holds": found.holds,
    }


def _asymmetry(judged: Judged, chosen: Chosen) -> dict[str, Any]:
    few = {side: len(features) for side, features in chosen.sides.items()}
    nothing = None
    if min(few.values()) < ENOUGH:
        nothing = (
            f"{few['positive']} features fire more often in positives and {few['negative']} in "
            f"negatives on select groups; {ENOUGH} a side are needed"
        )
    return {
        "untestable": nothing or _dull(judged),
        "supported": nothing is None and judged.asymmetry,
        "interaction": judged.interaction.value,
        "low": judged.interaction.low,
        "high": judged.interaction.high,
        "control_95": judged.interaction_control,
    }


def _dull(judged: Judged) -> str | None:
    """Why a head that tells nothing apart cannot be switched off."""
    if judged.auc.low > 0.5:
        return None
    return (
        f"the head does not tell the classes apart on test groups (AUC {judged.auc.value:.3f}, "
        f"from {judged.auc.low:.3f})"
    )
