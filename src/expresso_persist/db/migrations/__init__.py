"""The schema's history: Alembic revisions, run by the library itself.

They have a version table of their own, so a host that uses Alembic too is not disturbed.
A whole upgrade is one transaction on both databases: it happens, or it did not. Alembic is
imported when there is something to do; a store that is up to date opens without it.

A view, the *marker*, says that there is a store here. Whatever drops tables that it does not
know (a host's ``alembic revision --autogenerate``, ``metadata.drop_all()``) leaves it, so that
a store that is gone differs from one that never was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db import row_security
from expresso_persist.db.database import Database
from expresso_persist.db.tables import metadata
from expresso_persist.errors import (
    DatabaseAccessDenied,
    SchemaMismatch,
    TablesDropped,
    TablesMissing,
)

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "MARKER",
    "VERSION_TABLE",
    "check",
    "current",
    "lock",
    "permitted",
    "ready",
    "remove",
    "upgrade",
]

VERSION_TABLE = "expresso_persist_version"
MARKER = "expresso_persist_marker"
"""The view that says that there is a store; made by a migration, dropped by :func:`remove`."""

_FOLDER = Path(__file__).parent
# The name of each file begins with its revision, so that no Alembic is needed to know them.
_REVISIONS = sorted(path.name.partition("_")[0] for path in _FOLDER.glob("versions/[0-9]*.py"))
_TRAIL = ("tenants", "commits", "changes")
_VERSION = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text)).c.version_num
# Any number will do, as long as nothing else uses it: "expresso" in a bigint.
_LOCK = 0x6578_7072_6573_736F


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    # Alembic interpolates "%" in options, and a path may have one.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _present(connection: Connection, names: Collection[str]) -> set[str]:
    """Which tables and views of these names there are."""
    if connection.dialect.name == "sqlite":
        found = connection.scalars(
            sa.text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        )
        return {*found} & {*names}
    query = sa.text(
        "SELECT name FROM unnest(CAST(:names AS text[])) AS name "
        "WHERE to_regclass(quote_ident(name)) IS NOT NULL"
    )
    return {*connection.scalars(query, {"names": [*names]})}


def _revision(connection: Connection) -> str | None:
    version: str | None = connection.scalar(sa.select(sa.func.max(_VERSION)))
    return version


def current(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none of ours, and never were.

    Raises:
        TablesDropped: There were, and something else dropped some or all of them.
    """
    found = _present(connection, [*metadata.tables, VERSION_TABLE, MARKER])
    revision = _revision(connection) if VERSION_TABLE in found else None
    missing = metadata.tables.keys() - found
    if (revision is None and MARKER in found) or (revision == _REVISIONS[-1] and missing):
        raise TablesDropped.of(missing, whole=len(missing) == len(metadata.tables))
    return revision


def _pending(revision: str | None) -> list[str]:
    """Revisions after ``revision``, oldest first.

    Raises:
        SchemaMismatch: This version of the library does not know ``revision``.
    """
    if revision is None:
        return _REVISIONS
    if revision not in _REVISIONS:
        raise SchemaMismatch(
            "The database was written by a newer version of expresso-persist; upgrade the "
            "library on this machine: pip install --upgrade expresso-persist."
        )
    return _REVISIONS[_REVISIONS.index(revision) + 1 :]


def ready(
    database: Database, *, migrate: bool, adopt: Callable[[Database], object] | None = None
) -> Database:
    """Give a database back that has the tables of this version; close it when it has not.

    Args:
        database: It was just opened.
        migrate: Create or update the tables instead of refusing others.
        adopt: What creates or updates them, if it is more than :func:`upgrade`.

    Raises:
        SchemaMismatch: The tables are missing, older or newer.
    """
    try:
        if migrate:
            (adopt or upgrade)(database)
        else:
            check(database)
    except BaseException:
        database.close()
        raise
    return database


def check(database: Database) -> None:
    """See whether the tables are those of this version.

    Raises:
        SchemaMismatch: They are missing, older or newer.
    """
    with database.read() as connection:
        revision = current(connection)
    how = "run `expresso-persist init` or open it with migrate=True."
    if revision is None:
        raise TablesMissing(f"The database has no expresso-persist tables yet; {how}")
    if _pending(revision):
        raise SchemaMismatch(
            f"The tables of the database are of an older version of expresso-persist; {how}"
        )


def permitted(connection: Connection, tables: Iterable[str]) -> None:
    """See whether the role may make tables here and change these; SQLite knows no roles.

    Raises:
        DatabaseAccessDenied: It may not.
    """
    if connection.dialect.name != "postgresql":
        return
    role, schema, may_create = connection.execute(
        sa.text(
            "SELECT current_user, current_schema(), "
            "has_schema_privilege(current_schema(), 'CREATE')"
        )
    ).one()
    if not may_create:
        raise DatabaseAccessDenied(
            f"The database role {role!r} may not create tables in the schema {schema!r}; nothing "
            "was changed. Let the owner of the database grant it CREATE on the schema, or run "
            "`expresso-persist init` once as a role that may."
        )
    foreign = connection.execute(
        sa.text(
            "SELECT relname, pg_get_userbyid(relowner) FROM pg_class "
            "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname = current_schema() AND relname = ANY(:names) "
            "AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname"
        ),
        {"names": [*tables]},
    ).all()
    if foreign:
        names = ", ".join(name for name, _ in foreign)
        owners = " and ".join(sorted({repr(owner) for _, owner in foreign}))
        raise DatabaseAccessDenied(
            f"The database role {role!r} may not change these tables, which belong to {owners}: "
            f"{names}. Nothing was changed. Run `expresso-persist init` once as their owner, and "
            f"let it grant {role!r} SELECT, INSERT, UPDATE and DELETE on the tables it makes."
        )


