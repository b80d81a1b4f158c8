"""`petriscope data demo [OUT] [--seed N]`: write the simulated demo data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.simulated import write_simulated
from petriscope.studies.chromatin.simulate.dataset import (
    DEMO,
    DemoConfig,
    dataset_digest,
    simulate_demo,
)

DEFAULT_OUT = "data/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "out", nargs="?", default=DEFAULT_OUT, help=f"folder to write (default: {DEFAULT_OUT})"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=DemoConfig.seed,
        help="seed of the simulation (default: the demo's)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the demo to ``args.out``. Where it lies there already, byte for byte, nothing changes.

    Raises `UserError` for a folder that holds anything else.
    """
    config = DemoConfig(seed=args.seed)
    config.check()
    write_simulated(Path(args.out), DEMO, lambda path: simulate_demo(path, config), dataset_digest)
