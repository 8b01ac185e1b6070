"""From a URL to transactions; the one room for what differs between SQLite and PostgreSQL.

SQLite is opened in WAL mode with ``synchronous=FULL``; PostgreSQL through psycopg 3.
Transactions are begun by explicit statements on SQLite, because Python's driver does not
begin one before DDL or a read, which would leave half a migration behind after a failure.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import itertools
import json
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, StaticPool
from sqlalchemy.sql.selectable import GenerativeSelect

from expresso_persist.errors import (
    DatabaseAccessDenied,
    DatabaseReadOnly,
    DatabaseUnavailable,
    ExpressoPersistError,
    InvalidConfiguration,
    SchemaMismatch,
    StorageFull,
)
from expresso_persist.sharing import SharedCalls
from expresso_persist.sqlite_file import SqliteFile

__all__ = ["Database", "TransactionRetry"]

BUSY_TIMEOUT = 10.0
"""Seconds that a writer waits for another one before it gives up."""

NOTIFY_CHANNEL = "expresso_persist"
"""The channel on which PostgreSQL tells that a tenant has a new commit."""

IDLE_BEFORE_PING = 2.0
"""Seconds without use after which a connection is tried out before it is used again."""

_NAME_TENANT = sa.text(
    "SELECT set_config('expresso.tenant', :tenant, true), "
    "set_config('expresso.list_tenants', :listing, true)"
)
_FEW = 8  # rows below which statements of their own are quicker than one for all
_MANY = 5_000  # rows per statement; each takes a copy of its parameters

S = TypeVar("S", bound=GenerativeSelect)


class TransactionRetry(DatabaseUnavailable):
    """The database broke off this transaction in favour of another one; repeat it."""


class _Shared:
    """What a database and its views of single tenants have in common."""

    def __init__(self) -> None:
        self.calls = SharedCalls()
        self.row_security: bool | None = None  # None: not known yet


class Database:
    """An engine and its transactions.

    Attributes:
        engine: The SQLAlchemy engine.
        tenant: Whose rows its transactions are about; None for a view of no tenant's rows,
            which sees the list of tenants at most where row level security is on.
        dialect: ``"sqlite"`` or ``"postgresql"``.
        on_commit: Called with tenant and revision after each commit of this process.
        companions: What rooms above keep one of for each database.
    """

    def __init__(self, url: str | URL | None = None, *, engine: Engine | None = None) -> None:
        """Open ``url``, or use ``engine``, which stays the caller's to dispose of.

        Raises:
            InvalidConfiguration: The URL is not one of SQLite or PostgreSQL.
        """
        if (url is None) == (engine is None):
            raise InvalidConfiguration("Give a database URL or an engine, not both or none.")
        self._owned = engine is None
        self.engine: Engine = engine or _create_engine(url)  # type: ignore[arg-type]
        name = self.engine.dialect.name
        if name not in ("sqlite", "postgresql"):
            raise InvalidConfiguration(
                f"{name} is not supported; use SQLite or PostgreSQL 14 or newer."
            )
        self.dialect: Literal["sqlite", "postgresql"] = (
            "sqlite" if name == "sqlite" else "postgresql"
        )
        # A pool of its own, because changing a connection's isolation back and forth costs
        # more than the statement; a host's engine and a database in memory have one pool.
        self._single: Engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        if self._owned and not isinstance(self.engine.pool, StaticPool):
            self._single = _create_engine(url, isolation_level="AUTOCOMMIT")  # type: ignore[arg-type]
        if self._owned and self.dialect == "sqlite":
            file = SqliteFile()
            for own in {self.engine, self._single}:
                _watch_file(own, file)
        self.on_commit: list[Callable[[str, int], None]] = []
        self.companions: dict[str, object] = {}
        self.tenant: str | None = None
        self._shared = _Shared()
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
        return view

    @property
    def row_security(self) -> bool:
        """Whether PostgreSQL guards the rows by tenant too; asked once per process."""
        if self.dialect == "sqlite":
            return False
        known = self._shared.row_security
        if known is None:
            with _translated(), self.engine.connect() as connection:
                known = connection.scalar(
                    sa.text(
                        "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('tenants')"
                    )
                )
            self._shared.row_security = known
        return bool(known)

    def row_security_changed(self) -> None:
        """Ask again at the next use whether it is on."""
        self._shared.row_security = None

    @contextlib.contextmanager
    def _noticing_row_security(self) -> Iterator[None]:
        """It was turned on while this process ran: the statement fails, the next does not."""
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in ("42501", "0A000"):
                self.row_security_changed()
            raise

    def _name_tenant(self, connection: Connection) -> None:
        """Tell PostgreSQL whose rows the transaction is about; it forgets with its end."""
        listing = "on" if self.tenant is None else ""
        connection.execute(_NAME_TENANT, {"tenant": self.tenant or "", "listing": listing})

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        if self._owned:
            self.engine.dispose()
            self._single.dispose()

    def forget_connections(self) -> None:
        """After a fork: do not talk over the parent's sockets (gunicorn's preload)."""
        self._shared.calls = SharedCalls()
        if self._owned:
            self.engine.dispose(close=False)
            self._single.dispose(close=False)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent, read-only view of the database, while writers go on."""
        secured = self.row_security
        with (
            _translated(),
            self._noticing_row_security(),
            self.engine.connect() as connection,
        ):
            if self.dialect == "sqlite":
                _begin_sqlite(connection, "BEGIN")
            else:
                # Sets it on this connection, for this use only.
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            try:
                if secured:
                    self._name_tenant(connection)
                yield connection
            finally:
                if not connection.invalidated:
                    connection.rollback()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        secured = self.row_security
        with (
            _translated(),
            self._noticing_row_security(),
            self.engine.connect() as connection,
        ):
            if self.dialect == "sqlite":
                # IMMEDIATE takes the write lock now: a transaction that reads first and
                # upgrades later fails at once when another one wrote in between.
                _begin_sqlite(connection, "BEGIN IMMEDIATE")
            with _rolled_back(connection):
                if self.dialect == "postgresql":
                    connection.exec_driver_sql(
                        f"SET LOCAL lock_timeout = {round(BUSY_TIMEOUT * 1000)}"
                    )
                    if secured:
                        self._name_tenant(connection)
                yield connection
            connection.commit()

    def look_up(
        self, query: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, str]
    ) -> tuple[Any, ...] | None:
        """The one row of a query, read once for all threads that ask for it at a time.

        Every caller gets what a look-up found that began after the call, so nobody is
        told of a state that was over when they asked. It is what most requests begin
        with, so it goes to the driver directly, with SQL that is written once.
        """
        key = (query, *parameters.items())
        return self._shared.calls.call(key, lambda: self._look_up(query, parameters))

    def _look_up(
        self, query: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, str]
    ) -> tuple[Any, ...] | None:
        if self.row_security:  # needs a transaction that names the tenant
            with self.read() as connection:
                row = connection.execute(query, parameters).first()
                return None if row is None else tuple(row)
        compiled = self._compiled.get(query)
        if compiled is None:
            compiled = self._compiled[query] = query.compile(dialect=self.engine.dialect)
        with _translated(), self._single.connect() as connection:
            if compiled.dialect.driver not in ("pysqlite", "psycopg"):
                row = connection.execute(query, parameters).first()
                return None if row is None else tuple(row)
            names = getattr(compiled, "positiontup", None)
            values = parameters if names is None else [parameters[name] for name in names]
            with _driver_errors(connection) as raw:
                # All of them: a cursor that is not read to its end keeps SQLite's snapshot.
                found = raw.execute(str(compiled), values).fetchall()
            return tuple(found[0]) if found else None

    def glance(self, query: sa.Executable) -> Sequence[sa.Row[Any]]:
        """The rows of a query that needs no transaction around it."""
        if self.row_security:
            with self.read() as connection:
                return connection.execute(query).all()
        with _translated(), self._single.connect() as connection:
            return connection.execute(query).all()

    def dedicated(self) -> Connection:
        """A connection outside the pool, without transactions; the caller closes it."""
        with _translated():
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
        key = table.primary_key.columns  # drivers disagree on the count of affected rows
        if self.dialect == "sqlite":
            from sqlalchemy.dialects.sqlite import insert as sqlite_insert

            result = connection.execute(
                sqlite_insert(table).values(**row).on_conflict_do_nothing().returning(*key)
            )
        else:
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            result = connection.execute(
                postgresql_insert(table).values(**row).on_conflict_do_nothing().returning(*key)
            )
        return result.first() is not None

    def bulk_insert(
        self,
        connection: Connection,
        table: sa.Table,
        rows: Iterable[Mapping[str, Any]],
        count: int,
    ) -> None:
        """Insert ``count`` rows; every row has the same columns.

        PostgreSQL gets a COPY, which takes rows about ten times as fast as statements do,
        and works on those it has while ``rows`` makes more.
        """
        dialect = connection.dialect
        if not count:
            return
        # COPY does not work where row level security is on.
        copies = dialect.driver == "psycopg" and not self._shared.row_security
        if self.dialect == "sqlite" or not copies or count < _FEW:
            connection.execute(sa.insert(table), list(rows))
            return
        rest = iter(rows)
        first = next(rest)
        columns = [table.c[name] for name in first]
        # Times are alike in all rows of a commit; the driver would write out each.
        times = [i for i, column in enumerate(columns) if column.type.python_type is dt.datetime]
        written: dict[dt.datetime | None, str | None] = {None: None}
        names = ", ".join(dialect.identifier_preparer.quote(column.name) for column in columns)
        target = dialect.identifier_preparer.format_table(table)
        with (
            _driver_errors(connection) as raw,
            raw.cursor() as cursor,
            cursor.copy(f"COPY {target} ({names}) FROM STDIN") as copy,
        ):
            for row in itertools.chain([first], rest):
                values = list(row.values())
                for index in times:
                    moment = values[index]
                    if moment not in written:
                        written[moment] = moment.isoformat()
                    values[index] = written[moment]
                copy.write_row(values)

    def bulk_update(
        self,
        connection: Connection,
        table: sa.Table,
        tenant: str,
        rows: Sequence[Mapping[str, Any]],
        keep: Collection[str] = (),
    ) -> None:
        """Write rows over those with the same primary key; every row has the same columns.

        Args:
            connection: A write transaction.
            table: A table whose primary key begins with ``tenant_id``.
            tenant: Whose rows they are.
            rows: All columns of the primary key, and those to write.
            keep: Columns to leave as they are.
        """
        keys = table.primary_key.columns.keys()
        changed = [name for name in (rows[0] if rows else ()) if name not in (*keys, *keep)]
        for batch in _batches(rows):
            match, values, parameters = self._given(table, tenant, keys, changed, batch)
            statement = sa.update(table).where(*match).values(values)
            connection.execute(statement, parameters)

    def bulk_delete(
        self,
        connection: Connection,
        table: sa.Table,
        tenant: str,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Remove rows by their primary key, of which ``rows`` have every column."""
        keys = table.primary_key.columns.keys()
        for batch in _batches(rows):
            match, _, parameters = self._given(table, tenant, keys, (), batch)
            connection.execute(sa.delete(table).where(*match), parameters)

    def _given(
        self,
        table: sa.Table,
        tenant: str,
        keys: Sequence[str],
        changed: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
    ) -> tuple[list[sa.ColumnElement[bool]], dict[str, Any], Any]:
        """How a statement finds the rows it is about, what it writes, and its parameters.

        PostgreSQL gets one statement for all rows, with an array per column; a statement
        per row takes several times as long.
        """
        names = [*keys[1:], *changed]
        columns: dict[str, sa.ColumnElement[Any]]
        parameters: Any
        if self.dialect == "postgresql" and len(rows) >= _FEW:
            arrays = [
                sa.bindparam(
                    f"new_{name}", [row[name] for row in rows], type_=sa.ARRAY(table.c[name].type)
                )
                for name in names
            ]
            given = sa.func.unnest(*arrays).table_valued(*names, name="given").render_derived()
            columns, parameters = {name: given.c[name] for name in names}, {}
        else:
            columns = {name: sa.bindparam(f"new_{name}") for name in names}
            parameters = [{f"new_{name}": row[name] for name in names} for row in rows]
        match = [
            table.c.tenant_id == tenant,
            *(table.c[name] == columns[name] for name in keys[1:]),
        ]
        return match, {name: columns[name] for name in changed}, parameters


def _batches(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), _MANY):
        yield rows[start : start + _MANY]


@contextlib.contextmanager
def _driver_errors(connection: Connection) -> Iterator[Any]:
    """The driver's own connection; its errors are raised as SQLAlchemy would raise them."""
    dialect, raw = connection.dialect, connection.connection.driver_connection
    try:
        yield raw
    except dialect.loaded_dbapi.Error as error:
        lost = dialect.is_disconnect(error, cast("Any", raw), None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "a statement of the driver",
            None,
            error,
            dialect.loaded_dbapi.Error,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error


def _create_engine(url: str | URL, **options: Any) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidConfiguration(
            "The database URL cannot be read; write sqlite:///file.db or "
            "postgresql://user:password@host/database."
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # Parameters stay out of error messages: they are the users' data.
    options["hide_parameters"] = True
    if parsed.get_backend_name() == "postgresql":
        # PgBouncer in transaction mode cannot keep server-side prepared statements.
        # A server that is cut off must be noticed in seconds, not after TCP's two hours.
        defaults = {
            "prepare_threshold": None,
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        options["connect_args"] = {
            name: value for name, value in defaults.items() if name not in parsed.query
        }
        options["pool_timeout"] = 10
    elif parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY_TIMEOUT, "check_same_thread": False}
        if parsed.database in (None, "", ":memory:"):
            options["poolclass"] = StaticPool
    try:
        engine = sa.create_engine(parsed, **options)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise InvalidConfiguration(
            f"{parsed.drivername} is not supported; use SQLite or PostgreSQL 14 or newer."
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _ping_after_idling)
    return engine


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ping_after_idling(
    connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Replace a connection that died while nobody used it.

    Unlike ``pool_pre_ping`` this asks only after a pause, because the question costs as
    much as a look-up. A connection that dies in between fails one request.
    """
    used = record.info.get("used")
    if used is None or time.monotonic() - used < IDLE_BEFORE_PING:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing; we do, see Database
    cursor = connection.cursor()
    try:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):  # such a file can be read as it is
                raise
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _watch_file(engine: Engine, file: SqliteFile) -> None:
    """Use no connection to a file that is gone, and do not create another one in its place."""

    def connecting(*_: object) -> None:
        file.check()

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        file.opened(connection)

    def checked_out(_connection: object, _record: object, _proxy: object) -> None:
        file.check()

    event.listen(engine, "do_connect", connecting)
    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", checked_out)


def _begin_sqlite(connection: Connection, statement: str) -> None:
    raw: object = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) and raw.in_transaction:
        raw.rollback()  # an engine of the host may have begun one that cannot be upgraded
    connection.exec_driver_sql(statement)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_databases):
        database.forget_connections()


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


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what drivers raise into the library's errors, without SQL or parameters."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error) from error
    except PoolTimeout as error:
        raise DatabaseUnavailable(
            "All database connections are in use; try again shortly.", retry_after=1
        ) from error


def _translate(error: DBAPIError) -> ExpressoPersistError:
    original = error.orig
    state = getattr(original, "sqlstate", None) or ""
    text = str(original).lower()
    if state in ("40001", "40P01"):
        return TransactionRetry(retry_after=1)
    if state == "53100" or "disk is full" in text:
        return StorageFull()
    if state == "25006" or "readonly database" in text:
        return DatabaseReadOnly()
    # A process that does not know yet of row level security is told so by the same number.
    if state == "42501" and "row-level security" not in text:
        return DatabaseAccessDenied()
    if state == "42P01" or "no such table" in text:
        return SchemaMismatch(
            "A table of expresso-persist is missing: it was dropped by something else, or never "
            "made. `expresso-persist doctor` says what is gone and how to go on."
        )
    if state == "42703" or "no such column" in text:
        return SchemaMismatch()
    if "database is locked" in text or state == "55P03":
        return DatabaseUnavailable(
            "The database is locked by another process; try again shortly.", retry_after=1
        )
    if "not a database" in text or "malformed" in text:
        return ExpressoPersistError("The database file is damaged; restore it from a backup.")
    if "unable to open" in text:
        return DatabaseUnavailable(
            "The database file cannot be opened; check that its folder exists and can be "
            "written to.",
        )
    if state == "42P07" or "already exists" in text:
        return SchemaMismatch(
            "There are tables of other columns under names that expresso-persist needs. "
            "`expresso-persist init` adopts those of the replaced system, and names the others."
        )
    connection_lost = error.connection_invalidated or (
        not isinstance(original, sqlite3.Error)
        and type(original).__name__ in ("OperationalError", "InterfaceError")
        and (not state or state[:2] in ("08", "57", "53", "3D", "28"))
    )
    if connection_lost:
        return DatabaseUnavailable(retry_after=2)
    return ExpressoPersistError("The database refused the operation.")
