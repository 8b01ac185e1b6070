"""LiveSettings and Slots: how many connections may stay open."""

from __future__ import annotations

import threading
from collections import Counter

import attrs

__all__ = ["LiveSettings", "Slots"]


@attrs.frozen
class LiveSettings:
    """What a host decides about connections that stay open.

    Attributes:
        connections: How many of them at a time: streams, sockets and waiting requests
            together. None is what the adapter's servers can afford by default.
        heartbeat: Seconds between two heartbeats. At each, the actor is authorised again, so
            that a revoked token ends its connections within this time.
        per_actor: How many of them one actor may have at a time. Stations that share a token
            are one actor.
    """

    connections: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    heartbeat: float = attrs.field(default=15.0, validator=attrs.validators.gt(0))
    per_actor: int = attrs.field(default=100, validator=attrs.validators.ge(0))


class Slots:
    """Counts open connections, in all and by actor."""

    def __init__(self, limit: int, per_actor: int | None = None) -> None:
        """Allow ``limit`` at a time, and ``per_actor`` of each actor."""
        self.limit = limit
        self.taken: int = 0
        self._per_actor = limit if per_actor is None else per_actor
        self._by_actor: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, actor: str = "") -> bool:
        """Take a slot; False if none is free."""
        with self._lock:
            free = self.taken < self.limit and self._by_actor[actor] < self._per_actor
            if free:
                self.taken += 1
                self._by_actor[actor] += 1
            return free

    def release(self, actor: str = "") -> None:
        """Give a slot back."""
        with self._lock:
            self.taken -= 1
            self._by_actor[actor] -= 1
            if not self._by_actor[actor]:
                del self._by_actor[actor]
