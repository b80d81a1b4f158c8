"""The chromatin study's model inputs: one batch a window, all biosamples of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.probe.model import Inputs, ProbedModel, device_of, to_device
from petriscope.probe.tokens import Tokens
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.model.base import TOKEN, Batch, ChromatinModel
from petriscope.studies.chromatin.model.epibert import one_hot
from petriscope.studies.chromatin.model.masking import BINS_PER_TOKEN, fold_masks, masked_input
from petriscope.studies.chromatin.params import Params


class Arrays(NamedTuple):
    """What stage tracks makes for the model."""

    sequence: np.ndarray
    """(W, L) uint8 codes 0..3 = ACGT, 4 = N."""
    signal: np.ndarray
    """(W, S, L/4) float16 signal per 4 bp, scaled, unclipped; may be memory-mapped."""
    motif_activity: np.ndarray
    """(S, M) float32 in [0, 1]."""

    def save(self, folder: Path) -> None:
        """Write sequence.npy, signal.npy and motif_activity.npy."""
        for name, array in self._asdict().items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> Arrays:
        """Read what `save` wrote, sequence and signal memory-mapped."""
        return cls(
            np.load(folder / "sequence.npy", mmap_mode="r"),
            np.load(folder / "signal.npy", mmap_mode="r"),
            np.load(folder / "motif_activity.npy"),
        )


class WindowInputs(Inputs):
    """Model inputs of each window, all biosamples at once.

    Parameters: ``sequence`` uint8 (W, L); ``signal`` (W, S, L/4); ``motif_activity`` float32 (S,
    M); ``crop`` tokens without a prediction at either edge; ``windows`` the table of the W windows,
    which only the token axis needs; ``folds`` to harvest each bin while masked, in that many passes
    (None: visible).
    """

    def __init__(
        self,
        sequence: np.ndarray,
        signal: np.ndarray,
        motif_activity: np.ndarray,
        crop: int,
        windows: pd.DataFrame | None = None,
        folds: int | None = None,
    ) -> None:
        self.sequence, self.signal, self.motif_activity, self.crop = (
            sequence,
            signal,
            motif_activity,
            crop,
        )
        self.windows, self.folds = windows, folds
        self.bins = signal.shape[2] // BINS_PER_TOKEN - 2 * crop

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def tokens(self) -> Tokens:  # type: ignore[override]
        """(window, biosample, bin) of 128 bp: the bins that have a prediction."""
        if self.windows is None:
            raise UserError(
                "is not given", field="windows", remedy="Give the table of windows to WindowInputs."
            )
        return bin_tokens(self.windows, self.signal.shape[1], self.bins, self.crop)

    def batch(
        self,
        number: int,
        mask: np.ndarray | None = None,
        biosamples: Sequence[int] | slice = slice(None),
    ) -> Batch:
        """Inputs of one window: sequence (1, L, 4), atac (S, L/4, 1) soft-clipped, motif (S, 1, M).

        ``mask`` (T',) bool: bins whose accessibility is set to zero, as the model saw hidden bins
        in pre-training.
        """
        hidden = np.zeros(self.bins, dtype=bool) if mask is None else mask
        signal = np.asarray(self.signal[number, biosamples])
        atac = masked_input(
            signal, np.broadcast_to(hidden, (len(signal), self.bins)), self.crop, None
        )
        motif = np.ascontiguousarray(self.motif_activity[biosamples])
        sequence = one_hot(np.array(self.sequence[number : number + 1]))
        return Batch(
            sequence, torch.from_numpy(atac).unsqueeze(-1), torch.from_numpy(motif).unsqueeze(1)
        )

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        """The predicted bins of every biosample."""
        return hidden[:, self.crop : hidden.shape[1] - self.crop].reshape(-1, hidden.shape[2])

    def streams(self, model: ProbedModel, number: int, layers: Sequence[int]) -> dict[int, Tensor]:
        """`harvest_window`, flattened: the sequence branch runs once for all biosamples and
        folds."""
        assert isinstance(model, ChromatinModel)
        masks = None if self.folds is None else fold_masks(self.bins, self.folds)
        found = harvest_window(model, self, number, layers, masks)
        return {layer: values.reshape(-1, values.shape[-1]) for layer, values in found.items()}


def load_windows(workspace: Workspace) -> pd.DataFrame:
    """Columns window, chrom, start, end, split, block; the row number is the window's index in
    every array."""
    return pd.read_parquet(workspace.windows)


def load_inputs(
    workspace: Workspace, model: ChromatinModel, folds: int | None = None
) -> WindowInputs:
    """Model inputs by window; ``folds`` as in `harvest_folds`."""
    arrays = Arrays.load(workspace.tracks)
    return WindowInputs(*arrays, model.crop, load_windows(workspace), folds)


def harvest_folds(params: Params) -> int | None:
    """Passes in which each bin is harvested while masked; None where the stream is read with the
    bin visible."""
    return params.activations.folds if params.activations.masking == "kfold" else None


def bins_table(tokens: Tokens) -> pd.DataFrame:
    """Columns chrom, start, end, window, split, block of every predicted bin, in the order of the
    T' axis."""
    start, windows = tokens.starts(), tokens.windows
    repeated = windows.loc[
        windows.index.repeat(start.shape[1]), ["chrom", "window", "split", "block"]
    ].reset_index(drop=True)
    return repeated.assign(start=start.ravel(), end=start.ravel() + tokens.width)


def bin_tokens(windows: pd.DataFrame, biosamples: int, bins: int, crop: int) -> Tokens:
    """The token axis of ``bins`` predicted bins of 128 bp of every window in every biosample."""
    return Tokens.grid(windows, biosamples, bins, width=TOKEN, offset=TOKEN * crop)


def harvest_window(
    model: ChromatinModel,
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
    device = device_of(model)
    batch = to_device(inputs.batch(window), device)
    assert batch.sequence is not None
    features = model.sequence_features(batch.sequence)
    core = model.tokens(batch).predicted
    if masks is None:
        hidden = model.run(batch, capture=layers, sequence_features=features).hidden
        return {layer: hidden[layer][:, core] for layer in layers}
    result: dict[int, Tensor] = {}
    for mask in masks:
        masked = to_device(inputs.batch(window, mask), device)
        hidden = model.run(masked, capture=layers, sequence_features=features).hidden
        chosen = torch.from_numpy(mask)
        for layer in layers:
            values = hidden[layer][:, core]
            result.setdefault(layer, torch.zeros_like(values))[:, chosen] = values[:, chosen]
    return result


@torch.inference_mode()
def masking_difference(
    model: ChromatinModel,
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
