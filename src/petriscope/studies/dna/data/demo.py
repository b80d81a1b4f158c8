"""`petriscope data demo-dna [OUT]`: write the planted world of study dna."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.files import sha256
from petriscope.simulated import write_simulated
from petriscope.studies.dna.data.simulate import DEMO, RULES, DemoConfig, simulate_demo

DEFAULT_OUT = "studies/dna/data/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "out", nargs="?", default=DEFAULT_OUT, help=f"folder to write (default: {DEFAULT_OUT})"
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        default=DemoConfig.rule,
        help="the rule between distant words holds in every sequence, in a tenth, or nowhere",
    )
    parser.add_argument(
        "--motif",
        choices=("on", "off"),
        default="on",
        help="off: the labels are random, the motif means nothing",
    )
    parser.add_argument(
        "--confound",
        choices=("on", "off"),
        default="off",
        help="on: positives are shorter than negatives",
    )
    parser.add_argument("--seed", type=int, default=DemoConfig.seed, help="of the simulation")
    parser.add_argument(
        "--sequences", type=int, default=DemoConfig.sequences, help="how many (default: 6000)"
    )
    parser.add_argument(
        "--tokens", type=int, default=DemoConfig.tokens, help="six-mers of each (default: 64)"
    )


def run(args: argparse.Namespace) -> None:
    """Write the world to ``args.out``. Where it lies there already, byte for byte, nothing changes.

    Raises `UserError` for a folder that holds anything else.
    """
    config = DemoConfig(
        args.seed,
        args.rule,
        args.motif == "on",
        args.confound == "on",
        args.sequences,
        args.tokens,
    )
    config.check()
    write_simulated(Path(args.out), DEMO, lambda path: simulate_demo(path, **vars(config)), sha256)
