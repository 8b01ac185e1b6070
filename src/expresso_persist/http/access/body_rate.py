"""How slowly a client may send a request, and read its answer."""

from __future__ import annotations

import time

__all__ = ["HEADERS", "STALLED", "MinimumBodyRate"]

HEADERS = 10.0
"""Seconds that the headers of a request may take under `serve`."""

GRACE = 30.0
"""Seconds that any body may take."""

STALLED = 120
"""Seconds in which a client has to take something of its answer under `serve`.

What it takes first is in the kernel's buffer, which may hold a few megabytes: a client of some
10 KB a second needs this long until more of it is sent.
"""

BYTES_PER_SECOND = 4 * 1024
"""The minimum rate of a longer one: a venue's worst connection is faster."""


class MinimumBodyRate:
    """The clock of one body: a client that sends a byte now and then runs out of time."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def time_left(self, received: int) -> float:
        """Seconds to wait for more, after ``received`` bytes."""
        return max(0.0, self._began + GRACE + received / BYTES_PER_SECOND - time.monotonic())
