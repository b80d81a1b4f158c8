"""Reference: a plain loop over the items in this process. One suite for every executor; SLURM and
Ray are the real ones, in a namespace (`pytest -m slurm`, `pytest -m ray`)."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import clusters
import executor_bodies
import numpy as np
import psutil
import pytest
from executor_bodies import Place, fails, noop, sleeps, square

from petriscope.errors import UserError
from petriscope.executors import ONE_CORE, Executor, Resources, fan_out, local, plans
from petriscope.executors.config import Settings
from petriscope.executors.drive import RETRIES, TaskError
from petriscope.executors.task import run_piece
from petriscope.parallel import in_processes
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.sweep import Job, train_job

TESTS = Path(executor_bodies.__file__).parent


class Bench(NamedTuple):
    """An engine at work."""

    name: str
    settings: Settings
    needs: Resources = ONE_CORE
    cluster: Any = None

    @property
    def apart(self) -> bool:
        """Whether tasks run in processes of their own, and are tried again."""
        return self.name != "local" or self.needs.gpus > 0

    def run(self, body: Any, place: Place, items: Any, what: str, inputs: str = "") -> list[Any]:
        """`fan_out` with done files in a folder below the place."""
        executor = Executor(self.name, place.folder / "tasks", inputs, self.settings)
        return list(fan_out(body, place, items, what, executor=executor, resources=self.needs))


@pytest.fixture(
    scope="module",
    params=[
        "local",
        "processes",
        pytest.param("ray", marks=pytest.mark.ray),
        pytest.param("slurm", marks=pytest.mark.slurm),
    ],
)
def bench(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Bench]:
    quick = Settings(poll=0.5, settle=1, limit=4)
    with pytest.MonkeyPatch.context() as patch:
        path = [str(TESTS), *(p for p in sys.path if p)]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))  # so that nodes find the bodies
        if request.param == "local":
            yield Bench("local", quick)
        elif request.param == "processes":
            patch.setattr(local, "gpu_count", lambda: 2)
            yield Bench("local", quick, Resources(gpus=1))
        elif request.param == "ray":
            with clusters.ray_cluster() as cluster:
                yield Bench(
                    "ray", dataclasses.replace(quick, address=cluster.address), cluster=cluster
                )
        else:
            with clusters.slurm(tmp_path_factory.mktemp("slurm")) as found:
                yield Bench("slurm", quick, cluster=found)


def runs(place: Place, item: int) -> int:
    """How often an item was run."""
    mark = place.folder / f"ran_{item}"
    return len(mark.read_text()) if mark.exists() else 0


def test_results_are_those_of_a_loop_and_nothing_is_run_twice(bench: Bench, tmp_path: Path) -> None:
    place, items = Place(tmp_path), range(6)
    plain = [item * item for item in items]
    assert bench.run(square, place, items, "squares") == plain
    assert bench.run(square, place, items, "squares") == plain
    assert [runs(place, item) for item in items] == [1] * 6
    for item in (1, 3, 5):
        (tmp_path / f"tasks/squares.{item}.done").unlink()
    assert bench.run(square, place, items, "squares") == plain
    assert [runs(place, item) for item in items] == [1, 2, 1, 2, 1, 2]
    assert bench.run(square, place, items, "squares", inputs="others") == plain
    assert [runs(place, item) for item in items] == [2, 3, 2, 3, 2, 3]
    notes = plans.notes_in(tmp_path / "tasks")["squares"]
    assert [task["key"] for task in notes["tasks"]] == [f"squares.{item}" for item in items]
    assert {task["engine"] for task in notes["tasks"]} == {bench.name}
    assert all(task["cpu"] and task["host"] for task in notes["tasks"])
    assert not list((tmp_path / "tasks").glob("*.state"))


def test_a_users_mistake_is_told_as_such_and_the_others_finish(
    bench: Bench, tmp_path: Path
) -> None:
    place = Place(tmp_path, "user")
    with pytest.raises(UserError, match=r"item: is wrong\. Mend it\.") as told:
        bench.run(fails, place, range(4), "mistakes")
    assert runs(place, 2) == 1
    if bench.apart:
        assert [runs(place, item) for item in (0, 1, 3)] == [1, 1, 1]
        log = tmp_path / "tasks/mistakes.2.log"
        assert f"log {log}" in str(told.value) and log.exists()


def test_an_exception_is_tried_once_more_then_told_with_the_end_of_its_log(
    bench: Bench, tmp_path: Path
) -> None:
    place = Place(tmp_path, "bug")
    with pytest.raises(TaskError if bench.apart else ZeroDivisionError, match="by zero") as told:
        bench.run(fails, place, range(3), "bugs")
    if bench.apart:
        assert runs(place, 2) == 2
        lines = str(told.value).splitlines()
        assert "bugs.2 on" in lines[0] and len(lines) <= 21 and "line 39" in lines
    once = Place(tmp_path / "once", "bug once")
    once.folder.mkdir()
    if bench.apart:
        assert bench.run(fails, once, range(3), "bugs once") == [0, 1, 4]
        assert plans.notes_in(once.folder / "tasks")["bugs-once"]["retried"] == 1


def test_what_is_too_large_to_travel_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"result of large.2: has 2.4 MB, of 1 MB at most. Write"):
        bench.run(fails, Place(tmp_path, "large"), range(3), "large")
    with pytest.raises(UserError, match=r"item items.1: has 2.0 MB"):
        bench.run(noop, Place(tmp_path), ["small", bytes(2_000_000)], "items")


def test_a_killed_task_runs_again(bench: Bench, tmp_path: Path, capsys: Any) -> None:
    place = Place(tmp_path, "killed once")
    if not bench.apart:  # said in one line; what is done stays done
        with pytest.raises(UserError, match="a worker process was killed"):
            bench.run(fails, place, range(3), "kills")
    assert bench.run(fails, place, range(3), "kills") == [0, 1, 4]
    assert runs(place, 2) == 2
    if bench.apart:
        assert "kills.2 was lost" in capsys.readouterr().err
        assert plans.notes_in(tmp_path / "tasks")["kills"]["lost"] == 1


def test_a_task_that_is_killed_each_time_ends_with_the_remedy(
    bench: Bench, tmp_path: Path, capsys: Any
) -> None:
    if not bench.apart:
        pytest.skip("the local executor stops at the first killed process")
    place = Place(tmp_path, "killed")
    with pytest.raises(
        UserError, match=r"kills.2: was killed 4 times, last on .*Out of memory\? Gi"
    ):
        bench.run(fails, place, [0, 2], "kills")
    assert runs(place, 2) == 1 + RETRIES
    assert capsys.readouterr().err.count("Out of memory?") == 1  # with the last try


def test_a_task_that_gets_further_each_time_is_never_given_up(bench: Bench, tmp_path: Path) -> None:
    if not bench.apart:
        pytest.skip("the local executor stops at the first killed process")
    place = Place(tmp_path, "killed, further each time")
    assert bench.run(fails, place, [2], "kills") == [4]
    assert runs(place, 2) == 7 > 1 + RETRIES


def test_a_dictionary_whose_training_was_killed_has_the_same_bytes(
    bench: Bench, tmp_path: Path
) -> None:
    if not bench.apart:
        pytest.skip("the local executor stops at the first killed process")
    rows = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    config = SAEConfig(d=16, m=48, k=3, steps=60, batch=128)
    jobs = {}
    for name in ("whole", "killed"):
        places = {"checkpoint": tmp_path / f"{name}_at", "into": tmp_path / name}
        jobs[name] = Job(name, config, TokenSource(tmp_path / "x.npy"), **places)
    whole = train_job(False, jobs["whole"])
    found = bench.run(executor_bodies.train_killed, Place(tmp_path), [jobs["killed"]], "SAEs")
    assert (tmp_path / "killed").is_dir() and found[0].history == whole.history
    for file in ("cfg.json", "sae.safetensors"):
        one, other = (tmp_path / name / file for name in jobs)
        assert one.read_bytes() == other.read_bytes()
    assert plans.notes_in(tmp_path / "tasks")["saes"]["lost"] == 1


def test_a_full_disk_is_told_in_words(bench: Bench, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("a small disk is mounted by root")
    small = tmp_path / "small_disk"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises((UserError, OSError), match=r"full|requested and|No space"):
            bench.run(fails, Place(tmp_path, "full"), range(3), "disk")
        assert not list(small.iterdir())  # nothing half-written
        if bench.apart:
            assert runs(Place(tmp_path), 2) == 1  # not tried again
            assert runs(Place(tmp_path), 1) == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_another_version_on_a_node_stops_the_task(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not bench.apart:
        pytest.skip("this process has one version")
    monkeypatch.setattr(plans, "source_digest", lambda: "f" * 64)
    with pytest.raises(
        UserError, match=r"was planned by version .*\(ffffffffff\), while .* has .*Inst"
    ):
        bench.run(square, Place(tmp_path), range(2), "versions")
    assert runs(Place(tmp_path), 0) == 0


DRIVER = """
import sys
from pathlib import Path
from executor_bodies import Place, sleeps
from petriscope.executors import Executor, Resources, fan_out, local
from petriscope.executors.config import Settings
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
name, folder, seconds, address, gpus = sys.argv[1:]
local.gpu_count = lambda: 2
place = Place(Path(folder), seconds)
settings = Settings(poll=0.5, settle=1, limit=4, address=address or None)
executor = Executor(name, place.folder / "tasks", "", settings)
try:
    needs = Resources(gpus=int(gpus))
    list(fan_out(sleeps, place, range(3), "sleeping", executor=executor, resources=needs))
