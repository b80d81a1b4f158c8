"""The token store: the residual stream of every layer for every window and biosample, harvested once, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.models.epibert import EpiBERT, one_hot
from petriscope.models.pretrain import fold_masks, soft_clip_input
from petriscope.models.probe import Batch
from petriscope.progress import progress


class WindowInputs:
    """Model inputs of each window, all biosamples at once.

    Parameters: ``sequence`` uint8 (W, L); ``signal`` (W, S, L/4); ``motif_activity`` float32 (S, M), or (W, S, M) for a
    control that changes it; ``bins`` tokens per window T.
    """

    def __init__(self, sequence: np.ndarray, signal: np.ndarray, motif_activity: np.ndarray, bins: int) -> None:
        self.sequence, self.signal, self.motif_activity, self.bins = sequence, signal, motif_activity, bins

    def batch(self, window: int, mask: np.ndarray | None = None, biosamples: Sequence[int] | slice = slice(None)) -> Batch:
        """Inputs of one window: sequence (1, L, 4), atac (S, L/4, 1) soft-clipped, motif (S, 1, M).

        ``mask`` (T,) bool: bins whose accessibility is set to zero, as the model saw masked bins in pre-training.
        """
        atac = torch.from_numpy(np.asarray(self.signal[window, biosamples], dtype=np.float32))
        if mask is not None:
            atac = atac * torch.from_numpy(np.repeat(~mask, atac.shape[1] // self.bins).astype(np.float32))
        motif = torch.from_numpy(np.ascontiguousarray(self.motif_activity[biosamples]))
        sequence = one_hot(torch.from_numpy(np.array(self.sequence[window : window + 1])))
        return Batch(sequence, soft_clip_input(atac).unsqueeze(-1), motif.unsqueeze(1))


def harvest_window(
    model: EpiBERT, inputs: WindowInputs, window: int, layers: Sequence[int], masks: np.ndarray | None = None
) -> dict[int, Tensor]:
    """Residual streams of one window: layer → (S, T', d) float32 on the bins the model predicts.

    With ``masks`` (folds, T) each bin is taken from the pass in which it was masked, so that no bin shows its own
    signal to the model. The sequence branch runs once for all biosamples and folds.
    """
    batch = inputs.batch(window)
    features = model.sequence_features(batch.sequence)
    core = model.tokens(batch).predicted
    if masks is None:
        hidden = model.run(batch, capture=layers, sequence_features=features).hidden
        return {layer: hidden[layer][:, core] for layer in layers}
    result: dict[int, Tensor] = {}
    for mask in masks:
        hidden = model.run(inputs.batch(window, mask), capture=layers, sequence_features=features).hidden
        chosen = torch.from_numpy(mask[core])
        for layer in layers:
            values = hidden[layer][:, core]
            result.setdefault(layer, torch.zeros_like(values))[:, chosen] = values[:, chosen]
    return result


@torch.inference_mode()
def harvest(
    model: EpiBERT,
    inputs: WindowInputs,
    windows: Sequence[int],
    layers: Sequence[int],
    folder: Path,
    *,
    folds: int | None = None,
    what: str = "residual streams",
) -> None:
    """Write `layer_<k>.npy`, float16 (len(windows), S, T', d), for every layer into ``folder``.

    ``folds``: harvest each bin while masked, in that many passes. Raises `UserError` where a value leaves float16.
    """
    model.eval()
    masks = None if folds is None else fold_masks(inputs.bins, folds)
    stores: Mapping[int, np.memmap] = {}
    for row, window in enumerate(progress(windows, what, unit="window")):
        hidden = harvest_window(model, inputs, window, layers, masks)
        if not stores:
            stores = {
                layer: np.lib.format.open_memmap(
                    folder / f"layer_{layer}.npy", mode="w+", dtype=np.float16, shape=(len(windows), *hidden[layer].shape)
                )
                for layer in layers
            }
        for layer in layers:
            values = hidden[layer].numpy().astype(np.float16)
            if not np.isfinite(values).all():
                raise UserError(
                    f"layer {layer}, window {window}: a value is NaN or exceeds float16",
                    field="activations",
                    remedy="Check the weights; a model this large needs a rescaled residual stream.",
                )
            stores[layer][row] = values
    for store in stores.values():
        store.flush()


def open_layers(folder: Path) -> dict[int, np.ndarray]:
    """The store of every layer in ``folder``, memory-mapped: layer → (W, S, T', d)."""
    paths = {int(path.stem.split("_")[1]): path for path in folder.glob("layer_*.npy")}
    if not paths:
        raise UserError("holds no activations", file=folder, remedy="Run `petriscope stage activations`.")
    return {layer: np.load(paths[layer], mmap_mode="r") for layer in sorted(paths)}


def iterate_rows(store: np.ndarray, windows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the chosen windows, one window at a time: (S·T', d)."""
    for window in windows:
        yield np.asarray(store[window]).reshape(-1, store.shape[-1])
