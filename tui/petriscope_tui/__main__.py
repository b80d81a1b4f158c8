"""``python -m petriscope_tui`` starts the terminal UI without the rest of the program (what the web
server does)."""

from __future__ import annotations

import argparse
import sys

from petriscope.errors import UserError
from petriscope_tui.command import add_arguments, run


def main() -> int:
    """Parse, run, print a user's mistake as one line."""
    parser = argparse.ArgumentParser(
        prog="petriscope tui", description="Browse the atlas, drive the pipeline."
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except UserError as error:
        print(f"petriscope: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
