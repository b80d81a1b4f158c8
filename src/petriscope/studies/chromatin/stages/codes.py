"""Stage codes: sparse codes of every token, and what the contrast needs of them, in one pass per
layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import save_npz

from petriscope.contrast.moments import Moments
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_npy, write_parquet
from petriscope.parallel import in_processes
from petriscope.probe.harvest import open_layers
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE, encode_stream
from petriscope.sae.codes import (
    Codes,
    TopRows,
    TopRowsAccumulator,
    activation_histograms,
    coactivation,
    row_labels,
    sufficient_statistics,
    writing_codes,
)
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import block_moments, load_sae, load_windows

ROWS_AT_ONCE = 65_536
HISTOGRAM_BINS = 24


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/codes/layer_<k>/: codes (CSR), window_sum, moments per (block, biosample), top
    bins, histograms per (biosample, feature) and co-activation counts."""
    windows = load_windows(workspace)
    stores = open_layers(workspace.activations)
    with atomic_folder(workspace.codes) as folder:

        def one(layer: int) -> dict[str, Any]:
            sae = load_sae(workspace, layer, params.sae.seeds[0])
            target = folder / f"layer_{layer}"
            return {
                "layer": layer,
                **encode_layer(sae, stores[layer], windows, params.codes.top_bins, target),
            }

        metrics = list(in_processes(one, stores, "encoding layers", unit="layer"))
    return {"layers": metrics}


def encode_layer(
    sae: SAE, store: np.ndarray, windows: pd.DataFrame, top_bins: int, target: Path
) -> dict[str, Any]:
    """Encode one layer's store (W, S, T', d) into ``target`` in one pass; returns its L0 and alive
    latents."""
    n_windows, n_biosamples, n_bins, _ = store.shape
    rows = n_biosamples * n_bins
    at_once = max(1, ROWS_AT_ONCE // rows)
    block = windows.block.to_numpy()
    sums = np.zeros((n_windows, n_biosamples, sae.m), np.float32)
    moments: Moments | None = None
    top = TopRowsAccumulator(sae.m, n_biosamples, top_bins)
    with writing_codes(target / "codes", sae.m) as writer:
        for start, codes in encode_stream(sae, store, rows_at_once=at_once * rows):
            first, count = start // rows, codes.n // rows
            label = row_labels(count, n_biosamples, n_bins)
            piece = sufficient_statistics(
                codes,
                label.window,
                label.biosample,
                n_blocks=count,
                n_biosamples=n_biosamples,
                m=sae.m,
            )
            sums[first : first + count] = piece.total
            added = block_moments(piece, block[first : first + count], int(block.max()) + 1)
            moments = (
                added
                if moments is None
                else Moments(*(a + b for a, b in zip(moments, added, strict=True)))
            )
            top.add(start, codes, label.biosample)
            writer.add(codes)
    if moments is None:
        raise UserError("holds no windows", file=target, remedy="Run stage activations again.")
    write_npy(target / "window_sum.npy", sums)
    for name, array in moments._asdict().items():
        write_npy(target / f"block_{name}.npy", array)
    write_parquet(target / "top_bins.parquet", top_bins_frame(top.result(), n_biosamples, n_bins))
    codes = Codes.load(target / "codes")
    biosample = np.tile(np.repeat(np.arange(n_biosamples), n_bins), n_windows)
    counts, maximum = activation_histograms(
        codes, biosample, groups=n_biosamples, bins=HISTOGRAM_BINS
    )
    write_npy(target / "histogram_counts.npy", counts.astype(np.int32))
    write_npy(target / "histogram_maximum.npy", maximum)
    save_npz(target / "coactivation.npz", coactivation(codes), compressed=False)
    return {
        "l0": codes.values.size / max(codes.n, 1),
        "alive": int((moments.active.sum((0, 1)) > 0).sum()),
    }


def top_bins_frame(top: TopRows, n_biosamples: int, n_bins: int) -> pd.DataFrame:
    """Columns feature, biosample, window, bin, activation of the strongest rows (w·S + s)·T' +
    t."""
    window, rest = np.divmod(top.row, n_biosamples * n_bins)
    return pd.DataFrame(
        {
            "feature": top.feature,
            "biosample": top.group,
            "window": window.astype(np.int32),
            "bin": (rest % n_bins).astype(np.int32),
            "activation": top.value,
        }
    )
