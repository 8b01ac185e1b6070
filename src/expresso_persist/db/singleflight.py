"""Singleflight: one call for all threads that asked before it began."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

__all__ = ["Singleflight"]

T = TypeVar("T")


class Singleflight:
    """Runs concurrent calls with the same key once.

    A thread that calls while another call runs does not join that one, which may have read
    already, but the next, together with all that call until it begins.
    """

    def __init__(self) -> None:
        """Start with no calls."""
        self._lock = threading.Lock()
        self._running: dict[Hashable, threading.Lock] = {}
        self._next: dict[Hashable, _Flight] = {}

    def call(self, key: Hashable, action: Callable[[], T]) -> T:
        """Run ``action``, or share the result of another thread with the same key.

        Raises:
            Exception: What the action raised; each thread that shares the call gets it.
        """
        with self._lock:
            running = self._running.setdefault(key, threading.Lock())
            mine = _Flight()
            flight = self._next.setdefault(key, mine)
        if flight is not mine:
            with flight.over:
                pass
            if flight.error is not None:
                raise flight.error
            return cast("T", flight.result)
        try:
            with running:
                with self._lock:
                    del self._next[key]
                result = mine.result = action()
        except BaseException as error:
            mine.error = error
            raise
        finally:
            mine.over.release()
        return result


class _Flight:
    def __init__(self) -> None:
        self.over = threading.Lock()
        self.over.acquire()
        self.result: Any = None
        self.error: BaseException | None = None
