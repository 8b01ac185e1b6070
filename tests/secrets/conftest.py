"""The tests over HTTP run on both adapters and both databases."""

from __future__ import annotations

import pytest

from expresso_persist.model import plain_text, secrets
from mounted import client, mount

__all__ = ["client", "mount"]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """Names and texts that another test asked about are looked at again."""
    secrets._known_name.cache_clear()
    secrets._known_text.cache_clear()
    plain_text._FOLDS.clear()
