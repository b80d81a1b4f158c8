"""A pure function runs over many items in forked one-thread processes; results come in order and
are the same whatever their number."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from petriscope.errors import UserError
from petriscope.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_function: Callable[..., Any] | None = None
"""What the forked workers call: set before they are forked, so that neither it nor the model it
holds is ever pickled."""
_most: int | None = None
"""Processes that a task of a cluster may use: what it was given, not what its node has."""
_PR_SET_PDEATHSIG = 1


def in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    what: str,
    *,
    unit: str = "it",
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, with a progress bar; one worker per
    processor unless given.

    ``function`` and what it closes over is inherited, not pickled; results are. It must not depend
    on earlier items. The first error stops what has not begun. All happens in this process where
    forking is not to be had or of no use: once an accelerator is in use, off Linux, inside another
    worker, with one item or one processor.
    """
    items = list(items)
    wanted = workers or _most or len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    count = min(wanted, len(items))
    if (
        count <= 1
        or _accelerated()
        or _function is not None
        or multiprocessing.parent_process() is not None
    ):
        yield from progress(map(function, items), what, total=len(items), unit=unit)
        return
    try:
        yield from progress(_forked(function, items, count), what, total=len(items), unit=unit)
    except BrokenProcessPool:
        remedy = "Out of memory? Try again on one processor: `taskset -c 0 petriscope ...`."
        raise UserError("a worker process was killed", field=what, remedy=remedy) from None


def _forked(
    function: Callable[[Item], Result], items: list[Item], workers: int
) -> Iterator[Result]:
    global _function  # noqa: PLW0603
    _function = function
    sys.stderr.flush()
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=begin_worker, initargs=(os.getpid(),)
        ) as pool:
            try:
                ahead = 4 * workers  # results wait for their turn: not too many of them
                waiting = [pool.submit(_call, item) for item in items[:ahead]]
                for item in items[ahead:]:
                    yield waiting.pop(0).result()
                    waiting.append(pool.submit(_call, item))
                for future in waiting:
                    yield future.result()
            except BaseException as error:
                if not isinstance(
                    error, Exception
                ):  # an interrupt does not wait for what has begun
                    for worker in multiprocessing.active_children():
                        worker.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        _function = None


def begin_worker(parent: int) -> None:
    """One thread; interrupts are the parent's business; no worker outlives its parent, however that
    ended."""
    if "torch" in sys.modules:  # not imported for those who do without
        sys.modules["torch"].set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    if sys.platform == "linux" and os.getppid() != parent:
        os._exit(1)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def begin_task(cpus: int) -> None:
    """Prepare a process that runs tasks of a cluster: ``cpus`` processes at most, of one thread."""
    global _most  # noqa: PLW0603
    _most = cpus
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _accelerated() -> bool:
    """Whether this process has begun to use a GPU, which does not survive a fork."""
    return "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized()


def _call(item: object) -> Any:
    assert _function is not None
    return _function(item)
