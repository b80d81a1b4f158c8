"""`params.yaml` as frozen dataclasses, validated at load; a misspelt name or a value out of range
is refused."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError


def _f(
    low: float | None = None, high: float | None = None, choices: tuple[Any, ...] | None = None
) -> Any:
    """A required field with an allowed range or set; lists are checked element by element."""
    return field(metadata={"low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class SplitShares:
    """Share of the genome in each split."""

    train: float = _f(0.01, 1)
    select: float = _f(0.01, 1)
    tune: float = _f(0.01, 1)
    test: float = _f(0.01, 1)


@dataclass(frozen=True)
class Windows:
    """Where the genome is cut."""

    length: int = _f(1024, 1 << 24)
    crop: int = _f(0, 64)
    max_n_fraction: float = _f(0, 1)
    block_bp: int = _f(10_000, 50_000_000)
    split: SplitShares = _f()


@dataclass(frozen=True)
class Tracks:
    """From signal files to model input."""

    match_depth: int | None = _f(1000)
    motif_p: float = _f(1e-9, 0.1)
    max_peaks: int = _f(10)


@dataclass(frozen=True)
class Model:
    """The probed model: EpiBERT, or what the adapter `FILE.py:NAME` builds; given weights, or
    pre-trained here."""

    adapter: str | None = _f()
    weights: str | None = _f()
    layers: int = _f(1, 48)
    d_model: int = _f(8, 8192)
    heads: int = _f(1, 64)
    sequence_filters: list[int] = _f(1, 8192)
    atac_filters: list[int] = _f(1, 8192)
    random_features: int = _f(1, 4096)
    epochs: int = _f(0, 10_000)
    windows_per_step: int = _f(1, 1024)
    biosamples_per_step: int = _f(1, 1024)
    learning_rate: float = _f(1e-7, 1)
    dropout: float = _f(0, 0.9)
    mask_folds: int = _f(2, 64)


@dataclass(frozen=True)
class Activations:
    """How the residual stream is harvested."""

    masking: str = _f(choices=("none", "kfold"))
    folds: int = _f(2, 64)


@dataclass(frozen=True)
class Gate:
    """What an SAE must reach on held-out tokens."""

    fvu: float = _f(0, 1)
    l0_low: float = _f(0)
    l0_high: float = _f(0)
    dead: float = _f(0, 1)


@dataclass(frozen=True)
class Sae:
    """Sparse autoencoders, one per layer and seed."""

    variant: str = _f(choices=("batchtopk", "topk", "relu_l1"))
    latents: int = _f(8, 1 << 20)
    k: int = _f(1, 4096)
    learning_rate: float | str = _f(1e-7, 1)
    batch: int = _f(16, 1 << 20)
    tokens: int = _f(1000)
    seeds: list[int] = _f(0)
    gate: Gate = _f()


@dataclass(frozen=True)
class Codes:
    """What is kept of the codes."""

    top_bins: int = _f(1, 10_000)


@dataclass(frozen=True)
class Cds:
    """Context Divergence Score and its inference."""

    alpha: float = _f(1e-6, 0.5)
    permutations: int = _f(100, 10_000_000)
    bootstrap: int = _f(100, 1_000_000)
    min_events: float = _f(0, 1e9)
    adjust: list[str] = _f(choices=("depth", "frip"))
    stable: float = _f(0, 1)


@dataclass(frozen=True)
class Calibration:
    """Null data sets on which the tests are tried: how many per seed, and how many seeds."""

    nulls: int = _f(20, 100_000)
    seeds: int = _f(1, 100)


@dataclass(frozen=True)
class Truth:
    """New libraries of the simulator, for planted truth."""

    run: bool = _f()
    donors: int = _f(2, 1000)


@dataclass(frozen=True)
class Ablation:
    """Causal ablation."""

    layer: int | str = _f()
    ks: list[int] = _f(1, 100_000)
    random_sets: int = _f(10, 10_000)
    windows: int = _f(2)
    mask_fold: float = _f(0.01, 0.9)


@dataclass(frozen=True)
class Steering:
    """Context steering."""

    layer: int | str = _f()
    features: int = _f(1, 100_000)
    alphas: list[float] = _f(0, 100)
    windows: int = _f(2)


@dataclass(frozen=True)
class Annotation:
    """Foregrounds, backgrounds and families of the annotation stages."""

    engine: str = _f(choices=("own", "homer"))
    background_ratio: int = _f(1, 100)
    max_features: int = _f(1, 1_000_000)
    max_foreground: int = _f(10)
    random_draws: int = _f(0, 10_000)
    hits_motifs: int = _f(1, 100)
    hits_bins: int = _f(1, 1000)
    geneset_sizes: list[int] = _f(1)


@dataclass(frozen=True)
class Controls:
    """Branches of the pipeline that could kill a claim."""

    random_init: bool = _f()
    random_init_tokens: int = _f(1000)
    depth_matched: bool = _f()
    input_controls: bool = _f()
    input_windows: int = _f(4, 100_000)
    label_shuffle: bool = _f()
    label_shuffle_draws: int = _f(2, 10_000)
    leaderboard: bool = _f()
    leaderboard_features: int = _f(1, 100_000)


@dataclass(frozen=True)
class Figures:
    """How figures are drawn."""

    dpi: int = _f(50, 1200)


@dataclass(frozen=True)
class Params:
    """The whole of `params.yaml`."""

    dataset: str = _f()
    seed: int = _f(0, 2**31 - 1)
    device: str = _f(choices=("cpu", "cuda", "auto"))
    windows: Windows = _f()
    tracks: Tracks = _f()
    model: Model = _f()
    activations: Activations = _f()
    sae: Sae = _f()
    codes: Codes = _f()
    cds: Cds = _f()
    calibration: Calibration = _f()
    truth: Truth = _f()
    ablation: Ablation = _f()
    steering: Steering = _f()
    annotation: Annotation = _f()
    controls: Controls = _f()
    figures: Figures = _f()

    def digest(self) -> str:
        """Short hash of all values: the parameter stamp of a figure."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def load_params(path: str | Path) -> Params:
    """Read and check a parameter file. Raises `UserError` naming the file, the entry and the
    remedy."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        remedy = (
            "Run inside a Petriscope workspace (the folder with params.yaml) or give --workspace."
        )
        raise UserError("does not exist", file=path, remedy=remedy) from None
    except yaml.YAMLError as error:
        raise UserError(
            f"not valid YAML ({error})", file=path, remedy="Mend the line named."
        ) from None
    params = parse_params(raw, path)
    return params


def parse_params(raw: Any, path: str | Path = "params.yaml") -> Params:
    """`Params` from a plain mapping, with the checks that span several entries."""
    params = _build(Params, raw, "", Path(path))
    windows = params.windows

    def refuse(entry: str, what: str, remedy: str) -> UserError:
        return UserError(what, file=path, field=entry, remedy=remedy)

    if windows.length % 128:
        remedy = f"Use {windows.length // 128 * 128} or {(windows.length // 128 + 1) * 128}."
        raise refuse("windows.length", f"is {windows.length}, not a multiple of 128 bp", remedy)
    if 2 * windows.crop >= windows.length // 128:
        raise refuse(
            "windows.crop", f"is {windows.crop}, which leaves no bin", "Use a smaller crop."
        )
    total = sum(dataclasses.astuple(windows.split))
    if abs(total - 1) > 1e-6:
        raise refuse("windows.split", f"adds up to {total:g}", "Make the four shares add up to 1.")
    if params.sae.k >= params.sae.latents:
        raise refuse(
            "sae.k",
            f"is {params.sae.k}, not below sae.latents {params.sae.latents}",
            "Use a smaller k.",
        )
    if isinstance(params.sae.learning_rate, str) and params.sae.learning_rate != "auto":
        raise refuse(
            "sae.learning_rate",
            f"is {params.sae.learning_rate!r}",
            "Use `auto` or a number such as 0.003.",
        )
    if len(set(params.sae.seeds)) < len(params.sae.seeds):
        raise refuse("sae.seeds", "names a seed twice", "Give each seed once.")
    if not params.sae.seeds:
        raise refuse("sae.seeds", "is empty", "Give at least one seed.")
    if len(params.annotation.geneset_sizes) != 2:
        raise refuse("annotation.geneset_sizes", "needs two numbers", "Write [smallest, largest].")
    for entry, layer in (
        ("ablation.layer", params.ablation.layer),
        ("steering.layer", params.steering.layer),
    ):
        if isinstance(layer, str) and layer != "middle":
            raise refuse(entry, f"is {layer!r}", "Use `middle` or a layer number.")
    return params


def _build(kind: type, raw: Any, prefix: str, path: Path) -> Any:
    if not isinstance(raw, dict):
        raise UserError(
            "must be a mapping",
            file=path,
            field=prefix.rstrip(".") or None,
            remedy="Compare with the shipped params.yaml.",
        )
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in raw:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            remedy = (
                f"Did you mean {prefix}{close[0]}?"
                if close
                else f"Known here: {', '.join(fields)}."
            )
            raise UserError("is not a parameter", file=path, field=f"{prefix}{name}", remedy=remedy)
    values = {}
    for name, spec in fields.items():
        entry = f"{prefix}{name}"
        if name not in raw:
            raise UserError(
                "is missing", file=path, field=entry, remedy="Compare with the shipped params.yaml."
            )
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            values[name] = _build(typing.cast(type, hint), raw[name], f"{entry}.", path)
        else:
            values[name] = _value(hint, raw[name], spec.metadata, entry, path)
    return kind(**values)


def _value(hint: Any, value: Any, limits: typing.Mapping[str, Any], entry: str, path: Path) -> Any:
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise UserError(
                f"is {value!r}, not a list",
                file=path,
                field=entry,
                remedy="Write it as [a, b, ...].",
            )
        (inner,) = typing.get_args(hint)
        return [_value(inner, item, limits, f"{entry}[{i}]", path) for i, item in enumerate(value)]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and float in options
        and int not in options
    ):
        value = float(value)
    if type(value) not in options:
        names = " or ".join(o.__name__ for o in options if o is not type(None))
        raise UserError(
            f"is {value!r}, not {names}",
            file=path,
            field=entry,
            remedy=f"Give a value of type {names}.",
        )
    if limits.get("choices") and value not in limits["choices"]:
        raise UserError(
            f"is {value!r}",
            file=path,
            field=entry,
            remedy=f"Use one of: {', '.join(limits['choices'])}.",
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = limits.get("low"), limits.get("high")
        if (low is not None and value < low) or (high is not None and value > high):
            allowed = f"from {low if low is not None else '-inf'} to {high if high is not None else 'inf'}"
            raise UserError(
                f"is {value}, out of range", file=path, field=entry, remedy=f"Allowed: {allowed}."
            )
    return value
