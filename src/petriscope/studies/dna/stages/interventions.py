"""Stage interventions: edit features under the trained head, beside matched features, on test
groups; and inside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.head import Head
from petriscope.studies.dna.inputs import load_inputs, load_model
from petriscope.studies.dna.intervene import Material, Request, choose, intervene
from petriscope.studies.dna.labeled import load_labeled, open_streams
from petriscope.studies.dna.params import Params


@dataclass(frozen=True)
class InterventionNumbers:
    """What edits of features do to the head on held-out groups. The parts are what the claims
    read, each with its own `untestable`."""

    untestable: str | None
    layer: int | None = None
    sequences: int | None = None
    groups: int | None = None
    features: dict[str, int] | None = None
    """features chosen on select groups, a side"""
    off_switch: dict[str, Any] | None = None
    dimmer: dict[str, Any] | None = None
    asymmetry: dict[str, Any] | None = None
    published: dict[str, Any] | None = None
    """the published grid on the published head"""
    inside: dict[str, Any] | None = None
    """loss of masked tokens, features suppressed inside the model"""


def run(workspace: Workspace, params: Params) -> InterventionNumbers:
    """Write results/interventions/: chosen.csv, effects.csv, controls.csv, copresence.csv,
    grid.csv, inside.csv."""
    labeled, out = load_labeled(workspace), workspace.table("interventions")
    if isinstance(labeled, str):
        write_not_run(out, labeled)
        return InterventionNumbers(untestable=labeled)
    device, asked = choose_device(params.device), params.interventions
    model = load_model(workspace, device)
    layer = chosen_layer(params.layer, model.n_layers, "layer")
    material = Material(
        labeled,
        open_streams(workspace, layer, labeled),
        encoded_layers(workspace.codes)[layer].codes(),
        saved_sae(workspace.sae, layer, params.sae.seeds[0]),
        layer,
    )
    request = Request(
        asked.features,
        tuple(asked.doses),
        asked.random,
        asked.sequences,
        params.cds.min_events,
        params.graph.length_bin,
        params.cds.alpha,
        params.cds.bootstrap,
        params.seed,
    )
    chosen = choose(material, request)
    if isinstance(chosen, str):
        write_not_run(out, chosen)
        return InterventionNumbers(untestable=chosen)
    head = Head.load(workspace.table("head") / f"seed_{params.head.seeds[0]}")
    published = Head.load(workspace.table("head") / "published")
    tables = load_inputs(workspace, model).tables
    found = intervene(material, request, chosen, head, published, model, tables)
    with atomic_folder(out) as folder:
        for name, table in found.tables.items():
            write_csv(folder / f"{name}.csv", table)
    sizes = {side: len(np.asarray(features)) for side, features in chosen.sides.items()}
    return InterventionNumbers(None, layer, features=sizes, **found.numbers)
