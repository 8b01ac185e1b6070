"""`expresso-persist serve` as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-of-the-serve-tests"


class Server:
    """A server process, its address, and what it printed."""

    def __init__(self, *arguments: str, cwd: Path, before: str = "") -> None:
        """Start it; ``before`` is what its process does first, in Python."""
        program = f"{before}; from expresso_persist.cli import main; main()"
        self.process = subprocess.Popen(
            [
                sys.executable,
                *(("-c", program) if before else ("-m", "expresso_persist")),
                "serve",
                "--port",
                "0",
                "--no-rate-limits",
                "--json",
                *arguments,
            ],
            env={**os.environ, "EXPRESSO_PERSIST_TOKEN": TOKEN},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:  # the JSON ends with a brace of its own line
            text += line
            if line == "}\n":
                break
        else:
            _, errors = self.process.communicate(timeout=30)
            pytest.fail(f"the server did not start: {errors}", pytrace=False)
        self.told: dict[str, Any] = json.loads(text)
        self.url: str = self.told["url"]
        self.errors = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def request(
        self, path: str, body: object = None, *, token: str | None = TOKEN
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        status, _, answer = self.ask(path, body, token=token)
        return status, answer

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Message, Any]:
        """The status, the headers and the JSON of an answer."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.load(error)

    def wait_until_ready(self) -> None:
        """Until the health endpoint answers without credentials."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.request("/api/migration/health", token=None)[0] == 200:
                    return
            time.sleep(0.05)
        pytest.fail("the server never got ready", pytrace=False)

    def stop(self, number: int) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(5)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
