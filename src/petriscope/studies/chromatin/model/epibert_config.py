"""EpiBERT's hyper-parameters carry our names here; a table maps the original's names to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from petriscope.errors import UserError

ATAC_BIN = 4
"""bp per accessibility bin."""

_KINDS = {"int": (int,), "float": (int, float), "bool": (bool,), "int | None": (int, type(None))}


@dataclass(frozen=True)
class EpiBERTConfig:
    """Every width and depth of EpiBERT; the defaults are those of the released checkpoints.

    ``input_length`` (bp) and ``output_length`` (tokens) describe the window the model was made for;
    it runs on any window of whole tokens and crops ``crop`` tokens from either side. ``d_model`` 0
    means the last sequence filter, ``head_dim`` 0 means ``d_model / heads``, as in the original.
    """

    ORIGINAL_NAMES: ClassVar[Mapping[str, str]] = (
        {
            "filter_list_seq": "sequence_filters",
            "filter_list_atac": "atac_filters",
            "num_heads": "heads",
            "num_transformer_layers": "layers",
            "norm": "final_norm",
            "use_rot_emb": "rotary",
            "dropout_rate": "dropout",
            "pointwise_dropout_rate": "head_dropout",
            "motif_dropout_rate": "motif_dropout",
            "nb_random_features": "random_features",
            "BN_momentum": "bn_momentum",
        }
        | {name: name for name in ("input_length", "output_length", "final_output_length")}
        | {name: name for name in ("final_point_scale", "motif_units_fc", "num_motifs", "seed")}
    )
    """The original's hyper-parameters and ours."""

    input_length: int = 524_288
    output_length: int = 4096
    final_output_length: int | None = 4092
    sequence_filters: tuple[int, ...] = (512, 640, 640, 768, 896, 1024)
    atac_stem_filters: int = 32
    atac_filters: tuple[int, ...] = (32, 64)
    atac_stem_pool: int = 2
    atac_pool: int = 4
    num_motifs: int = 693
    motif_units_fc: int = 32
    d_model: int = 0
    heads: int = 8
    head_dim: int = 0
    layers: int = 8
    random_features: int = 256
    stabilizer: float = 0.001
    rotary: bool = True
    final_norm: bool = True
    final_point_scale: int = 6
    seed: int = 19
    bn_momentum: float = 0.9
    dropout: float = 0.2
    head_dropout: float = 0.1
    motif_dropout: float = 0.25

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("sequence_filters", "atac_filters"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or not all(
                type(width) is int for width in value
            ):
                raise UserError(
                    f"{value!r} is not a list of whole numbers",
                    field=name,
                    remedy="Give one width per stage.",
                )
            set_(self, name, tuple(value))
        self._check_types()
        if not self.d_model and self.sequence_filters:
            set_(self, "d_model", self.sequence_filters[-1])
        self._check_positive()
        if not self.head_dim:
            if self.d_model % self.heads:
                raise UserError(
                    f"width {self.d_model} is not divisible by {self.heads} heads",
                    field="heads",
                    remedy="Choose a divisor of d_model.",
                )
            set_(self, "head_dim", self.d_model // self.heads)
        self._check_shape()

    def _check_types(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            kinds = _KINDS.get(str(item.type))
            if kinds and type(value) not in kinds:
                raise UserError(
                    f"{value!r} is not {item.type}",
                    field=item.name,
                    remedy="Give a value of that type.",
                )

    def _check_positive(self) -> None:
        if not self.sequence_filters:
            raise UserError(
                "the list is empty",
                field="sequence_filters",
                remedy="Give one width per halving of the sequence.",
            )
        least = {
            name: 1
            for name in (
                "input_length",
                "output_length",
                "atac_stem_filters",
                "atac_stem_pool",
                "atac_pool",
            )
        }
        least |= {
            name: 1
            for name in ("num_motifs", "heads", "random_features", "final_point_scale", "d_model")
        }
        least |= {"motif_units_fc": 4, "layers": 0, "head_dim": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(
                    f"{getattr(self, name)} is below {bound}",
                    field=name,
                    remedy=f"Give at least {bound}.",
                )
        for name in ("sequence_filters", "atac_filters"):
            if min(getattr(self, name), default=1) < 1:
                raise UserError("a width is below 1", field=name, remedy="Give positive widths.")
        for name in ("bn_momentum", "dropout", "head_dropout", "motif_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{getattr(self, name)} is not in [0, 1)", field=name, remedy="Give a fraction."
                )

    def _check_shape(self) -> None:
        if self.rotary and self.head_dim % 2:
            raise UserError(
                f"rotary positions turn pairs of channels, but a head has {self.head_dim}",
                field="head_dim",
                remedy="Choose heads so that d_model / heads is even, or switch rotary off.",
            )
        if self.d_model < self.final_point_scale:
            raise UserError(
                f"{self.final_point_scale} exceeds d_model {self.d_model}, which leaves the head "
                f"no channel",
                field="final_point_scale",
                remedy=f"Give at most {self.d_model}.",
            )
        pooled = ATAC_BIN * self.atac_stem_pool * self.atac_pool ** len(self.atac_filters)
        if pooled != self.token_width:
            raise UserError(
                f"the accessibility branch pools {pooled} bp into a token, the sequence branch "
                f"{self.token_width}",
                field="atac_filters",
                remedy="Match atac_stem_pool, atac_pool and the number of atac_filters to that of "
                "sequence_filters.",
            )
        if self.input_length != self.output_length * self.token_width:
            raise UserError(
                f"{self.output_length} tokens of {self.token_width} bp are not "
                f"{self.input_length} bp",
                field="output_length",
                remedy=f"Input_length / {self.token_width} tokens are needed.",
            )
        if (
            self.final_output_length is not None
            and not 0 < self.final_output_length <= self.output_length
        ):
            raise UserError(
                f"{self.final_output_length} tokens cannot be cropped out of {self.output_length}",
                field="final_output_length",
                remedy=f"Give 1 to {self.output_length}.",
            )

    @property
    def token_width(self) -> int:
        """bp per token: the stem and each stage of the sequence tower halve the length."""
        return 2 ** (1 + len(self.sequence_filters))

    @property
    def crop(self) -> int:
        """Tokens cropped from either side of the prediction."""
        final = self.output_length if self.final_output_length is None else self.final_output_length
        return (self.output_length - final) // 2

    @property
    def motif_channels(self) -> int:
        """Channels of the motif branch."""
        return self.motif_units_fc // 4

    @property
    def head_channels(self) -> int:
        """Channels of the last pointwise convolution."""
        return self.d_model // self.final_point_scale

    @property
    def sequence_channels(self) -> int:
        """Channels of the sequence branch."""
        return self.sequence_filters[-1]

    @property
    def input_channels(self) -> int:
        """Channels entering the projection to ``d_model``: sequence, accessibility, motifs."""
        atac = self.atac_filters[-1] if self.atac_filters else self.atac_stem_filters
        return self.sequence_channels + atac + self.motif_channels

    @classmethod
    def from_original(cls, mapping: Mapping[str, Any]) -> EpiBERTConfig:
        """The configuration named by the original's hyper-parameters; missing ones take the
        released model's values.

        Where only one of ``input_length`` and ``output_length`` is given the other follows, and
        ``final_output_length`` then defaults to the released crop of two tokens a side. ``d_model``
        and ``dim`` are not read: the original takes them from the last sequence filter and the
        heads. It stores but never uses ``max_seq_length``, ``numerical_stabilizer`` and
        ``normalize``; they and unknown names are passed over too.
        """
        kernel = mapping.get("kernel_transformation", "relu_kernel_transformation")
        if kernel != "relu_kernel_transformation":
            raise UserError(
                f"attention kernel {kernel!r} is not supported",
                field="kernel_transformation",
                remedy="Only relu_kernel_transformation, that of the released models, is.",
            )
        values = {
            ours: mapping[theirs]
            for theirs, ours in cls.ORIGINAL_NAMES.items()
            if theirs in mapping
        }
        token_width = 2 ** (1 + len(values.get("sequence_filters", cls.sequence_filters)))
        if "input_length" in values:
            values.setdefault("output_length", values["input_length"] // token_width)
        elif "output_length" in values:
            values["input_length"] = values["output_length"] * token_width
        if "output_length" in values:
            values.setdefault("final_output_length", values["output_length"] - 4)
        return cls(**values)
