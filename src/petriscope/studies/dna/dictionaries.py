"""The dictionaries of Hidden State Genomics as published, and the corrected ones beside them.

Published (hsg/sae/{dictionary,train}.py and math/loss.py at 05bb746): a plain ReLU network, whose
decoder columns are of unit length at the start alone. Its loss is the mean over tokens and
dimensions of the squared error plus λ times the mean over tokens of Σz; Adam takes one step per
sequence; λ rises over the first hundred epochs of 256 sequences. The paper (S2) sums over
dimensions, which makes λ another by the factor d. Here the loss is d times theirs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.causal.leaderboard import principal_components
from petriscope.run.params import Gate
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import quality_and_rates
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary

ADAM_EPS = 1e-8
EPOCH = 256
"""sequences of an epoch, each a step."""
RISING = 100
"""epochs over which λ rises."""
EPOCHS = 1000
"""epochs of a published training, at most."""
FIRST_PENALTY = 1.5
"""of ReLU-L1 on scaled input, before its sparsity is known."""
TRIES = 5
"""penalties tried, each by a whole training."""
NEAR = 1.25
"""so many times more or fewer latents than asked are near enough."""
RATE_EDGES = 10.0 ** np.round(np.arange(-6, 0.05, 0.1), 1)
"""of the histograms of firing rates, per token."""


def published(
    d: int,
    latents: int,
    *,
    penalty: float,
    steps: int,
    rate: float = 1e-4,
    rising: int = RISING,
    epoch: int = EPOCH,
    seed: int = 0,
) -> SAEConfig:
    """The published form, for hidden states of width ``d``.

    Parameters
    ----------
    d, latents : int
        Width and size of the dictionary.
    penalty : float
        λ beside the mean over tokens and dimensions (the authors' 1e-3).
    steps : int
        Sequences seen.
    rate : float
        Of Adam: 1e-4 in the code, 1e-3 in the README.
    rising, epoch : int
        Epochs over which λ rises, and the steps of each.
    seed : int
        Of the initial weights and of the order of sequences; the authors had none.
    """
    return SAEConfig(
        d=d,
        m=latents,
        k=1,  # of no use: every positive latent fires
        variant="relu_l1",
        steps=steps,
        batch=1,
        batch_of="blocks",
        lr=rate,
        warmup=0,
        decay=0,
        aux_weight=0.0,
        dead_after_tokens=10_000_000,
        l1=d * penalty,
        l1_warmup=rising,
        l1_stage=epoch,
        clip=math.inf,
        adam_eps=d * ADAM_EPS,
        start="zero",
        encoder_start="independent",
        unit_decoder=False,
        scale_input=False,
        seed=seed,
    )


class Sizes(NamedTuple):
    """What the forms share, at one layer and one expansion."""

    d: int
    latents: int
    k: int
    tokens: int
    """of a corrected training."""
    batch: int
    rate: float
    penalty: float
    """λ of the published form."""
    sequences: int
    """of a published training, a step each."""
    published_rate: float
    seed: int

    def corrected(self, variant: str) -> SAEConfig:
        """Unit columns and scaled input; a latent is dead once a tenth of the tokens left it
        silent."""
        return SAEConfig(
            d=self.d,
            m=self.latents,
            k=self.k,
            variant=variant,
            steps=max(1, self.tokens // self.batch),
            batch=self.batch,
            lr=self.rate,
            dead_after_tokens=max(8 * self.batch, self.tokens // 10),
            seed=self.seed,
        )

    def published(self) -> SAEConfig:
        """The published form; its λ rises over the same share of a shorter training."""
        epoch = max(1, self.sequences // EPOCHS)
        return published(
            self.d,
            self.latents,
            penalty=self.penalty,
            steps=self.sequences,
            rate=self.published_rate,
            rising=max(1, self.sequences * RISING // EPOCHS // epoch),
            epoch=epoch,
            seed=self.seed,
        )


class Judged(NamedTuple):
    """A dictionary and what held-out tokens say of it."""

    form: str
    """published, corrected or baseline."""
    variant: str
    """topk, batchtopk, relu_l1; pca, neurons."""
    numbers: dict[str, Any]
    """fvu, l0, dead (share of latents that never fire), firing_q25, firing_median, firing_q75 (of
    the latents that fire, per token), l1."""
    rates: np.ndarray
    """(m,) share of held-out tokens on which each latent fires."""
    sae: SAE | None = None

    def named(self, of: Mapping[str, Any]) -> dict[str, Any]:
        """The columns ``of`` and those that name the form."""
        return {**of, "form": self.form, "variant": self.variant}


def forms(
    sizes: Sizes, source: TokenSource, heldout: np.ndarray, device: str = "cpu"
) -> Iterator[Judged]:
    """Corrected TopK, BatchTopK and ReLU-L1 at about equal L0, and the published form: each trained
    on ``source`` (a block a sequence) and judged on ``heldout`` (n, d)."""

    def trained(config: SAEConfig, form: str) -> Judged:
        made = train_dictionary(config, source, heldout=None, device=device, progress=False)
        found = made.sae
        judged, rates = quality_and_rates(found, heldout)
        l1 = config.l1 if config.variant == "relu_l1" else math.nan
        numbers = {"fvu": judged.fvu, "l0": judged.l0, **firing(rates), "l1": l1}
        return Judged(form, config.variant, numbers, rates, found)

    for variant in ("topk", "batchtopk"):
        yield trained(sizes.corrected(variant), "corrected")
    plain = sizes.corrected("relu_l1")
    yield at_sparsity(lambda l1: trained(dataclasses.replace(plain, l1=l1), "corrected"), sizes.k)
    yield trained(sizes.published(), "published")


def at_sparsity(train: Callable[[float], Judged], k: int) -> Judged:
    """What ``train`` makes of the penalty, of at most `TRIES`, whose L0 is nearest to ``k`` by
    ratio. L0 falls as the penalty rises; between two that enclose k the next is their geometric
    mean."""
    low, high, penalty = 0.0, math.inf, FIRST_PENALTY
    best, distance = None, math.inf
    for _ in range(TRIES):
        found = train(penalty)
        ratio = found.numbers["l0"] / k
        off = abs(math.log(max(ratio, 1e-9)))
        if best is None or off < distance:
            best, distance = found, off
        if off <= math.log(NEAR):
            break
        low, high = (max(low, penalty), high) if ratio > 1 else (low, min(high, penalty))
        if low > 0 and high < math.inf:
            penalty = math.sqrt(low * high)
        else:
            penalty *= min(max(ratio, 0.1), 10.0) ** 0.7
    assert best is not None
    return best


def baselines(rows: np.ndarray, heldout: np.ndarray, k: int) -> Iterator[Judged]:
    """Principal components and neurons of hidden states ``rows`` (n, d): of each held-out token
    the ``k`` largest coordinates about the mean are kept, so that L0 is k."""
    pca = principal_components(rows)
    center = pca.center.numpy().astype(np.float64)
    for name, basis in (("pca", pca.basis.numpy()), ("neurons", np.eye(len(center)))):
        coordinates = (heldout - center) @ basis.T
        kept = np.zeros(coordinates.shape, bool)
        count = min(k, len(basis))
        largest = np.argsort(-np.abs(coordinates), axis=1, kind="stable")[:, :count]
        np.put_along_axis(kept, largest, True, axis=1)
        error = np.where(kept, 0.0, coordinates)  # the basis is orthonormal
        spread = np.square(heldout - heldout.mean(0, dtype=np.float64)).sum()
        rates = np.stack([kept & (coordinates > 0), kept & (coordinates < 0)]).mean(1).ravel()
        fvu = float(np.square(error).sum() / spread)
        numbers = {"fvu": fvu, "l0": float(kept.sum(1).mean()), **firing(rates), "l1": math.nan}
        yield Judged("baseline", name, numbers, rates)


def firing(rates: np.ndarray) -> dict[str, float]:
    """Share of dead latents, and quartiles of the firing rates (m,) of the others."""
    alive = rates[rates > 0]
    quartiles = np.quantile(alive, [0.25, 0.5, 0.75]) if len(alive) else [math.nan] * 3
    names = ("firing_q25", "firing_median", "firing_q75")
    return {
        "dead": float((rates == 0).mean()),
        **{name: float(value) for name, value in zip(names, quartiles, strict=True)},
    }


def histogram(rates: np.ndarray) -> pd.DataFrame:
    """Columns low, high, latents: how many latents fire at a rate in [low, high), the last bin with
    its end; the dead have a row of their own, 0 to 0."""
    counts = np.histogram(rates[rates > 0].clip(RATE_EDGES[0], 1), RATE_EDGES)[0]
    return pd.DataFrame(
        {
            "low": np.r_[0.0, RATE_EDGES[:-1]],
            "high": np.r_[0.0, RATE_EDGES[1:]],
            "latents": np.r_[(rates == 0).sum(), counts],
        }
    )


def quality_rows(found: Sequence[Judged], of: Mapping[str, Any]) -> pd.DataFrame:
    """A row per dictionary: the columns ``of``, form, variant, latents and its numbers."""
    return pd.DataFrame(
        [{**one.named(of), "latents": len(one.rates), **one.numbers} for one in found]
    )


@dataclasses.dataclass(frozen=True)
class ExpansionNumbers:
    """Reconstruction and sparsity of every layer, expansion and form on held-out tokens."""

    untestable: str | None = None
    """why it was not run; None where it was"""
    sizes: int | None = None
    """layers times expansions; each has every form"""
    k: int | None = None
    gate_fvu: float | None = None
    """the largest share of variance that a dictionary may leave unexplained"""
    gate_passed: int | None = None
    """sizes at which the corrected TopK keeps to it"""
    corrected: dict[str, list[float]] | None = None
    """smallest and largest of corrected TopK: fvu, l0, share (l0 over latents), firing_median (of
    the latents that fire, per token), dead"""
    published: dict[str, list[float]] | None = None
    """the same of the published form"""
    relu_in_band: int | None = None
    """sizes at which the corrected ReLU-L1 was brought into the gate's band of L0"""
    best_variant: dict[str, int] | None = None
    """at how many sizes each corrected variant leaves least unexplained, ReLU-L1 where in band"""
    baseline_fvu: dict[str, list[float]] | None = None
    """smallest and largest share unexplained by k principal components or k neurons"""

    @classmethod
    def of(cls, quality: pd.DataFrame, k: int, gate: Gate) -> ExpansionNumbers:
        """The numbers of the table `quality_rows`."""
        topk = quality[(quality.form == "corrected") & (quality.variant == "topk")]
        relu = quality[(quality.form == "corrected") & (quality.variant == "relu_l1")]
        inside = relu.l0.between(gate.l0_low, gate.l0_high)
        rivals = quality[quality.form == "corrected"].drop(index=relu.index[~inside])
        best = rivals.loc[rivals.groupby(["layer", "factor"]).fvu.idxmin()].variant
        base = quality[quality.form == "baseline"]
        return cls(
            sizes=len(topk),
            k=k,
            gate_fvu=gate.fvu,
            gate_passed=int((topk.fvu <= gate.fvu).sum()),
            corrected=_ranges(topk),
            published=_ranges(quality[quality.form == "published"]),
            relu_in_band=int(inside.sum()),
            best_variant={
                str(name): int(n) for name, n in best.value_counts().sort_index().items()
            },
            baseline_fvu={str(name): _range(rows.fvu) for name, rows in base.groupby("variant")},
        )


def _ranges(rows: pd.DataFrame) -> dict[str, list[float]]:
    columns = ("fvu", "l0", "share", "firing_median", "dead")
    shown = rows.assign(share=rows.l0 / rows.latents)
    return {column: _range(shown[column]) for column in columns}


def _range(values: pd.Series) -> list[float]:
    return [float(values.min()), float(values.max())]
