"""A Slurm cluster of one node with two CPUs in a temporary folder, with accounting.

It is Debian's ``slurm-wlm``, ``slurmdbd`` and ``mariadb-server``, started in the foreground with
their own configuration, sockets and ports. Nothing is written to ``/etc``, and all ends with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sbatch")
CPUS = 2
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing_programs() -> list[str]:
    """Return the programs that the cluster needs and this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class SlurmCluster:
    """A running cluster; a context manager.

    Args:
        folder: where all of its files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> SlurmCluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *command: str | Path, check: bool = True) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            list(map(str, command)), env=self.env, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """Return the state of each job that is not over, such as ``{"7_0": "RUNNING"}``."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def _start(self) -> None:
        for name in ("state", "spool", "db"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        controller, node, accounting = _free_ports(3)
        self._write_configuration(controller, node, accounting)
        self._start_munge()
        self._start_database()
        self._spawn("slurmdbd", "-D")
        self._wait("slurmdbd answers", lambda: self._succeeds("sacctmgr", "-n", "list", "cluster"))
        self.run("sacctmgr", "-i", "add", "cluster", "s2r")
        self._spawn("slurmctld", "-D")
        self._spawn("slurmd", "-D", "-N", "node1")
        self._wait("the node is idle", self._is_idle)

    def _is_idle(self) -> bool:
        return "idle" in self.run("sinfo", "--noheader", "--format=%T", check=False)

    def _write_configuration(self, controller: int, node: int, accounting: int) -> None:
        host, user = socket.gethostname(), _user()
        common = {"AuthType": "auth/munge", "AuthInfo": f"socket={self.folder}/munge.socket"}
        database = {
            **common,
            "DbdHost": "localhost",
            "DbdPort": accounting,
            "SlurmUser": user,
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": user,
            "StorageLoc": "slurm_acct_db",
            "LogFile": self.folder / "slurmdbd.log",
            "PidFile": self.folder / "slurmdbd.pid",
        }
        self._write("slurmdbd.conf", database).chmod(0o600)
        cluster = {
            **common,
            "ClusterName": "s2r",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmdPort": node,
            "SlurmUser": user,
            "SlurmdUser": user,
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd.log",
            "SlurmdParameters": "config_overrides",  # two CPUs, whatever the machine has
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU",
            "SchedulerParameters": "batch_sched_delay=0,bf_interval=2,sched_interval=2",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "KillWait": 5,
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "localhost",
            "AccountingStoragePort": accounting,
            "AccountingStoragePass": self.folder / "munge.socket",
            "JobRequeue": 1,
        }
        node_line = f"NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS}"
        low = "PartitionName=low Nodes=node1 Default=YES PriorityTier=1 GraceTime=20"
        high = "PartitionName=high Nodes=node1 PriorityTier=10 PreemptMode=OFF"
        self._write("slurm.conf", cluster, [node_line, low, high])

    def _write(self, name: str, settings: Mapping[str, object], lines: Sequence[str] = ()) -> Path:
        path = self.folder / name
        path.write_text("\n".join([*(f"{k}={v}" for k, v in settings.items()), *lines, ""]))
        return path

    def _start_munge(self) -> None:
        socket_path = self.folder / "munge.socket"
        options = {
            "socket": socket_path,
            "key-file": self.folder / "munge.key",
            "pid-file": self.folder / "munge.pid",
            "seed-file": self.folder / "munge.seed",
            "log-file": self.folder / "munge.log",
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        self._spawn("munged", "--foreground", "--force", *flags)
        self._wait("munge answers", socket_path.exists)

    def _start_database(self) -> None:
        data, socket_path, user = self.folder / "db", self.folder / "db.socket", _user()
        self.env["MYSQL_UNIX_PORT"] = str(socket_path)
        own = ("--no-defaults", f"--datadir={data}", f"--user={user}")
        self.run("mariadb-install-db", *own, f"--auth-root-socket-user={user}")
        files = (f"--socket={socket_path}", f"--pid-file={self.folder}/db.pid")
        self._spawn("mariadbd", *own, *files, "--skip-networking", "--innodb-log-file-size=64M")
        ping = ("mariadb-admin", "--no-defaults", f"--socket={socket_path}", "ping")
        self._wait("the database answers", lambda: self._succeeds(*ping))

    def _spawn(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            started = subprocess.Popen(
                command, env=self.env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._processes.append((command[0], started))

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run(command, env=self.env, capture_output=True).returncode == 0

    def _wait(self, what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            for name, process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: {self._log(name)}")
            if time.monotonic() > end:
                logs = "\n".join(self._log(name) for name, _ in self._processes)
                raise TimeoutError(f"not after {seconds:g} s: {what}\n{logs}")
            time.sleep(0.2)

    def _log(self, name: str) -> str:
        paths = [self.folder / f"{name}.out", self.folder / f"{name}.log"]
        return "\n".join(p.read_text(errors="replace")[-2000:] for p in paths if p.exists())

    def stop(self) -> None:
        """End the jobs and all processes of the cluster."""
        if len(self._processes) > 3:
            self.run("scancel", f"--user={_user()}", "--full", check=False)
            end = time.monotonic() + 15
            while self.run("squeue", "--noheader", check=False) and time.monotonic() < end:
                time.sleep(0.5)
        for _, process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def _user() -> str:
    import getpass

    return getpass.getuser()


def _free_ports(number: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
