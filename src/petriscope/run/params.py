"""`params.yaml` is read as frozen dataclasses, validated at load; a misspelled name or a value out
of range is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from petriscope.errors import UserError
from petriscope.names import did_you_mean
from petriscope.run.studies import DEFAULT, Study, find_study
from petriscope.textfile import read_text


def entry(
    low: float | None = None, high: float | None = None, choices: tuple[Any, ...] | None = None
) -> Any:
    """A required entry with an allowed range or set; lists are checked element by element."""
    return field(metadata={"low": low, "high": high, "choices": choices})


def may_be_left_out(default: Any, choices: tuple[Any, ...]) -> Any:
    """An entry that a parameter file need not have; the last ones of a section."""
    return field(default=default, metadata={"low": None, "high": None, "choices": choices})


@dataclass(frozen=True)
class Gate:
    """What an SAE must reach on held-out tokens."""

    fvu: float = entry(0, 1)
    l0_low: float = entry(0)
    l0_high: float = entry(0)
    dead: float = entry(0, 1)

    def limits(self) -> dict[str, list[float]]:
        """What each column of stage sae's table must keep to."""
        return {
            "fvu": [self.fvu],
            "l0": [self.l0_low, self.l0_high],
            "dead_fraction": [self.dead],
        }


@dataclass(frozen=True)
class Sae:
    """Sparse autoencoders, one per layer and seed."""

    variant: str = entry(choices=("batchtopk", "topk", "relu_l1"))
    latents: int = entry(8, 1 << 20)
    k: int = entry(1, 4096)
    learning_rate: float | str = entry(1e-7, 1)
    batch: int = entry(16, 1 << 20)
    tokens: int = entry(1000)
    seeds: list[int] = entry(0)
    gate: Gate = entry()
    source: str = may_be_left_out("store", choices=("store", "stream"))
    """store: hidden states that stage activations wrote; stream: the model runs while they train"""


@dataclass(frozen=True)
class Codes:
    """What is kept of the codes."""

    top_bins: int = entry(1, 10_000)


@dataclass(frozen=True)
class Cds:
    """Context Divergence Score and its inference."""

    alpha: float = entry(1e-6, 0.5)
    permutations: int = entry(100, 10_000_000)
    bootstrap: int = entry(100, 1_000_000)
    min_events: float = entry(0, 1e9)
    adjust: list[str] = entry()
    stable: float = entry(0, 1)


@dataclass(frozen=True)
class Calibration:
    """Null data sets on which the tests are tried: how many per seed, and how many seeds."""

    nulls: int = entry(20, 100_000)
    seeds: int = entry(1, 100)


@dataclass(frozen=True)
class Ablation:
    """Causal ablation."""

    layer: int | str = entry()
    ks: list[int] = entry(1, 100_000)
    random_sets: int = entry(10, 10_000)
    windows: int = entry(2)
    mask_fold: float = entry(0.01, 0.9)


@dataclass(frozen=True)
class Steering:
    """Context steering."""

    layer: int | str = entry()
    features: int = entry(1, 100_000)
    alphas: list[float] = entry(0, 100)
    windows: int = entry(2)


@dataclass(frozen=True)
class Controls:
    """Branches of the pipeline that could kill a claim."""

    random_init: bool = entry()
    random_init_tokens: int = entry(1000)
    label_shuffle: bool = entry()
    label_shuffle_draws: int = entry(2, 10_000)
    leaderboard: bool = entry()
    leaderboard_features: int = entry(1, 100_000)


@dataclass(frozen=True)
class Figures:
    """How figures are drawn."""

    dpi: int = entry(50, 1200)


