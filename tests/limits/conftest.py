"""Every test with ``mount`` or ``client`` runs on both adapters and both databases."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mounted import client, mount
from redis_server import RedisServer

__all__ = ["client", "mount"]

collect_ignore = ["test_bodies.py"] if os.environ.get("EXPRESSO_TEST_BARE") else []


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis of its own."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()
