"""Stage codes: sparse codes of every token, and what the contrast needs of them, in one pass per
layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from petriscope.device import choose_device
from petriscope.executors import Resources, fan_out
from petriscope.files import atomic_folder, link_tree
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import Params
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import saved_sae
from petriscope.sae.encode import EncodedLayer


@dataclass(frozen=True)
class CodeNumbers:
    """How sparse the codes are."""

    layers: list[dict[str, Any]]
    """A row per layer: latents per token (l0), latents that fire at all (alive)."""
    untestable: str | None = None


def run(workspace: Workspace, params: Params) -> CodeNumbers:
    """Write results/codes/layer_<k>/: codes (CSR), strongest tokens, histograms per (unit, feature)
    and co-activation counts; on a grid of tokens also window_sum and moments per (block, unit)."""
    layers, device = list(open_layers(workspace.activations)), choose_device(params.device)
    context = Encoding(
        *(workspace.activations, workspace.tokens, workspace.sae, workspace.made("codes")),
        seed=params.sae.seeds[0],
        top=params.codes.top_bins,
        device=device,
    )
    what, needs = "encoding layers", Resources(gpus=int(device != "cpu"), memory_gb=8)
    rows = list(fan_out(encode_layer, context, layers, what, unit="layer", resources=needs))
    with atomic_folder(workspace.codes) as folder:
        for layer in layers:
            link_tree(context.into / f"layer_{layer}", folder / f"layer_{layer}")
    return CodeNumbers(rows)


class Encoding(NamedTuple):
    """What is encoded, by what, and where it goes."""

    activations: Path
    axis: Path
    dictionaries: Path
    into: Path
    seed: int
    top: int
    device: str


def encode_layer(given: Encoding, layer: int) -> dict[str, Any]:
    """Write the codes of one layer; how sparse they are."""
    sae = saved_sae(given.dictionaries, layer, given.seed).to(given.device)
    store, tokens = open_layers(given.activations)[layer], Tokens.load(given.axis)
    with atomic_folder(given.into / f"layer_{layer}") as folder:
        written = EncodedLayer.write(folder, sae, store, tokens, given.top)
        codes, fired = written.codes(), written.coactivation().diagonal()
    l0 = codes.values.size / max(codes.n, 1)
    return {"layer": layer, "l0": l0, "alive": int((fired > 0).sum())}
