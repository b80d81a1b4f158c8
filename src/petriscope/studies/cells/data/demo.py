"""`petriscope data demo-cells [OUT]`: write the planted world of study cells."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.files import sha256
from petriscope.simulated import write_simulated
from petriscope.studies.cells.data.simulate import DEMO, simulate_demo
from petriscope.studies.cells.data.world import DIFFICULTIES, DemoConfig

DEFAULT_OUT = "studies/cells/data/demo"
SWITCHES = {
    "regulation": "off: no TF drives anything, and a knock-down moves the TF alone",
    "programmes": "off: genes of a programme vary each by itself, and cell types mean nothing",
    "types": "off: labels of cell types are shuffled within donors",
    "annotation": "off: gene sets and networks are drawn at random",
}
NUMBERS = {
    "seed": "of the simulation",
    "cells": "cells of the first tissue that nobody touched",
    "per-target": "cells with each TF knocked down; 0: no screen",
    "second": "cells of the second tissue; 0: none",
    "donors": "donors",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "out", nargs="?", default=DEFAULT_OUT, help=f"folder to write (default: {DEFAULT_OUT})"
    )
    for name, words in SWITCHES.items():
        parser.add_argument(f"--{name}", choices=("on", "off"), default="on", help=words)
    parser.add_argument(
        "--difficulty",
        choices=DIFFICULTIES,
        default=DemoConfig.difficulty,
        help="hard: fewer counts in a cell and weaker regulation",
    )
    for name, words in NUMBERS.items():
        default = getattr(DemoConfig, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{words} (default: {default})"
        )


def run(args: argparse.Namespace) -> None:
    """Write the world to ``args.out``. Where it lies there already, byte for byte, nothing changes.

    Raises `UserError` for a folder that holds anything else.
    """
    numbers = {name.replace("-", "_") for name in NUMBERS}
    config = DemoConfig(
        **{name: getattr(args, name) for name in numbers},
        **{name: getattr(args, name) == "on" for name in SWITCHES},
        difficulty=args.difficulty,
    )
    config.check()
    write_simulated(Path(args.out), DEMO, lambda path: simulate_demo(path, **vars(config)), sha256)
