"""A process that dies at one chosen moment of its conversation with the database.

Reads one JSON object per line: ``verb`` and ``url``, and the number of the ``point`` to die
at (without one it only counts them). Each is done by a fork of its own, whose end is told in
one line: its exit code, the names of the points it passed and the error that ended it. With
``pause`` it waits at the point for another line instead of dying.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.db.database import Database
from expresso_persist.errors import ExpressoPersistError

KEEP = 2


def manager(store: Store) -> BackupManager:
    return BackupManager(store.database, store.inventory, rotation=Rotation(keep_last=KEEP))


def run_once(store: Store) -> None:
    """The backup that is due, then rotation, then collection."""
    assert manager(store).run_once() is not None


def rotate(store: Store) -> None:
    manager(store).rotate()


def restore(store: Store) -> None:
    store.backups.restore(store.backups.list()[-1].id, actor="worker")


VERBS: Mapping[str, Callable[[Store], None]] = {
    "run_once": run_once,
    "rotate": rotate,
    "restore": restore,
}


class Points:
    """Counts the moments right before and right after each statement and each COMMIT."""

    def __init__(self, wanted: int | None, reached: Callable[[], object]) -> None:
        self.names: list[str] = []
        self._wanted = wanted
        self._reached = reached

    def passing(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self._wanted:
            self._reached()

    def watch(self, database: Database) -> None:
        """Look at one database; the scratch databases of verification are not it."""

        @event.listens_for(database.engine, "before_cursor_execute")
        def before(_c: object, _cur: object, statement: str, *_: object) -> None:
            self.passing(f"before {_short(statement)}")

        @event.listens_for(database.engine, "after_cursor_execute")
        def after(_c: object, _cur: object, statement: str, *_: object) -> None:
            self.passing(f"after {_short(statement)}")

        dialect = database.engine.dialect
        do_commit = dialect.do_commit

        def commit(connection: Any) -> None:
            self.passing("before COMMIT")
            do_commit(connection)
            self.passing("after COMMIT")

        dialect.do_commit = commit  # type: ignore[method-assign]
        insert = Database.bulk_insert

        def bulk_insert(
            this: Database,
            connection: sa.Connection,
            table: sa.Table,
            rows: Iterable[Mapping[str, Any]],
            count: int,
        ) -> None:
            if this is not database:
                return insert(this, connection, table, rows, count)
            # A COPY goes to the driver directly.
            self.passing(f"before rows of {table.name}")
            insert(this, connection, table, self._within(rows, table.name, count), count)
            self.passing(f"after rows of {table.name}")
            return None

        Database.bulk_insert = bulk_insert  # type: ignore[method-assign]

    def _within(self, rows: Iterable[Any], name: str, count: int) -> Iterator[Any]:
        for number, row in enumerate(rows):
            if number == count // 2:
                self.passing(f"within rows of {name}")
            yield row


def _short(statement: str) -> str:
    return " ".join(statement.split())[:60]


def _pause() -> None:
    print("paused", flush=True)
    sys.stdin.readline()


def _die() -> None:
    os._exit(9)


def work(order: Mapping[str, Any], told: int) -> None:
    points = Points(order.get("point"), _pause if order.get("pause") else _die)
    error = None
    try:
        with Store(order["url"]) as store:
            points.watch(store.database)
            VERBS[order["verb"]](store)
    except ExpressoPersistError as caught:
        error = type(caught).__name__
    with open(told, "w") as pipe:
        json.dump({"names": points.names, "error": error}, pipe)


if __name__ == "__main__":
    for line in iter(sys.stdin.readline, ""):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work(json.loads(line), writing)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        with open(reading) as pipe:
            answer = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"names": [], "error": None, **json.loads(answer or "{}"), "code": code}))
        sys.stdout.flush()
