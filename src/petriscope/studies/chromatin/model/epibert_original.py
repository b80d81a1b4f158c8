"""Each variable of the original EpiBERT has its place here: checkpoint object paths, array layouts,
shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.studies.chromatin.model.epibert_config import EpiBERTConfig

VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
FIXTURE_PREFIX = "weight/"


class Place(NamedTuple):
    """Our parameter for one original variable: its name, the original's shape, how its axes are
    laid out."""

    name: str
    shape: tuple[int, ...]
    layout: str
    """vector, dense (in, out), conv (width, in, out), heads_in (d, heads, dim) or heads_out (heads,
    dim, d)."""

    def ours(self, array: np.ndarray) -> np.ndarray:
        """The original's array in our layout, float32."""
        array = np.asarray(array, dtype=np.float32)
        if self.layout == "conv":
            array = array.transpose(2, 1, 0)
        elif self.layout == "dense":
            array = array.T
        elif self.layout == "heads_in":
            array = array.reshape(array.shape[0], -1).T
        elif self.layout == "heads_out":
            array = array.reshape(-1, array.shape[-1]).T
        return np.ascontiguousarray(array)


def _norm(path: str, name: str, width: int, *, running: bool) -> Iterator[tuple[str, Place]]:
    names = {"gamma": "weight", "beta": "bias"}
    if running:
        names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for theirs, ours in names.items():
        yield f"{path}/{theirs}", Place(f"{name}.{ours}", (width,), "vector")


def _conv(path: str, name: str, shape: tuple[int, int, int]) -> Iterator[tuple[str, Place]]:
    yield f"{path}/kernel", Place(f"{name}.weight", shape, "conv")
    yield f"{path}/bias", Place(f"{name}.bias", shape[-1:], "vector")


def _dense(
    path: str, name: str, shape: tuple[int, int], *, bias: bool = True
) -> Iterator[tuple[str, Place]]:
    yield f"{path}/kernel", Place(f"{name}.weight", shape, "dense")
    if bias:
        yield f"{path}/bias", Place(f"{name}.bias", shape[-1:], "vector")


def _conv_block(path: str, name: str, shape: tuple[int, int, int]) -> Iterator[tuple[str, Place]]:
    yield from _norm(f"{path}/layer_with_weights-0", f"{name}.norm", shape[1], running=True)
    yield from _conv(f"{path}/layer_with_weights-1", f"{name}.conv", shape)


def _branches(config: EpiBERTConfig) -> Iterator[tuple[str, Place]]:
    filters, stem, atac = config.sequence_filters, config.atac_stem_filters, config.atac_filters
    yield from _conv("stem_conv", "sequence.stem", (15, 4, filters[0]))
    yield from _conv_block(
        "stem_res_conv/_layer", "sequence.stem_block", (1, filters[0], filters[0])
    )
    yield from _dense("stem_pool/dense", "sequence.stem_pool.logit", (filters[0], 1), bias=False)
    for i, (a, b) in enumerate(zip((filters[0], *filters[:-1]), filters)):
        stage = f"conv_tower/layer_with_weights-{i}"
        yield from _conv_block(f"{stage}/layer_with_weights-0", f"sequence.tower.{i}", (5, a, b))
        yield from _dense(
            f"{stage}/layer_with_weights-1/dense", f"sequence.pools.{i}.logit", (b, 1), bias=False
        )
    yield from _conv("stem_conv_atac", "atac.stem", (50, 1, stem))
    yield from _conv_block("stem_res_conv_atac/_layer", "atac.stem_block", (1, stem, stem))
    for i, (a, b) in enumerate(zip((stem, *atac[:-1]), atac)):
        stage = f"conv_tower_atac/layer_with_weights-{i}"
        yield from _conv_block(f"{stage}/layer_with_weights-0", f"atac.tower.{i}", (5, a, b))
    yield from _dense(
        "motif_activity_fc1", "motif.wide", (config.num_motifs, config.motif_units_fc)
    )
    yield from _dense(
        "motif_activity_fc2", "motif.narrow", (config.motif_units_fc, config.motif_channels)
    )


