"""Stage codes: sparse codes of every token, and what the contrast needs of them, in one pass per layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from petriscope.activations import open_layers
from petriscope.files import atomic_folder, write_npy, write_parquet
from petriscope.params import Params
from petriscope.progress import progress
from petriscope.sae.coder import SAE
from petriscope.sae.codes import encode_rows, row_labels, save_codes, sufficient_statistics, top_rows
from petriscope.store import block_moments, load_sae, load_windows
from petriscope.workspace import Workspace


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/codes/layer_<k>/: codes (CSR), window_sum, moments per (block, biosample), top bins."""
    windows = load_windows(workspace)
    stores = open_layers(workspace.activations)
    metrics = []
    with atomic_folder(workspace.codes) as folder:
        for layer, store in progress(stores.items(), "encoding layers", unit="layer"):
            sae = load_sae(workspace, layer, params.sae.seeds[0])
            target = folder / f"layer_{layer}"
            row = encode_layer(sae, store, windows, params.codes.top_bins, target)
            metrics.append({"layer": layer, **row})
    return {"layers": metrics}


def encode_layer(sae: SAE, store: np.ndarray, windows: pd.DataFrame, top_bins: int, target: Any) -> dict[str, Any]:
    """Encode one layer's store (W, S, T', d) into ``target``; returns its L0 and alive latents."""
    n_windows, n_biosamples, n_bins, _ = store.shape
    labels = row_labels(n_windows, n_biosamples, n_bins)
    codes = encode_rows(sae, store)
    save_codes(target / "codes", codes)
    by_window = sufficient_statistics(
        codes, labels.window, labels.biosample, n_blocks=n_windows, n_biosamples=n_biosamples, m=sae.m
    )
    write_npy(target / "window_sum.npy", by_window.total.astype(np.float32))
    moments = block_moments(by_window, windows.block.to_numpy())
    for name, array in moments._asdict().items():
        write_npy(target / f"block_{name}.npy", array)
    top = top_rows(codes, labels.biosample, m=sae.m, n_groups=n_biosamples, count=top_bins)
    where = labels.window[top.row], labels.bin[top.row]
    frame = {
        "feature": top.feature,
        "biosample": top.group,
        "window": where[0],
        "bin": where[1],
        "activation": top.value,
    }
    write_parquet(target / "top_bins.parquet", pd.DataFrame(frame))
    return {"l0": codes.values.size / max(codes.n, 1), "alive": int((by_window.active.sum((0, 1)) > 0).sum())}
