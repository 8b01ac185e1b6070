"""A failover that loses acknowledged writes: the stations put them back, each of them once.

Real browsers work on a real server; the database loses its last commits, with half of the
browsers offline; in the end every write that was made is there exactly once, and nothing is
parked. ``EXPRESSO_FAILOVER_ROUNDS`` says how often.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from stations.servers import TOKEN, Server

from expresso_persist import Store
from expresso_persist.db.tables import commits
from expresso_persist.model.records import Put, Setting, StationQuantity

ROUNDS = int(os.environ.get("EXPRESSO_FAILOVER_ROUNDS", "2"))
SHARED = "oat"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120 + 60 * ROUNDS)]

_START = """async ([module, token]) => {
  const { DatabaseInventoryService } = await import(module);
  window.service = new DatabaseInventoryService({
    token, retryDelay: 50, maxRetryDelay: 1000, patience: 2000, warnOnClose: false,
  });
  await window.service.start();
}"""
_WRITE = """async ([method, argument, key]) => {
  const answer = method === 'updateSetting'
    ? await window.service.updateSetting(...argument, { idempotencyKey: key })
    : await window.service[method](argument, { idempotencyKey: key });
  return answer.pending ? null : answer.revision;
}"""
_SETTLED = """async () => {
  const status = window.service.status();
  const { pending, parked, caughtUp, setAside } = status;
  const reasons = window.service.parked().map(({ path, body, error }) => [path, body, error]);
  return { settled: pending === 0 && caughtUp, status, parked: reasons, setAside };
}"""


class Database(Protocol):
    """What a failover is made of."""

    url: str

    def hold(self) -> None:
        """From here on commits can be lost."""

    def fail_over(self, server: Server) -> None:
        """Lose them, as if the machine were switched off."""

    def mend(self) -> None:
        """Make the next failover possible."""


class Copied:
    """SQLite: an older copy is put in the file's place while the server is stopped."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "expresso.db"
        self._copy = folder / "older.db"
        self.url = f"sqlite:///{self._file}"

    def hold(self) -> None:
        self._copy.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(self._file)) as source,
            contextlib.closing(sqlite3.connect(self._copy)) as target,
        ):
            source.backup(target)

    def fail_over(self, server: Server) -> None:
        server.kill()
        for leftover in self._file.parent.glob("expresso.db*"):
            leftover.unlink()
        shutil.copy(self._copy, self._file)

    def mend(self) -> None:
        pass


class Replicated:
    """PostgreSQL: an asynchronous replica that was behind is promoted."""

    def __init__(self) -> None:
        from replicated_postgres import ReplicatedServer

        self._server = ReplicatedServer()
        self.url = self._server.url
        self.hold, self.mend, self.close = self._server.hold, self._server.mend, self._server.close

    def fail_over(self, _server: Server) -> None:
        self._server.fail_over()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield Copied(tmp_path)
        return
    replicated = Replicated()
    yield replicated
    replicated.close()


@attrs.define
class Expected:
    """What all writes that were made come to.

    Attributes:
        keys: The idempotency key of each.
        acknowledged: How many were answered before the next began.
        lost: How many commits failovers took away.
        shared: The counter that all stations change.
        stock: What each station has of its own item, counted and sold in its own order.
        settings: The last value of each station's own setting, and the settings made once.
    """

    keys: list[str] = attrs.field(factory=list)
    acknowledged: int = 0
    lost: int = 0
    shared: float = 1000
    stock: dict[str, float] = attrs.field(factory=dict)
    settings: dict[str, Any] = attrs.field(factory=dict)


class Station:
    """One browser, with one or two tabs."""

    def __init__(self, name: str, context: BrowserContext, url: str, expected: Expected) -> None:
        self.name = name
        self.online = True
        self.expected = expected
        self._context = context
        self._url = url
        self.page: Page

    async def open(self) -> None:
        """A tab with the service in it; without a network the page is loaded from nowhere."""
        self.page = await self._context.new_page()
        await self.page.goto(f"{self._url}/api/migration/health")
        module = f"{self._url}/static/expresso-persist/DatabaseInventoryService.js"
        await self.page.evaluate(_START, [module, TOKEN])

    async def reopen(self) -> None:
        """Close the tab without warning, and open another one."""
        await self.page.close()
        await self.open()

    async def go(self, *, online: bool) -> None:
        self.online = online
        await self._context.set_offline(not online)

    async def work(self, writes: int) -> None:
        """Write, one after the other, and remember what it comes to."""
        for _ in range(writes):
            await self._write()

    async def _write(self) -> None:
        key, expected, name = str(uuid.uuid4()), self.expected, self.name
        own = {"stationId": name, "category": "milk", "item": name}
        match random.choice(["shared", "shared", "sell", "count", "set", "once"]):
            case "shared":
                delta = random.choice([-3, -2, -1, 1, 2])
                what: Any = {"stationId": "1", "category": "milk", "item": SHARED, "delta": delta}
                method, expected.shared = "adjust", expected.shared + delta
            case "sell":
                method, what = "adjust", {**own, "delta": -1}
                expected.stock[name] -= 1
            case "count":
                quantity = random.randint(0, 100)
                method, what = "count", {**own, "quantity": quantity}
                expected.stock[name] = quantity
            case "set":
                value = random.randint(0, 10**6)
                method, what = "updateSetting", [f"of {name}", value]
                expected.settings[f"of {name}"] = value
            case _:
                method, what = "updateSetting", [key, name]
                expected.settings[key] = name
        expected.keys.append(key)
        revision = await self.page.evaluate(_WRITE, [method, what, key])
        expected.acknowledged += revision is not None

    async def settle(self) -> None:
        """Wait until everything is sent; refusals fail the test."""
        state: dict[str, Any] = {}
        for _ in range(600):
            state = await self.page.evaluate(_SETTLED)
            if state["settled"] or state["parked"]:
                break
            await asyncio.sleep(0.1)
        assert state["parked"] == [], f"{self.name} was refused"
        assert state["settled"], f"{self.name} never settled: {state}"


