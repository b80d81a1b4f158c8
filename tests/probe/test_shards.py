"""Shards against the one file of the same harvest, and against numpy's own indexing."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_toy import WIDTH, Letters, Reader

from petriscope.errors import UserError
from petriscope.probe.harvest import (
    harvest_layers,
    harvest_shard,
    layer_paths,
    open_layers,
    shard_parts,
)
from petriscope.probe.model import ProbedModel
from petriscope.probe.shards import Shards, split
from petriscope.probe.tokens import Tokens
from petriscope.sae.coder import SAE, encode_rows
from petriscope.sae.config import SAEConfig
from petriscope.sae.encode import EncodedLayer
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary

LAYERS, WINDOWS = [0, 2], 11


class Together(Letters):
    """Letters whose windows of one length run together, so that the harvest has an order of its
    own."""

    def together(self, windows):
        lengths = np.array([len(self.text[window]) for window in windows])
        order = np.argsort(lengths, kind="stable")
        cuts = np.flatnonzero(np.diff(lengths[order])) + 1
        return [part.tolist() for part in np.split(order, cuts)]


class Grid(Letters):
    """Every window seen in two units, five positions each."""

    def __init__(self, windows: int = 6, seed: int = 0) -> None:
        super().__init__(windows, seed)
        self.tokens = Tokens.grid(self.tokens.windows, 2, 3)

    def kept(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        return torch.cat([hidden[0, :3], hidden[0, 4:]])


KINDS = (Letters, Together, Grid)


def harvested(folder: Path, kind: type[Letters], shards: int | None) -> dict[int, np.ndarray]:
    folder.mkdir()
    inputs = kind(WINDOWS)
    harvest_layers(Reader().eval(), inputs, range(WINDOWS), LAYERS, folder, shards=shards)
    return open_layers(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 3, 5, 99])
def test_shards_read_as_the_one_file(tmp_path: Path, kind: type[Letters], shards: int) -> None:
    whole = harvested(tmp_path / "one", kind, None)
    parts = harvested(tmp_path / "parts", kind, shards)
    assert list(parts) == LAYERS
    for layer, store in parts.items():
        files = sorted((tmp_path / f"parts/layer_{layer}").glob("shard_*.npy"))
        assert len(files) == len(shard_parts(kind(WINDOWS), range(WINDOWS), shards)) <= shards
        assert isinstance(store, Shards) and store.shape == whole[layer].shape
        assert (store.ndim, store.dtype, store.nbytes, len(store)) == (
            *(whole[layer].ndim, whole[layer].dtype, whole[layer].nbytes, len(whole[layer])),
        )
        assert np.asarray(store).tobytes() == whole[layer].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_means_what_it_means_to_numpy(tmp_path: Path, kind: type[Letters]) -> None:
    whole = np.asarray(harvested(tmp_path / "one", kind, None)[2])
    store = harvested(tmp_path / "parts", kind, 4)[2]
    rng = np.random.default_rng(0)
    for one, other in ((whole, store), (whole.reshape(-1, WIDTH), store.reshape(-1, WIDTH))):
        n = len(one)
        keys = [
            0,
            n - 1,
            -1,
            slice(None),
            slice(2, 5),
            slice(5, 2),
            slice(-4, None),
            slice(1, n, 3),
        ]
        keys += [slice(0, 0), rng.integers(-n, n, 40), rng.random(n) < 0.5, np.zeros(0, int)]
        keys += [rng.integers(0, n, (3, 4)), np.int64(3)]
        for key in keys:
            np.testing.assert_array_equal(other[key], one[key], err_msg=str(key))
        with pytest.raises(IndexError):
            other[np.array([n])]
    with pytest.raises(ValueError, match="alone"):
        store.reshape(2, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_and_encoded_has_the_same_bytes(
    tmp_path: Path, kind: type[Letters]
) -> None:
    inputs = kind(WINDOWS)
    config = SAEConfig(d=WIDTH, m=24, k=3, steps=20, batch=16, seed=1)
    made = {}
    for shards in (None, 1, 3, 5):
        folder = tmp_path / str(shards)
        store = harvested(folder, kind, shards)[2]
        for given in (layer_paths(folder)[2], store):
            source = TokenSource.of_split(given, inputs.tokens, "train")
            again = pickle.loads(pickle.dumps(source))
            assert len(pickle.dumps(source)) < 20_000
            sae = train_dictionary(config, again, heldout=source, progress=False).sae
        sae.save(folder / "sae")
        EncodedLayer.write(folder / "codes", SAE.load(folder / "sae"), store, inputs.tokens, 2)
        made[shards] = files_of(folder / "sae") | files_of(folder / "codes")
        assert encode_rows(sae, store).n == len(inputs.tokens)
    assert made[None] and made[1] == made[3] == made[5] == made[None]


class Counted(Reader):
    """Counts its runs."""

    runs = 0

    def run(self, *args, **named):
        type(self).runs += 1
        return super().run(*args, **named)


def test_whole_shards_of_the_same_inputs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})  # count in this process
    inputs = Letters(WINDOWS)

    def runs(model: ProbedModel, inputs: Letters = inputs, shards: int = 3) -> int:
        before = Counted.runs
        harvest_layers(model, inputs, range(WINDOWS), LAYERS, tmp_path, shards=shards)
        return Counted.runs - before

    assert runs(Counted().eval()) == WINDOWS
    first = files_of(tmp_path)
    assert runs(Counted().eval()) == 0
    parts = shard_parts(inputs, range(WINDOWS), 3)
    parts[1].file(tmp_path, 2).unlink()  # a shard of one layer is gone
    assert runs(Counted().eval()) == len(parts[1].places)
    cut = parts[2].file(tmp_path, 0)
    cut.write_bytes(cut.read_bytes()[:-8])  # one ends too early
    assert runs(Counted().eval()) == len(parts[2].places)
    assert files_of(tmp_path) == first
    other = Letters(WINDOWS)
    other.text[0] = (other.text[0] + 1) % 9  # another input: its shard alone
    assert runs(Counted().eval(), other) == len(parts[0].places)
    assert runs(Counted(seed=1).eval()) == WINDOWS  # other weights: all
    assert runs(Counted().eval(), shards=5) == WINDOWS
    assert len(list((tmp_path / "layer_0").glob("*.npy"))) == 5  # none of the three is left


def test_an_interrupted_shard_leaves_no_file(tmp_path: Path) -> None:
    class Stops(Letters):
        def batch(self, number):
            if number == 5:
                raise KeyboardInterrupt
            return super().batch(number)

    inputs, model = Letters(WINDOWS), Reader().eval()
    part = shard_parts(inputs, range(WINDOWS), 2)[1]
    with pytest.raises(KeyboardInterrupt):
        harvest_layers(model, Stops(WINDOWS), range(WINDOWS), LAYERS, tmp_path, shards=1)
    assert not files_of(tmp_path)
    harvest_shard(model, inputs, range(WINDOWS), LAYERS, tmp_path, part)
    with pytest.raises(UserError, match=r"layer_0: holds \d of the 11 windows of a layer"):
        open_layers(tmp_path)


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    harvested(tmp_path / "w", Letters, 3)
    beside = sorted((tmp_path / "w/layer_0").glob("*.json"))
    described = json.loads(beside[0].read_text())
    beside[0].write_text(json.dumps({**described, "counts": described["counts"][:-1]}))
    with pytest.raises(UserError, match="the file beside it says"):
        open_layers(tmp_path / "w")
    beside[0].write_text("{}")
    with pytest.raises(UserError, match="does not describe a shard"):
        open_layers(tmp_path / "w")
    beside[1].with_suffix(".npy").unlink()
    with pytest.raises(UserError, match=r"layer_0.*: "):
        open_layers(tmp_path / "w")
    with pytest.raises(UserError, match="shards: is 0"):
        shard_parts(Letters(), range(6), 0)


def test_parts_cover_all_groups_in_order_and_share_the_tokens() -> None:
    counts = np.random.default_rng(0).integers(1, 100, 1000)
    groups = [[place] for place in range(1000)]
    parts = split(groups, counts, 7)
    assert [place for part in parts for place in part.places] == list(range(1000))
    assert [part.number for part in parts] == [part.places[0] for part in parts]
    sizes = [int(counts[part.places].sum()) for part in parts]
    assert len(parts) == 7 and max(sizes) - min(sizes) < 200
