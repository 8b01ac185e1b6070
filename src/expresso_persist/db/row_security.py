"""PostgreSQL's row level security as a second wall between the tenants.

Every statement names its tenant. Where this is on, PostgreSQL refuses it the rows of others
even if one should not: each transaction says whose rows it is about, and what says nothing
sees nothing. Roles that are superusers or have BYPASSRLS walk through; the doctor tells.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.database import Database
from expresso_persist.db.tables import metadata
from expresso_persist.errors import InvalidConfiguration

__all__ = ["RowSecurity", "disable", "enable", "guard_new", "state"]

_POLICY = "expresso_tenant"
_LIST = "expresso_list_tenants"
# The second name is set by nothing but a rename, which moves rows from one to the other.
_MINE = (
    "tenant_id = current_setting('expresso.tenant', true) "
    "OR tenant_id = nullif(current_setting('expresso.renamed_to', true), '')"
)


@attrs.frozen
class RowSecurity:
    """How row level security stands.

    Attributes:
        on: It is on for at least one table.
        open_tables: Tables for which it is not on, or not forced on their owner.
        bypassed: The role that asks is not held to it.
    """

    on: bool
    open_tables: tuple[str, ...]
    bypassed: bool


def enable(database: Database) -> list[str]:
    """Turn it on for every table of a tenant's rows, in one transaction; repeat it freely.

    Returns:
        The names of the tables.

    Raises:
        InvalidConfiguration: The database is no PostgreSQL.
    """
    return _each(database, _guard)


def guard_new(database: Database, connection: Connection) -> list[str]:
    """Where it is on, turn it on for tables that were made since; a sentence for each.

    Args:
        database: The database.
        connection: The transaction that made them.
    """
    if database.dialect != "postgresql":
        return []
    found = state(connection)
    if not found.on:
        return []
    for name in found.open_tables:
        for statement in _guard(name):
            connection.exec_driver_sql(statement)
    return [f"Turned row level security on for {name}." for name in found.open_tables]


def disable(database: Database) -> list[str]:
    """Turn it off again; the names of the tables are given back.

    Raises:
        InvalidConfiguration: The database is no PostgreSQL.
    """
    return _each(database, _open)


def state(connection: Connection) -> RowSecurity:
    """Look at the catalogue of a PostgreSQL."""
    found = connection.execute(
        sa.text(
            "SELECT oid::regclass::text, relrowsecurity AND relforcerowsecurity FROM pg_class "
            "WHERE oid IN (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)"
        ),
        {"names": [_quoted(connection, name) for name in _tables()]},
    ).all()
    bypassed = connection.scalar(
        sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    )
    return RowSecurity(
        any(guarded for _, guarded in found),
        tuple(sorted(str(name) for name, guarded in found if not guarded)),
        bool(bypassed),
    )


def _tables() -> list[str]:
    return [table.name for table in metadata.sorted_tables if "tenant_id" in table.c]


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _each(database: Database, make: Callable[[str], list[str]]) -> list[str]:
    if database.dialect != "postgresql":
        raise InvalidConfiguration(
            "Row level security is PostgreSQL's; SQLite has one file, and no roles."
        )
    names = _tables()

    def change(connection: Connection) -> None:
        for name in names:
            for statement in make(name):
                connection.exec_driver_sql(statement)

    database.transact(change)
    database.row_security_changed()
    return names


def _guard(name: str) -> list[str]:
    statements = [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"DROP POLICY IF EXISTS {_POLICY} ON {name}",
        f"CREATE POLICY {_POLICY} ON {name} USING ({_MINE}) WITH CHECK ({_MINE})",
    ]
    if name == "tenants":
        statements += [
            f"DROP POLICY IF EXISTS {_LIST} ON {name}",
            (
                f"CREATE POLICY {_LIST} ON {name} FOR SELECT "
                "USING (current_setting('expresso.list_tenants', true) = 'on')"
            ),
        ]
    return statements


def _open(name: str) -> list[str]:
    return [
        *(f"DROP POLICY IF EXISTS {policy} ON {name}" for policy in (_POLICY, _LIST)),
        f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY",
    ]
