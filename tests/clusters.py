"""Real engines on this machine, in a network and host-name namespace of their own: SLURM as Debian
packages it, and a Ray cluster of two nodes. Both need root; tests that ask for them skip elsewhere,
with the reason."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000
HOST = "localhost"  # which alone can be resolved there


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """This thread, and what it starts, with a network that holds lo alone (two addresses), and
    the host name `HOST`; as before afterwards."""
    if os.geteuid():
        pytest.skip("a network namespace needs root")
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (Debian: iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    before = [(os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY), flag)
              for name, flag in (("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS))]  # fmt: skip
    if libc.unshare(CLONE_NEWNET | CLONE_NEWUTS):
        pytest.skip(f"no namespace can be made: {os.strerror(ctypes.get_errno())}")
    try:
        socket.sethostname(HOST)
        # without an address that is no loopback, glibc finds no localhost (AI_ADDRCONFIG)
        for line in ("link set lo up", "addr add 10.99.0.1/32 dev lo"):
            subprocess.run(["ip", *line.split()], check=True)
        yield
    finally:
        for handle, flag in before:
            assert libc.setns(handle, flag) == 0, os.strerror(ctypes.get_errno())
            os.close(handle)


CONF = """\
ClusterName=petri
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldParameters=idle_on_node_suspend
MinJobAge=60
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=20000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """munged, slurmctld and slurmd, from a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.conf = folder / "slurm.conf"

    def start(self, *wrapper: str) -> None:
        """Start the daemons; ``wrapper``: words before slurmd."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.conf.write_text(CONF.format(folder=self.folder, host=HOST))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        os.environ["SLURM_CONF"] = str(self.conf)
        paths = {
            name: self.folder / f"munge.{name}"
            for name in ("socket", "log-file", "pid-file", "seed-file")
        }
        paths["log-file"].touch(0o600)
        self._run("munged", "--foreground", "--force", f"--key-file={key}",
                  *(f"--{name}={path}" for name, path in paths.items()))  # fmt: skip
        _wait(paths["socket"].exists, "munged")
        self._run("slurmctld", "-D")
        self._run(*wrapper, "slurmd", "-D")
        _wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "a node that is idle")

    def _run(self, *command: str) -> None:
        log = (self.folder / f"{command[0]}.out").open("ab")
        self.running.append(subprocess.Popen(command, stdout=log, stderr=log))

    def ask(self, *command: str) -> str:
        """Output of a command."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        """Stop jobs and daemons."""
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        time.sleep(1)
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        os.environ.pop("SLURM_CONF", None)


@contextlib.contextmanager
def slurm(folder: Path, *wrapper: str) -> Iterator[Slurm]:
    """A SLURM of one node of four processors, in a namespace."""
    missing = [
        name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)
    ]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: slurmctld slurmd munge)")
    with namespace():
        found = Slurm(folder)
        try:
            found.start(*wrapper)
            yield found
        finally:
            found.stop()


@contextlib.contextmanager
def ray_cluster(nodes: int = 2) -> Iterator[Any]:
    """A Ray cluster: a head without processors, and nodes of two each; in a namespace."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra petriscope[scale]")
    with namespace():
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(nodes):
                cluster.add_node(
                    num_cpus=2,
                    memory=8 * 2**30,
                    object_store_memory=80 * 2**20,
                    node_ip_address="127.0.0.1",
                )
            yield cluster
        finally:
            import ray

            ray.shutdown()
            cluster.shutdown()


def _wait(until: Any, what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.1)