def _transformer(config: EpiBERTConfig) -> Iterator[tuple[str, Place]]:
    width, heads, dim = config.d_model, config.heads, config.head_dim
    for i in range(config.layers):
        path, name = f"performer/layers/{i}", f"blocks.{i}"
        yield from _norm(f"{path}/layer_norm", f"{name}.norm", width, running=False)
        for part in ("query", "key", "value"):
            place = Place(f"{name}.attention.{part}.weight", (width, heads, dim), "heads_in")
            yield f"{path}/self_attention/{part}_dense_layer/kernel", place
        place = Place(f"{name}.attention.output.weight", (heads, dim, width), "heads_out")
        yield f"{path}/self_attention/output_dense_layer/kernel", place
        yield from _norm(f"{path}/FFN/FFN_layer_norm", f"{name}.feed_norm", width, running=False)
        yield from _dense(f"{path}/FFN/FFN_dense_wide", f"{name}.wide", (width, 2 * width))
        yield from _dense(f"{path}/FFN/FFN_dense_narrow", f"{name}.narrow", (2 * width, width))


def original_places(config: EpiBERTConfig) -> dict[str, Place]:
    """Object path (without the leading ``model/``) -> place, for every variable a model of
    ``config`` has."""
    places = dict(_branches(config))
    places |= dict(
        _dense(
            "pre_transformer_projection",
            "projection",
            (config.input_channels, config.d_model),
            bias=False,
        )
    )
    places |= dict(_transformer(config))
    if config.final_norm:
        places |= dict(_norm("performer/layer_norm", "final_norm", config.d_model, running=False))
    places |= dict(
        _conv_block("final_pointwise_conv", "head.block", (1, config.d_model, config.head_channels))
    )
    places |= dict(_dense("final_dense_profile", "head.profile", (config.head_channels, 1)))
    return places


def object_path(key: str) -> str:
    """``key`` without fixture prefix, leading ``model/``, attribute suffix, and with ``_kernel``
    spelled ``kernel``."""
    path = key.removeprefix(FIXTURE_PREFIX).removesuffix(VALUE_SUFFIX).removeprefix("model/")
    head, _, last = path.rpartition("/")
    return f"{head}/kernel" if last == "_kernel" else path


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def our_arrays(weights: Mapping[str, np.ndarray], config: EpiBERTConfig) -> dict[str, np.ndarray]:
    """Our parameter name -> float32 array, from the original's variables by checkpoint key.

    Where any key begins with ``weight/`` the others are not weights and are passed over. Every
    variable of the model must be there once, in its shape, and nothing else: otherwise a UserError
    names the variables.
    """
    keys = [key for key in weights if key.startswith(FIXTURE_PREFIX)] or list(weights)
    places = original_places(config)
    arrays: dict[str, np.ndarray] = {}
    unknown = [key for key in keys if object_path(key) not in places]
    found = {object_path(key): key for key in keys}
    missing = [path for path in places if path not in found]
    if missing:
        raise UserError(
            f"{len(missing)} of the model's {len(places)} variables are missing: "
            f"{_listed(missing)}",
            field="weights",
            remedy="Check that the configuration has the layers, filters and final_norm the "
            "weights were trained with.",
        )
    if unknown:
        raise UserError(
            f"{len(unknown)} variables belong to no part of this model: {_listed(unknown)}",
            field="weights",
            remedy="Check that the weights are of the accessibility-pretrained EpiBERT and fit "
            "the configuration.",
        )
    for path, place in places.items():
        array = np.asarray(weights[found[path]])
        if array.shape != place.shape:
            raise UserError(
                f"shape {array.shape} does not fit the configuration, which needs {place.shape}",
                field=found[path],
                remedy="Give the widths, heads and motifs the weights were trained with.",
            )
        if array.dtype.kind != "f":
            raise UserError(
                f"has type {array.dtype}, not a float",
                field=found[path],
                remedy="Give floating-point weights.",
            )
        arrays[place.name] = place.ours(array)
    return arrays
