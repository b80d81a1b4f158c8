"""Loss recovered against whole runs with the stream replaced at its layer, and dictionaries whose
answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells_models_toy import toy_inputs, toy_model

from petriscope.studies.cells.params import FAMILIES
from petriscope.studies.cells.recovered import hold, loss_recovered

CELLS = np.arange(0, 40, 3)


class Known:
    """A dictionary that rebuilds every stream as a function of it."""

    def __init__(self, rebuilt: Any) -> None:
        self.rebuilt = rebuilt

    def encode(self, x: Any) -> Any:
        return x

    def decode(self, codes: torch.Tensor) -> np.ndarray:
        return self.rebuilt(codes).numpy()


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_loss_of_whole_runs(family: str, layer: int) -> None:
    model, inputs = toy_model(family), toy_inputs(family)
    held = hold(model, inputs, CELLS, layer, 0.3, 1)
    assert sum(int(part.batch.mask.sum()) for part in held) == inputs.counts[CELLS].sum()
    halved = loss_recovered(model, layer, held, Known(lambda x: x / 2))  # type: ignore[arg-type]
    streams = torch.cat([part.stream[part.batch.mask] for part in held])
    for edit, found in (
        (lambda x: x, halved.model),
        (lambda x: x / 2, halved.spliced),
        (lambda x: x * 0, halved.zero),
        (lambda x: x * 0 + streams.mean(0), halved.mean),
    ):
        losses = []
        for part in held:
            kept = part.batch.mask[..., None]
            with torch.no_grad():
                change = {layer: lambda x, e=edit, k=kept: torch.where(k, e(x), x)}
                prediction = model.run(part.batch, edits=change).prediction[part.at]
            wanted = part.wanted[part.at]
            loss = F.cross_entropy if family == "geneformer" else F.mse_loss
            losses.append((loss(prediction, wanted), len(wanted)))
        total = sum(float(value) * n for value, n in losses) / sum(n for _, n in losses)
        assert abs(total - found) < 1e-5 * max(1, total)


@pytest.mark.parametrize("family", FAMILIES)
def test_dictionaries_whose_answer_is_known(family: str) -> None:
    model, inputs = toy_model(family), toy_inputs(family)
    held = hold(model, inputs, CELLS, 1, 0.3, 1)
    perfect = loss_recovered(model, 1, held, Known(lambda x: x))  # type: ignore[arg-type]
    nothing = loss_recovered(model, 1, held, Known(lambda x: x * 0))  # type: ignore[arg-type]
    assert perfect.model == perfect.spliced and nothing.spliced == nothing.zero
    assert perfect.model != perfect.zero != perfect.mean
    hidden = [part.at.sum(1) for part in held]
    assert all((count >= 1).all() for count in hidden)
    for part in held:
        assert (part.batch.ids[part.at] == 1).all() if family == "geneformer" else (part.batch.values[part.at] == -1).all()  # type: ignore[index]  # fmt: skip
