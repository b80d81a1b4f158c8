"""Loss recovered by the dictionaries of a run. Reference: every sequence alone, its stream replaced
by an edit of the whole model, and torch's cross-entropy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.studies.dna.inputs import load_inputs, load_model
from petriscope.studies.dna.inside import RECOVERY_SEQUENCES, SHARE
from petriscope.studies.dna.model.nucleotide import padded
from petriscope.studies.dna.model.tokens import MASK, by_length
from petriscope.studies.dna.sequences import load_sequences


@torch.inference_mode()
def test_loss_recovered_of_a_run(tiny_dna_run: Workspace) -> None:
    quality = pd.read_csv(tiny_dna_run.sae / "quality.csv").set_index(["layer", "seed"])
    params, layer = load_params(tiny_dna_run.params), 1
    seed = params.sae.seeds[0]
    model = load_model(tiny_dna_run)
    tables = load_inputs(tiny_dna_run, model).tables
    rows = load_sequences(tiny_dna_run).rows("select")
    assert len(rows) <= RECOVERY_SEQUENCES  # all are read
    sae = SAE.load(tiny_dna_run.sae / f"layer_{layer}" / f"seed_{seed}")

    def spliced(hidden: torch.Tensor) -> torch.Tensor:
        new = hidden.clone()
        new[0, 1:] = torch.from_numpy(sae.decode(sae.encode(hidden[0, 1:].numpy())))
        return new

    nats = []
    for part in by_length(np.diff(tables.offsets)[rows], 32):
        length = len(tables.of(int(rows[part[0]])).ids)
        rng = np.random.default_rng([params.seed, int(part[0])])
        size = max(1, round(SHARE * (length - 1)))
        masked = np.argsort(rng.random((len(part), length - 1)), axis=1)[:, :size] + 1
        for row, at in zip(rows[part], masked, strict=True):
            batch = padded([tables.of(int(row))])
            wanted = batch.ids[0, at].clone()
            batch.ids[0, at] = MASK
            logits = model.run(batch, edits={layer: spliced}).prediction[0, at]
            nats.append(float(F.cross_entropy(logits, wanted)))
    found = quality.loc[(layer, seed)]
    assert found.loss_spliced == pytest.approx(np.mean(nats), abs=1e-4)
    gap = found.loss_zero - found.loss_model
    share = (found.loss_zero - found.loss_spliced) / gap
    assert found.loss_recovered == pytest.approx(share, rel=1e-3)  # the table is rounded