def lock(database: Database, connection: Connection) -> None:
    """Let no other process change the schema until the transaction ends."""
    if database.dialect == "postgresql":
        # A host's engine may have snapshots by default: what others committed while this
        # waited for a lock would not be seen, and an old row be left behind.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # Several workers start at once; the lock ends with the transaction, which also holds
        # behind PgBouncer.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def upgrade(
    database: Database,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    before: Callable[[Connection], None] | None = None,
    after: Callable[[Connection], None] | None = None,
) -> list[str]:
    """Bring the tables to this version, in one transaction.

    Args:
        database: Where they are.
        dry_run: Only say what would be done.
        fresh: Where tables were dropped, make them again, empty.
        before: Called in the transaction if there is something to do, before it is done.
        after: The same, after it.

    Returns:
        A sentence for each step; none when there is nothing to do.

    Raises:
        SchemaMismatch: The tables are newer than this version of the library.
        TablesDropped: Something else dropped some or all of them, and ``fresh`` is not set;
            or what is left holds rows.
        DatabaseAccessDenied: The database role may not change the tables.
    """
    if not fresh:
        with database.read() as connection:
            pending = _pending(current(connection))
            if pending:
                permitted(connection, [*metadata.tables, VERSION_TABLE])
        if dry_run or not pending:
            return [f"Would run migration {step}." for step in _told(pending)]

    def run(connection: Connection) -> list[str]:
        steps: list[str] = []
        lock(database, connection)
        if fresh:
            permitted(connection, [*metadata.tables, VERSION_TABLE])
            steps = _make_room(connection)
        pending = _pending(current(connection))
        if not pending:  # another process was faster, or only some tables were missing
            return steps + row_security.guard_new(database, connection)
        if before is not None:
            before(connection)
        _run(connection)
        steps += row_security.guard_new(database, connection)
        current(connection)  # of an older schema, some tables may have been dropped
        if after is not None:
            after(connection)
        return [*steps, *(f"Ran migration {step}." for step in _told(pending))]

    return database.transact(run)


def _run(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    logger = logging.getLogger("alembic")
    previous = logger.level
    logger.setLevel(logging.WARNING)
    try:
        command.upgrade(config, "head")
    finally:
        logger.setLevel(previous)


def _told(revisions: Iterable[str]) -> list[str]:
    """Each revision with its sentence."""
    revisions = [*revisions]
    if not revisions:
        return []
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    docs = {each.revision: each.doc or each.revision for each in script.walk_revisions()}
    return [f"{name}: {docs[name].rstrip('.')}" for name in revisions]


def _make_room(connection: Connection) -> list[str]:
    """Make what was dropped again, or remove what is left of it, if that is empty."""
    found = _present(connection, [*metadata.tables, VERSION_TABLE, MARKER])
    revision = _revision(connection) if VERSION_TABLE in found else None
    missing = [table for table in metadata.sorted_tables if table.name not in found]
    if revision == _REVISIONS[-1] and missing:
        _refuse_half_a_trail(connection, found)
        metadata.create_all(connection, tables=missing)
        return [f"Made {table.name} again, empty." for table in missing]
    if revision is not None or MARKER not in found:
        raise SchemaMismatch(
            "No tables of expresso-persist were dropped here, so there are none to make again. "
            "Without --fresh, `init` creates or updates them; nothing was changed."
        )
    left = [table.name for table in reversed(metadata.sorted_tables) if table.name in found]
    full = [name for name in left if _has_rows(connection, name)]
    if full:
        raise TablesDropped(
            f"{VERSION_TABLE} was dropped or emptied, but {', '.join(sorted(full))} still hold "
            "rows; nothing was changed. Bring the database back from its own backup, or restore "
            "a copy from a mirror into another database, and drop these when you no longer need "
            "them."
        )
    remove(connection, left)
    return [f"Removed what was left of {name}, which was empty." for name in sorted(left)]


def _refuse_half_a_trail(connection: Connection, found: Collection[str]) -> None:
    """Revisions and the audit trail are of several tables; one made again fits no other."""
    gone = [name for name in _TRAIL if name not in found]
    rows = [name for name in _TRAIL if name in found and _has_rows(connection, name)]
    if gone and rows:
        raise TablesDropped(
            f"{', '.join(gone)} was dropped, and {', '.join(rows)} still hold the rest of the "
            "audit trail, which does not continue from an empty table; nothing was changed. "
            "Bring the database back from its own backup, or restore a copy from a mirror into "
            "another database, and drop these when you no longer need them."
        )


def _has_rows(connection: Connection, name: str) -> bool:
    quoted = connection.dialect.identifier_preparer.quote(name)
    if connection.dialect.name == "postgresql":
        # Row level security hides the rows of tenants from what names none.
        hidden = sa.text(
            "SELECT relrowsecurity AND pg_relation_size(oid) > 0 FROM pg_class "
            "WHERE oid = to_regclass(:name)"
        )
        if connection.scalar(hidden, {"name": quoted}):
            return True
    return connection.execute(sa.text(f"SELECT 1 FROM {quoted} LIMIT 1")).first() is not None  # noqa: S608


def remove(connection: Connection, tables: Iterable[str]) -> None:
    """Drop tables of ours, the version table and the marker, in a transaction."""
    quote = connection.dialect.identifier_preparer.quote
    for name in tables:
        connection.execute(sa.text(f"DROP TABLE {quote(name)}"))
    connection.execute(sa.text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
    connection.execute(sa.text(f"DROP VIEW IF EXISTS {MARKER}"))
