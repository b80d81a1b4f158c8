"""The token store: the residual stream of every layer for every window and biosample, harvested
once, memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.parallel import in_processes
from petriscope.probe.model import Batch, PipelineModel
from petriscope.studies.chromatin.model.epibert import one_hot
from petriscope.studies.chromatin.model.masking import BINS_PER_TOKEN, fold_masks, masked_input


class WindowInputs:
    """Model inputs of each window, all biosamples at once.

    Parameters: ``sequence`` uint8 (W, L); ``signal`` (W, S, L/4); ``motif_activity`` float32 (S,
    M); ``crop`` tokens without a prediction at either edge.
    """

    def __init__(
        self, sequence: np.ndarray, signal: np.ndarray, motif_activity: np.ndarray, crop: int
    ) -> None:
        self.sequence, self.signal, self.motif_activity, self.crop = (
            sequence,
            signal,
            motif_activity,
            crop,
        )
        self.bins = signal.shape[2] // BINS_PER_TOKEN - 2 * crop

    def batch(
        self,
        window: int,
        mask: np.ndarray | None = None,
        biosamples: Sequence[int] | slice = slice(None),
    ) -> Batch:
        """Inputs of one window: sequence (1, L, 4), atac (S, L/4, 1) soft-clipped, motif (S, 1, M).

        ``mask`` (T',) bool: bins whose accessibility is set to zero, as the model saw hidden bins
        in pre-training.
        """
        hidden = np.zeros(self.bins, dtype=bool) if mask is None else mask
        signal = np.asarray(self.signal[window, biosamples])
        atac = masked_input(
            signal, np.broadcast_to(hidden, (len(signal), self.bins)), self.crop, None
        )
        motif = np.ascontiguousarray(self.motif_activity[biosamples])
        sequence = one_hot(np.array(self.sequence[window : window + 1]))
        return Batch(
            sequence, torch.from_numpy(atac).unsqueeze(-1), torch.from_numpy(motif).unsqueeze(1)
        )


def harvest_window(
    model: PipelineModel,
    inputs: WindowInputs,
    window: int,
    layers: Sequence[int],
    masks: np.ndarray | None = None,
) -> dict[int, Tensor]:
    """Residual streams of one window: layer → (S, T', d) float32 on the bins the model predicts.

    With ``masks`` (folds, T') each bin is taken from the pass in which it was hidden, so that no
    bin shows its own signal to the model. The sequence branch runs once for all biosamples and
    folds.
    """
    batch = to_device(inputs.batch(window), model)
    assert batch.sequence is not None
    features = model.sequence_features(batch.sequence)
    core = model.tokens(batch).predicted
    if masks is None:
        hidden = model.run(batch, capture=layers, sequence_features=features).hidden
        return {layer: hidden[layer][:, core] for layer in layers}
    result: dict[int, Tensor] = {}
    for mask in masks:
        masked = to_device(inputs.batch(window, mask), model)
        hidden = model.run(masked, capture=layers, sequence_features=features).hidden
        chosen = torch.from_numpy(mask)
        for layer in layers:
            values = hidden[layer][:, core]
            result.setdefault(layer, torch.zeros_like(values))[:, chosen] = values[:, chosen]
    return result


def to_device(batch: Batch, model: PipelineModel) -> Batch:
    """``batch`` on the device that holds the model."""
    device = next(model.parameters()).device
    sequence = None if batch.sequence is None else batch.sequence.to(device)
    return Batch(sequence, batch.atac.to(device), batch.motif.to(device))


@torch.inference_mode()
def harvest(
    model: PipelineModel,
    inputs: WindowInputs,
    windows: Sequence[int] | np.ndarray,
    layers: Sequence[int],
    folder: Path,
    *,
    folds: int | None = None,
    what: str = "residual streams",
) -> None:
    """Write `layer_<k>.npy`, float16 (len(windows), S, T', d), for every layer into ``folder``.

    ``folds``: harvest each bin while masked, in that many passes. Raises `UserError` where a value
    leaves float16.
    """
    model.eval()
    masks = None if folds is None else fold_masks(inputs.bins, folds)
    rows = list(enumerate(windows))
    if not rows:
        return

    def write(row: int, window: int, hidden: dict[int, Tensor]) -> None:
        for layer in layers:
            with np.errstate(over="ignore"):  # refused below, with the window named
                values = hidden[layer].float().cpu().numpy().astype(np.float16)
            if not np.isfinite(values).all():
                raise UserError(
                    f"layer {layer}, window {window}: a value is NaN or exceeds float16",
                    field="activations",
                    remedy="Check the weights; a model this large needs a rescaled residual "
                    "stream.",
                )
            np.lib.format.open_memmap(store_file(folder, layer), mode="r+")[row] = values

    def one(row_window: tuple[int, int]) -> None:
        row, window = row_window
        with torch.inference_mode():
            write(row, window, harvest_window(model, inputs, int(window), layers, masks))

    first = harvest_window(
        model, inputs, int(windows[0]), layers, masks
    )  # its shapes are the store's
    for layer in layers:
        shape = (len(rows), *first[layer].shape)
        np.lib.format.open_memmap(
            store_file(folder, layer), mode="w+", dtype=np.float16, shape=shape
        ).flush()
    write(0, int(windows[0]), first)
    for _ in in_processes(one, rows[1:], what, unit="window"):
        pass


def store_file(folder: Path, layer: int) -> Path:
    """Where `harvest` writes a layer."""
    return folder / f"layer_{layer}.npy"


@torch.inference_mode()
def masking_difference(
    model: PipelineModel,
    inputs: WindowInputs,
    windows: Sequence[int] | np.ndarray,
    layers: Sequence[int],
    folds: int,
) -> dict[int, float]:
    """How much a bin's own signal matters: ‖h_visible − h_hidden‖ / ‖h_visible − mean‖ per layer,
    over ``windows``.

    Near zero the residual stream says nothing that the surroundings do not; near one it mostly
    copies the input.
    """
    model.eval()
    masks = fold_masks(inputs.bins, folds)
    changed, spread = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for window in windows:
        visible = harvest_window(model, inputs, window, layers)
        hidden = harvest_window(model, inputs, window, layers, masks)
        for layer in layers:
            values = visible[layer].double().reshape(-1, visible[layer].shape[-1])
            changed[layer] += float(
                (values - hidden[layer].double().reshape(values.shape)).square().sum()
            )
            spread[layer] += float((values - values.mean(0)).square().sum())
    return {layer: (changed[layer] / spread[layer]) ** 0.5 for layer in layers}


def open_layers(folder: Path) -> dict[int, np.ndarray]:
    """The store of every layer in ``folder``, memory-mapped: layer → (W, S, T', d)."""
    paths = {int(path.stem.split("_")[1]): path for path in folder.glob("layer_*.npy")}
    if not paths:
        raise UserError(
            "holds no activations", file=folder, remedy="Run `petriscope stage activations`."
        )
    return {layer: np.load(paths[layer], mmap_mode="r") for layer in sorted(paths)}
