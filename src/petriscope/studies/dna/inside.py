"""An edit inside the model: features are suppressed in the residual stream after one layer, and the
masked tokens are predicted from what the blocks above make of it.

The original analysis read edits in its classifier alone; this seam asks what the language model
itself needs the features for. Loss recovered as in `causal.edits.LossRecovered`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from petriscope.causal.edits import LossRecovered, as_matrix, combined
from petriscope.device import choose_device
from petriscope.parallel import in_processes
from petriscope.probe.harvest import spread
from petriscope.probe.states import to_host
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.sae.sweep import Key
from petriscope.sae.train import TrainResult
from petriscope.studies.dna.areas import group_weights, interval
from petriscope.studies.dna.inputs import load_inputs, load_model
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer, SequenceBatch
from petriscope.studies.dna.model.tokens import MASK, TokenTables, by_length
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences

SHARE = 0.15
"""of a sequence's tokens that are masked"""
_AT_ONCE = 32
RECOVERY_SEQUENCES = 64
"""on which the loss recovered by a dictionary is measured"""


class Inside(NamedTuple):
    """Loss of masked tokens under edits of the stream."""

    table: pd.DataFrame
    """arm, set, nats, and its change with limits over groups"""
    recovered: LossRecovered


class _Held(NamedTuple):
    """Some sequences of one length, masked, at the edited layer."""

    rows: np.ndarray
    hidden: Tensor
    """(B, T, d)"""
    at: tuple[Tensor, Tensor]
    """row and place of each masked token"""
    wanted: Tensor


@torch.inference_mode()
def masked_loss_under(
    model: NucleotideTransformer,
    tables: TokenTables,
    rows: np.ndarray,
    group: np.ndarray,
    sae: SAE,
    layer: int,
    sets: Mapping[str, list[np.ndarray]],
    *,
    resamples: int,
    seed: int,
) -> Inside:
    """Suppress each set of features (arm → sets) after ``layer`` at every token but `<cls>`.

    rows: sequences of ``tables`` that are read; group: (len(rows),) theirs, resampled for the
    limits. The reconstruction, zero and mean ablations replace the stream at the same tokens.
    """
    held = list(_hold(model, tables, rows, layer, seed))
    tokens = torch.cat([part.hidden[:, 1:].flatten(0, 1) for part in held])
    mean = tokens.mean(0)
    wholes = [("untouched", 0), ("reconstruction", 0), ("zero", 0), ("mean", 0)]
    arms = wholes + [(arm, i) for arm, many in sets.items() for i in range(len(many))]
    nats = {arm: np.zeros(len(rows)) for arm in arms}
    directions = to_host(sae.directions)
    for part in held:
        inner = part.hidden[:, 1:].flatten(0, 1)
        codes = sae.encode(to_host(inner))
        matrix = as_matrix(codes, sae.m).tocsc()
        swaps: dict[tuple[str, int], Tensor] = {
            arms[0]: inner,
            arms[1]: torch.from_numpy(sae.decode(codes)).to(inner),
            arms[2]: torch.zeros_like(inner),
            arms[3]: mean.expand_as(inner),
        }
        for arm, many in sets.items():
            for i, features in enumerate(many):
                carried = combined(matrix[:, features].tocsr(), directions[features], inner)
                swaps[arm, i] = inner - carried
        for name, inner in swaps.items():
            nats[name][part.rows] = _nats(model, layer, part, inner)
    weights = np.concatenate(list(group_weights(group, resamples, seed)))
    found = []
    for (arm, number), values in nats.items():
        change = values - nats[arms[0]]
        drawn = weights @ change / weights.sum(1)
        limits = interval(np.append(change.mean(), drawn), len(np.unique(group)))
        found.append(
            {"arm": arm, "set": number, "nats": values.mean()}
            | dict(zip(("change", "change_low", "change_high"), limits))
        )
    return Inside(pd.DataFrame(found), LossRecovered(*(float(nats[arm].mean()) for arm in wholes)))


def _hold(
    model: NucleotideTransformer, tables: TokenTables, rows: np.ndarray, layer: int, seed: int
) -> Iterator[_Held]:
    device = next(model.parameters()).device
    counts = np.diff(tables.offsets)[rows]
    for part in by_length(counts, _AT_ONCE):
        ids = np.stack([tables.of(int(row)).ids for row in rows[part]])
        rng = np.random.default_rng([seed, int(part[0])])
        size = max(1, round(SHARE * (ids.shape[1] - 1)))
        chosen = np.argsort(rng.random(ids[:, 1:].shape), axis=1)[:, :size] + 1
        line = np.repeat(np.arange(len(ids)), size)
        shown = ids.copy()
        shown[line, chosen.ravel()] = MASK
        batch = SequenceBatch(torch.from_numpy(shown), torch.ones(shown.shape, dtype=torch.bool))
        hidden = model.streams(SequenceBatch(*(x.to(device) for x in batch)), [layer])[layer]
        at = (torch.from_numpy(line), torch.from_numpy(chosen.ravel()))
        yield _Held(part, hidden, at, torch.from_numpy(ids[line, chosen.ravel()]).to(device))


def _nats(model: NucleotideTransformer, layer: int, part: _Held, inner: Tensor) -> np.ndarray:
    """(B,) mean cross-entropy of each sequence's masked tokens."""
    stream = part.hidden.clone()
    stream[:, 1:] = inner.unflatten(0, (len(stream), -1))
    logits = model.run(None, resume=(layer, stream)).prediction[part.at]
    loss = F.cross_entropy(logits, part.wanted, reduction="none")
    return np.asarray(loss.reshape(len(stream), -1).mean(1).double().cpu().numpy())


def recovered_losses(
    workspace: Workspace, params: Params, trained: Mapping[Key, TrainResult]
) -> dict[Key, dict[str, float]]:
    """Loss of masked tokens recovered by every dictionary, on a few select sequences."""
    device = choose_device(params.device)
    model, sequences = load_model(workspace, device), load_sequences(workspace)
    tables = load_inputs(workspace, model).tables
    rows = spread(sequences.rows("select"), RECOVERY_SEQUENCES)

    def one(layer: int) -> dict[Key, dict[str, float]]:
        found = {}
        for (of, seed), result in trained.items():
            if of == layer:
                sae = result.sae.to(device)
                losses = masked_loss_under(
                    model, tables, rows, rows, sae, layer, {}, resamples=1, seed=params.seed
                ).recovered
                names = {f"loss_{name}": value for name, value in losses._asdict().items()}
                found[of, seed] = names | {
                    "loss_recovered": losses.over_zero,
                    "loss_recovered_over_mean": losses.over_mean,
                }
        return found

    layers = in_processes(
        one, sorted({layer for layer, _ in trained}), "loss recovered", unit="layer"
    )
    return {key: losses for found in layers for key, losses in found.items()}
