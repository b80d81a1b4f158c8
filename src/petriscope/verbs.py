"""A package whose name is also a verb can be called: `petriscope.contrast(codes, design)`.

Python binds a sub-package to its parent's attribute of the same name whenever anything in it is
imported, so that a function of that name would be lost.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package that passes a call on to one of its functions, imported when it is first called."""

    __verb__: str

    @property
    def __wrapped__(self) -> Any:
        """The function: `help` and `inspect.signature` show its parameters."""
        module, _, name = self.__verb__.partition(":")
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.__wrapped__(*args, **named)


def make_callable(package: str, verb: str) -> None:
    """Let the package be called as ``verb`` ("module:function"); its `__init__` calls this with its
    own name."""
    module = sys.modules[package]
    module.__class__ = _Verb
    module.__dict__["__verb__"] = verb
