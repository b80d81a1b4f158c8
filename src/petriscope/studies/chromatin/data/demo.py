"""`petriscope data demo [OUT] [--seed N]`: write the simulated demo data set."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import claim
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
    out = Path(args.out)
    config = DemoConfig(seed=args.seed)
    config.check()
    claim(out, DEMO)
    if not out.exists() or not any(out.iterdir()):
        simulate_demo(out, config)
        print(f"wrote {out} (sha256 {dataset_digest(out)[:16]})")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        fresh = scratch / "demo"
        simulate_demo(fresh, config)
        if dataset_digest(fresh) != dataset_digest(out):
            raise UserError(
                "holds something other than this demo",
                file=out,
                remedy="Name another folder, or remove this one if it is an old or changed demo.",
            )
    finally:
        shutil.rmtree(scratch)
    print(f"{out} is this demo already, byte for byte")
