"""`petriscope data demo-dna [OUT]`: write the planted world of study dna."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import claim, sha256
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
    out = Path(args.out)
    config = DemoConfig(
        args.seed,
        args.rule,
        args.motif == "on",
        args.confound == "on",
        args.sequences,
        args.tokens,
    )
    config.check()
    claim(out, DEMO)
    if not out.exists() or not any(out.iterdir()):
        simulate_demo(out, **vars(config))
        print(f"wrote {out} (sha256 {sha256(out)[:16]})")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        simulate_demo(scratch / "demo", **vars(config))
        if sha256(scratch / "demo") != sha256(out):
            raise UserError(
                "holds something other than this world",
                file=out,
                remedy="Name another folder, or remove this one if it is an old or changed one.",
            )
    finally:
        shutil.rmtree(scratch)
    print(f"{out} is this world already, byte for byte")
