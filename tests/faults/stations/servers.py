"""Server processes that are killed and come back at the same address, with a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx

__all__ = ["TOKEN", "Server"]

TOKEN = "a-token-of-the-stations"
_MAIN = Path(__file__).with_name("jumping.py")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """One ``expresso-persist serve``, on a machine with a clock of its own."""

    def __init__(self, url: str, folder: Path, adapter: str) -> None:
        self.port = free_port()
        self.starts = 0
        self._url = url
        self._adapter = adapter
        self._clock = folder / f"clock-{self.port}"
        self._log = folder / f"log-{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, "EXPRESSO_PERSIST_TOKEN": TOKEN}
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Set the server's clock wrong by this much from now on."""
        self._clock.write_text(str(seconds))

    async def start(self) -> None:
        """Start it, and wait until it answers anything at all."""
        self.starts += 1
        command = [
            sys.executable, str(_MAIN), str(self._clock), "serve", "--port", str(self.port),
            "--adapter", self._adapter, "--database", self._url, "--no-backups",
            "--no-rate-limits",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - begins at once
                command, env=self._environment, stdout=log, stderr=log, cwd=self._clock.parent
            )
        async with httpx.AsyncClient() as http:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    await http.get(f"http://127.0.0.1:{self.port}/api/migration/health")
                    return
                if self._process.poll() is not None:
                    break  # it needs its database to begin; the next try starts it again
                await asyncio.sleep(0.05)

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As if the machine were switched off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")
