"""A real Slurm of one node on this machine, with two simulated GPUs.

A job step keeps no SLURM_CONF, so the configuration is written to /etc/slurm, and removed at the end. Where one exists
already, nothing is started.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

ETC = Path("/etc/slurm")
RUN = Path("/run/crossres-slurm")
MARK = "# Written by crossres's tests, and removed by them."
DAEMONS = ("slurmd", "slurmctld", "munged")
CONFIGURATION = """{mark}
ClusterName=crossres
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket,cred_expire=10
StateSaveLocation={run}/slurmctld
SlurmdSpoolDir={run}/slurmd
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# As a cluster that takes a node from a job of low priority, and queues the job again.
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
KillWait=5
ReturnToService=2
# More memory than this machine may have: what is asked for is counted, not held to.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=256000 Gres=gpu:2
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2
"""


class Slurm:
    """The daemons, while the context lasts."""

    def __enter__(self) -> Self:
        self.written = (ETC / "slurm.conf", ETC / "gres.conf")
        for path in self.written:
            if path.exists() and MARK not in path.read_text():
                raise RuntimeError(f"{path} is there: this machine has a Slurm of its own, and nothing was started")
        self._stop()  # of a test that was killed
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        host = socket.gethostname().split(".")[0]
        for name in ("slurmctld", "slurmd"):
            (RUN / name).mkdir(parents=True)
        for name in ("gpu0", "gpu1"):
            (RUN / name).touch()
        key = RUN / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        ETC.mkdir(exist_ok=True)
        conf, gres = self.written
        conf.write_text(CONFIGURATION.format(mark=MARK, host=host, run=RUN))
        gres.write_text(f"{MARK}\nName=gpu File={RUN}/gpu[0-1]\n")
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        told("munged", *(f"--{option}={RUN / name}" for option, name in files.items()), f"--seed-file={RUN}/munge.seed")
        told("slurmctld", "-c")
        told("slurmd", "-N", host)
        deadline = time.monotonic() + 60
        while "idle" not in told("sinfo", "--noheader", "--format=%T", may_fail=True):
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(RUN.glob("*.log")))
                raise RuntimeError(f"Slurm's node did not come up in a minute:\n{logs}")
            time.sleep(0.2)

    def _stop(self) -> None:
        if RUN.exists() and shutil.which("scancel"):
            told("scancel", "--full", "--user=root", may_fail=True)
        for name in DAEMONS:
            end(RUN / f"{name}.pid")
        shutil.rmtree(RUN, ignore_errors=True)
        for path in self.written:
            path.unlink(missing_ok=True)

    def jobs(self, folder: Path) -> list[dict[str, str]]:
        """Return what Slurm knows, by key, of every job that was started in a folder."""
        lines = told("scontrol", "--oneliner", "show", "jobs").splitlines()
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in found if job.get("WorkDir") == str(folder)]

    def running(self, folder: Path, rule: str) -> str:
        """Return the number of the one running job of a rule."""
        (number,) = [
            job["JobId"]
            for job in self.jobs(folder)
            if job["JobState"] == "RUNNING" and job["Comment"].startswith(f"rule_{rule}_")
        ]
        return number


def told(*command: str, may_fail: bool = False) -> str:
    """Run a command of Slurm's and return what it prints; a failure is a RuntimeError, unless it may fail."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 and not may_fail:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def end(pid_file: Path) -> None:
    """End the daemon that a file names, if it runs, and wait for it; kill it after ten seconds."""

    def is_running() -> bool:  # a dead process that nobody waited for has no such link
        return pid_file.stem in os.readlink(f"/proc/{pid}/exe")

    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        if is_running():
            os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not is_running():
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
