"""What clients did and saw, as they saw it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

__all__ = ["History", "Seen", "Tap", "Truth"]

Outcome = Literal["acknowledged", "refused", "unknown"]


@attrs.define
class Tap:
    """One thing that a user did.

    Attributes:
        id: Its idempotency key.
        client: Who did it.
        kind: ``adjust`` changes a counter that all share, ``put`` makes a setting of its own.
        target: Name of the counter or the setting.
        value: The delta, or the setting's value.
        outcome: What the user was told: acknowledged, refused, or nothing (unknown).
        tries: How often it was sent.
    """

    id: str
    client: str
    kind: Literal["adjust", "put"]
    target: str
    value: int
    outcome: Outcome = "unknown"
    tries: int = 0


@attrs.define
class Seen:
    """What one follower of the feed was given, in the order in which it came.

    Attributes:
        client: Who followed.
        start: The revision that it began after.
        revisions: The commits, over all connections.
        resets: How often it was told to begin again.
        connections: How often it connected.
        copy: Its local copy in the end: (kind, key) to data.
        reads: What a browser's client answered in the end, as ``get-all`` does.
        pending: Writes that a browser still had not sent in the end.
        cursor: Where in the feed it began.
    """

    client: str
    start: int = 0
    revisions: list[int] = attrs.field(factory=list)
    resets: int = 0
    connections: int = 0
    copy: dict[tuple[str, tuple[str, ...]], Any] = attrs.field(factory=dict)
    reads: Any = None
    pending: int = 0
    cursor: str = "0"


@attrs.define
class History:
    """Everything that was done and seen."""

    taps: list[Tap] = attrs.field(factory=list)
    seen: list[Seen] = attrs.field(factory=list)


@attrs.frozen
class Truth:
    """What the database holds in the end.

    Attributes:
        commits: Revision to idempotency key, of every commit after the beginning.
        first: The revision at the beginning.
        counters: The shared counters' values.
        start: Their values at the beginning.
        records: (kind, key) to data of every record.
        reads: What ``get-all`` answers.
    """

    commits: Mapping[int, str | None]
    first: int
    counters: Mapping[str, float]
    start: Mapping[str, float]
    records: Mapping[tuple[str, tuple[str, ...]], Any]
    reads: Any = None
