"""DatabaseCounters: counts requests in the database, for all processes together."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.database import Database
from expresso_persist.db.tables import rate_counters

__all__ = ["DatabaseCounters", "next_free", "rolled"]


def rolled(window: int, hits: int, previous: int, now: int) -> tuple[int, int]:
    """Counts of the window ``now`` and of the one before it, from those of ``window``.

    A clock that went back counts on in the window it left, so that setting it back resets
    nothing.
    """
    if now <= window:
        return hits, previous
    return (0, hits) if now == window + 1 else (0, 0)


def next_free(hits: int, previous: int, amount: int, elapsed: float) -> float:
    """Share of the window after which one more request fits; 0 when it does now.

    The window slides: of the one before, as much counts as still overlaps. That is an
    estimate which takes two numbers per actor instead of a row per request.

    Args:
        hits: Requests in this window.
        previous: Requests in the one before.
        amount: Requests allowed per window.
        elapsed: Share of this window that is over, 0 to 1.
    """
    if previous * (1 - elapsed) + hits + 1 <= amount:
        return 0.0
    if hits + 1 > amount:  # not before the next window, in which these are the previous ones
        return 1 - elapsed + max(0.0, 1 - (amount - 1) / hits)
    return 1 - (amount - hits - 1) / previous - elapsed


class DatabaseCounters:
    """Counts by the database's clock: ten a minute are ten, over however many processes."""

    def __init__(self, database: Database) -> None:
        """Count in ``database``."""
        self._database = database

    def hit(self, tenant: str, name: str, amount: int, period: int) -> float:
        """Count one request, if it fits.

        Args:
            tenant: Whose requests.
            name: What is counted.
            amount: Requests that fit into a period.
            period: Seconds.

        Returns:
            0 when it fits, else the seconds after which one will.
        """

        def count(connection: Connection) -> float:
            key = (rate_counters.c.tenant_id == tenant, rate_counters.c.name == name)
            query = self._database.lock_rows(
                sa.select(
                    rate_counters.c.slot, rate_counters.c.hits, rate_counters.c.previous
                ).where(*key)
            )
            row = connection.execute(query).first()
            if row is None:
                self._database.insert_if_absent(
                    connection,
                    rate_counters,
                    {
                        "tenant_id": tenant,
                        "name": name,
                        "slot": 0,
                        "hits": 0,
                        "previous": 0,
                    },
                )
                row = connection.execute(query).one()
            # After the lock: read before, it could lie behind what another process counted.
            now = self._database.now(connection)
            window, elapsed = divmod(now.timestamp() / period, 1)
            hits, previous = rolled(row.slot, row.hits, row.previous, int(window))
            wait = next_free(hits, previous, amount, elapsed) * period
            if wait > 0:
                return wait
            connection.execute(
                sa.update(rate_counters)
                .where(*key)
                .values(
                    slot=max(int(window), row.slot),
                    hits=hits + 1,
                    previous=previous,
                )
            )
            return 0.0

        return self._database.of(tenant).transact(count)
