"""A Slurm cluster of one machine in a temporary folder, with its own ports: no systemd, no accounting."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
PATIENCE_SECONDS = 600
_CONFIGURATION = """
ClusterName=attacks
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=info
KillWait=5
MinJobAge=300
ReturnToService=2
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_because() -> str | None:
    """Return why no cluster can be started here, or None."""
    lacking = [name for name in NEEDED if _found(name) is None]
    if lacking:
        return f"Slurm is not installed here: there is no {', '.join(lacking)}"
    return None if os.geteuid() == 0 else "only root can start Slurm's daemons"


@dataclass(frozen=True)
class Cluster:
    """A cluster that takes jobs."""

    folder: Path
    environment: dict[str, str]

    def call(self, *command: str, cwd: Path | None = None) -> str:
        """Return what *command* of Slurm prints."""
        done = subprocess.run(
            command, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    def submit(self, script: str, *options: str, cwd: Path) -> str:
        """Return the number of a batch job that runs *script*."""
        path = cwd / "job.sh"
        path.write_text(f"#!/bin/bash\n{script}")
        return self.call(
            "sbatch", "--parsable", "--output=slurm-%j.out", *options, str(path), cwd=cwd
        ).strip()

    def until_gone(self, job: str) -> None:
        """Wait until nothing of *job* is queued or running."""
        until(lambda: not self.call("squeue", "--noheader", "--jobs", job).strip())


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd in *folder*, and stop them."""
    host = socket.gethostname().partition(".")[0]
    ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(_CONFIGURATION.format(host=host, folder=folder, **ports))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment["SLURM_CONF"] = str(configuration)
    cluster = Cluster(folder, environment)
    munge = [
        "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
        f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log",
        f"--seed-file={folder}/munge.seed",
    ]  # fmt: skip
    with ExitStack() as running:
        _start(running, cluster, munge)
        until(lambda: (folder / "munge.socket").exists())
        _start(running, cluster, ["slurmctld", "-D", "-i", "-f", str(configuration)])
        _start(running, cluster, ["slurmd", "-D", "-f", str(configuration), "-N", host])
        try:
            until(lambda: _state(cluster) == "idle")
        except AssertionError:
            print((folder / "slurmctld.log").read_text()[-3000:], (folder / "slurmd.log").read_text()[-3000:])
            raise
        yield cluster
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)


def until(what: Callable[[], bool]) -> None:
    """Wait until *what* holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def _state(cluster: Cluster) -> str:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def _start(running: ExitStack, cluster: Cluster, command: list[str]) -> None:
    program = _found(command[0])
    assert program is not None
    output = running.enter_context((cluster.folder / f"{command[0]}.out").open("wb"))
    process = subprocess.Popen(
        [program, *command[1:]], env=cluster.environment, stdout=output, stderr=output, start_new_session=True
    )

    def stop() -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    running.callback(stop)


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_ports(num_ports: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(num_ports)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
