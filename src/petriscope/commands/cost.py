"""`petriscope cost`: what a run of many tokens, layers and seeds would cost, by stated formulae
with the user's numbers, and which executor it would choose."""

from __future__ import annotations

import argparse
import os

from petriscope.errors import UserError
from petriscope.run.cost import Scale, assumptions, choose, rows

OPTIONS = {
    "tokens": (float, None, "tokens harvested per layer, such as 1e9"),
    "layers": (int, None, "layers whose hidden states are asked for"),
    "width": (int, None, "width of the residual stream"),
    "latents": (int, None, "latents of each dictionary"),
    "seeds": (int, 1, "dictionaries per layer"),
    "train-tokens": (float, None, "tokens each dictionary trains on, passes counted (as --tokens)"),
    "parameters": (float, 293e6, "parameters of the model without its embedding"),
    "context": (int, 2048, "context length of the model, in tokens"),
    "number-bytes": (int, 2, "bytes of a stored number"),
    "flops": (float, 62e12, "effective FLOP/s of the device that runs model and training"),
    "disk": (float, 3e9, "bytes per second of the disk"),
    "core-rate": (float, 2800.0, "training tokens per second of a core at d 1152, m 4608"),
    "cores": (int, None, "cores of the one machine (those of this one)"),
    "gpus": (int, 0, "GPUs of the one machine"),
    "gpu-price": (float, 2.0, "price of a GPU-hour"),
    "storage-price": (float, 0.023, "price of a GB-month"),
    "patience": (float, 24.0, "hours that one machine may take"),
}
"""Option -> its type, what it is if not given, and its help."""
REQUIRED = ("tokens", "layers", "width", "latents")
MAY_BE_ZERO = ("gpus", "gpu-price", "storage-price")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    for name, (kind, value, line) in OPTIONS.items():
        shown = line if value is None else f"{line} ({value:g})"
        parser.add_argument(
            f"--{name}", type=kind, default=value, required=name in REQUIRED, help=shown
        )


def run(args: argparse.Namespace) -> int:
    """Print the table, what it assumes, and the choice."""
    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in OPTIONS}
    if given["cores"] is None:
        given["cores"] = len(os.sched_getaffinity(0))
    for name in OPTIONS:
        value, zero = given[name.replace("-", "_")], name in MAY_BE_ZERO
        if value is not None and not (value >= 0 if zero else 0 < value < float("inf")):
            remedy = "Give zero or more." if zero else "Give a number above zero."
            raise UserError(f"is {value:g}", field=f"--{name}", remedy=remedy)
    scale = Scale(**given)
    for what, value, formula in rows(scale):
        print(f"{what:<42} {value:>16}   {formula}")
    print("\nassumed:")
    for what, source in assumptions(scale):
        print(f"  {what:<28} {source}")
    choice = choose(scale)
    print(f"\nsae.source {choice.source}, executor {choice.executor}:")
    for reason in choice.reasons:
        print(f"  {reason}")
    return 0