class Problem(NamedTuple):
    """What is wrong with an entry, and what to do about it."""

    entry: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Params:
    """The sections of `params.yaml` that every study has; a study's own class adds its others."""

    dataset: str = entry()
    seed: int = entry(0, 2**31 - 1)
    device: str = entry(choices=("cpu", "cuda", "auto"))
    released: str | None = entry()
    """Folder of trained weights to take in place of training (`petriscope.run.weights`)."""
    sae: Sae = entry()
    codes: Codes = entry()
    cds: Cds = entry()
    figures: Figures = entry()

    def digest(self) -> str:
        """Short hash of all values: the parameter stamp of a figure. An entry that may be left out
        counts where it says something else than its absence."""
        text = json.dumps(_said(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def problems(self) -> Iterator[Problem]:
        """What is wrong between entries, each of which is allowed by itself."""
        sae = self.sae
        if sae.k >= sae.latents:
            what = f"is {sae.k}, not below sae.latents {sae.latents}"
            yield Problem("sae.k", what, "Use a smaller k.")
        if isinstance(sae.learning_rate, str) and sae.learning_rate != "auto":
            remedy = "Use `auto` or a number such as 0.003."
            yield Problem("sae.learning_rate", f"is {sae.learning_rate!r}", remedy)
        if len(set(sae.seeds)) < len(sae.seeds):
            yield Problem("sae.seeds", "names a seed twice", "Give each seed once.")
        if sae.source == "stream" and sae.learning_rate == "auto":
            what = "is auto, which tries rates on stored hidden states"
            remedy = "Give a number such as 0.003, or set sae.source to store."
            yield Problem("sae.learning_rate", what, remedy)
        if not sae.seeds:
            yield Problem("sae.seeds", "is empty", "Give at least one seed.")


@dataclass(frozen=True)
class ContrastParams(Params):
    """Those, and the sections of a study that contrasts replicated units in two conditions."""

    calibration: Calibration = entry()
    ablation: Ablation = entry()
    steering: Steering = entry()
    controls: Controls = entry()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between entries."""
        yield from super().problems()
        for name, layer in (("ablation", self.ablation.layer), ("steering", self.steering.layer)):
            yield from layer_problem(f"{name}.layer", layer)


def layer_problem(entry: str, layer: int | str) -> Iterator[Problem]:
    """What is wrong with a layer in params.yaml before the model is known."""
    if isinstance(layer, str) and layer != "middle":
        yield Problem(entry, f"is {layer!r}", "Use `middle` or a layer number.")


def chosen_layer(value: int | str, layers: int, entry: str) -> int:
    """A layer number from params.yaml, of a model with layers 0 to ``layers``; `middle` is the
    middle block's output."""
    layer = (layers + 1) // 2 if value == "middle" else int(value)
    if not 0 <= layer <= layers:
        raise UserError(
            f"is {layer}",
            file="params.yaml",
            field=entry,
            remedy=f"The model has layers 0 to {layers}.",
        )
    return layer


def load_params(path: str | Path) -> Any:
    """Read and check a parameter file: the `Params` of the study that it names.

    Raises `UserError` naming the file, the entry and the remedy.
    """
    path = Path(path)
    return parse_params(_read(path), path)


def study_of(path: str | Path) -> Study:
    """The study whose parameters the file holds: its entry `study`, else the default one."""
    return _study(_read(Path(path)), Path(path))


def parse_params(raw: Any, path: str | Path = "params.yaml") -> Any:
    """`Params` of the study that a plain mapping names, with the checks that span several
    entries."""
    study = _study(raw, Path(path))
    values = {name: value for name, value in raw.items() if name != "study"}
    params = _build(study.params, values, "", Path(path))
    for problem in params.problems():
        raise UserError(problem.what, file=path, field=problem.entry, remedy=problem.remedy)
    return params


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(read_text(path))
    except FileNotFoundError:
        remedy = (
            "Run inside a Petriscope workspace (the folder with params.yaml) or give --workspace."
        )
        raise UserError("does not exist", file=path, remedy=remedy) from None
    except yaml.YAMLError as error:
        raise UserError(
            f"not valid YAML ({error})",
            file=path,
            remedy="Write that line as `key: value`.",
        ) from None


def _study(raw: Any, path: Path) -> Study:
    if not isinstance(raw, dict):
        remedy = "Compare with the shipped params.yaml."
        raise UserError("must be a mapping", file=path, remedy=remedy)
    return find_study(str(raw.get("study", DEFAULT)), path)


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
            remedy = did_you_mean(f"{prefix}{name}", [f"{prefix}{one}" for one in fields])
            raise UserError("is not a parameter", file=path, field=f"{prefix}{name}", remedy=remedy)
    values = {}
    for name, spec in fields.items():
        entry = f"{prefix}{name}"
        if name not in raw and spec.default is not dataclasses.MISSING:
            continue
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


def _said(section: Any) -> dict[str, Any]:
    """All entries of a section but those that may be left out and say what their absence says."""
    values = {}
    for spec in dataclasses.fields(section):
        value = getattr(section, spec.name)
        if spec.default is dataclasses.MISSING or value != spec.default:
            values[spec.name] = _said(value) if dataclasses.is_dataclass(value) else value
    return values


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
            least, most = "-inf" if low is None else low, "inf" if high is None else high
            allowed = f"from {least} to {most}"
            raise UserError(
                f"is {value}, out of range", file=path, field=entry, remedy=f"Allowed: {allowed}."
            )
    return value
