"""A stand-alone workspace keeps a copy of the package's sources: its graph depends on it, so that
DVC sees new code.

The installed package itself cannot be the dependency: its compiled caches change from run to run.
"""

from __future__ import annotations

import re
from pathlib import Path

from petriscope.machine import KEPT, PACKAGE

_STAND_ALONE = re.compile(r"(?m)^\s*- code: code$")


def refresh_code(root: Path) -> bool:
    """Make ``root/code`` equal to the sources of this program, where the graph depends on it;
    whether anything was written.

    Whatever looks at a stand-alone workspace or runs something in it calls this first. Raises
    OSError.
    """
    try:
        if _STAND_ALONE.search((root / "dvc.yaml").read_text(encoding="utf-8")) is None:
            return False
    except OSError:
        return False
    wanted = {
        p.relative_to(PACKAGE): p.read_bytes()
        for p in sorted(PACKAGE.rglob("*"))
        if p.suffix in KEPT
    }
    target = root / "code"
    held = (
        {p.relative_to(target): p.read_bytes() for p in target.rglob("*") if p.is_file()}
        if target.is_dir()
        else {}
    )
    if wanted == held:
        return False
    # loads numpy, which the terminal UI spares itself otherwise
    from petriscope.files import Output, atomic_folder

    copy = Output("a copy of petriscope's sources", ("cli.py", *(f"*{kind}" for kind in KEPT)))
    with atomic_folder(target, copy) as folder:
        for name, content in wanted.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return True