@contextlib.asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=sandbox)
        yield browser
        await browser.close()


def _prepare(url: str, names: list[str]) -> None:
    with Store(url, migrate=True) as store:
        records = [StationQuantity.of("1", "milk", SHARED, data={"quantity": 1000})]
        records += [StationQuantity.of(name, "milk", name, data={"quantity": 50}) for name in names]
        settings = [Setting.of(f"of {name}", data=0) for name in names]
        store.inventory.commit([Put(record) for record in (*records, *settings)], actor="test")


def _revision(url: str) -> int:
    with Store(url) as store:
        return store.inventory.head().revision


def _check(url: str, expected: Expected) -> list[str]:
    """What is wrong, in sentences."""
    with Store(url) as store:
        report = store.inventory.verify()
        with store.database.read() as connection:
            keys = [*connection.scalars(sa.select(commits.c.idempotency_key))]
        settings = store.inventory.settings()
        stock: dict[tuple[str, ...], Any] = {
            record.parts: record.data for record in store.inventory.records("station_quantity")
        }
    made = [key for key in keys if key is not None]
    faults = [f"verify: {problem}" for problem in report.problems]
    faults += [f"{key} is lost" for key in expected.keys if key not in made]
    faults += [f"{key} is there twice" for key in {*made} if made.count(key) > 1]
    shared = stock["1", "milk", SHARED]["quantity"]
    if shared != expected.shared:
        faults.append(f"the shared counter is {shared}, not {expected.shared}")
    for name, quantity in expected.stock.items():
        found = stock[name, "milk", name]["quantity"]
        if found != quantity:
            faults.append(f"{name} has {found}, not {quantity}")
    for name, value in expected.settings.items():
        if settings.get(name) != value:
            faults.append(f"{name} is {settings.get(name)}, not {value}")
    return faults


async def _round(database: Database, server: Server, stations: list[Station]) -> None:
    """Everybody works; what was written since ``hold`` is lost; everybody works on."""
    await asyncio.gather(*(station.work(random.randint(0, 3)) for station in stations))
    await asyncio.to_thread(database.hold)
    away = random.sample(stations, len(stations) // 2)
    await asyncio.gather(*(station.work(random.randint(2, 6)) for station in stations))
    for station in away:
        await station.go(online=False)
    await asyncio.gather(*(station.work(random.randint(0, 3)) for station in stations))

    def fail() -> int:
        before = _revision(database.url)
        database.fail_over(server)
        return before - _revision(database.url)

    failing = asyncio.to_thread(fail)
    busy = [station.work(random.randint(0, 3)) for station in stations]
    lost, *_ = await asyncio.gather(failing, *busy)
    stations[0].expected.lost += lost
    if not server.runs:
        await server.start()
    here = [station for station in stations if station not in away]
    await asyncio.gather(*(station.work(random.randint(0, 3)) for station in here))
    if random.random() < 0.5:
        await random.choice(here).reopen()  # in the middle of it
    for station in random.sample(away, len(away)):
        await station.go(online=True)
        if random.random() < 0.3:
            await station.reopen()
    await asyncio.gather(*(station.work(random.randint(0, 2)) for station in stations))
    await asyncio.gather(*(station.settle() for station in stations))


async def _run(database: Database, folder: Path, rounds: int) -> Expected:
    names = [f"station {number}" for number in range(4)]
    _prepare(database.url, names)
    expected = Expected()
    expected.stock = dict.fromkeys(names, 50)
    expected.settings = {f"of {name}": 0 for name in names}
    server = Server(database.url, folder, "fastapi")
    await server.start()
    try:
        async with _chromium() as browser:
            stations = [
                Station(
                    name, await browser.new_context(), f"http://127.0.0.1:{server.port}", expected
                )
                for name in names
            ]
            await asyncio.gather(*(station.open() for station in stations))
            for number in range(rounds):
                await _round(database, server, stations)
                assert _check(database.url, expected) == [], f"after round {number + 1}"
                await asyncio.to_thread(database.mend)
    finally:
        server.kill()
    return expected


def test_what_was_acknowledged_and_lost_is_put_back_once(
    database: Database, tmp_path: Path
) -> None:
    expected = asyncio.run(_run(database, tmp_path, ROUNDS))
    print(attrs.evolve(expected, keys=expected.keys[:1], settings={}), len(expected.keys))
    assert expected.lost > 0, "otherwise this proves nothing"
