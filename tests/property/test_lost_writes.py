"""Random event days with a loss in them: what was lost is offered again, in any order.

What comes out is what would have come out had nothing been lost, or the write is refused with
a conflict for that record. Never another number without a word. ``EXPRESSO_LOST_DAYS`` says how
many days there are, ``EXPRESSO_LOST_SEED`` which is the first.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.commits.offers import Position, Standing
from expresso_persist.errors import NotFound, OfferConflict
from expresso_persist.model.records import Commit, Put, StationQuantity, StockLevel
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import BATCH_TYPES, AdjustMovement, read_movement, read_update

FIRST = int(os.environ.get("EXPRESSO_LOST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("EXPRESSO_LOST_DAYS", "10")))
pytestmark = pytest.mark.timeout(60 + 5 * len(SEEDS))
ITEMS = ("full", "oat")


@attrs.frozen
class Write:
    """What a client asks for."""

    kind: str
    body: dict[str, Any]
    key: str
    client: str

    def ask(self, store: Store, standing: Standing | None, actor: str = "") -> Commit:
        """Send it, as the endpoint of its kind does."""
        who = {"actor": actor or self.client, "idempotency_key": self.key, "request": self.key}
        inventory = store.inventory
        if self.kind in ("adjust", "count", "transfer", "waste"):
            standing = standing and attrs.evolve(standing, adds=self.kind != "count")
            movement = read_movement(self.kind, self.body)
            return inventory.move(movement, standing=standing, **who).commit
        if self.kind == "batch":
            updates = [
                read_update(one["type"], one["data"], types=BATCH_TYPES)
                for one in self.body["updates"]
            ]
        else:
            updates = [read_update(self.kind, self.body)]
        if standing is not None and all(isinstance(one, AdjustMovement) for one in updates):
            standing = attrs.evolve(standing, adds=True)
        return inventory.commit(update_operations(updates), standing=standing, **who)


@attrs.define
class Client:
    """What one browser knows.

    Attributes:
        name: Its name.
        follows: The feed comes to it; otherwise it knows its own answers alone.
        modern: It sends what it knows to be lost.
        trail: The positions that it knows, by revision.
        acknowledged: Its writes, with where each was acknowledged.
    """

    name: str
    follows: bool
    modern: bool
    trail: dict[int, str] = attrs.field(factory=dict)
    acknowledged: list[tuple[Write, str, int]] = attrs.field(factory=list)

    def took(self, write: Write, commit: Commit) -> None:
        since = max(self.trail, default=0)
        self.acknowledged.append((write, commit.cursor, since))
        self.trail[commit.revision] = commit.cursor
        if self.modern and commit.before is not None:
            self.trail[commit.revision - 1] = commit.before

    def offers(self, has: Callable[[str], bool]) -> list[tuple[Write, Standing]]:
        """What it lost, as it offers it."""
        known = sorted(self.trail)
        shared = [revision for revision in known if has(self.trail[revision])]
        gone = [revision for revision in known if revision not in shared]
        result = []
        for write, cursor, since in self.acknowledged:
            if int(cursor.split(".")[1]) not in gone:
                continue
            newest = max(shared, default=None) if self.modern else None
            if not self.modern:
                newest = max((r for r in shared if r <= since), default=None)
            standing = Standing(
                None if newest is None else Position.read(self.trail[newest], "since"),
                Position.read(cursor, "acknowledged"),
                lost=Position.read(self.trail[gone[0]], "lost") if self.modern else None,
            )
            result.append((write, standing))
        return result


class Day:
    """A store, its clients, and copies of it as it was."""

    def __init__(
        self, store: Store, file: Path, seed: int, kinds: tuple[str, ...], *, sure: bool
    ) -> None:
        self.random = random.Random(seed)
        self.store = store
        self.file = file
        self.kinds = kinds
        self.sure = sure
        self.number = 0
        self.clients = [Client(name, self.chance(0.6), self.chance(0.8)) for name in "abc"]
        head = store.inventory.head()
        for each in self.clients:
            if each.follows:
                each.trail[head.revision] = head.cursor
        self.copies: list[sqlite3.Connection] = []
        self.log: list[tuple[Write, Commit]] = []
        self.fresh: list[Write] = []

    def chance(self, share: float) -> bool:
        return self.random.random() < share or self.sure

    def write(self) -> Write:
        choose = self.random.choice
        kind, item = choose(self.kinds), choose(ITEMS)
        self.number += 1
        quantity = choose([0, 5, 7, 9, 10, 20])
        level = choose([{"total": quantity}, {"unit": "l"}, {"total": quantity, "unit": "l"}])
        place = {"station_id": "1"} if choose([True, False]) else {}
        named = {"category": "milk", "item": item}
        if kind == "batch":
            stock = {**named, **place}
            updates: list[dict[str, Any]] = [
                {"type": "adjust", "data": {**stock, "delta": choose([-1, 2])}},
                {"type": "setting", "data": {"key": "open", "value": quantity}},
            ]
            body: dict[str, Any] = {"updates": updates}
        else:
            body = {
                "adjust": {**named, **place, "delta": choose([-1, -2, 3, 0.1])},
                "waste": {**named, **place, "quantity": 1, "reason": "sour"},
                "transfer": {**named, "quantity": 1, "to_station": choose(["1", "2"])},
                "count": {**named, **place, "quantity": quantity},
                "event_stock": {
                    "category": "milk",
                    "item_id": item,
                    **level,
                },
                "station_quantity": {
                    "station_id": "1", "category": "milk", "item_id": item, "quantity": quantity,
                },
                "setting": {"key": "open", "value": choose([quantity, {"a": quantity, "b": 1}])},
            }[kind]  # fmt: skip
        return Write(kind, body, f"key {self.number}", choose(self.clients).name)

    def work(self, writes: int) -> None:
        for _ in range(writes):
            write = self.write()
            with contextlib.suppress(NotFound):
                commit = write.ask(self.store, None)
                client = next(each for each in self.clients if each.name == write.client)
                client.took(write, commit)
                self.log.append((write, commit))
                for each in self.clients:
                    if each.follows and self.chance(0.8):
                        each.trail[commit.revision] = commit.cursor
            self.keep()

    def keep(self) -> None:
        copy = sqlite3.connect(":memory:")
        with contextlib.closing(sqlite3.connect(self.file)) as source:
            source.backup(copy)
        self.copies.append(copy)

    def put(self, copy: sqlite3.Connection) -> None:
        with contextlib.closing(sqlite3.connect(self.file)) as target:
            copy.backup(target)

    def lose(self) -> list[Write]:
        """Put an older copy in place; what is gone, in its order."""
        self.put(self.random.choice(self.copies[:-1]))
        head = self.store.inventory.head().revision
        return [write for write, commit in self.log if commit.revision > head]

    def work_on(self, writes: int) -> None:
        """Writes that are first made after the loss."""
        for _ in range(writes):
            write = self.write()
            with contextlib.suppress(NotFound):
                write.ask(self.store, None)
                self.fresh.append(write)

    def has(self, cursor: str) -> bool:
        return not self.store.inventory.changes(cursor, 1).reset

    def state(self) -> dict[tuple[str, ...], Any]:
        return {
            (record.kind, *record.parts): record.data
            for record in self.store.inventory.records()
            if record.kind in ("event_stock", "station_quantity", "setting")
        }

    def heal(self) -> set[tuple[str, ...]]:
        """Everybody offers, some twice; the records for which a conflict was reported."""
        offers = [offer for client in self.clients for offer in client.offers(self.has)]
        mode = self.random.choice(["shuffled", "by client"])
        if mode == "shuffled":
            self.random.shuffle(offers)
        repeated = self.random.sample(offers, len(offers) // 3)
        refused: set[tuple[str, ...]] = set()
        waiting: list[tuple[Write, Standing]] = []
        for write, standing in [*offers, *repeated]:
            actor = self.random.choice([write.client, "somebody else"])
            try:
                write.ask(self.store, standing, actor)
            except OfferConflict:
                refused |= records_of(write)
            except NotFound:
                waiting.append((write, standing))
            else:
                if not self.sure and self.random.random() < 0.3:
                    self.work_on(1)
        for write, standing in waiting:
            try:
                write.ask(self.store, standing)
            except (OfferConflict, NotFound):
                refused |= records_of(write)
        return refused


def records_of(write: Write) -> set[tuple[str, ...]]:
    """The records that a write is about."""
    body = write.body
    if write.kind == "batch":
        return {
            record
            for one in body["updates"]
            for record in records_of(Write(one["type"], one["data"], "", ""))
        }
    if write.kind == "setting":
        return {("setting", body["key"])}
    item = ("milk", body.get("item", body.get("item_id")))
    if write.kind == "transfer":
        return {("event_stock", *item), ("station_quantity", body["to_station"], *item)}
    if "station_id" in body:
        return {("station_quantity", body["station_id"], *item)}
    return {("event_stock", *item)}


MOVES = ("adjust", "count", "transfer", "waste")
ALL = (*MOVES, "event_stock", "station_quantity", "setting", "batch")


Opened: TypeAlias = tuple[Store, Path, sqlite3.Connection]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A store with some stock, its file, and a copy of it."""
    file = tmp_path / "day.db"
    with Store(f"sqlite:///{file}", migrate=True) as store:
        records = [
            StockLevel.of("milk", "full", data={"quantity": 10}),
            StockLevel.of("milk", "oat", data={"quantity": 10, "allocated": 2, "available": 8}),
            *(StationQuantity.of("1", "milk", item, data={"quantity": 10}) for item in ITEMS),
        ]
        store.inventory.commit([Put(record) for record in records], actor="test")
        empty = sqlite3.connect(":memory:")
        with contextlib.closing(sqlite3.connect(file)) as source:
            source.backup(empty)
        yield store, file, empty
        empty.close()


