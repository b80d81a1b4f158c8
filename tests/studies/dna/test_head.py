"""The classifier head. Reference: the authors' network written with torch's own layers, one
sequence at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edit_world import World, world
from torch import Tensor

from petriscope.errors import UserError
from petriscope.studies.dna.areas import area_under_roc
from petriscope.studies.dna.head import (
    PADDED_TO,
    PUBLISHED,
    CNNHead,
    Head,
    Ragged,
    Training,
    kernel_size,
    load_weights,
    logits,
    margins,
    published_split,
    shared_share,
    train_head,
)


def by_hand(network: CNNHead, hidden: Tensor, room: int) -> Tensor:
    """One sequence (T, d) as the authors' forward pass reads it, padded to ``room``."""
    x = F.pad(hidden.T[None], (0, room - len(hidden)))
    x = F.relu(network.conv1(x))
    x = F.relu(network.conv2(x))
    x = F.max_pool1d(x, network.kernel, stride=6)
    return network.fc(F.adaptive_max_pool1d(x, 1)[:, :, 0])[0]


def streams(width: int, lengths: list[int], seed: int = 0) -> Ragged:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(sum(lengths), width)).astype(np.float32)
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    return Ragged.of(values, sequence, np.ones(len(values), bool), len(lengths))


def test_kernels_are_those_of_the_authors() -> None:
    assert [kernel_size(d) for d in (8, 64, 248, 1280, 10_240)] == [2, 2, 3, 4, 6]


@pytest.mark.parametrize("width", [64, 260, 1100])  # kernels of 2, 3 and 4
@pytest.mark.parametrize("padded", [None, 96, PADDED_TO])
def test_logits_are_those_of_the_network_by_hand(width: int, padded: int | None) -> None:
    torch.manual_seed(0)
    network = CNNHead(width, padded).eval()
    network.conv1.bias.data += 0.3  # padded places then speak
    some = streams(width, [5, 21, 17, 64, 9])
    found = logits(network, some)
    with torch.no_grad():
        for i, row in enumerate(found):
            hidden = torch.from_numpy(some.values[some.offsets[i] : some.offsets[i + 1]])
            wanted = by_hand(network, hidden, padded or len(hidden))
            np.testing.assert_allclose(row, wanted, atol=2e-5)


def test_padding_is_read_only_as_published() -> None:
    torch.manual_seed(1)
    some = streams(64, [12, 40])
    for padded, same in ((None, True), (200, False)):
        network = CNNHead(64, padded).eval()
        network.conv1.bias.data += 1.0
        network.conv2.bias.data += 1.0
        alone = logits(network, some.subset(np.array([0])))
        bare = CNNHead(64, None).eval()
        bare.load_state_dict(network.state_dict())
        assert np.allclose(alone, logits(bare, some.subset(np.array([0])))) == same
        # in company of a longer sequence
        np.testing.assert_allclose(alone[0], logits(network, some)[0], atol=1e-5)


def test_special_tokens_are_left_out() -> None:
    values = np.arange(12, dtype=np.float16).reshape(6, 2)
    some = Ragged.of(values, np.array([0, 0, 0, 2, 2, 2]), np.array([0, 1, 1, 0, 1, 0]) > 0, 3)
    assert some.lengths.tolist() == [2, 0, 1]
    stacked = some.stacked()
    assert stacked.hidden[:, :, 0].tolist() == [[2, 4], [0, 0], [8, 0]]
    assert some.subset(np.array([2, 0])).rows.tolist() == [4, 1, 2]


@pytest.fixture(scope="module")
def planted() -> World:
    return world(planted=True)


def rows(w: World, split: str) -> np.ndarray:
    return np.flatnonzero(w.split == split)


def test_training_learns_and_repeats_itself(planted: World) -> None:
    training = Training(40, 8, seed=0, patience=15)
    args = (planted.streams(), planted.label, rows(planted, "train"), rows(planted, "select"))
    found, again = train_head(*args, training), train_head(*args, training)
    test = rows(planted, "test")
    margin = margins(logits(found.network, planted.streams().subset(test)))
    assert area_under_roc(margin, planted.label[test]) > 0.7
    for a, b in zip(found.network.state_dict().values(), again.network.state_dict().values()):
        assert torch.equal(a, b)
    other = train_head(*args, training._replace(seed=1))
    assert not torch.equal(found.network.fc.weight, other.network.fc.weight)
    best = max((round(row["auc"], 4), -row["loss"]) for row in found.course)
    held = margins(logits(found.network, planted.streams().subset(args[3])))
    assert round(area_under_roc(held, planted.label[args[3]]), 4) == best[0]  # the best epoch


