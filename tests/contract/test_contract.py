"""The published contract suite, over every adapter and database."""

from __future__ import annotations

from typing import Any

from expresso_persist import Store
from expresso_persist.testing import *  # noqa: F403 - the suite is a module of tests


def test_a_prefix_moves_everything(mount: Any, store: Store) -> None:
    """Endpoints and page alike."""
    send = mount(store, prefix="/coffee")
    assert send("GET", "/coffee/api/migration/health", {}, b"").status == 200
    assert send("GET", "/api/migration/health", {}, b"").status == 404
