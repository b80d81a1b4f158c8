"""Reference: the same function called one item after the other in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch

from petriscope.errors import UserError
from petriscope.parallel import in_processes

ENDLESS = r"""
import os
import signal
import time
from petriscope.parallel import in_processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
def one(item):
    os.write(1, b"begun\n")  # in one piece: unbuffered, print writes the line's end by itself, after another worker's word
    time.sleep(600)
list(in_processes(one, range(4), "waiting", workers=2))
"""


def test_results_come_in_order_and_equal_those_of_one_process() -> None:
    weights = torch.randn(50, 50, generator=torch.Generator().manual_seed(0))

    def one(item: int) -> tuple[int, np.ndarray]:
        return os.getpid(), (weights * item @ weights).numpy()

    several = list(in_processes(one, range(23), "products", workers=3))
    alone = list(in_processes(one, range(23), "products", workers=1))
    assert {pid for pid, _ in alone} == {os.getpid()}
    assert len({pid for pid, _ in several}) > 1 and os.getpid() not in {pid for pid, _ in several}
    for (_, a), (_, b) in zip(several, alone, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_users_mistake_in_a_worker_arrives_as_such_and_later_calls_work() -> None:
    def one(item: int) -> int:
        if item == 5:
            raise UserError("is wrong", field="item", remedy="Mend it.")
        return item

    with pytest.raises(UserError, match=r"item: is wrong\. Mend it\."):
        list(in_processes(one, range(20), "mistakes", workers=2))
    assert list(in_processes(lambda item: item + 1, range(4), "after", workers=2)) == [1, 2, 3, 4]


def test_a_killed_worker_is_one_line_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"killing: a worker process was killed. Out of memory\?"):
        list(
            in_processes(
                lambda item: os.kill(os.getpid(), signal.SIGKILL), range(4), "killing", workers=2
            )
        )
    assert list(in_processes(lambda item: item, range(3), "after", workers=2)) == [0, 1, 2]


def test_a_call_within_a_worker_stays_in_it() -> None:
    def inner(item: int) -> int:
        return os.getpid()

    def outer(item: int) -> bool:
        return set(in_processes(inner, range(3), "inner", workers=2)) == {os.getpid()}

    assert all(in_processes(outer, range(4), "outer", workers=2))


def test_no_worker_outlives_its_parent_however_that_ends() -> None:
    for number in (signal.SIGKILL, signal.SIGINT):
        parent = subprocess.Popen(
            [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == [
            b"begun\n"
        ] * 2  # each worker is at its item
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) == 2
        parent.send_signal(number)
        parent.wait(10)
        assert psutil.wait_procs(workers, timeout=10)[1] == []
