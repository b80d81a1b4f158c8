"""What a node runs: `python -m petriscope.executors.task PLAN INDEX`, one piece of a plan."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from petriscope.parallel import begin_task, begin_worker

PARENT = "PETRISCOPE_PARENT"
"""process without which this one has no purpose; none on a cluster"""


def run_piece(file: str, number: int) -> str | None:
    """Run what is not done of one piece of a plan; None, or why this node cannot.

    Each item leaves a done or a failed file. Threads are limited before numpy or torch load.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from petriscope.errors import UserError
    from petriscope.executors import plans
    from petriscope.executors.drive import pieces_of

    try:
        plan = plans.load(Path(file))
    except UserError as error:
        return str(error)
    begin_task(plan.resources.cpus)
    for place in pieces_of(plan)[number].places:
        if not plan.is_done(place):
            plan.path(place, "failed").unlink(missing_ok=True)
            plan.try_run(place)
    return None


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Let what this process and its children print go to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, old in zip((1, 2), before):
            os.dup2(old, stream)
            os.close(old)
        os.close(file)


def main() -> int:
    """Exit status: 0 run, whatever became of it; 3 not to be run here."""
    if PARENT in os.environ:
        begin_worker(int(os.environ[PARENT]))
    why = run_piece(sys.argv[1], int(sys.argv[2]))
    if why is not None:
        print(f"petriscope: {why}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
