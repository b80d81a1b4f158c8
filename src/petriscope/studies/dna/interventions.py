"""An edit of features changes the hidden states that a trained head reads; its effect is the change
of the head's log odds, sequence by sequence.

As published, the whole code is rescaled and decoded, without the decoder's bias and without what
the dictionary does not explain (`as_published`). Corrected, h' = h + Σ_f (z'_f − z_f) d_f
(`HSG:hsg/featureanalysis/intervention.py:46-55` against design section 6). Every edit here is a
base stream plus a coefficient per token along a few directions, and the head's first layer is
linear: that layer is computed once per base, an edit adds to it what it adds to the stream, and
only sequences that an edit reaches are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from petriscope.errors import UserError
from petriscope.studies.dna.head import CNNHead, Ragged, margins

_CELLS = 24_000_000  # float32 values of the first layer held for one call of the rest


class Setting(NamedTuple):
    """One cell of the published grid: the feature is raised to ``delta`` at least and multiplied by
    ``alpha``, all others are divided by ``alpha``; ``alpha`` 0 leaves the feature alone and
    removes the others."""

    delta: float
    alpha: float

    def check(self) -> Setting:
        """Return self where both are finite and not negative; else raise `UserError`."""
        for name, value in zip(("delta", "alpha"), self):
            check_strength(name, value)
        return self

    @property
    def own(self) -> float:
        """Factor of the feature."""
        return self.alpha or 1.0

    @property
    def others(self) -> float:
        """Factor of all other features."""
        return 1 / self.alpha if self.alpha else 0.0


GRID = tuple(Setting(delta, alpha) for delta in (0.1, 10.0) for alpha in (0.0, 10.0))
"""The published settings."""


def check_strength(name: str, value: float) -> None:
    """Raise `UserError` where a strength of an edit is negative or not finite."""
    if not np.isfinite(value) or value < 0:
        raise UserError(
            f"is {value:g}",
            field=f"interventions.{name}",
            remedy="Give a finite number that is not negative.",
        )


@dataclass(frozen=True)
class Edited:
    """Sequences whose hidden states are edited, with the codes of their tokens."""

    streams: Ragged
    """S sequences"""
    codes: sp.csr_matrix
    """(k, m) codes of their tokens, in the order of ``streams.rows``"""
    directions: np.ndarray
    """(m, d) what one unit of a feature adds to the stream"""
    bias: np.ndarray
    """(d,) what the dictionary decodes from no feature at all"""

    def __post_init__(self) -> None:
        m, d = self.directions.shape
        if d != self.streams.width:
            raise UserError(
                f"has width {d}, the hidden states {self.streams.width}",
                field="sae",
                remedy="Take the dictionary of this model and layer.",
            )
        if self.codes.shape != (len(self.streams.rows), m):
            raise UserError(
                f"have shape {self.codes.shape}, the tokens and the dictionary "
                f"{(len(self.streams.rows), m)}",
                field="codes",
                remedy="Encode these hidden states again (`petriscope stage codes`).",
            )

    @property
    def m(self) -> int:
        """Features of the dictionary."""
        return len(self.directions)

    @cached_property
    def place(self) -> tuple[np.ndarray, np.ndarray]:
        """Sequence and position in it of each token."""
        lengths = self.streams.lengths
        sequence = np.repeat(np.arange(len(lengths)), lengths)
        return sequence, np.arange(len(sequence)) - self.streams.offsets[sequence]

    @cached_property
    def columns(self) -> sp.csc_matrix:
        """Codes by feature."""
        return self.codes.tocsc()

    def check_features(
        self, features: Sequence[int] | np.ndarray, *, fires: bool = True
    ) -> np.ndarray:
        """``features`` as an array. Raises `UserError` where one is out of range or, with
        ``fires``, fires on none of these tokens."""
        found = np.asarray(features, np.int64)
        for feature in found[(found < 0) | (found >= self.m)]:
            raise UserError(
                f"is {feature}, the dictionary has features 0 to {self.m - 1}",
                field="feature",
                remedy="Name one of these.",
            )
        for feature in found[np.diff(self.columns.indptr)[found] == 0] if fires else ():
            raise UserError(
                f"{feature} is silent: it fires on none of the {self.codes.shape[0]} edited tokens",
                field="feature",
                remedy="Choose a feature that fires on the sequences judged.",
            )
        return found

    def check_scale(self, *, worst: float = 1.0) -> Edited:
        """Return self where the codes explain some of the hidden states; else raise `UserError`:
        the dictionary is then of another layer, or of a stream of another scale."""
        hidden = np.asarray(self.streams.values[self.streams.rows], np.float64)
        left = hidden - (self.codes @ self.directions.astype(np.float64) + self.bias)
        fvu = float((left**2).sum() / ((hidden - hidden.mean(0)) ** 2).sum())
        if not fvu < worst:
            raise UserError(
                f"leaves {fvu:.3g} of the variance of these hidden states unexplained",
                field="sae",
                remedy="Take the dictionary of this layer, trained on this model's scale.",
            )
        return self

    def decoded(self) -> np.ndarray:
        """(k, d) Σ_f z_f d_f of every token."""
        return np.asarray(self.codes @ self.directions)

    def activation(self, feature: int) -> np.ndarray:
        """(k,) activation of one feature."""
        return np.asarray(self.columns[:, [feature]].toarray()).ravel()


class Along(NamedTuple):
    """An edit: ``coefficients`` (k, F) times ``directions`` (F, d), token by token."""

    coefficients: np.ndarray
    directions: np.ndarray

    @classmethod
    def one(cls, coefficient: np.ndarray, direction: np.ndarray) -> Along:
        """Along one direction (d,)."""
        return cls(coefficient[:, None], direction[None])


class Reader:
    """A head's log odds of some sequences while their stream is edited."""

    def __init__(self, network: CNNHead, edited: Edited, base: np.ndarray | None = None) -> None:
        """``base`` (k, d): what edits are added to in place of the hidden states."""
        self.network, self.edited = network, edited
        streams = edited.streams
        if base is not None:
            streams = Ragged(base, np.arange(len(base)), streams.offsets)
        kind = network.fc.weight.dtype
        stacked = streams.stacked()
        self.lengths, self.width = stacked.lengths, stacked.hidden.shape[1]
        with torch.inference_mode():
            parts = [network.first(hidden.to(kind)) for hidden in stacked.hidden.split(256)]
            self.before = torch.cat(parts)
            each = self._rows_at_once(1)
            pieces = zip(self.before.split(each), self.lengths.split(each))
            self.margin = np.concatenate([self._rest(*piece) for piece in pieces])

    def _rows_at_once(self, copies: int) -> int:
        return max(1, _CELLS // (copies * self.before[0].numel()))

    def _rest(self, before: Tensor, lengths: Tensor) -> np.ndarray:
        return margins(self.network.rest(before, lengths).double().numpy())

    @torch.inference_mode()
    def shifted(self, edit: Along, factors: Sequence[float] = (1.0,)) -> np.ndarray:
        """(D, S) log odds with each of ``factors`` times the edit added to the base."""
        sequence, position = self.edited.place
        touched = np.flatnonzero((edit.coefficients != 0).any(1))
        reached = np.unique(sequence[touched])
        out = np.repeat(self.margin[None], len(factors), axis=0)
        moved = np.flatnonzero(np.asarray(factors) != 0)
        if not len(reached) or not len(moved):
            return out
        kind = self.before.dtype
        row = np.full(out.shape[1], -1)
        row[reached] = np.arange(len(reached))
        spread = np.zeros((len(reached), self.width, edit.coefficients.shape[1]), np.float64)
        spread[row[sequence[touched]], position[touched]] = edit.coefficients[touched]
        directions = torch.from_numpy(np.ascontiguousarray(edit.directions)).to(kind)
        strength = torch.from_numpy(np.asarray(factors)[moved]).to(kind)[:, None, None, None]
        each = self._rows_at_once(len(moved))
        for at in range(0, len(reached), each):
            rows = reached[at : at + each]
            part = torch.from_numpy(spread[at : at + each]).to(kind)
            before = self.before[rows] + strength * self.network.added(part, directions)
            found = self._rest(before.flatten(0, 1), self.lengths[rows].repeat(len(moved)))
            out[np.ix_(moved, rows)] = found.reshape(len(moved), -1)
        return out


def scaled(edited: Edited, feature: int) -> Along:
    """z_f d_f: α − 1 times it scales one feature by α, −1 times it suppresses it."""
    return Along.one(edited.activation(feature), edited.directions[feature])


def clamped(edited: Edited, feature: int, delta: float) -> Along:
    """(max(z_f, δ) − z_f) d_f: one feature is δ at least on every token."""
    check_strength("delta", delta)
    z = edited.activation(feature)
    return Along.one(np.maximum(z, delta) - z, edited.directions[feature])


def together(edited: Edited, features: np.ndarray) -> Along:
    """Σ_f z_f d_f over several features."""
    return Along(edited.columns[:, features].toarray(), edited.directions[features])


def along_another(edited: Edited, feature: int, direction: np.ndarray) -> Along:
    """‖z_f d_f‖ along another ``direction`` (d,): as long an edit, token by token."""
    size = float(np.linalg.norm(edited.directions[feature]))
    unit = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    return Along.one(edited.activation(feature) * size, unit.astype(edited.directions.dtype))


def without_features(edited: Edited) -> np.ndarray:
    """(k, d) h − Σ_f z_f d_f: the base of "keep only f", to which z_f d_f is added."""
    return np.asarray(edited.streams.values[edited.streams.rows] - edited.decoded())


class GridForm(NamedTuple):
    """How the edited code becomes a stream again. Published: both dropped."""

    bias_dropped: bool = True
    error_dropped: bool = True


PUBLISHED_FORM = GridForm()


def grid_base(edited: Edited, setting: Setting, form: GridForm = PUBLISHED_FORM) -> np.ndarray:
    """(k, d) the stream with every feature times `Setting.others`; where the error is kept, what
    the dictionary does not explain (the bias is part of it) is added."""
    decoded = edited.decoded()
    if not form.error_dropped:
        hidden = edited.streams.values[edited.streams.rows]
        return np.asarray(hidden + (setting.others - 1) * decoded)
    return np.asarray(setting.others * decoded + (0 if form.bias_dropped else edited.bias))


def grid_edit(edited: Edited, feature: int, setting: Setting) -> Along:
    """What the published operation then does to one feature: own · max(z_f, δ) − others · z_f."""
    z = edited.activation(feature)
    raised = setting.own * np.maximum(z, setting.delta)
    return Along.one(raised - setting.others * z, edited.directions[feature])


def reconstruction(edited: Edited, *, bias_dropped: bool = False) -> np.ndarray:
    """(k, d) what the dictionary alone puts in place of the stream."""
    return np.asarray(edited.decoded() + (0 if bias_dropped else edited.bias))


def published_grid(
    network: CNNHead,
    edited: Edited,
    features: np.ndarray,
    grid: Sequence[Setting] = GRID,
    form: GridForm = PUBLISHED_FORM,
) -> np.ndarray:
    """(F, G, S) log odds under each setting of each feature."""
    readers = [Reader(network, edited, grid_base(edited, s.check(), form)) for s in grid]
    return np.stack(
        [
            [
                reader.shifted(grid_edit(edited, feature, setting))[0]
                for reader, setting in zip(readers, grid)
            ]
            for feature in edited.check_features(features, fires=False)
        ]
    )
