"""What results depend on beside their inputs: this program's sources, and the kind of processor."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
KEPT = (".py", ".yaml", ".json", ".tsv", ".meme", ".js", ".css", ".html", ".txt")
"""Files of the package that say what it does, by their endings: code, tables, the web page."""
COMPILED = "__pycache__"


@functools.cache
def source_digest() -> str:
    """SHA-256 over the package's own files, compiled ones left out."""
    from petriscope.files import combined, sha256  # loads numpy

    found = (p for p in PACKAGE.rglob("*") if p.is_file() and COMPILED not in p.parts)
    return combined(
        {p.relative_to(PACKAGE).as_posix(): sha256(p) for p in found if p.suffix in KEPT}
    )


@functools.cache
def cpu_model() -> str:
    """The processor's name and the vector instructions torch uses on it: what the last bits depend
    on."""
    import torch

    return f"{processor()} ({torch.backends.cpu.get_cpu_capability()})"


@functools.cache
def processor() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"(?m)^model name\s*:\s*(.+)$", text)
    return found[1].strip() if found else platform.processor() or "unknown"
