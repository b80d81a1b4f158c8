"""Bodies that a node can import, for the tests of executors."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from petriscope.errors import UserError
from petriscope.executors import state
from petriscope.files import write_npy
from petriscope.sae import train
from petriscope.sae.sweep import Job, train_job
from petriscope.sae.train import TrainResult


class Place(NamedTuple):
    """A folder that bodies write into, and what differs between tests."""

    folder: Path
    how: str = ""


def square(place: Place, item: int) -> int:
    """Leaves a mark each time it is run."""
    with (place.folder / f"ran_{item}").open("a") as handle:
        handle.write("x")
    return item * item


def fails(place: Place, item: int) -> int:
    """Item 2 fails in the way asked for; once where asked so."""
    square(place, item)
    if item == 2:
        if place.how == "user":
            raise UserError("is wrong", field="item", remedy="Mend it.")
        if place.how == "bug":
            for line in range(40):
                print(f"line {line}", flush=True)
            raise ZeroDivisionError("by zero")
        if place.how == "bug once" and (place.folder / "ran_2").read_text() == "x":
            raise ZeroDivisionError("by zero")
        if place.how == "large":
            return np.zeros(300_000)  # type: ignore[return-value]
        if place.how == "full":
            write_npy(place.folder / "small_disk" / "big.npy", np.zeros(1_000_000))
        if place.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if place.how == "killed once" and (place.folder / "ran_2").read_text() == "x":
            os.kill(os.getpid(), signal.SIGKILL)
        if place.how == "killed, further each time":
            done = len((place.folder / "ran_2").read_text())
            state._Report.next = 0
            state.report(done, 10)
            if done < 7:
                os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def sleeps(place: Place, item: int) -> int:
    """Takes its time."""
    square(place, item)
    time.sleep(float(place.how))
    return item


def noop(place: Place, item: int) -> int:
    """Nothing."""
    return item


def train_killed(place: Place, job: Job) -> TrainResult:
    """Trains a dictionary; the process is killed once, after its first checkpoint."""
    train.train_dictionary.__kwdefaults__["checkpoint_seconds"] = 0.0
    save, mark = train.save_checkpoint, place.folder / "was_killed"

    def saving(*given: object) -> None:
        save(*given)  # type: ignore[arg-type]
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    train.save_checkpoint = saving
    try:
        return train_job(False, job)
    finally:
        train.save_checkpoint = save
