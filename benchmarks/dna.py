"""Study dna against its named rivals, in CPU seconds of one thread, measured in one run.

`python benchmarks/dna.py [ROW ...]`. Rows live in `dna_<name>.py` beside this file, each with a
dictionary `ROWS` of functions that return what they measured (`rows.py`). Status 1 where a goal is
missed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before any of them is loaded


def found_rows() -> dict[str, Callable[[], list]]:
    """Every row of every `dna_<name>.py`."""
    rows: dict[str, Callable[[], list]] = {}
    for path in sorted(Path(__file__).parent.glob("dna_*.py")):
        rows |= importlib.import_module(path.stem).ROWS
    return rows


def main() -> int:
    rows = found_rows()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of: {', '.join(rows)}")
    asked = parser.parse_args().rows or list(rows)
    if unknown := set(asked) - set(rows):
        parser.error(f"no row {min(unknown)}; there are {', '.join(rows)}")
    missed = 0
    for name in asked:
        print(f"[{name}]")
        for measured in rows[name]():
            print(f"  {measured.line}", flush=True)
            missed += measured.line.endswith("MISSED")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
