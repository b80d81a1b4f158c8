"""How local dependency is: the share of a feature's change beyond the substituted token, and how it
falls with distance, for many features and sequences, against models that learnt nothing.

On the substituted token itself the input changes its identity, so only what lies beyond it speaks
of context. The share is compared with that of a randomly initialized model on the same
substitutions, of layer 0 (0 by construction: no block has moved anything) and of latents that fire
as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.progress import progress
from petriscope.studies.dna.dependency import LETTERS, Reader, effects
from petriscope.studies.dna.model.tokens import Form, tokenize


class Locality(NamedTuple):
    """Sums of |change| in units of each feature's standard deviation; S sequences, F features."""

    own: np.ndarray
    """(S, F) on the substituted token"""
    off: np.ndarray
    """(S, F) beyond it"""
    change: np.ndarray
    """(S, D) over all features, by distance in tokens (0: the substituted one)"""
    pairs: np.ndarray
    """(S, D) substituted and affected tokens at each distance, times three substitutions"""

    def share(self, weights: np.ndarray, features: np.ndarray | None = None) -> np.ndarray:
        """(R,) off-token mass: Σ off / Σ (own + off) over sequences taken ``weights`` (R, S) times,
        of some features (None: all); NaN where nothing changes."""
        chosen = slice(None) if features is None else features
        own, off = self.own[:, chosen].sum(1), self.off[:, chosen].sum(1)
        total = weights @ (own + off)
        return np.divide(weights @ off, total, out=np.full(len(total), np.nan), where=total > 0)

    def decay(self) -> tuple[np.ndarray, np.ndarray]:
        """(D,) mean |change| of a feature on a token, and each distance's share of all mass."""
        features = max(1, self.own.shape[1])
        change, pairs = self.change.sum(0), self.pairs.sum(0)
        mean = np.divide(change, pairs * features, out=np.zeros(len(change)), where=pairs > 0)
        return mean, change / max(change.sum(), np.finfo(float).tiny)


def mutated_bases(sequence: str, form: Form, most: int) -> np.ndarray:
    """(P,) the middle base of at most ``most`` tokens of A, C, G and T, evenly spaced."""
    table = tokenize(sequence, form)
    middle = (table.start + table.width // 2)[1:]
    known = np.array([sequence[at] in LETTERS for at in middle.tolist()], bool)
    middle = middle[known]
    if len(middle) > most:
        middle = middle[np.linspace(0, len(middle) - 1, most).round().astype(int)]
    return middle


def locality(
    reader: Reader,
    sequences: Sequence[str],
    features: np.ndarray,
    scale: np.ndarray,
    *,
    positions: int,
    what: str = "Dependency",
) -> Locality:
    """Substitute the middle base of at most ``positions`` tokens of every sequence.

    features: (F,) indices of latents. scale: (F,) their standard deviations.
    """
    shown = progress(sequences, what, total=len(sequences), unit="sequence")
    return joined([locality_of(reader, one, features, scale, positions) for one in shown])


class OfSequence(NamedTuple):
    """What one sequence adds to `Locality`."""

    own: np.ndarray
    off: np.ndarray
    change: np.ndarray
    pairs: np.ndarray


def locality_of(
    reader: Reader, sequence: str, features: np.ndarray, scale: np.ndarray, positions: int
) -> OfSequence:
    """The part of one sequence; arguments as of `locality`."""
    bases = mutated_bases(sequence, reader.form, positions)
    found = effects(reader, sequence, bases=bases, features=features)
    sums = found.by_distance(scale)
    tokens = sums.shape[1]
    distance = np.abs(np.arange(tokens)[None, :] - found.own[:, None])
    pairs = 3 * np.bincount(distance.ravel(), minlength=tokens)
    return OfSequence(sums[:, 0], sums[:, 1:].sum(1), sums.sum(0), pairs)


def joined(rows: Sequence[OfSequence]) -> Locality:
    """The parts of all sequences in one."""
    most = max(len(row[2]) for row in rows)
    change, pairs = (
        np.stack([np.pad(row[column], (0, most - len(row[column]))) for row in rows])
        for column in (2, 3)
    )
    return Locality(np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows]), change, pairs)


def matched_on_firing(chosen: np.ndarray, rate: np.ndarray, seed: int) -> np.ndarray:
    """For each latent of ``chosen`` another, not chosen, whose firing rate is nearest (each taken
    once, in random order of choice). rate: (m,); those that never fire are left out."""
    free = np.setdiff1d(np.flatnonzero(rate > 0), chosen)
    found = []
    for latent in np.random.default_rng(seed).permutation(chosen):
        if not len(free):
            break
        nearest = int(np.argmin(np.abs(np.log(rate[free]) - np.log(max(rate[latent], 1e-12)))))
        found.append(free[nearest])
        free = np.delete(free, nearest)
    return np.sort(np.array(found, np.int64))


def bootstrap_weights(n: int, draws: int, seed: int) -> np.ndarray:
    """(1 + draws, n) how often each of n independent things is taken: row 0 once each, the rest a
    bootstrap sample."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    return np.concatenate([np.ones((1, n)), drawn.astype(float)])


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of bootstrap values (R,)."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def by_sequence(ids: Sequence[str], trained: Locality, random: Locality | None) -> pd.DataFrame:
    """Off-token mass of every sequence."""
    each = np.eye(len(ids))
    table = pd.DataFrame({"id": ids, "off_share": trained.share(each)})
    return table if random is None else table.assign(random_off_share=random.share(each))


def by_feature(
    alive: np.ndarray, trained: Locality, rate: np.ndarray, top: np.ndarray
) -> pd.DataFrame:
    """Off-token mass of every feature of ``alive``, with its firing rate, and whether it is one of
    ``top``."""
    own, off = trained.own.sum(0), trained.off.sum(0)
    share = np.divide(off, own + off, out=np.full(len(own), np.nan), where=own + off > 0)
    columns = {"feature": alive, "firing": rate[alive], "off_share": share}
    return pd.DataFrame({**columns, "mapped": np.isin(alive, top)})


def decay_table(trained: Locality, random: Locality | None) -> pd.DataFrame:
    """Mean change and share of all mass by distance in tokens, of both models."""
    tables = []
    for name, found in (("trained", trained), ("random_init", random)):
        if found is not None:
            mean, share = found.decay()
            columns = {"model": name, "distance": np.arange(len(mean)), "change": mean}
            tables.append(pd.DataFrame({**columns, "share": share}))
    return pd.concat(tables, ignore_index=True)


def against(shares: np.ndarray, random: np.ndarray | None) -> dict[str, float]:
    """The random model's share, and the trained one's minus it, over the same sequences."""
    if random is None:
        return {}
    step = shares - random
    found = {"random_share": float(random[0]), "difference": float(step[0])}
    found["random_low"], found["random_high"] = interval(random[1:])
    found["difference_low"], found["difference_high"] = interval(step[1:])
    return found
