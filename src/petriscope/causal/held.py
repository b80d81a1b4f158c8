"""Chosen windows of a study's inputs are run once and kept at one layer, so that each edit need not
run the layers below.

A verb edits the stream of these rows and reads the prediction again. Nothing here knows what a
window, a unit or a prediction is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from petriscope.contrast.design import Design
from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.probe.harvest import spread
from petriscope.probe.model import (
    Inputs,
    ProbedModel,
    ProbeOutput,
    check_layer,
    check_probe,
    place,
    to_device,
)
from petriscope.probe.states import RowLabels, States, to_host
from petriscope.probe.tokens import Tokens

WINDOWS = 8
"""Windows a verb takes unless it is told which: evenly spread over those of split `test`."""

Readout = Callable[[Tensor], Tensor]


def hold(
    model: ProbedModel,
    inputs: Inputs,
    layer: int,
    *,
    windows: int | Sequence[int] | None = None,
    design: Design | None = None,
    device: str = "cpu",
    readout: Readout | None = None,
) -> list[States]:
    """Chosen windows of ``inputs``, a batch each, held after ``layer`` on ``device``.

    ``windows``: numbers of windows, or how many (None: 8) of split `test`, evenly spread. The
    model is moved to ``device`` and tried on the first window. ``readout`` maps the prediction
    (B, ...) to what is read, its first axis kept. Where the prediction has three axes and its
    second is that of the stream, only kept tokens are read.
    """
    name = choose_device(device)
    place(model, name)
    check_layer(model, layer)
    chosen = chosen_windows(inputs, windows)
    check_probe(model, inputs, (layer,), int(chosen[0]))
    found = []
    with torch.inference_mode():
        for window in chosen.tolist():
            batch = to_device(inputs.batch(window), name)
            output = model.run(batch, capture=(layer,))
            found.append(_held(model, inputs, window, batch, output, layer, design, readout))
    return found


def chosen_windows(inputs: Inputs, windows: int | Sequence[int] | None) -> np.ndarray:
    """Numbers of the windows a verb reads."""
    table = inputs.tokens.windows
    if windows is None or isinstance(windows, int):
        rows = np.flatnonzero(table.split.to_numpy() == "test")
        rows = rows if len(rows) else np.arange(len(table))
        return spread(rows, WINDOWS if windows is None else windows)
    inputs.tokens.of_windows(windows)  # refuses numbers that do not exist
    return np.asarray(windows, np.int64)


def _held(
    model: ProbedModel,
    inputs: Inputs,
    window: int,
    batch: Any,
    output: ProbeOutput,
    layer: int,
    design: Design | None,
    readout: Readout | None,
) -> States:
    hidden = output.hidden[layer].float()
    tokens = inputs.tokens
    kept, unit = _rows(inputs, tokens, window, hidden)
    read_out = readout or _whole
    prediction = to_host(read_out(output.prediction))
    if prediction.ndim == 0 or len(prediction) != len(hidden):
        raise UserError(
            f"gives shape {prediction.shape} for {len(hidden)} rows",
            field="readout",
            remedy="Keep the first axis: a prediction for each row of the batch.",
        )
    return States(
        layer,
        hidden,
        prediction,
        _read(prediction, kept, unit >= 0),
        kept,
        _labels(tokens, window, unit, design),
        read_out,
        None if model.resumes else batch,
    )


def _whole(prediction: Tensor) -> Tensor:
    return prediction


def _rows(
    inputs: Inputs, tokens: Tokens, window: int, hidden: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Which positions (B, T) of a batch are tokens, and the unit (B,) of each row; -1 where a row
    has none."""
    rows, length = hidden.shape[:2]
    numbers = torch.arange(rows * length, device=hidden.device).reshape(rows, length, 1)
    flat = inputs.kept(window, numbers).cpu().numpy().ravel().astype(np.int64)
    unit = tokens.of_windows([window]).unit
    where = f"{type(inputs).__name__}.kept"
    if len(flat) != len(unit) or (np.diff(flat) <= 0).any():
        raise UserError(
            f"does not give window {window} its {len(unit)} tokens, row by row",
            field=where,
            remedy="Return the batch's tokens in the order of rows and positions.",
        )
    kept = np.zeros(rows * length, bool)
    kept[flat] = True
    row = flat // length
    of_row = np.full(rows, -1)
    of_row[row] = unit
    if (of_row[row] != unit).any():
        raise UserError(
            f"puts two units into one row of window {window}",
            field=where,
            remedy="Give each row of a batch to one unit.",
        )
    return kept.reshape(rows, length), of_row


def _read(prediction: np.ndarray, kept: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Bool, over the leading axes of ``prediction``: what is read. Rows without a token are not."""
    if prediction.ndim >= 3 and prediction.shape[1] == kept.shape[1]:
        return kept
    if prediction.ndim == 1:
        return used
    return np.broadcast_to(used[:, None], prediction.shape[:2]).copy()


def _labels(tokens: Tokens, window: int, unit: np.ndarray, design: Design | None) -> RowLabels:
    count = len(unit)
    block = np.full(count, tokens.windows.block.to_numpy()[window])
    number = np.where(unit >= 0, window, -1)
    if design is None:
        return RowLabels(number, block, np.full(count, "all"), np.full(count, ""))
    stratum = np.array(design.strata)[design.stratum_of]
    condition = np.where(design.is_target, "target", "reference")
    return RowLabels(
        number,
        block,
        np.where(unit >= 0, stratum[unit], ""),
        np.where(unit >= 0, condition[unit], ""),
    )
