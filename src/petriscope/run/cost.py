"""What a run of many tokens, layers and seeds costs: bytes, hours, money; and which executor suits.

With N tokens per layer, L layers, S seeds, width d, m latents, b bytes a number, P parameters of
the probed model without its embedding, context length T, R effective FLOP/s, B bytes/s of the disk
and n training tokens per dictionary::

    stored bytes      N d b L
    harvest FLOP      N (2 P + 4 L T d)
    SAE core-seconds  S L n / r
    SAE FLOP          6 d m S L n
    SAE device bytes  16 (2 d m + m + d) S L
    streamed price    (harvest FLOP + SAE FLOP) / R / 3600 x price of a GPU-hour
    storage price     stored bytes / 1e9 x price of a GB-month
    recompute if      (2 P + 4 L T d) / R  <  d b L / B
    disk is the bound if   B / (d b)  <  R / (6 d m)

Source: a pass of a transformer takes two operations a parameter and token, and 4 T d more in each
layer's attention (Kaplan et al. 2020, arXiv 2001.08361, table 1, where T d stands twice for scores
and sums); training takes three passes of the dense products of encoder and decoder, of which one
pass is 2 d m. r is measured: 2,800 tokens/s on one core at d 1152, m 4608, k 32, batch 2048, and is
taken to fall with d m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

MEASURED_RATE, MEASURED_SIZE = 2800.0, 1152 * 4608
"""Tokens per second of one core, and the d m at which that was measured."""


@dataclass(frozen=True)
class Scale:
    """What is asked, and what is assumed of the machine."""

    tokens: float
    """N, per layer: harvested once"""
    layers: int
    width: int
    latents: int
    seeds: int = 1
    train_tokens: float | None = None
    """n, per dictionary, passes counted; None: every harvested token once"""
    parameters: float = 293e6
    context: int = 2048
    number_bytes: int = 2
    flops: float = 62e12
    disk: float = 3e9
    core_rate: float = MEASURED_RATE
    cores: int = 8
    gpus: int = 0
    gpu_price: float = 2.0
    storage_price: float = 0.023
    patience: float = 24.0
    """hours that one machine may take before another is worth its trouble"""

    @property
    def dictionaries(self) -> int:
        """S L"""
        return self.seeds * self.layers

    @property
    def trained(self) -> float:
        """Tokens that all dictionaries together train on."""
        each = self.tokens if self.train_tokens is None else self.train_tokens
        return self.dictionaries * each

    @property
    def stored_bytes(self) -> float:
        """N d b L"""
        return self.tokens * self.width * self.number_bytes * self.layers

    @property
    def token_flop(self) -> float:
        """FLOP of the model for a token: 2 P + 4 L T d"""
        return 2 * self.parameters + 4 * self.layers * self.context * self.width

    @property
    def harvest_flop(self) -> float:
        """All layers in one pass."""
        return self.tokens * self.token_flop

    @property
    def write_seconds(self) -> float:
        """Of the store, at the disk's rate."""
        return self.stored_bytes / self.disk

    @property
    def sae_core_hours(self) -> float:
        """Of all dictionaries, a thread each."""
        slower = self.width * self.latents / MEASURED_SIZE
        return self.trained / self.core_rate * slower / 3600

    @property
    def sae_flop(self) -> float:
        """Dense products, forward and backward."""
        return 6 * self.width * self.latents * self.trained

    @property
    def device_bytes(self) -> float:
        """Weights, gradients and two moments of all dictionaries."""
        weights = 2 * self.width * self.latents + self.latents + self.width
        return 16.0 * weights * self.dictionaries

    @property
    def harvest_gpu_hours(self) -> float:
        return self.harvest_flop / self.flops / 3600

    @property
    def sae_gpu_hours(self) -> float:
        return self.sae_flop / self.flops / 3600

    @property
    def streamed_price(self) -> float:
        """Model and dictionaries on GPUs, nothing stored."""
        return (self.harvest_gpu_hours + self.sae_gpu_hours) * self.gpu_price

    @property
    def month_price(self) -> float:
        """Of keeping the store."""
        return self.stored_bytes / 1e9 * self.storage_price

    @property
    def recompute_microseconds(self) -> float:
        """Per token, all layers."""
        return self.token_flop / self.flops * 1e6

    @property
    def write_microseconds(self) -> float:
        """Per token, all layers; a read takes as long."""
        return self.width * self.number_bytes * self.layers / self.disk * 1e6

    @property
    def hours_here(self) -> float:
        """On one machine: on its GPUs, else on its cores, a dictionary to a core, with the harvest
        at the stated FLOP/s."""
        if self.gpus:
            return (self.harvest_gpu_hours + self.sae_gpu_hours) / self.gpus
        rounds = math.ceil(self.dictionaries / self.cores)
        return self.harvest_gpu_hours + rounds * self.sae_core_hours / self.dictionaries


