"""Worker processes that tests kill, and how often they do it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]
WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture
def rounds() -> int:
    """How often a fault is repeated: few times in everyday runs."""
    return int(os.environ.get("EXPRESSO_FAULT_ROUNDS", "6"))


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a worker; all of them are gone at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        return worker

    yield run
    for worker in started:
        worker.kill()
        worker.communicate()
