"""Pace: how slowly a body may come."""

from __future__ import annotations

import time

__all__ = ["Pace"]

HEADERS = 10.0
"""Seconds that the headers of a request may take under `serve`."""

GRACE = 30.0
"""Seconds that any body may take."""

SLOWEST = 4 * 1024
"""Bytes per second that a longer one comes with at least, on a venue's worst connection."""


class Pace:
    """A clock for one body: it stops at who sends a byte now and then."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()

    def age(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def left(self, received: int) -> float:
        """Seconds to wait for more, after so many bytes."""
        return max(0.0, self._began + GRACE + received / SLOWEST - time.monotonic())