class Choice(NamedTuple):
    """What suits, and why."""

    source: str
    """store or stream"""
    executor: str
    """local, slurm or ray"""
    reasons: tuple[str, ...]


def choose(scale: Scale) -> Choice:
    """Which source of hidden states and which executor suit."""
    recompute, write = scale.recompute_microseconds, scale.write_microseconds
    source = "stream" if recompute < write and scale.stored_bytes > 1e12 else "store"
    reasons = [
        f"a token costs {recompute:.3g} µs to compute anew and {write:.3g} µs to write, as much "
        f"again for each read; the store takes {amount(scale.stored_bytes)}: {source}"
        + (" (below 1 TB a store is simpler)" if recompute < write and source == "store" else "")
    ]
    taken, device = scale.hours_here, "GPU" if scale.gpus else "core"
    count = scale.gpus or scale.cores
    shown = f"one machine of {count} {device}{'s' if count > 1 else ''} takes {number(taken)} h"
    if taken <= scale.patience:
        reasons.append(f"{shown}, at most {scale.patience:g}: local")
        return Choice(source, "local", tuple(reasons))
    slots = math.ceil(taken / scale.patience) * count
    reasons.append(f"{shown}, more than {scale.patience:g}: slurm where there is a SLURM, else ray")
    if scale.gpus or slots <= scale.dictionaries:
        reasons.append(f"{slots:,} {device}s would take about {number(taken * count / slots)} h")
    else:
        shortest = number(scale.sae_core_hours / scale.dictionaries)
        reasons.append(
            f"a dictionary trains on one core, so {scale.dictionaries} cores take {shortest} h and "
            f"more are of no use; one GPU takes {number(scale.sae_gpu_hours)} h for all"
        )
    return Choice(source, "slurm", tuple(reasons))


def rows(scale: Scale) -> list[tuple[str, str, str]]:
    """What it costs: a quantity, its value, and how it comes about."""
    fits = (
        "disk"
        if scale.disk / (scale.width * scale.number_bytes)
        < scale.flops / (6 * scale.width * scale.latents)
        else "arithmetic"
    )
    return [
        ("dictionaries", f"{scale.dictionaries:,}", "S L"),
        ("tokens trained on", f"{scale.trained:.3g}", "S L n"),
        ("stored hidden states", amount(scale.stored_bytes), "N d b L"),
        ("harvest", f"{scale.harvest_flop:.3g} FLOP", "N (2 P + 4 L T d)"),
        ("harvest on a GPU", hours(scale.harvest_gpu_hours), "harvest FLOP / R"),
        ("writing the store", hours(scale.write_seconds / 3600), "N d b L / B"),
        ("dictionaries on cores", f"{number(scale.sae_core_hours)} core-h", "S L n / r"),
        ("dictionaries", f"{scale.sae_flop:.3g} FLOP", "6 d m S L n"),
        ("dictionaries on a GPU", hours(scale.sae_gpu_hours), "SAE FLOP / R"),
        ("dictionaries in device memory", amount(scale.device_bytes), "16 (2 d m + m + d) S L"),
        ("bound of training from the store on a GPU", fits, "B / (d b) against R / (6 d m)"),
        ("streamed on GPUs", f"${scale.streamed_price:,.2f}", "GPU-hours x price"),
        ("store", f"${scale.month_price:,.2f} a month", "GB-months x price"),
    ]


def assumptions(scale: Scale) -> list[tuple[str, str]]:
    """Every number that was not asked for: what it is, and where it comes from."""
    return [
        (f"P = {scale.parameters:.4g} parameters", "without embedding; Geneformer's are 293 M"),
        (f"T = {scale.context:,} tokens", "context length of the model"),
        (f"b = {scale.number_bytes} bytes", "float16"),
        (f"R = {scale.flops / 1e12:g} TFLOP/s", "assumed: effective, not the data sheet's"),
        (f"B = {scale.disk / 1e9:g} GB/s", "assumed: one disk or one share of a file system"),
        (
            f"r = {scale.core_rate:,.0f} tokens/s",
            "measured on one core at d 1152, m 4608, k 32, batch 2048; taken to fall with d m",
        ),
        (f"${scale.gpu_price:g} a GPU-hour", "assumed: replace it by yours"),
        (f"${scale.storage_price:g} a GB-month", "assumed: replace it by yours"),
        (f"{scale.cores} cores and {scale.gpus} GPUs", "of the one machine"),
    ]


def amount(size: float) -> str:
    """Bytes in words."""
    for unit, of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= of:
            return f"{size / of:.3g} {unit}"
    return f"{size:.0f} bytes"


def hours(value: float) -> str:
    """A duration in words, given in hours."""
    for unit, of in (("h", 1.0), ("min", 1 / 60)):
        if value >= of:
            return f"{number(value / of)} {unit}"
    return f"{number(value * 3600)} s"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
