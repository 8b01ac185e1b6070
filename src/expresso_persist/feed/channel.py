"""Channel: one tenant's place where threads and event loops wait for commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs

from expresso_persist.feed.recent import Recent

__all__ = ["Channel"]


@attrs.define(eq=False)
class Channel:
    """What is known of a tenant, and who waits for more.

    Attributes:
        tenant: Whose commits.
        recent: The newest commits, encoded; None before the first look.
        revision: The revision it ends with.
        generation: Another number each time something happened. A reader that notes it, reads,
            and then waits for another one, misses nothing.
        interests: Who wants to know; while there is anybody, the hub looks.
        callbacks: Called by the hub's thread whenever something happened.
        quiet_since: When the last interest ended.
    """

    tenant: str
    recent: Recent | None = None
    revision: int = 0
    generation: int = 0
    interests: set[object] = attrs.field(factory=set)
    callbacks: set[Callable[[], None]] = attrs.field(factory=set)
    quiet_since: float = attrs.field(factory=time.monotonic)
    _changed: threading.Condition = attrs.field(factory=threading.Condition)

    def happened(self, generation: int) -> None:
        """Tell everybody."""
        with self._changed:
            self.generation = generation
            self._changed.notify_all()
        for callback in tuple(self.callbacks):
            callback()

    def poke(self) -> None:
        """Let those who wait look whether they still want to."""
        with self._changed:
            self._changed.notify_all()
        for callback in tuple(self.callbacks):
            callback()

    def wait(self, seen: int, timeout: float | None, enough: Callable[[], bool]) -> None:
        """Until the generation is not ``seen``, ``enough`` is true, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.generation != seen or enough(), timeout)

    def forget(self) -> None:
        """After a fork: those who waited did so in the parent."""
        self._changed = threading.Condition()
        self.recent = None
        self.interests.clear()
        self.callbacks.clear()
