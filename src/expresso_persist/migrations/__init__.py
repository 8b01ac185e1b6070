"""The schema's history: Alembic revisions, run by the library itself.

They have a version table of their own, so a host that uses Alembic too is not disturbed.
A whole upgrade is one transaction on both databases: it happens, or it did not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from expresso_persist.database import Database
from expresso_persist.errors import DatabaseAccessDenied, SchemaMismatch
from expresso_persist.tables import metadata

__all__ = ["VERSION_TABLE", "check", "current", "lock", "permitted", "ready", "upgrade"]

VERSION_TABLE = "expresso_persist_version"
_FOLDER = Path(__file__).parent
# Any number will do, as long as nobody else uses it: "expresso" in a bigint.
_LOCK = 0x6578_7072_6573_736F


def _config() -> Config:
    config = Config()
    # Alembic interpolates "%" in options, and a path may have one.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def current(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none of ours."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _pending(script: ScriptDirectory, current: str | None) -> list[tuple[str, str]]:
    """Revisions after ``current``, oldest first, each with its sentence.

    Raises:
        SchemaMismatch: This version of the library does not know ``current``.
    """
    revisions = list(script.walk_revisions())
    if current is not None and current not in {revision.revision for revision in revisions}:
        raise SchemaMismatch(
            "The database was written by a newer version of expresso-persist; upgrade the "
            "library on this machine: pip install --upgrade expresso-persist."
        )
    pending: list[tuple[str, str]] = []
    for revision in revisions:
        if revision.revision == current:
            break
        pending.append((revision.revision, revision.doc or revision.revision))
    return pending[::-1]


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
    if _pending(ScriptDirectory.from_config(_config()), revision):
        raise SchemaMismatch(
            "The database has no expresso-persist tables yet, or older ones; run "
            "`expresso-persist init` or open it with migrate=True."
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
    before: Callable[[Connection], None] | None = None,
    after: Callable[[Connection], None] | None = None,
) -> list[str]:
    """Bring the tables to this version, in one transaction.

    Args:
        database: Where they are.
        dry_run: Only say what would be done.
        before: Called in the transaction if there is something to do, before it is done.
        after: The same, after it.

    Returns:
        A sentence for each step; none when there is nothing to do.

    Raises:
        SchemaMismatch: The tables are newer than this version of the library.
        DatabaseAccessDenied: The database role may not change the tables.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with database.read() as connection:
        pending = _pending(script, current(connection))
        if pending:
            permitted(connection, [*metadata.tables, VERSION_TABLE])
    if dry_run or not pending:
        return [f"Would run migration {name}: {text}" for name, text in pending]

    def run(connection: Connection) -> list[tuple[str, str]]:
        lock(database, connection)
        pending = _pending(script, current(connection))
        if not pending:
            return []  # another process was faster
        if before is not None:
            before(connection)
        config.attributes["connection"] = connection
        logger = logging.getLogger("alembic")
        previous = logger.level
        logger.setLevel(logging.WARNING)
        try:
            command.upgrade(config, "head")
        finally:
            logger.setLevel(previous)
        if after is not None:
            after(connection)
        return pending

    return [f"Ran migration {name}: {text}" for name, text in database.transact(run)]
