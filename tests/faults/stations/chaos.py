"""What goes wrong at a venue, at random moments: servers, lines, the database, clocks."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Sequence

from postgres_server import PrivateServer
from stations.lines import Line
from stations.servers import Server

__all__ = ["Chaos"]


class Chaos:
    """Breaks things until it is over, and mends them in the end.

    Attributes:
        done: How often each thing was done.
        over: Set, it ends with what it is doing. Cancelled it would leave behind whatever
            its threads still do, such as stopping the database.
    """

    def __init__(
        self, servers: Sequence[Server], lines: Sequence[Line], database: PrivateServer | None
    ) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.over = False
        self._servers = servers
        self._lines = lines
        self._database = database

    async def reign(self) -> None:
        """Go on until it is over."""
        deeds = [self._cut] * 6 + [self._burst] * 3 + [self._deafen] * 3 + [self._jump] * 2
        deeds += [self._kill] * min(2, len(self._servers) - 1) or [self._kill]
        if self._database is not None:
            deeds.append(self._restart)
        while not self.over:
            await asyncio.sleep(random.uniform(0.05, 0.4))
            deed = random.choice(deeds)
            self.done[deed.__name__.strip("_")] += 1
            await deed()

    async def mend(self) -> None:
        """Everything works again."""
        for line in self._lines:
            line.refuse, line.deaf = None, False
        for server in self._servers:
            for _ in range(20):
                if server.runs:
                    break
                await server.start()

    async def _cut(self) -> None:
        random.choice(self._lines).cut(random.choice([0.2, 1.0]))

    async def _burst(self) -> None:
        line = random.choice(self._lines)
        line.refuse = random.choice([429, 500, 503])
        await asyncio.sleep(random.uniform(0.05, 0.5))
        line.refuse = None

    async def _deafen(self) -> None:
        """Requests are carried out, and nobody learns of it."""
        line = random.choice(self._lines)
        line.deaf = True
        await asyncio.sleep(random.uniform(0.05, 0.5))
        line.deaf = False

    async def _kill(self) -> None:
        server = random.choice(self._servers)
        server.kill()
        await asyncio.sleep(random.uniform(0, 0.3))
        await server.start()

    async def _restart(self) -> None:
        assert self._database is not None
        await asyncio.to_thread(self._database.stop_at_once)
        await asyncio.sleep(random.uniform(0, 0.5))
        await asyncio.to_thread(self._database.start)

    async def _jump(self) -> None:
        random.choice(self._servers).jump(random.choice([-86400, -60, 0, 60, 86400]))
