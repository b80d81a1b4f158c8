"""The residual streams of a run's probed model are harvested: by this machine into a file per
layer, or by the machines of a cluster into shards, which are read as the same arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from petriscope.executors import Resources, current, fan_out, once
from petriscope.probe.harvest import (
    drop_other_shards,
    harvest_layers,
    harvest_shard,
    shard_parts,
)
from petriscope.probe.model import Inputs, ProbedModel, device_of
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace


class Streams(NamedTuple):
    """What is harvested, in how many parts, and where it goes."""

    workspace: Workspace
    params: Params
    layers: tuple[int, ...]
    folder: Path
    shards: int


def harvest_run(
    workspace: Workspace,
    params: Any,
    model: ProbedModel,
    inputs: Inputs,
    layers: Sequence[int],
    folder: Path,
) -> None:
    """Write the streams of all windows of ``inputs`` into ``folder``, by the executor in use.

    Nodes load model and inputs by themselves, as the study offers them (`Study.probed`).
    """
    executor, windows = current(), range(len(inputs))
    gpus = int(device_of(model).type != "cpu")
    if executor.runs_here(gpus) or workspace.study.probed is None:
        harvest_layers(model, inputs, windows, layers, folder)
        return
    made = workspace.made("activations")
    given = Streams(workspace, params, tuple(layers), made, executor.settings.limit)
    parts = shard_parts(inputs, windows, given.shards)
    drop_other_shards(made, layers, parts)
    needs = Resources(gpus=gpus, memory_gb=8)
    what, unit = "residual streams", "shard"
    for _ in fan_out(harvest_part, given, range(len(parts)), what, unit=unit, resources=needs):
        pass
    for layer in layers:
        os.rename(made / f"layer_{layer}", folder / f"layer_{layer}")


def harvest_part(given: Streams, number: int) -> None:
    """Write one shard of every layer."""
    model, inputs = once(_probed, given)
    windows = range(len(inputs))
    part = shard_parts(inputs, windows, given.shards)[number]
    harvest_shard(model, inputs, windows, given.layers, given.folder, part)


def _probed(given: Streams) -> tuple[ProbedModel, Inputs]:
    load = given.workspace.study.probed
    assert load is not None
    return load(given.workspace, given.params)
