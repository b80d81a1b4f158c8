"""A simulated data set is written once; where it lies already, byte for byte, nothing changes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from petriscope.errors import UserError
from petriscope.files import Output, claim


def write_simulated(
    out: Path, kind: Output, simulate: Callable[[Path], object], digest: Callable[[Path], str]
) -> None:
    """Write what ``simulate`` makes to ``out`` and say so; ``digest`` tells the bytes of a folder.

    Raises `UserError` for a folder that holds anything else.
    """
    claim(out, kind)
    if not out.exists() or not any(out.iterdir()):
        simulate(out)
        print(f"wrote {out} (sha256 {digest(out)[:16]})")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        fresh = scratch / "demo"
        simulate(fresh)
        if digest(fresh) != digest(out):
            raise UserError(
                "holds something other than this demo",
                file=out,
                remedy="Name another folder, or remove this one if it is an old or changed demo.",
            )
    finally:
        shutil.rmtree(scratch)
    print(f"{out} is this demo already, byte for byte")
