"""Dependency maps as Hidden State Genomics computes them, their reductions, and the same maps
through the token table; and its two scores of one chunk of a track."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from petriscope.run.fixtures import Compared, FixtureKind, read_fixture, worst
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.studies.dna.dependency import (
    REDUCTIONS,
    Reader,
    effects,
    published_map,
    published_reductions,
    scaled,
)
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer
from petriscope.studies.dna.model.tokens import tokenize_all
from petriscope.studies.dna.parity.models import fixture_model
from petriscope.studies.dna.tracks import chunk_scores

MAPS = 2e-5
TRACKS = 1e-6
"""Largest absolute errors; Pearson and cosine are of float32 features."""
MAPS_SHOULD_AGREE_TO = 2e-6
"""Relative error of a map in float32: an eigenvector turns by this over its eigengap."""


class _Published:
    """The authors' autoencoder; of the last layer it reads the stream after the last layer norm."""

    def __init__(self, entries: Mapping[str, Any], model: NucleotideTransformer, layer: int):
        given = {
            name: torch.from_numpy(np.array(entries[f"sae.{name}"]))
            for name in ("encoder.weight", "encoder.bias", "decoder.weight", "bias")
        }
        m, d = given["encoder.weight"].shape
        config = SAEConfig(d=d, m=m, k=1, variant="relu_l1", scale_input=False)
        decoder = given["decoder.weight"].T.contiguous()
        encoder = (given["encoder.weight"], given["encoder.bias"])
        self.sae = SAE(config, *encoder, decoder, given["bias"], scale=1.0, threshold=0.0)
        self.norm = model.last_norm if layer == model.n_layers else torch.nn.Identity()

    def encode_dense(self, x: Tensor) -> Tensor:
        """ReLU(W_e (x − b) + b_e)."""
        return self.sae.encode_dense(self.norm(x))


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each array of the fixture beside ours; the model's weights lie in the file that its
    configuration names, beside it."""
    config = json.loads(str(entries["config"]))
    weights = path.parent / config["weights"]
    model, layer = fixture_model(weights, read_fixture(weights)), int(config["layer"])
    reader = Reader(model, _Published(entries, model, layer), layer, model.config.form)
    return [*_maps(reader, entries), *_tracks(entries)]


def _maps(reader: Reader, entries: Mapping[str, Any]) -> Iterator[Compared]:
    sequences, features = entries["sequences"].tolist(), np.asarray(entries["features"])
    latents = reader.latents(tokenize_all(sequences, reader.form))
    firing = (np.concatenate(latents) > 0).mean(0)
    yield Compared("firing", worst(firing, entries["firing"]), 1e-6)
    for i, sequence in enumerate(sequences):
        yield Compared(f"latents_{i}", worst(latents[i], entries[f"latents_{i}"]), MAPS)
        found = effects(reader, sequence, features=features)
        corrected = found.map()
        yield Compared(f"corrected_{i}", worst(corrected, entries[f"corrected_{i}"]), MAPS)
        yield Compared(f"signed_{i}", worst(found.signed(), entries[f"signed_{i}"]), MAPS)
        published = published_map(reader, sequence, features)
        for j, one in enumerate(published):
            name = f"published_{i}_{j}"
            yield Compared(name, worst(one, entries[name]), MAPS)
        if i == 0:  # the authors' reductions, of both maps of the first sequence
            for kind, maps in (("published", published), ("corrected", corrected)):
                for j, one in enumerate(maps):
                    wanted = entries[f"reduce_{kind}_{j}"]
                    yield from _reduced(f"reduce_{kind}_{j}", one.astype(np.float64), wanted)


def _reduced(name: str, matrix: np.ndarray, wanted: np.ndarray) -> Iterator[Compared]:
    """A vector scaled from 0 to 1 is known up to its sign, and the better the larger its
    eigengap."""
    found = published_reductions(matrix)
    for row, reduction in enumerate(REDUCTIONS):
        error = min(worst(scaled(sign * found.values[row]), wanted[row]) for sign in (1, -1))
        gap = max(float(found.eigengap[row]), np.finfo(float).tiny)
        allowed = max(MAPS, MAPS_SHOULD_AGREE_TO / gap)
        yield Compared(f"{name} {reduction}", error, allowed)


def _tracks(entries: Mapping[str, Any]) -> Iterator[Compared]:
    pearson, cosine = chunk_scores(entries["track_features"], entries["track_annotation"])
    yield Compared("track_pearson", worst(pearson, entries["track_pearson"]), TRACKS)
    yield Compared("track_crosscorr", worst(cosine, entries["track_crosscorr"]), TRACKS)


KINDS = (
    FixtureKind(
        name="dependency map",
        source="calculate_position_dependency_map, reduce.py, regelementcorr.py of "
        "Hidden-State-Genomics",
        holds=frozenset({"sae.encoder.weight", "published_0_0", "corrected_0", "track_pearson"}),
        compare=compare,
    ),
)
