"""Enrichment: sets over a universe of places, where features fire against a matched background.

The package is a verb too: `petriscope.enrich(codes, features, sets)` is `enrich.sets.enrich`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package that can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`enrich.sets.enrich`."""
        from petriscope.enrich.sets import enrich

        return enrich(*args, **kwargs)


sys.modules[__name__].__class__ = _Verb

from petriscope.verbs import make_callable

make_callable(__name__, "petriscope.enrich.sets:enrich")