except KeyboardInterrupt:
    sys.exit(130)
"""


def driver(bench: Bench, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A process that runs three sleeping items, once each of two has begun."""
    arguments = [bench.name, str(folder), str(seconds), bench.settings.address or ""]
    started = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments, str(bench.needs.gpus)])
    wait_until(lambda: sum(runs(Place(folder), item) for item in range(3)) >= 2)
    return started


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def at_work(bench: Bench, folder: Path) -> list[Any]:
    """What still runs of the items in a folder."""
    if bench.name == "slurm":
        return bench.cluster.ask("squeue", "-h", "-t", "PENDING,RUNNING").split()
    if bench.name == "ray":
        import ray

        if not ray.is_initialized():
            ray.init(address=bench.settings.address, log_to_driver=False)
        used = ray.cluster_resources().get("CPU", 0) - ray.available_resources().get("CPU", 0)
        return [used] if used else []
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if str(folder) in " ".join(p.info["cmdline"] or ())]


def test_an_interrupt_stops_every_task(bench: Bench, tmp_path: Path) -> None:
    started = driver(bench, tmp_path, 600)
    assert at_work(bench, tmp_path)
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 130
    wait_until(lambda: not at_work(bench, tmp_path), 60)


def test_a_driver_that_died_is_joined_again(bench: Bench, tmp_path: Path) -> None:
    place = Place(tmp_path, "20.0")
    started = driver(bench, tmp_path, 20.0)
    started.kill()
    started.wait()
    if bench.name == "slurm":  # the array goes on without its driver
        assert at_work(bench, tmp_path)
        before = plans.read_head(tmp_path / "tasks/sleeping.state")["tasks"]
        assert bench.run(sleeps, place, range(3), "sleeping") == [0, 1, 2]
        assert before and [runs(place, item) for item in range(3)] == [1, 1, 1]
    else:  # its tasks ended with it
        wait_until(lambda: not at_work(bench, tmp_path), 60)
        assert bench.run(sleeps, place._replace(how="20.0"), range(3), "sleeping") == [0, 1, 2]


