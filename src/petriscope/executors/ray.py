"""A Ray cluster (extra `petriscope[scale]`). Ray places the tasks and says which are gone; what
they found lies in files, and nothing passes through its object store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from petriscope.errors import UserError
from petriscope.executors.config import config_file
from petriscope.executors.drive import log_file, pieces_of
from petriscope.executors.plans import Plan


class Cluster:
    """The tasks of one plan on a cluster; they end with their driver."""

    def __init__(self, plan: Plan, known: list[str]) -> None:
        try:
            import ray
        except ImportError:
            remedy = "Run `pip install petriscope[scale]`, or use another executor."
            raise UserError("Ray is not installed", field="ray", remedy=remedy) from None
        address = plan.settings.address
        if address is None:
            # without one Ray joins what a file in its temporary folder names, dead or not
            what, remedy = "names no cluster", "Give HOST:PORT of `ray start --head`."
            raise UserError(what, file=config_file(), field="address", remedy=remedy)
        self.ray, self.plan, self.lost = ray, plan, dict[int, str]()
        self.tasks: dict[Any, int] = {}
        self.mine = not ray.is_initialized()
        if self.mine:
            ray.init(address=address, namespace="petriscope", log_to_driver=False)

    def submit(self, pieces: Collection[int], avoid: str | None = None) -> None:
        """Hand some pieces to Ray, which does not repeat them by itself."""
        asked, given = self.plan.resources, self.plan.settings
        memory = int((given.memory_gb or asked.memory_gb) * 2**30)
        needs = {"num_cpus": asked.cpus, "num_gpus": asked.gpus, "memory": memory}
        task = self.ray.remote(on_node).options(max_retries=0, **needs, **self._elsewhere(avoid))
        all_of_it = pieces_of(self.plan)
        for number in pieces:
            self.lost.pop(number, None)
            log = str(log_file(self.plan, all_of_it[number].places[0]))
            self.tasks[task.remote(str(self.plan.file), number, log)] = number

    def _elsewhere(self, avoid: str | None) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        nodes = [
            node for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU")
        ]
        others = [node["NodeID"] for node in nodes if node["NodeManagerHostname"] != avoid]
        if avoid is None or not others:
            return {}
        return {"scheduling_strategy": On(others[0], soft=True)}

    def alive(self) -> set[int]:
        """Wait for the next task to end, half a second at most."""
        if self.tasks:
            count = len(self.tasks)
            done, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=0.5)
            if done and count > 1:
                done, _ = self.ray.wait(list(self.tasks), num_returns=count, timeout=0)
            for task in done:
                number = self.tasks.pop(task)
                try:
                    why = self.ray.get(task)
                except self.ray.exceptions.RayError as error:
                    why = f"Ray: {str(error).splitlines()[0]}"
                if why is not None:
                    self.lost[number] = why
        return set(self.tasks.values())

    def said(self, piece: int) -> str:
        """Why a task left no file."""
        return self.lost.get(piece, "")

    def known(self) -> list[str]:
        """Nothing: a task ends with its driver."""
        return []

    def cancel(self) -> None:
        """Kill what runs."""
        for task in self.tasks:
            self.ray.cancel(task, force=True)

    def close(self) -> None:
        """Leave the cluster."""
        if self.mine:
            self.ray.shutdown()


def on_node(file: str, number: int, log: str) -> str | None:
    """What a worker of Ray runs: the piece, printing into its log."""
    from pathlib import Path

    from petriscope.executors.task import logged, run_piece

    if not Path(log).parent.is_dir():
        return run_piece(file, number)
    with logged(Path(log)):
        return run_piece(file, number)
