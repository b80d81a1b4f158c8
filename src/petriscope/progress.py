"""One progress bar serves all that takes over two seconds: a bar with ETA in a terminal, a line
every ten seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Iterate over ``items`` showing ``what``, rate and ETA on standard error."""
    yield from bar(what, items=items, total=total, unit=unit)


def bar(
    what: str, *, items: Iterable[T] | None = None, total: int | None = None, unit: str = "it"
) -> tqdm:
    """A tqdm bar in the house's style, for loops that update it themselves or set a postfix."""
    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        dynamic_ncols=terminal,
        ncols=None if terminal else 100,
        mininterval=0.2 if terminal else 10.0,
        delay=2.0,
        leave=terminal,
        file=sys.stderr,
    )
