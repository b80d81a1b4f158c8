"""Stage codes: sparse codes of every token, and what the contrast needs of them, in one pass per
layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from petriscope.device import choose_device
from petriscope.files import atomic_folder
from petriscope.parallel import in_processes
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
    stores, device = open_layers(workspace.activations), choose_device(params.device)
    tokens = Tokens.load(workspace.tokens)
    with atomic_folder(workspace.codes) as folder:

        def one(layer: int) -> dict[str, Any]:
            sae = saved_sae(workspace.sae, layer, params.sae.seeds[0]).to(device)
            into, top = folder / f"layer_{layer}", params.codes.top_bins
            layer_codes = EncodedLayer.write(into, sae, stores[layer], tokens, top)
            codes, fired = layer_codes.codes(), layer_codes.coactivation().diagonal()
            l0 = codes.values.size / max(codes.n, 1)
            return {"layer": layer, "l0": l0, "alive": int((fired > 0).sum())}

        rows = list(in_processes(one, stores, "encoding layers", unit="layer"))
    return CodeNumbers(rows)
