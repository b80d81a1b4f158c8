"""Stage head: train the classifier head on hidden states, and hold it against rivals that read the
sequence alone, on the same groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.probe.harvest import open_layers
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.studies.dna.classify import Asked, classify
from petriscope.studies.dna.head import Head
from petriscope.studies.dna.labeled import load_labeled, open_streams
from petriscope.studies.dna.params import Params


@dataclass(frozen=True)
class HeadNumbers:
    """How well the classes are told apart on test groups."""

    untestable: str | None
    layer: int | None = None
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    seeds: list[float] | None = None
    """AUC of each seed's head; the first is the one edited"""
    rivals: list[dict[str, Any]] | None = None
    """reads, auc, low, high, lead, lead_low, lead_high: the lead is the head's"""
    least_lead: float | None = None
    """of the head over length, GC, 4-mers and one-hot network: the smallest"""
    least_lead_low: float | None = None
    """the smallest lower limit of these leads: above 0 where the head beats each"""
    not_beaten: list[str] | None = None
    folds: list[dict[str, Any]] | None = None
    """rivals that read the sequence alone, in grouped folds over all sequences"""
    published_accuracy: float | None = None
    published_auc: float | None = None
    """of the published form: padded, split without groups, each epoch another hundredth"""
    published_test_seen: float | None = None
    """share of the test set, split anew, that was trained on"""
    published_groups_seen: float | None = None
    """share of its own test sequences whose group was trained on"""


def run(workspace: Workspace, params: Params) -> HeadNumbers:
    """Write results/head/: seed_<s>/ and published/ (head.json, head.safetensors), split.csv,
    scores.csv (log odds of test sequences), rivals.csv, folds.csv, course.csv."""
    labeled, out = load_labeled(workspace), workspace.table("head")
    if isinstance(labeled, str):
        write_not_run(out, labeled)
        return HeadNumbers(untestable=labeled)
    layer = chosen_layer(params.layer, max(open_layers(workspace.activations)), "layer")
    streams = open_streams(workspace, layer, labeled)
    asked = Asked(
        params.head.epochs,
        params.head.batch,
        tuple(params.head.seeds),
        params.head.folds,
        params.head.one_hot_epochs,
        params.head.one_hot_folds,
        params.cds.bootstrap,
        params.seed,
    )
    sae = saved_sae(workspace.sae, layer, params.sae.seeds[0])
    found = classify(streams, labeled, sae, asked, choose_device(params.device))
    with atomic_folder(out) as folder:
        for name, (network, groups) in found.networks.items():
            Head(network, layer, groups).save(folder / name)
        for name, table in found.tables.items():
            write_csv(folder / f"{name}.csv", table)
    return HeadNumbers(untestable=None, layer=layer, **found.numbers)
