"""What a missing part of the test environment means: a failure on CI, a skip elsewhere."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

ON_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(reason: str) -> NoReturn:
    """Skip the test with the reason; on CI, where everything must be there, fail it."""
    if ON_CI:
        pytest.fail(f"{reason} (a skip becomes a failure when CI=true)", pytrace=False)
    pytest.skip(reason)
