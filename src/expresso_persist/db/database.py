"""Transactions, and the one room for what differs between SQLite and PostgreSQL in them.

Transactions are begun by explicit statements on SQLite, because Python's driver does not
begin one before DDL or a read, which would leave half a migration behind after a failure.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import datetime as dt
import json
import os
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.selectable import GenerativeSelect

from expresso_persist.db import bulk, timeouts
from expresso_persist.db import engine as engines
from expresso_persist.db.driver_errors import TransactionRetry, driver_errors, translated
from expresso_persist.db.engine import create_engine, watch_file
from expresso_persist.db.fair_lock import FairLock
from expresso_persist.db.singleflight import Singleflight
from expresso_persist.db.sqlite_file import SqliteFile
from expresso_persist.errors import DatabaseUnavailable, InvalidConfiguration

__all__ = ["Database"]

NOTIFY_CHANNEL = "expresso_persist"
"""The channel on which PostgreSQL tells that a tenant has a new commit."""

_ROW_SECURITY = sa.text("SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('tenants')")
_NAME_TENANT = sa.text(
    "SELECT set_config('expresso.tenant', :tenant, true), "
    "set_config('expresso.list_tenants', :listing, true)"
)

_ASK_AGAIN = (0.0005, 0.003)  # seconds between two questions whether SQLite has a writer
_ATTEMPTS = 8  # of a transaction that the database breaks off
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5  # seconds before the next one, at most

S = TypeVar("S", bound=GenerativeSelect)
T = TypeVar("T")


class _Shared:
    """What a database and its views of single tenants have in common."""

    def __init__(self, queue: FairLock) -> None:
        self.calls = Singleflight()
        self.queue = queue
        self.congestion = timeouts.Congestion()
        self.row_security: bool | None = None  # None: not known yet


class Database:
    """An engine and its transactions.

    Attributes:
        engine: The SQLAlchemy engine.
        tenant: Whose rows its transactions are about; None for a view of no tenant's rows,
            which sees the list of tenants at most where row level security is on.
        dialect: ``"sqlite"`` or ``"postgresql"``.
        on_commit: Called with tenant and revision after each commit of this process.
        extensions: Objects that other packages keep one of per database, by name.
    """

    def __init__(self, url: str | URL | None = None, *, engine: Engine | None = None) -> None:
        """Open ``url``, or use ``engine``, which stays the caller's to dispose of.

        Raises:
            InvalidConfiguration: The URL is not one of SQLite or PostgreSQL.
        """
        if (url is None) == (engine is None):
            raise InvalidConfiguration("Give a database URL or an engine, not both or none.")
        self._owned = engine is None
        self.engine: Engine = engine or create_engine(url)  # type: ignore[arg-type]
        self.dialect: Literal["sqlite", "postgresql"] = _supported(self.engine)
        # A pool of its own, because changing a connection's isolation back and forth costs
        # more than the statement; a host's engine and a database in memory have one pool.
        self._single: Engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        if self._owned and not isinstance(self.engine.pool, StaticPool):
            self._single = create_engine(url, isolation_level="AUTOCOMMIT")  # type: ignore[arg-type]
        self._file = SqliteFile()
        if self._owned and self.dialect == "sqlite":
            for own in {self.engine, self._single}:
                watch_file(own, self._file)
        self.on_commit: list[Callable[[str, int], None]] = []
        self.extensions: dict[str, object] = {}
        self.tenant: str | None = None
        self._shared = _Shared(_queue_of(self.engine))
        self._compiled: dict[sa.Select[Any], sa.Compiled] = {}
        _databases.add(self)

    @property
    def url(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def of(self, tenant: str | None) -> Database:
        """The same database, its transactions being about one tenant (None: about none).

        Only PostgreSQL with row level security holds them to it; the statements name their
        tenant anyway.
        """
        if tenant == self.tenant:
            return self
        view = copy.copy(self)
        view.tenant = tenant
        _databases.add(view)  # it may outlive the one that it is of
        return view

    @property
    def row_security(self) -> bool:
        """Whether PostgreSQL guards the rows by tenant too; asked once per process."""
        if self.dialect == "sqlite":
            return False
        known = self._shared.row_security
        if known is None:
            with self._reading(self.engine, _patience()) as connection:
                known = connection.scalar(_ROW_SECURITY)
            self._shared.row_security = known
        return bool(known)

    def row_security_changed(self) -> None:
        """Ask again at the next use whether it is on."""
        self._shared.row_security = None

    @contextlib.contextmanager
    def _reading(self, engine: Engine, seconds: float | None) -> Iterator[Connection]:
        """A connection for reading, on which PostgreSQL has to answer within ``seconds``."""
        with self._shared.congestion.refusing(), self._within(engine, seconds) as connection:
            yield connection

    @contextlib.contextmanager
    def _within(self, engine: Engine, seconds: float | None) -> Iterator[Connection]:
        with (
            translated(),
            engine.connect() as connection,
            timeouts.watched(connection, seconds),
            self._noticing_row_security(),
        ):
            self._shared.congestion.check()  # others may have waited while this one connected
            yield connection

    @contextlib.contextmanager
    def _noticing_row_security(self) -> Iterator[None]:
        """It was turned on while this process ran: the statement fails, the next does not."""
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in ("42501", "0A000"):
                self.row_security_changed()
            raise

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        if self._owned:
            self.engine.dispose()
            self._single.dispose()
            self._file.closed()

    def forget_connections(self) -> None:
        """After a fork: do not talk over the parent's sockets (gunicorn's preload)."""
        self._shared.calls = Singleflight()
        self._shared.queue = _queue_of(self.engine)
        if self._owned:
            self.engine.dispose(close=False)
            self._single.dispose(close=False)
            self._file.forked()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent, read-only view of the database, while writers go on."""
        secured = self.row_security
        with self._reading(self.engine, timeouts.transaction()) as connection:
            try:
                if self.dialect == "sqlite":
                    _begin_sqlite(connection, "BEGIN")
                else:
                    timeouts.begin(connection, "REPEATABLE READ", _patience(), read_only=True)
                if secured:
                    _name_tenant(connection, self.tenant)
                yield connection
            finally:
                if not connection.invalidated:
                    connection.rollback()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in a transaction, and once more when the database breaks it off.

        Two transactions that wait for each other, or that a distributed database cannot put
        into an order, are no reason to fail: one of them is repeated, after a pause of random
        length, so that the two do not meet again. ``work`` must be able to begin again: what
        it leaves outside of the transaction comes with its result.

        Raises:
            TransactionRetry: It was broken off too often; a DatabaseUnavailable.
        """
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS - 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except TransactionRetry:
                time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads tries, no secret
                pause = min(_LONGEST_PAUSE, 2 * pause)
        with self.write() as connection:
            return work(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One try of :meth:`transact`: committed when the block ends, rolled back when it raises.

        Each statement sees what was committed before it (READ COMMITTED) whatever the
        database's or the host's default is: what has to stay as it was read is locked.
        """
        secured = self.row_security
        deadline = time.monotonic() + engines.BUSY_TIMEOUT
        with self._in_turn(), self._within(self.engine, timeouts.transaction()) as connection:
            if self.dialect == "sqlite":
                _begin_writing(connection, deadline)
            with _rolled_back(connection):
                if self.dialect == "postgresql":
                    timeouts.begin(connection, "READ COMMITTED", engines.BUSY_TIMEOUT)
                    if secured:
                        _name_tenant(connection, self.tenant)
                yield connection
            connection.commit()

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """SQLite has one writer at a time: the threads of this process stand in a queue for it.

        Without one each tries again and again, after pauses that get longer, so who has
        waited longest has the least chance.
        """
        if self.dialect != "sqlite":
            yield
            return
        queue = self._shared.queue
        if not queue.acquire(engines.BUSY_TIMEOUT):
            raise DatabaseUnavailable(
                "The database is locked by other writes; try again shortly.", retry_after=1
            )
        try:
            yield
        finally:
            queue.release()

    def fetch_one(
        self, query: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, str]
    ) -> tuple[Any, ...] | None:
        """The one row of a query, read once for all threads that ask for it at a time.

        Every caller gets what a query found that began after the call, so the answer is
        never older than the question. Most requests begin with it, so it goes to the driver
        directly, with SQL that is compiled once.
        """
        seconds = _patience()
        key = (seconds, query, *parameters.items())
        end = time.monotonic() + seconds
        with self._shared.congestion.refusing():  # all that share it wait in vain
            return self._shared.calls.call(key, lambda: self._fetch_one(query, parameters, end))

    def _fetch_one(
        self, query: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, str], end: float
    ) -> tuple[Any, ...] | None:
        if self.row_security:  # needs a transaction that names the tenant
            with self.read() as connection:
                return _first(connection, query, parameters)
        compiled = self._compiled.get(query)
        if compiled is None:
            compiled = self._compiled[query] = query.compile(dialect=self.engine.dialect)
        left = max(timeouts.LEAST, end - time.monotonic())  # after the call before this one
        with self._within(self._single, left) as connection:
            if compiled.dialect.driver in ("pysqlite", "psycopg"):
                return _fetched(connection, compiled, parameters)
            return _first(connection, query, parameters)

    def fetch_all(self, query: sa.Executable) -> Sequence[sa.Row[Any]]:
        """The rows of a query that needs no transaction around it."""
        if self.row_security:
            with self.read() as connection:
                return connection.execute(query).all()
        with self._reading(self._single, _patience()) as connection:
            return connection.execute(query).all()

    def dedicated(self) -> Connection:
        """A connection outside the pool, without transactions; the caller closes it."""
        with translated():
            connection = self._single.connect()
            connection.detach()
            return connection

    def announcing(self, update: sa.Update, tenant: str, revision: int) -> sa.Executable:
        """The update of a tenant's row, which also tells those who LISTEN once committed.

        In the same statement, because one more round trip would cost every commit as much
        as the update.
        """
        if self.dialect != "postgresql":
            return update
        payload = json.dumps([tenant, revision])
        return update.returning(sa.func.pg_notify(NOTIFY_CHANNEL, payload))

    def committed(self, tenant: str, revision: int) -> None:
        """Tell those of this process who wait for commits."""
        for tell in tuple(self.on_commit):
            tell(tenant, revision)

    def now(self, connection: Connection) -> dt.datetime:
        """The time by the database's clock, which all processes share; aware, UTC."""
        if self.dialect == "sqlite":
            text = connection.scalar(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"))
            return dt.datetime.fromisoformat(str(text)).replace(tzinfo=dt.UTC)
        value = connection.scalar(sa.text("SELECT clock_timestamp()"))
        assert isinstance(value, dt.datetime)
        return value.astimezone(dt.UTC)

    def lock_rows(self, select: S) -> S:
        """Lock the selected rows until the transaction ends.

        SQLite has nothing to add: the transaction of :meth:`write` is the only writer.
        """
        return select.with_for_update() if self.dialect == "postgresql" else select

    def insert_if_absent(
        self, connection: Connection, table: sa.Table, row: Mapping[str, Any]
    ) -> bool:
        """Insert ``row`` unless its primary key is there; tell whether it was inserted."""
        return bulk.insert_if_absent(connection, table, row)

    def bulk_insert(
        self,
        connection: Connection,
        table: sa.Table,
        rows: Iterable[Mapping[str, Any]],
        count: int,
    ) -> None:
        """Insert ``count`` rows; every row has the same columns."""
        # COPY does not work where row level security is on.
        bulk.insert(connection, table, rows, count, copies=not self._shared.row_security)


def _supported(engine: Engine) -> Literal["sqlite", "postgresql"]:
    match engine.dialect.name:
        case "sqlite" | "postgresql" as name:
            return name
        case name:
            raise InvalidConfiguration(
                f"{name} is not supported; use SQLite or PostgreSQL 14 or newer."
            )


def _name_tenant(connection: Connection, tenant: str | None) -> None:
    """Say to PostgreSQL whose rows the transaction is about; it forgets with its end."""
    listing = "on" if tenant is None else ""
    connection.execute(_NAME_TENANT, {"tenant": tenant or "", "listing": listing})


def _first(
    connection: Connection, query: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, str]
) -> tuple[Any, ...] | None:
    row = connection.execute(query, parameters).first()
    return None if row is None else tuple(row)


