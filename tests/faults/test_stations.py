"""Stations at a bad venue agree in the end, and lose nothing: see ``stations``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from stations.browsers import browsers
from stations.checker import check
from stations.run import Config, run

from postgres_server import PrivateServer

LONG = bool(os.environ.get("EXPRESSO_STATIONS_LONG"))
pytestmark = pytest.mark.timeout(7200 if LONG else 300)


def test_nothing_is_lost_on_postgresql(
    private: PrivateServer, private_url: str, tmp_path: Path
) -> None:
    """Browsers with tabs, scripted clients and displays; servers, lines, PostgreSQL break."""
    config = Config(servers=4, tappers=20, followers=20, taps=10_000, connections=5_000)
    guests = browsers(5, 3) if LONG else browsers(2, 2)
    result = asyncio.run(run(config if LONG else Config(), private_url, tmp_path, private, guests))
    print(result)
    assert check(result.history, result.truth) == []


def test_nothing_is_lost_on_sqlite(tmp_path: Path) -> None:
    """One process: SQLite is for one machine."""
    config = Config(servers=1, tappers=20, followers=20, taps=10_000, connections=5_000)
    guests = browsers(5, 3) if LONG else browsers(1, 2)
    url = f"sqlite:///{tmp_path}/expresso.db"
    result = asyncio.run(run(config if LONG else Config(servers=1), url, tmp_path, None, guests))
    print(result)
    assert check(result.history, result.truth) == []


@pytest.mark.parametrize(
    ("sabotage", "found"),
    [
        ("idempotency", "counter "),
        ("outbox", "acknowledged, and not in the database"),
        ("gaps", "was never shown commits"),
    ],
)
def test_the_checker_finds_what_is_switched_off(
    private: PrivateServer, private_url: str, tmp_path: Path, sabotage: str, found: str
) -> None:
    """A checker that could not fail would prove nothing."""
    config = Config(sabotage=sabotage, followers=3, taps=200)
    faults: list[str] = []
    for _ in range(3):  # chance says when a server is killed, and whether that meets a tap
        result = asyncio.run(run(config, private_url, tmp_path, private))
        faults += check(result.history, result.truth)
        if any(found in fault for fault in faults):
            return
    pytest.fail(f"Nothing of this kind was found: {faults}")