@attrs.frozen
class Outcome:
    """What became of a day: how much was lost, what was refused, and what is wrong."""

    lost: int
    refused: set[tuple[str, ...]]
    wrong: dict[tuple[str, ...], Any]


def a_day(opened: Opened, seed: int, kinds: tuple[str, ...], *, sure: bool = False) -> Outcome:
    store, file, empty = opened
    with contextlib.closing(sqlite3.connect(file)) as target:
        empty.backup(target)
    day = Day(store, file, seed, kinds, sure=sure)
    day.keep()
    day.work(day.random.randint(2, 9))
    lost = day.lose()
    day.work_on(0 if sure else day.random.choice([0, 0, 1, 3]))
    refused = day.heal()
    found = day.state()
    # As though nothing were lost: what was, and then what was first made after the loss.
    day.put(day.copies[-1])
    for write in day.fresh:
        with contextlib.suppress(NotFound):
            write.ask(store, None)
    expected = day.state()
    for copy in day.copies:
        copy.close()
    wrong = {
        key: (found.get(key), expected.get(key))
        for key in {*found, *expected} - refused
        if found.get(key) != expected.get(key)
    }
    return Outcome(len(lost), refused, wrong)


def test_nothing_comes_out_wrong_without_a_word(opened: Opened) -> None:
    lost = conflicts = 0
    for seed in SEEDS:
        day = a_day(opened, seed, ALL if seed % 2 else MOVES)
        assert day.wrong == {}, f"day {seed}: found, expected"
        lost, conflicts = lost + day.lost, conflicts + len(day.refused)
    print(f"{len(SEEDS)} days, {lost} writes lost, {conflicts} records in conflict")
    assert lost > 0, "otherwise this proves nothing"


def test_clients_that_know_where_the_timelines_part_put_everything_back(opened: Opened) -> None:
    lost = 0
    for seed in SEEDS:
        day = a_day(opened, seed, MOVES, sure=True)
        assert (day.wrong, day.refused) == ({}, set()), f"day {seed}"
        lost += day.lost
    assert lost > 0, "otherwise this proves nothing"
