"""The feed: who waits for commits learns of them, in order, none missed and none twice.

The rows of ``commits`` and ``changes`` are the truth, and a cursor says how far somebody has
read them. Everything else here only decides *when* to look: one thread per process, woken by
commits of its own process and by PostgreSQL's NOTIFY, and by the clock where there is neither.
"""

from __future__ import annotations

from expresso_persist.feed.hub import Hub
from expresso_persist.feed.recent import Encoded, Recent
from expresso_persist.feed.subscription import Feed, FeedEvent, Subscription

__all__ = ["Encoded", "Feed", "FeedEvent", "Hub", "Recent", "Subscription"]