def test_the_published_training_sees_a_hundredth_an_epoch(
    planted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petriscope.studies.dna import head

    seen: list[np.ndarray] = []
    monkeypatch.setattr(head, "_epoch", lambda *args: seen.append(args[4]))
    split = published_split(len(planted.label), 3)
    train_head(
        planted.streams(), planted.label, split.train, split.held,
        PUBLISHED._replace(patience=100, padded_to=64),
    )  # fmt: skip
    assert len(seen) == 100
    assert sorted(np.concatenate(seen)) == sorted(split.train)
    assert max(map(len, seen)) == -(-len(split.train) // 100)


def test_the_published_split_ignores_groups_and_is_not_kept() -> None:
    first, second = published_split(1000, 0), published_split(1000, 1)
    assert [len(part) for part in first] == [640, 160, 200]
    assert len(np.intersect1d(first.train, first.test)) == 0
    # another process splits anew: about 64 % of its test set was trained on (fact 8)
    assert shared_share(first.train, second.test) == pytest.approx(0.64, abs=0.1)
    group = np.arange(1000) // 5
    assert shared_share(group[first.train], group[first.test]) > 0.9


def test_a_head_is_saved_and_read(planted: World, tmp_path: Path) -> None:
    torch.manual_seed(0)
    Head(CNNHead(32), 2, np.array([3, 5])).save(tmp_path / "head")
    head = Head.load(tmp_path / "head")
    torch.manual_seed(0)
    again = CNNHead(32).eval()
    some = planted.streams().subset(np.arange(5))
    np.testing.assert_array_equal(logits(head.network, some), logits(again, some))
    assert head.check(32, 2, padded_to=None) is head
    assert head.check_held_out(np.array([1, 4])) is head


@pytest.mark.parametrize(
    ("width", "layer", "padded", "said"),
    [
        (48, 2, 1000, "reads width 32"),
        (32, 1, 1000, "layer 2"),
        (32, 2, None, "padded to 1000 tokens and is used unpadded"),
    ],
)
def test_a_head_is_not_used_otherwise(
    width: int, layer: int, padded: int | None, said: str
) -> None:
    head = Head(CNNHead(32, PADDED_TO), 2, np.array([3]))
    with pytest.raises(UserError, match=said):
        head.check(width, layer, padded_to=padded)


def test_edits_are_not_judged_on_groups_trained_on() -> None:
    with pytest.raises(UserError, match=r"1 groups .* group 5 among them"):
        Head(CNNHead(32), 2, np.array([3, 5])).check_held_out(np.array([5, 6]))


def test_one_class_is_refused(planted: World) -> None:
    train = rows(planted, "train")
    only = train[planted.label[train]]
    with pytest.raises(UserError, match="all of one class"):
        train_head(planted.streams(), planted.label, only, train, Training(1, 8))


def test_weights_without_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CNNHead(64, PADDED_TO)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    found = load_weights(tmp_path / "weights.pt")
    assert torch.equal(found.conv2.weight, network.conv2.weight) and not found.training
    torch.save(network, tmp_path / "pickled.pt")
    with pytest.raises(UserError, match="holds more than weights"):
        load_weights(tmp_path / "pickled.pt")
    state = network.state_dict() | {"fc.weight": torch.zeros(3, 64)}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"fc.weight: has shape \(3, 64\)"):
        load_weights(tmp_path / "other.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "weights.pt").read_bytes()[:500])
    with pytest.raises(UserError, match="damaged"):
        load_weights(tmp_path / "cut.pt")


def test_short_and_long_sequences_are_refused() -> None:
    with pytest.raises(UserError, match="the head's window"):
        logits(CNNHead(1100), streams(1100, [1, 30]))
    with pytest.raises(UserError, match="the head reads 20"):
        logits(CNNHead(32, 20), streams(32, [21]))
