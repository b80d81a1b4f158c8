"""The classifier head reads the class of a sequence from its hidden states, as published (a padded
matrix, whose length max-pooling can read) or corrected (padding masked before both poolings).

The network is the authors' (`HSG:hsg/cisplatinRNA/CNNhead.py:8-27`): D → convolution to D/8 → ReLU
→ convolution to 64 → ReLU → max-pool with stride 6 → dropout → adaptive max → linear to 2. Its
first layer is linear, so what an edit adds to the stream can be added after it (`first`, `rest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.files import atomic_folder, read_json, write_json
from petriscope.probe.shards import Store
from petriscope.studies.dna.areas import area_under_roc

PADDED_TO = 1000
"""tokens, of the published form"""
STRIDE = 6
_CHANNELS = 64
_ROWS = 256  # sequences read at once


@dataclass(frozen=True)
class Ragged:
    """Rows of sequences of different lengths: sequence i holds ``rows[offsets[i]:offsets[i+1]]``.

    ``values`` (n, d) may be memory-mapped and of any float type; ``rows`` (k,) says which of them
    are read (special tokens are left out), ``offsets`` (S + 1).
    """

    values: Store
    rows: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, values: Store, sequence: np.ndarray, kept: np.ndarray, size: int) -> Ragged:
        """Of flat ``values`` (n, d) whose row i belongs to ``sequence[i]`` (ascending, below
        ``size``), those where ``kept`` (n,) holds."""
        rows = np.flatnonzero(kept)
        counts = np.bincount(sequence[rows], minlength=size)
        return cls(values, rows, np.concatenate([[0], np.cumsum(counts)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """d"""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """(S,) tokens of each sequence."""
        return np.diff(self.offsets)

    def subset(self, sequences: np.ndarray) -> Ragged:
        """Some sequences, in the order given."""
        parts = [self.rows[self.offsets[i] : self.offsets[i + 1]] for i in sequences]
        counts = self.lengths[sequences]
        rows = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return Ragged(self.values, rows, np.concatenate([[0], np.cumsum(counts)]))

    def stacked(self, sequences: np.ndarray | slice = slice(None)) -> Stacked:
        """Some sequences, zero beyond their ends, as wide as the longest; float32, float64 where
        the values are."""
        chosen = np.arange(len(self))[sequences]
        lengths = self.lengths[chosen]
        place = np.arange(int(lengths.max(initial=0)))
        inside = place < lengths[:, None]
        kind = np.float64 if self.values.dtype == np.float64 else np.float32
        out = np.zeros((*inside.shape, self.width), kind)
        out[inside] = self.values[self.rows[(self.offsets[chosen][:, None] + place)[inside]]]
        return Stacked(torch.from_numpy(out), torch.from_numpy(lengths))


class Stacked(NamedTuple):
    """Sequences side by side."""

    hidden: Tensor
    """(S, T, d), zero beyond a sequence's end."""
    lengths: Tensor
    """(S,) int64"""


def kernel_size(width: int) -> int:
    """max(int(width^.2), 2): 4 for 1280, 6 for 10,240."""
    return max(int(width**0.2), 2)


