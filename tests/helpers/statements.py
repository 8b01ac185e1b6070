"""Watches every statement: each names one tenant for each of our tables, the right one.

It reads the statements as SQLAlchemy has them, not their text: each table, or alias of one,
must be bound to the tenant by a condition that always holds (no OR around it), either to a
value or to another table's tenant that is bound itself.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.sql import dml, elements, operators, selectable, visitors

from expresso_persist.db.database import Database
from expresso_persist.db.tables import metadata

OURS = {table.name for table in metadata.sorted_tables if "tenant_id" in table.c}
_NAMES = re.compile(rf"\b({'|'.join(sorted(OURS))})\b")


EXCEPTIONS = {
    # The list of tenants itself, for those who look after the database (`tenant list`).
    "SELECT tenants.tenant_id, tenants.revision, tenants.created_at FROM tenants",
    # One look for all that wait in a process, which tells each only of its own tenant.
    (
        "SELECT tenants.tenant_id, tenants.epoch, tenants.revision, tenants.head_hash "
        "FROM tenants WHERE tenants.tenant_id IN (__[POSTCOMPILE_tenant_id_1])"
    ),
    # The schema: is there a table, and is it guarded?
    "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('tenants')",
}
"""The only statements that are about no single tenant, each with its reason."""


_USERS = (selectable.Select, dml.Update, dml.Delete)


class Unbound(AssertionError):
    """A statement that could read or write the rows of several tenants."""


def tables_of(statement: Any) -> Iterator[tuple[Any, Any]]:
    """Each of our tables in a statement, with the SELECT, UPDATE or DELETE that uses it."""
    parts = [part for part in visitors.iterate(statement) if isinstance(part, _USERS)]
    outer: dict[int, list[Any]] = {}
    for part in parts:
        for inner in _correlated(part.whereclause):
            outer.setdefault(id(inner), []).extend(_froms(part))
    for part in parts:
        froms = _froms(part)
        # A table of the statement around a condition is that one's, not one more.
        own = [origin for origin in froms if origin not in outer.get(id(part), [])] or froms
        for origin in own:
            table = origin.element if isinstance(origin, selectable.Alias) else origin
            if isinstance(table, sa.Table) and table.name in OURS:
                yield part, origin


def _froms(part: Any) -> list[Any]:
    if isinstance(part, selectable.Select):
        return [leaf for origin in part.get_final_froms() for leaf in _leaves(origin)]
    return [part.table]


def _correlated(clause: Any) -> Iterator[Any]:
    """The SELECTs directly inside a condition, not those of what it selects from."""
    for child in clause.get_children() if clause is not None else ():
        if isinstance(child, selectable.Select):
            yield child
        elif not isinstance(child, selectable.AliasedReturnsRows):
            yield from _correlated(child)


def _leaves(origin: Any) -> Iterator[Any]:
    if isinstance(origin, selectable.Join):
        yield from _leaves(origin.left)
        yield from _leaves(origin.right)
    else:
        yield origin


def _conditions(part: Any) -> Iterator[Any]:
    """What always holds for the rows of a statement."""
    wheres = [part.whereclause] if part.whereclause is not None else []
    if isinstance(part, selectable.Select):
        for origin in part.get_final_froms():
            wheres += [
                join.onclause
                for join in visitors.iterate(origin)
                if isinstance(join, selectable.Join) and not join.isouter
            ]
    while wheres:
        clause = wheres.pop()
        if isinstance(clause, elements.Grouping):
            wheres.append(clause.element)
        elif isinstance(clause, elements.BooleanClauseList) and clause.operator is operators.and_:
            wheres.extend(clause.clauses)
        else:
            yield clause


def _is_tenant(side: Any) -> bool:
    return isinstance(side, sa.Column) and side.name == "tenant_id" and side.table is not None


def tenants_of(statement: Any, parameters: Mapping[str, Any]) -> set[str]:
    """The tenants that a statement names.

    Raises:
        Unbound: One of its tables is not bound to any.
    """
    named: set[str] = set()
    for part, origin in tables_of(statement):
        bound = False
        for clause in _conditions(part):
            if not isinstance(clause, elements.BinaryExpression):
                continue
            if clause.operator is not operators.eq:
                continue
            for mine, other in ((clause.left, clause.right), (clause.right, clause.left)):
                if not (_is_tenant(mine) and mine.table is origin):
                    continue
                if isinstance(other, elements.BindParameter):
                    named.add(parameters.get(other.key, other.effective_value))
                    bound = True
                elif _is_tenant(other) and other.table is not origin:
                    bound = True  # the other one is looked at in its own turn
        if not bound:
            raise Unbound(f"{origin} is bound to no tenant in: {statement}")
    return named


class Watch:
    """Statements since it began: how many, and which were none of the expected tenant's."""

    def __init__(self, tenants: set[str]) -> None:
        self.tenants = tenants
        self.seen: dict[str, int] = {}
        self.faults: list[str] = []

    def execute(self, statement: Any, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Judge a statement that SQLAlchemy knows the parts of."""
        if isinstance(statement, elements.TextClause):
            return  # see text()
        try:
            named: set[str] = set()
            for given in parameters or [{}]:
                named |= tenants_of(statement, given)
            if isinstance(statement, dml.Insert) and statement.table.name in OURS:
                named |= self._inserted(statement, parameters)
        except Unbound as fault:
            if " ".join(str(statement).split()) not in EXCEPTIONS:
                self.faults.append(str(fault))
            return
        tables = {origin.name for _, origin in tables_of(statement)}
        if isinstance(statement, dml.Insert):
            tables.add(statement.table.name)
        for table in tables:
            self.seen[table] = self.seen.get(table, 0) + 1
        self._judge(named, statement)

    def _inserted(self, statement: Any, parameters: Sequence[Mapping[str, Any]]) -> set[str]:
        if statement.select is not None:
            raise Unbound(f"rows come from a SELECT in: {statement}")
        values = {
            (column if isinstance(column, str) else column.name): value
            for column, value in (statement._values or {}).items()
        }
        found = {given["tenant_id"] for given in parameters if "tenant_id" in given}
        if "tenant_id" in values:
            found.add(values["tenant_id"].effective_value)
        if not found or any("tenant_id" not in {**values, **given} for given in parameters):
            raise Unbound(f"no tenant_id is inserted by: {statement}")
        return found

    def rows(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Judge rows that are copied."""
        if table.name in OURS:
            self.seen[table.name] = self.seen.get(table.name, 0) + len(rows)
            self._judge({row.get("tenant_id", "nobody's") for row in rows}, f"COPY {table}")

    def text(self, sql: str) -> None:
        """Judge a statement by its text: what was not made of parts must name the tenant too."""
        known = " ".join(sql.split()) in EXCEPTIONS
        if not known and _NAMES.search(sql) and "tenant_id" not in sql:
            self.faults.append(f"no tenant in: {sql}")

    def _judge(self, named: set[str], statement: object) -> None:
        if len(named) > 1 or not named <= self.tenants:
            self.faults.append(f"names {sorted(map(str, named))} in: {statement}")


@contextlib.contextmanager
def watching(database: Database, *tenants: str) -> Iterator[Watch]:
    """Watch what is asked of one database; only these tenants may be named."""
    watch = Watch({*tenants})
    engines = {id(engine.pool): engine for engine in (database.engine, database._single)}

    def mine(connection: Any) -> bool:
        return id(connection.engine.pool) in engines

    def executed(connection, statement, many, single, _options):  # type: ignore[no-untyped-def]
        if mine(connection):
            watch.execute(statement, [dict(row) for row in many] or ([single] if single else []))

    def sent(connection, _cursor, sql, *_rest):  # type: ignore[no-untyped-def]
        if mine(connection):
            watch.text(sql)

    # Two ways go to the driver past SQLAlchemy's events.
    fetch_one, bulk = Database._fetch_one, Database.bulk_insert

    def watched_fetch_one(self, query, parameters, end):  # type: ignore[no-untyped-def]
        watch.execute(query, [parameters])
        return fetch_one(self, query, parameters, end)

    def watched_bulk(self, connection, table, rows, count):  # type: ignore[no-untyped-def]
        kept = list(rows)
        if mine(connection):
            watch.rows(table, kept)
        bulk(self, connection, table, kept, count)

    event.listen(Engine, "before_execute", executed)
    event.listen(Engine, "before_cursor_execute", sent)
    Database._fetch_one, Database.bulk_insert = watched_fetch_one, watched_bulk  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        Database._fetch_one, Database.bulk_insert = fetch_one, bulk  # type: ignore[method-assign]
        event.remove(Engine, "before_execute", executed)
        event.remove(Engine, "before_cursor_execute", sent)