def test_a_node_that_does_not_see_the_folder_is_named(tmp_path: Path) -> None:
    executor = Executor("slurm", tmp_path / "tasks")
    plan = plans.make(executor, square, Place(tmp_path), [1, 2], "squares", ONE_CORE)
    plan.save()
    assert run_piece(str(plan.file), 0) is None and runs(Place(tmp_path), 1) == 1
    plan.file.with_suffix(".token").unlink()
    told = run_piece(str(plan.file), 1)
    assert told is not None and f"{plan.file}: cannot be read on" in told and "every node" in told
    assert runs(Place(tmp_path), 2) == 0


@pytest.mark.slurm
def test_slurm_names_the_node_that_does_not_see_the_folder(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "tasks").mkdir(parents=True)
    (tmp_path / "slurm").mkdir()
    mount = f'mount -t tmpfs none {hidden} && exec "$@"'
    with clusters.slurm(tmp_path / "slurm", "unshare", "-m", "bash", "-c", mount, "bash"):
        there = Bench("slurm", Settings(poll=0.5, settle=1))
        with pytest.raises(
            UserError, match=rf"left no file in {hidden}/tasks .*{clusters.HOST}.*Use"
        ):
            there.run(square, Place(hidden), range(2), "squares")


@pytest.mark.ray
def test_ray_listens_where_told_and_survives_a_node(tmp_path: Path) -> None:
    with clusters.ray_cluster(nodes=1) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *(p for p in sys.path if p)]))
        there = Bench("ray", Settings(settle=1, address=cluster.address))
        heard = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
        places = {line.split()[3].rpartition(":")[0] for line in heard.splitlines()}
        assert places and places <= {"127.0.0.1", "[::ffff:127.0.0.1]"}
        started = driver(there, tmp_path, 10)
        doomed = next(iter(cluster.worker_nodes))
        cluster.add_node(num_cpus=2, memory=8 * 2**30, node_ip_address="127.0.0.1")
        cluster.remove_node(doomed, allow_graceful=False)
        assert started.wait(180) == 0
        found = plans.notes_in(tmp_path / "tasks")["sleeping"]
        assert found["lost"] >= 1 and len(found["tasks"]) == 3


def test_ray_is_never_started_without_an_address(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(
        UserError, match=r"executor.yaml: address: names no cluster. Give HOST:PORT"
    ):
        Bench("ray", Settings()).run(noop, Place(tmp_path), [1], "nothing")


def test_calls_of_one_name_in_two_workers_keep_apart(tmp_path: Path) -> None:
    executor = Executor("local", tmp_path / "tasks", "inputs", Settings())

    def squares(first: int) -> list[int]:
        items = range(first, first + 3)
        return list(fan_out(square, Place(tmp_path), items, "squares", executor=executor))

    for _ in range(2):  # the second time from the done files
        assert list(in_processes(squares, [0, 10], "outer", workers=2)) == [
            [0, 1, 4],
            [100, 121, 144],
        ]
    assert [runs(Place(tmp_path), item) for item in (0, 1, 2, 10, 11, 12)] == [1] * 6
