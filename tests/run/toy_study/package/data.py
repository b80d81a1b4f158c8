"""`petriscope data toy-demo OUT`: write the two words."""

from __future__ import annotations

import argparse
from pathlib import Path

from petriscope.studies.toy.study import demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path)


def run(args: argparse.Namespace) -> None:
    demo(args.out)
