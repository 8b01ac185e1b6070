"""A Redis of one's own, with a password, to count requests in; stopped and hung at will."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from ci import missing

__all__ = ["PASSWORD", "RedisServer"]

PASSWORD = "the-password-of-redis"


class RedisServer:
    """Runs until ``kill``; ``start`` brings it back, empty, at the same port."""

    def __init__(self, folder: Path) -> None:
        """Start one that keeps what little it writes in ``folder``."""
        program = shutil.which("redis-server")
        if program is None:
            missing("no Redis: install the system's package redis-server")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
        self._command = [
            program, "--bind", "127.0.0.1", "--port", str(port), "--requirepass", PASSWORD,
            "--save", "", "--dir", str(folder),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            while True:
                assert self._process.poll() is None, "Redis did not start"
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return
                time.sleep(0.02)

    def names(self) -> list[str]:
        """The names of everything in it."""
        with redis.Redis.from_url(self.url) as client:
            return [key.decode() for key in client.scan_iter()]

    def hang(self) -> None:
        """Take connections, and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
