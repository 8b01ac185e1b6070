"""One run: servers behind bad lines, clients that work, chaos, then quiet, then the truth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import commits
from expresso_persist.model.records import Put, StationQuantity
from postgres_server import PrivateServer
from stations.chaos import Chaos
from stations.history import History, Seen, Truth
from stations.http_client import Follower, Tapper
from stations.lines import Line
from stations.servers import TOKEN, Server

__all__ = ["Config", "Result", "run"]

COUNTERS = ("oat", "soy", "cow")


@attrs.frozen
class Config:
    """How much of everything.

    Attributes:
        servers: Server processes.
        tappers: Scripted clients that write.
        followers: Scripted clients that follow the feed, by all its ways in turn.
        taps: Writes by all of them together.
        connections: The run lasts until the followers connected this often, too.
        sabotage: What to switch off, so that the checker has something to find:
            ``idempotency``, ``outbox`` or ``gaps``.
        calm: No chaos at all.
    """

    servers: int = 2
    tappers: int = 6
    followers: int = 6
    taps: int = 150
    connections: int = 60
    sabotage: str | None = None
    calm: bool = False


@attrs.frozen
class Result:
    """What came of it."""

    history: History
    truth: Truth
    chaos: Mapping[str, int]
    seconds: float

    def __str__(self) -> str:
        taps, seen = self.history.taps, self.history.seen
        tries = sum(tap.tries for tap in taps)
        told = {
            "seconds": round(self.seconds),
            "taps": len(taps),
            "acknowledged": sum(tap.outcome == "acknowledged" for tap in taps),
            "sent": tries,
            "commits": len(self.truth.commits),
            "connections": sum(one.connections for one in seen),
            "shown": sum(len(one.revisions) for one in seen),
            **self.chaos,
        }
        return json.dumps(told)


Browsers = Callable[["Venue"], contextlib.AbstractAsyncContextManager["Extra"]]


@attrs.define
class Venue:
    """What further clients need to take part.

    Attributes:
        urls: An address, another one each time.
        history: Where to write what they did and saw.
        work_left: Whether there is more to do.
        reads: What ``get-all`` answers at the moment, straight from the database.
    """

    urls: Callable[[], str]
    history: History
    work_left: Callable[[], bool]
    reads: Callable[[], Any]


class Extra:
    """Further clients: nothing by default."""

    async def settle(self) -> None:
        """Called when all is mended: return when nothing is pending any more."""


@contextlib.asynccontextmanager
async def nobody(_venue: Venue) -> AsyncIterator[Extra]:
    """No further clients."""
    yield Extra()


async def run(
    config: Config,
    url: str,
    folder: Path,
    database: PrivateServer | None,
    others: Browsers = nobody,
) -> Result:
    """Let everybody work for a while, and collect what they say."""
    began = time.monotonic()
    first, start = _prepare(url)
    history = History()
    servers = [
        Server(url, folder, ("fastapi", "flask")[number % 2]) for number in range(config.servers)
    ]
    lines = [Line(server.port) for server in servers]
    async with contextlib.AsyncExitStack() as stack:
        for server, line in zip(servers, lines, strict=True):
            stack.callback(server.kill)
            await server.start()
            await line.open()
            line.forgetful = config.sabotage == "idempotency"
            stack.push_async_callback(line.close)
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=httpx.Timeout(5, pool=None),
                limits=httpx.Limits(max_connections=None),
            )
        )
        history.seen += [Seen(f"follower {n}", first) for n in range(config.followers)]
        ways = ["poll", "wait", "stream"]

        def urls() -> str:
            return f"http://127.0.0.1:{random.choice(lines).port}"

        def work_left() -> bool:
            return (
                len(history.taps) < config.taps
                or sum(seen.connections for seen in history.seen) < config.connections
            )

        venue = Venue(urls, history, work_left, lambda: _reads(url))
        extra = await stack.enter_async_context(others(venue))
        tappers = [Tapper(f"tapper {n}", http, urls, history) for n in range(config.tappers)]
        _start_copies(url, history.seen)
        followers = [
            Follower(seen, http, urls, ways[n % len(ways)]) for n, seen in enumerate(history.seen)
            if seen.client.startswith("follower")
        ]  # fmt: skip
        for tapper in tappers:
            tapper.gives_up = config.sabotage == "outbox"
        for follower in followers:
            follower.careless = config.sabotage == "gaps"

        async def work(tapper: Tapper) -> None:
            while work_left():
                await tapper.tap(COUNTERS)
                await asyncio.sleep(random.uniform(0, 0.05))

        chaos = Chaos(servers, lines, database)
        following = [asyncio.create_task(follower.follow()) for follower in followers]
        reign = asyncio.create_task(asyncio.sleep(0) if config.calm else chaos.reign())
        working = [asyncio.create_task(work(tapper)) for tapper in tappers]
        while work_left():  # noqa: ASYNC110 - it counts what many do
            await asyncio.sleep(0.2)
        chaos.over = True
        await reign
        await chaos.mend()
        for follower in followers:
            follower.careless = False
        await asyncio.gather(*working)
        await extra.settle()
        await _caught_up(url, history.seen)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    return Result(history, _truth(url, first, start), chaos.done, time.monotonic() - began)


def _prepare(url: str) -> tuple[int, dict[str, float]]:
    with Store(url, migrate=True) as store:
        records = [
            StationQuantity.of("1", "milk", name, data={"quantity": 1000}) for name in COUNTERS
        ]
        revision = store.inventory.commit([Put(record) for record in records], actor="run").revision
    return revision, dict.fromkeys(COUNTERS, 1000.0)


def _records(store: Store) -> dict[tuple[str, tuple[str, ...]], Any]:
    return {(r.kind, r.parts): r.data for r in store.inventory.snapshot().records}


def _start_copies(url: str, seen: list[Seen]) -> None:
    with Store(url) as store:
        cursor = store.inventory.head().cursor
        for one in seen:
            one.copy.update(_records(store))
            one.cursor = cursor


async def _caught_up(url: str, seen: list[Seen]) -> None:
    """Give the followers all the time they need, unless they have stopped getting anywhere."""
    with Store(url) as store:
        head = store.inventory.head().revision
    quiet, before = time.monotonic(), -1
    while any((one.revisions or [one.start])[-1] < head for one in seen):
        now = sum(len(one.revisions) for one in seen)
        if now != before:
            quiet, before = time.monotonic(), now
        if time.monotonic() - quiet > 8:
            return  # the checker says who missed what
        await asyncio.sleep(0.1)


def _truth(url: str, first: int, start: Mapping[str, float]) -> Truth:
    with Store(url) as store:
        assert store.inventory.verify().ok
        records = _records(store)
        with store.database.read() as connection:
            rows = connection.execute(
                sa.select(commits.c.revision, commits.c.idempotency_key).where(
                    commits.c.revision > first
                )
            ).all()
    counters = {
        name: records["station_quantity", ("1", "milk", name)]["quantity"] for name in start
    }
    keys = {row.revision: row.idempotency_key for row in rows}
    return Truth(keys, first, counters, start, records, _reads(url))


def _reads(url: str) -> Any:
    with Store(url) as store:
        return json.loads(store.inventory.inventory_json()[1])
