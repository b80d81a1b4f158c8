"""A function of many items runs in processes of this machine, in a SLURM array, or on a Ray
cluster; results come in the items' order and are the same bytes on processors of one kind.

The function lives in a module and takes a small context of paths and parameters, so that a node can
import the one and read the other. Data travel by the file system that all nodes share.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from petriscope.executors.config import Settings
from petriscope.parallel import in_processes

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
Body = Callable[[Context, Item], Result]
"""A function of a module: importable, so it travels by its name."""


class Resources(NamedTuple):
    """What one task needs."""

    cpus: int = 1
    gpus: int = 0
    memory_gb: float = 2
    minutes: int = 60


ONE_CORE = Resources()


@dataclass(frozen=True)
class Executor:
    """Who runs the tasks of one stage."""

    name: str = "local"
    """`local`, `slurm` or `ray`"""
    folder: Path | None = None
    """takes the done files, logs and plans; without it nothing is remembered"""
    inputs: str = ""
    """digest of what the stage reads: another one, and every item runs again"""
    settings: Settings = field(default_factory=Settings)

    def runs_here(self, gpus: int = 0) -> bool:
        """Whether its tasks run in this process and those forked from it."""
        if self.name != "local" or gpus == 0 or self.folder is None:
            return self.name == "local"
        from petriscope.executors.local import gpu_count

        return gpu_count() < 2


LOCAL = Executor()
_used: ContextVar[Executor] = ContextVar("executor", default=LOCAL)


def current() -> Executor:
    """The executor in use: that of the stage that runs, else `LOCAL`."""
    return _used.get()


@contextlib.contextmanager
def using(executor: Executor) -> Iterator[None]:
    """Let what runs inside be done by ``executor``."""
    token = _used.set(executor)
    try:
        yield
    finally:
        _used.reset(token)


_loaded: list[tuple[Any, Any, Any]] = []


def once(load: Callable[[Context], Result], context: Context) -> Result:
    """``load(context)``, computed once a process for this object: called before `fan_out`, what it
    loads is there in forked processes too."""
    for function, of, found in _loaded:
        if function is load and of is context:
            return found  # type: ignore[no-any-return]
    _loaded[:] = [(load, context, load(context))]
    return _loaded[0][2]  # type: ignore[no-any-return]


def fan_out(
    body: Body[Context, Item, Result],
    context: Context,
    items: Iterable[Item],
    what: str,
    *,
    unit: str = "it",
    executor: Executor | None = None,
    resources: Resources = ONE_CORE,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield ``body(context, item)`` for every item, in order, with a progress bar.

    ``executor``: None for the one in use. With a folder, an item whose done file names the same
    inputs is not run again. ``workers``: processes of the local executor.

    Raises
    ------
    UserError
        What a body raised as such, an item or result of more than 1 MB, or a task that was lost too
        often.
    TaskError
        Another exception in a task of another process, with the end of its log.
    """
    executor, items = executor or current(), list(items)
    if executor.folder is None:
        run = functools.partial(body, context)
        yield from in_processes(run, items, what, unit=unit, workers=workers)
        return
    from petriscope.executors import plans

    plan = plans.make(executor, body, context, items, what, resources)
    left = [place for place in range(len(items)) if not plan.is_done(place)]
    if left:
        how: Any = _engine(executor.name, plan, workers)
        how(left, unit)
    for place in range(len(items)):
        yield plan.result(place)
    plan.note()


def _engine(name: str, plan: Any, workers: int | None) -> Callable[[list[int], str], None]:
    """What runs some items of a plan until all are done."""
    from petriscope.executors import drive, local

    if name == "local" and not local.several_gpus(plan.resources):
        return functools.partial(local.run, plan, workers)
    if name == "local":
        return functools.partial(drive.run, local.Processes, plan)
    if name == "slurm":
        from petriscope.executors.slurm import Array

        return functools.partial(drive.run, Array, plan)
    from petriscope.executors.ray import Cluster

    return functools.partial(drive.run, Cluster, plan)