def _fetched(
    connection: Connection, compiled: sa.Compiled, parameters: Mapping[str, str]
) -> tuple[Any, ...] | None:
    """The one row of a compiled query, by the driver itself."""
    names = getattr(compiled, "positiontup", None)
    values = parameters if names is None else [parameters[name] for name in names]
    with driver_errors(connection) as raw:
        # All of them: a cursor that is not read to its end keeps SQLite's snapshot.
        found = raw.execute(str(compiled), values).fetchall()
    return tuple(found[0]) if found else None


def _patience() -> float:
    """Seconds for a look-up, and for a lock of a read: few while a client waits."""
    return timeouts.LOOK_UP if timeouts.transaction() else engines.BUSY_TIMEOUT


def _begin_sqlite(connection: Connection, statement: str) -> None:
    raw: object = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) and raw.in_transaction:
        raw.rollback()  # an engine of the host may have begun one that cannot be upgraded
    connection.exec_driver_sql(statement)


def _begin_writing(connection: Connection, deadline: float) -> None:
    """Begin as the writer, once no other process is it; until then ask at an even pace.

    IMMEDIATE takes the write lock now: a transaction that reads first and upgrades later fails
    at once when another one wrote in between. SQLite's own waiting asks less and less often,
    and keeps green threads from running.
    """
    raw: Any = connection.connection.dbapi_connection
    [(patience,)] = raw.execute("PRAGMA busy_timeout").fetchall()
    raw.execute("PRAGMA busy_timeout = 0").close()
    try:
        while True:
            try:
                return _begin_sqlite(connection, "BEGIN IMMEDIATE")
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(*_ASK_AGAIN))  # noqa: S311 - no secret
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience}").close()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_queues: weakref.WeakValueDictionary[str, FairLock] = weakref.WeakValueDictionary()


def _queue_of(engine: Engine) -> FairLock:
    """The one queue of this process for a file; of its own for a database in memory."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or name in (None, "", ":memory:"):
        return FairLock()
    return _queues.setdefault(os.path.realpath(name), FairLock())


def _after_fork() -> None:
    _queues.clear()  # threads that are not here any more may stand in the parent's
    for database in list(_databases):
        database.forget_connections()


@atexit.register
def _at_exit() -> None:
    """Leave no journal of a file that is gone behind, also where a host closes nothing."""
    for database in list(_databases):
        if database.dialect == "sqlite":
            database.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def _rolled_back(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if not connection.invalidated:
            with contextlib.suppress(DBAPIError):
                connection.rollback()
        raise