class CNNHead(nn.Module):
    """The authors' network. ``padded_to``: tokens to which each input is padded with zeros as
    published; None: padding is masked, so that a batch gives what each sequence alone would."""

    def __init__(self, width: int, padded_to: int | None = None, dropout: float = 0.5) -> None:
        super().__init__()
        self.kernel, self.padded_to = kernel_size(width), padded_to
        around = self.kernel // 2
        inner = max(1, width // 8)
        self.conv1 = nn.Conv1d(width, inner, self.kernel, padding=around)
        self.conv2 = nn.Conv1d(inner, _CHANNELS, self.kernel, padding=around)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_CHANNELS, 2)

    @property
    def width(self) -> int:
        """D"""
        return self.conv1.in_channels

    @property
    def grows(self) -> int:
        """Positions that each convolution adds: 1 with an even kernel."""
        return 2 * (self.kernel // 2) - self.kernel + 1

    def room(self, longest: int) -> int:
        """Positions to which inputs of up to ``longest`` tokens are padded.

        As published, `padded_to`; while nothing is trained, as few as give the same windows: of the
        positions that no token and no edge reaches all are equal, one is enough. Raises `UserError`
        on a sequence longer than `padded_to`.
        """
        if self.padded_to is None:
            return longest
        if longest > self.padded_to:
            raise UserError(
                f"a sequence has {longest} tokens, the head reads {self.padded_to}",
                field="head.padded_to",
                remedy="Cut it, or use the unpadded head.",
            )
        if self.training:
            return self.padded_to
        least = longest + 6 * self.kernel + 2 * STRIDE
        return min(self.padded_to, least + (self.padded_to - least) % STRIDE)

    def first(self, hidden: Tensor) -> Tensor:
        """(S, L, C) the first convolution of ``hidden`` (S, T, d), before its ReLU."""
        found = self._convolved(hidden, self.conv1.weight.permute(2, 0, 1))
        return torch.add(found, cast(Tensor, self.conv1.bias))

    def added(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """(S, L, C) what adding ``coefficients`` (S, T, F) times ``directions`` (F, d) to the
        stream adds to `first`."""
        return self._convolved(
            coefficients, torch.einsum("cdk,fd->kcf", self.conv1.weight, directions)
        )

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        """(S, L, C) x (S, T, F) under taps ``weight`` (k, C, F): one product for all taps, each
        then moved to its place and added up. Places that no token reaches are 0."""
        k, channels, _ = weight.shape
        room, around = self.room(x.shape[1]), self.kernel // 2
        taps = x @ weight.flatten(0, 1).T
        out = x.new_zeros(len(x), room + self.grows, channels)
        for j in range(k):  # out[t] takes x[t - around + j]
            part = taps[:, :, j * channels : (j + 1) * channels]
            start = around - j
            first, last = max(0, -start), min(x.shape[1], out.shape[1] - start)
            out[:, first + start : last + start] += part[:, first:last]
        return out

    def rest(self, before: Tensor, lengths: Tensor) -> Tensor:
        """(S, 2) logits from what `first` gives.

        The second convolution is made at the places that max-pooling with a stride reads, and at
        no others.
        """
        hidden = F.relu(before)
        if self.padded_to is None:
            place = torch.arange(hidden.shape[1], device=hidden.device)
            hidden = hidden * (place < (lengths + self.grows)[:, None])[:, :, None]
        k, around = self.kernel, self.kernel // 2
        windows = (hidden.shape[1] + self.grows - k) // STRIDE + 1
        if windows < 1:
            raise UserError(
                f"a sequence of {int(lengths.max())} tokens is shorter than the head's window",
                field="head",
                remedy=f"Use sequences of {k} tokens at least.",
            )
        padded = F.pad(hidden, (0, 0, around, around))
        read = padded.unfold(1, 2 * k - 1, STRIDE)[:, :windows]  # (S, windows, C, 2k - 1)
        each = read.unfold(3, k, 1).transpose(2, 3).flatten(3)  # (S, windows, k, C k)
        found = each @ self.conv2.weight.flatten(1).T + cast(Tensor, self.conv2.bias)
        pooled = self.dropout(F.relu(found.amax(2)))
        if self.padded_to is None:
            ends = torch.arange(windows, device=hidden.device) * STRIDE + k
            inside = ends <= (lengths + 2 * self.grows)[:, None]
            if not bool(inside.any(1).all()):
                raise UserError(
                    f"a sequence has {int(lengths.min())} tokens, the head's window {k}",
                    field="head",
                    remedy="Leave such short sequences out.",
                )
            pooled = pooled.masked_fill(~inside[:, :, None], 0)  # all are ≥ 0 after the ReLU
        logits: Tensor = self.fc(pooled.amax(1))
        return logits

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """(S, 2) logits of ``hidden`` (S, T, d) with ``lengths`` (S,)."""
        return self.rest(self.first(hidden), lengths)


class Training(NamedTuple):
    """How a head is trained. The defaults are the corrected form, `PUBLISHED` the authors'."""

    epochs: int
    batch: int
    seed: int = 0
    learning_rate: float = 1e-3
    hundredths: bool = False
    """each epoch sees another hundredth of the rows, and so does each look at the held-out ones."""
    padded_to: int | None = None
    best: bool = True
    """keep the epoch with the highest held-out AUC (of equal ones, the lowest loss), not the last;
    patience is then on the AUC, else on the loss."""
    patience: int = 4


PUBLISHED = Training(100, 32, hundredths=True, padded_to=PADDED_TO, best=False, patience=10)
"""Source: `HSG:hsg/cisplatinRNA/CNNtrain.py:108-122`."""


@dataclass(frozen=True)
class Head:
    """A trained head, what it was trained on, and how it reads."""

    network: CNNHead
    layer: int
    """of the model whose stream it reads"""
    groups: np.ndarray
    """(g,) groups of the sequences it was trained on"""

    @property
    def padded_to(self) -> int | None:
        """Tokens to which it reads padded; None: it reads unpadded."""
        return self.network.padded_to

    def check(self, width: int, layer: int, *, padded_to: int | None) -> Head:
        """Return self where it reads such a stream in such a way; else raise `UserError`."""
        if width != self.network.width:
            raise UserError(
                f"reads width {self.network.width}, the hidden states have {width}",
                field="head",
                remedy="Train it again (`petriscope stage head`).",
            )
        if layer != self.layer:
            raise UserError(
                f"was trained on layer {self.layer}, the edit is at layer {layer}",
                field="head.layer",
                remedy="Train it again (`petriscope stage head`).",
            )
        if padded_to != self.padded_to:
            now, was = (
                "unpadded" if n is None else f"padded to {n} tokens"
                for n in (padded_to, self.padded_to)
            )
            raise UserError(
                f"was trained on input {was} and is used {now}",
                field="head.padded_to",
                remedy="Train a head on such input.",
            )
        return self

    def check_held_out(self, groups: np.ndarray) -> Head:
        """Return self where none of the sequences' ``groups`` was trained on; else raise
        `UserError`."""
        seen = np.intersect1d(groups, self.groups)
        if len(seen):
            raise UserError(
                f"{len(seen)} groups of the sequences to be judged were trained on, group "
                f"{seen[0]} among them",
                field="interventions",
                remedy="Judge edits on sequences of split test.",
            )
        return self

    def save(self, folder: Path) -> None:
        """Write head.json, head.safetensors."""
        described = {"layer": self.layer, "width": self.network.width, "padded_to": self.padded_to}
        with atomic_folder(folder) as temporary:
            write_json(temporary / "head.json", described | {"groups": self.groups})
            state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
            save_file(state, temporary / "head.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Head:
        """What `save` wrote. Raises `UserError` where it is damaged."""
        described = read_json(folder / "head.json")
        state = _tensors(folder / "head.safetensors")
        network = network_of(state, described["padded_to"], folder / "head.safetensors")
        return cls(network, described["layer"], np.asarray(described["groups"], np.int64))


def load_weights(path: Path, padded_to: int | None = PADDED_TO) -> CNNHead:
    """A head from a state dict: `.safetensors`, or `.pt` read as weights only.

    The authors' files hold a pickled module, which would execute code and keeps the mode it was
    saved in; they are refused with the way to export their weights.
    """
    return network_of(_tensors(path), padded_to, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    export = "Export it where it was made: torch.save(head.state_dict(), PATH)."
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise UserError("holds more than weights", file=path, remedy=export) from None
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise UserError(f"is damaged ({error})", file=path, remedy="Restore the file.") from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError("holds no state dict", file=path, remedy=export)
    return found


def network_of(state: dict[str, Tensor], padded_to: int | None, path: str | Path) -> CNNHead:
    """The network with these weights, in eval mode. Raises `UserError` where they do not fit."""
    weight = state.get("conv1.weight")
    if weight is None or weight.ndim != 3:
        what, remedy = "lacks conv1.weight (D/8, D, k)", "Give the weights of a CNN head."
        raise UserError(what, file=path, field="conv1.weight", remedy=remedy)
    network = CNNHead(int(weight.shape[1]), padded_to).to(weight.dtype)
    wanted = network.state_dict()
    for name, value in wanted.items():
        shape = tuple(state[name].shape) if name in state else None
        if shape != tuple(value.shape):
            what = f"has shape {shape}, a head of width {network.width} {tuple(value.shape)}"
            raise UserError(what, file=path, field=name, remedy="Give the weights of a CNN head.")
    network.load_state_dict({name: state[name] for name in wanted})
    return network.eval()


@torch.inference_mode()
def logits(network: CNNHead, streams: Ragged, device: str = "cpu") -> np.ndarray:
    """(S, 2) float64 logits of every sequence."""
    network.to(device).eval()
    found = []
    for rows in _chunks(len(streams)):
        hidden, lengths = streams.stacked(rows)
        found.append(network(hidden.to(device), lengths.to(device)).cpu().numpy())
    return np.concatenate(found).astype(np.float64) if found else np.zeros((0, 2))


def _chunks(n: int) -> Iterator[slice]:
    return (slice(at, min(n, at + _ROWS)) for at in range(0, n, _ROWS))


def margins(found: np.ndarray) -> np.ndarray:
    """(..., ) log odds of the positive class from logits (..., 2)."""
    return np.asarray(found[..., 1] - found[..., 0])


def probability(margin: np.ndarray) -> np.ndarray:
    """Probability of the positive class."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -700, 700))))


def log_loss(margin: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy, nats."""
    return float(np.logaddexp(0, np.where(label, -margin, margin)).mean())


def check_two_classes(label: np.ndarray, what: str) -> None:
    """Raise `UserError` where ``label`` (n,) bool holds one class only."""
    if label.all() or not label.any():
        raise UserError(
            f"{what} are all of one class",
            field="sequences.label",
            remedy="Give sequences of both classes, in groups enough for each split.",
        )


@dataclass(frozen=True)
class Trained:
    """A network and its course: a row per epoch (loss on held-out rows, their AUC)."""

    network: CNNHead
    course: list[dict[str, float]]


def train_head(
    streams: Ragged,
    label: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    training: Training,
    device: str = "cpu",
) -> Trained:
    """Train on sequences ``train``, watch ``held`` (indices into ``streams``); ``label`` (S,) bool.

    Deterministic in ``training.seed``. Raises `UserError` where the rows of either kind are of one
    class.
    """
    check_two_classes(label[train], "the sequences the head is trained on")
    check_two_classes(label[held], "the sequences the head is tuned on")
    rng = np.random.default_rng(training.seed)
    shares, looks = (
        _hundredths(rng.permutation(rows)) if training.hundredths else [rows]
        for rows in (train, held)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = CNNHead(streams.width, training.padded_to).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
        course: list[dict[str, float]] = []
        kept, best, waited = network.state_dict(), (-np.inf, -np.inf), 0
        for epoch in range(training.epochs):
            _epoch(
                network,
                optimizer,
                streams,
                label,
                rng.permutation(shares[epoch % len(shares)]),
                training.batch,
            )
            rows = looks[epoch % len(looks)]
            margin = margins(logits(network, streams.subset(rows), device))
            loss, area = log_loss(margin, label[rows]), area_under_roc(margin, label[rows])
            course.append({"epoch": epoch, "loss": loss, "auc": area})
            score = (round(area, 4), -loss) if training.best else (-loss, 0.0)
            if score > best:
                kept = {name: value.clone() for name, value in network.state_dict().items()}
                best, waited = score, 0
            else:
                waited += 1
            if waited >= training.patience:
                break
        if training.best:
            network.load_state_dict(kept)
    return Trained(network.cpu().eval(), course)


def _epoch(
    network: CNNHead,
    optimizer: torch.optim.Optimizer,
    streams: Ragged,
    label: np.ndarray,
    order: np.ndarray,
    batch: int,
) -> None:
    network.train()
    device = network.fc.weight.device
    for at in range(0, len(order), batch):
        rows = order[at : at + batch]
        hidden, lengths = streams.stacked(rows)
        target = torch.from_numpy(label[rows].astype(np.int64)).to(device)
        loss = F.cross_entropy(network(hidden.to(device), lengths.to(device)), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _hundredths(rows: np.ndarray) -> list[np.ndarray]:
    """``rows`` in a hundred parts, fewer where there are fewer rows."""
    return [part for part in np.array_split(rows, 100) if len(part)]


class Split(NamedTuple):
    """Indices of sequences."""

    train: np.ndarray
    held: np.ndarray
    test: np.ndarray


def published_split(n: int, seed: int) -> Split:
    """64 : 16 : 20 of ``n`` sequences in an order that ignores groups and that another process does
    not repeat (the authors split a list of a set; `HSG:hsg/cisplatinRNA/CNNtrain.py:33,46-47`)."""
    order = np.random.default_rng(seed).permutation(n)
    first, second = round(0.64 * n), round(0.8 * n)
    return Split(order[:first], order[first:second], order[second:])


def shared_share(trained: Sequence[int] | np.ndarray, tested: Sequence[int] | np.ndarray) -> float:
    """Share of ``tested`` that is among ``trained``: .64 where a second process splits anew."""
    return float(np.isin(tested, trained).mean()) if len(tested) else float("nan")


def published_training(seed: int) -> Training:
    """The authors' training with a seed, which theirs lacked."""
    return PUBLISHED._replace(seed=seed)
