"""What a sparse autoencoder is and how it is trained: one frozen dataclass, checked when made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

from petriscope.errors import UserError

VARIANTS = ("batchtopk", "topk", "matryoshka", "relu_l1")
_PLAIN = ("unit_decoder", "encoder_start", "l1_warmup", "l1_stage", "batch_of", "adam_eps")


@dataclasses.dataclass(frozen=True)
class SAEConfig:
    """Shape, sparsity and optimization of one sparse autoencoder.

    Variants: ``batchtopk`` keeps the batch·k largest latents of a batch (arXiv 2412.06410),
    ``topk`` the k largest of each token (arXiv 2406.04093), ``matryoshka`` is BatchTopK whose
    nested prefixes of the dictionary each reconstruct (arXiv 2503.17547), ``relu_l1`` keeps all
    positive latents and pays ``l1``·Σz (unit decoder rows, so L1 cannot be gamed). AuxK (arXiv
    2406.04093) lets dead latents explain the residual e: aux_weight·‖e − ê‖²/var(e) is added to the
    share of variance unexplained, as in its authors' code. With ``aux_units`` "squared_error" it is
    added to ‖e‖² itself, as dictionary_learning does: about d times weaker, too weak to revive
    latents in short runs.

    The last fields are those of autoencoders trained as plain networks (decoder rows of any length,
    an encoder drawn by itself, a rising penalty, a step per sequence): `relu_l1` alone. With
    ``scale_input`` false and d·λ for ``l1``, the objective is d times the mean squared error over
    tokens and dimensions plus λ·Σz, and Adam takes the same steps where ``adam_eps`` is d times
    theirs.
    """

    d: int
    m: int
    k: int
    variant: str = "batchtopk"
    steps: int = 2000
    batch: int = 1024
    lr: float = 3e-3
    warmup: int | None = None  # linear from 0; None: a twentieth of the steps, at most 1000
    decay: int | None = None  # linear to 0 at the end; None: the last fifth of the steps
    aux_k: int | None = None  # dead latents that may explain the residual of a token; None: d / 2
    aux_weight: float = 1 / 8
    aux_units: str = "variance"  # of the loss that AuxK is added to: variance | squared_error
    dead_after_tokens: int | None = (
        None  # silent this long = dead while training; None: 1/100 of the run, at most 10 M
    )
    resample_every: int = (
        0  # steps between resamplings of dead latents (Bricken et al. 2023); 0: never
    )
    l1: float = 1.0  # relu_l1 alone, per token, for inputs scaled to E‖h‖² = d
    groups: tuple[
        int, ...
    ] = ()  # matryoshka alone: latents of each nested group, summing to m; empty: halves
    clip: float = 1.0  # largest norm of the whole gradient; inf: any
    betas: tuple[float, float] = (0.9, 0.999)
    threshold_beta: float = (
        0.999  # running mean of the smallest kept activation (BatchTopK inference)
    )
    threshold_start: int | None = (
        None  # first step that enters it; None: half of the steps, at most 1000
    )
    start: str = "geometric_median"  # initial b_dec: geometric_median | mean | zero
    train_decoder: bool = (
        True  # False: decoder rows stay the random ones they start as (a control: sparsity alone)
    )
    scale_input: bool = True  # one constant so that E‖h‖² = d
    # precision of the product that proposes candidates (auto, bf16, float32): results never change
    filter: str = "auto"
    seed: int = 0
    unit_decoder: bool = True  # False: unit rows at the start alone, free afterwards
    encoder_start: str = "tied"  # to the decoder | independent: uniform within ±1/√d, bias too
    l1_warmup: int = 0  # stages over which ``l1`` rises linearly; 0: full from the first step
    l1_stage: int = 1  # steps of a stage
    batch_of: str = "tokens"  # blocks: each step takes all tokens of ``batch`` blocks (sequences)
    adam_eps: float = 1e-8

    def __post_init__(self) -> None:
        for field in ("d", "m", "k", "steps", "batch"):
            _check(
                isinstance(getattr(self, field), int) and getattr(self, field) > 0,
                field,
                self,
                "a positive integer",
            )
        _check(self.variant in VARIANTS, "variant", self, f"one of {', '.join(VARIANTS)}")
        _check(
            self.k < self.m,
            "k",
            self,
            f"below m = {self.m}: a code that keeps every latent is not sparse",
        )
        _check(
            isinstance(self.seed, int) and self.seed >= 0,
            "seed",
            self,
            "zero or a positive integer",
        )
        _check(0 < self.lr < 1, "lr", self, "between 0 and 1")
        for field in ("warmup", "decay", "threshold_start"):
            value = getattr(self, field)
            _check(
                value is None or 0 <= value <= self.steps,
                field,
                self,
                f"between 0 and steps = {self.steps}",
            )
        _check(self.aux_k is None or self.aux_k > 0, "aux_k", self, "positive")
        _check(
            self.dead_after_tokens is None or self.dead_after_tokens > 0,
            "dead_after_tokens",
            self,
            "positive",
        )
        _check(self.resample_every >= 0, "resample_every", self, "zero or a positive number")
        for field in ("aux_weight", "l1"):
            _check(0 <= getattr(self, field) < math.inf, field, self, "zero or a positive number")
        _check(self.clip > 0, "clip", self, "positive")
        _check(all(0 <= beta < 1 for beta in self.betas), "betas", self, "two numbers in [0, 1)")
        _check(0 <= self.threshold_beta < 1, "threshold_beta", self, "in [0, 1)")
        _check(
            self.aux_units in ("variance", "squared_error"),
            "aux_units",
            self,
            "variance or squared_error",
        )
        _check(
            self.start in ("geometric_median", "mean", "zero"),
            "start",
            self,
            "geometric_median, mean or zero",
        )
        _check(self.filter in ("auto", "bf16", "float32"), "filter", self, "auto, bf16 or float32")
        right = not self.groups or (min(self.groups) > 0 and sum(self.groups) == self.m)
        _check(right, "groups", self, f"positive sizes that sum to m = {self.m}")
        self._check_plain()

    def _check_plain(self) -> None:
        """The fields of plain networks, and what each of them cannot be combined with."""
        _check(
            self.encoder_start in ("tied", "independent"),
            "encoder_start",
            self,
            "tied or independent",
        )
        _check(self.batch_of in ("tokens", "blocks"), "batch_of", self, "tokens or blocks")
        _check(0 < self.adam_eps < 1, "adam_eps", self, "between 0 and 1")
        _check(self.l1_warmup >= 0, "l1_warmup", self, "zero or a positive number")
        _check(self.l1_stage > 0, "l1_stage", self, "positive")
        _check(
            self.l1_stage == 1 or self.l1_warmup > 0,
            "l1_stage",
            self,
            "1 where l1_warmup is 0",
        )
        if self.variant != "relu_l1":
            for field, plain in (
                ("unit_decoder", True),
                ("encoder_start", "tied"),
                ("l1_warmup", 0),
                ("batch_of", "tokens"),
            ):
                needs = f"{plain} where variant is {self.variant}: only relu_l1 has it otherwise"
                _check(getattr(self, field) == plain, field, self, needs)
        if not self.unit_decoder:
            _check(self.train_decoder, "train_decoder", self, "true where unit_decoder is false")
            _check(
                self.resample_every == 0,
                "resample_every",
                self,
                "0 where unit_decoder is false: resampled rows are of unit length",
            )
        if self.batch_of == "blocks":
            _check(
                self.dead_after_tokens is not None,
                "dead_after_tokens",
                self,
                "given where batch_of is blocks: their tokens are not known beforehand",
            )

    @property
    def tokens(self) -> int:
        """Tokens seen in the whole run, where a batch is of tokens."""
        return self.steps * self.batch

    def resolved(self) -> SAEConfig:
        """The same with every None replaced by the number it stands for."""
        halves = tuple(self.m // 2**i - self.m // 2 ** (i + 1) for i in range(1, 4))
        return dataclasses.replace(
            self,
            warmup=min(self.steps // 20, 1000) if self.warmup is None else self.warmup,
            decay=self.steps // 5 if self.decay is None else self.decay,
            aux_k=max(1, self.d // 2) if self.aux_k is None else self.aux_k,
            dead_after_tokens=_dead_after(self)
            if self.dead_after_tokens is None
            else self.dead_after_tokens,
            threshold_start=min(self.steps // 2, 1000)
            if self.threshold_start is None
            else self.threshold_start,
            groups=self.groups
            or ((self.m - sum(halves), *halves)[::-1] if self.variant == "matryoshka" else ()),
        )

    def learning_rate(self, step: int) -> float:
        """Learning rate of optimizer step ``step`` (0-based): linear warm-up from 0, plateau,
        linear decay to 0."""
        config = self.resolved()
        assert config.warmup is not None and config.decay is not None
        rise = min(1.0, step / config.warmup) if config.warmup else 1.0
        fall = min(1.0, (config.steps - step) / config.decay) if config.decay else 1.0
        return config.lr * rise * fall

    def penalty(self, step: int) -> float:
        """``l1`` of optimizer step ``step`` (0-based), risen stage by stage; 0 for the variants
        that pay none."""
        if self.variant != "relu_l1":
            return 0.0
        stage = step // self.l1_stage + 1
        return self.l1 * min(1.0, stage / self.l1_warmup) if self.l1_warmup else self.l1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for cfg.json and comparisons. The fields of plain networks are named where
        they are used, and no limit of the gradient is the word inf, as JSON has no such number."""
        values = dataclasses.asdict(self)
        plain = {f.name: f.default for f in dataclasses.fields(self) if f.name in _PLAIN}
        return {
            key: list(v) if isinstance(v, tuple) else str(v) if v == math.inf else v
            for key, v in values.items()
            if key not in plain or v != plain[key]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SAEConfig:
        """The configuration ``as_dict`` wrote. Raises `UserError` on an unknown or misshapen
        field."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(
                "is no entry of an SAE configuration",
                field=unknown[0],
                remedy=f"Known: {sorted(known)}.",
            )
        tuples = {key: tuple(values[key]) for key in ("groups", "betas") if key in values}
        try:
            limit = {"clip": float(values["clip"])} if "clip" in values else {}
            return cls(**{**values, **tuples, **limit})
        except (TypeError, ValueError) as error:
            what = f"has an entry of the wrong type or lacks one ({error})"
            raise UserError(what, field="SAE configuration", remedy="Restore the file.") from None


def _dead_after(config: SAEConfig) -> int:
    return min(10_000_000, max(8 * config.batch, config.tokens // 100))


def _check(holds: bool, field: str, config: SAEConfig, needs: str) -> None:
    if not holds:
        raise UserError(
            f"is {getattr(config, field)!r}, but must be {needs}",
            field=f"sae.{field}",
            remedy=f"Set sae.{field} to one that is {needs}.",
        )


class Asked(Protocol):
    """The entries of params.yaml that describe a dictionary."""

    @property
    def variant(self) -> str: ...

    @property
    def latents(self) -> int: ...

    @property
    def k(self) -> int: ...

    @property
    def learning_rate(self) -> float | str: ...

    @property
    def batch(self) -> int: ...

    @property
    def tokens(self) -> int: ...


def sae_config(sae: Asked, d: int, seed: int) -> SAEConfig:
    """The configuration of one dictionary; where the learning rate is `auto`, it has the default
    one before a sweep."""
    plan = SAEConfig(
        d=d,
        m=sae.latents,
        k=sae.k,
        variant=sae.variant,
        steps=max(1, sae.tokens // sae.batch),
        batch=sae.batch,
        seed=seed,
    )
    rate = sae.learning_rate
    return plan if isinstance(rate, str) else dataclasses.replace(plan, lr=rate)
