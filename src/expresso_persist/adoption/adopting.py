"""Adopts a database of the replaced system, in the transaction that makes our tables.

The old tables are renamed and stay; their rows become one commit, their backups backups.
A failure leaves everything as it was. See docs/adopting.md.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence

import attrs
import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.adoption.conversion import (
    DETAILS_KEY,
    Carried,
    Converter,
    Outcome,
    Quarantined,
    Refused,
    Row,
)
from expresso_persist.adoption.legacy import BACKUPS, PREFIX
from expresso_persist.adoption.payload import OldState, PayloadReader, Unreadable
from expresso_persist.adoption.reading import OldTable, find, find_kept, time_zone
from expresso_persist.adoption.report import Adopted, Report, TableReport
from expresso_persist.backups.catalog import Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.host import HostTables
from expresso_persist.backups.making import Writer, draft_of
from expresso_persist.backups.manifest import IMPORTED
from expresso_persist.backups.rotation import SAFETY_TYPES
from expresso_persist.commits.decision import CommitRequest, Decision
from expresso_persist.commits.hash_chain import GENESIS
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.tables import access_tokens, commits, data_backups, metadata, tenants
from expresso_persist.errors import ConflictRefused, SchemaMismatch
from expresso_persist.model import secrets
from expresso_persist.model.records import Head, Put, Record, StoredDocument

__all__ = ["SOURCE", "last_report", "undo", "upgrade"]

SOURCE = "adoption"
_OWN = ("automatic", *SAFETY_TYPES)  # made by the library itself, of the adopted state
_LONGEST = 63  # characters of a name in PostgreSQL
_COMPLETED = ("completed", "complete", "success", None)


def upgrade(
    database: Database,
    *,
    tenant: str = "default",
    dry_run: bool = False,
    fresh: bool = False,
    adopt: bool = True,
) -> Report:
    """Bring the tables to this version; adopt those of the replaced system if there are any.

    Args:
        database: Where they are.
        tenant: Whose the adopted data will be.
        dry_run: Only say what would be done.
        fresh: Where tables were dropped by something else, make them again, empty.
        adopt: Adopt tables of the replaced system that hold rows; refuse them otherwise.

    Raises:
        SchemaMismatch: The tables are newer than this version of the library, those of an
            earlier adoption are in the way, or there are tables to adopt and ``adopt`` is not
            set.
        TablesDropped: Tables were dropped by something else, and ``fresh`` is not set.
        DatabaseAccessDenied: The database role may not change the tables.
    """
    if dry_run:
        with database.read() as connection:
            old = _adoptable(connection)
            adopted = _converted(connection, old).report() if old else None
            created = migrations.current(connection) is None
        renames = [_renaming(table, dry_run=True) for table in old]
        steps = migrations.upgrade(database, dry_run=True)
        sentences = adopted.sentences(dry_run=True) if adopted else []
        return Report((*renames, *steps, *sentences), adopted, created=created)
    work = _Adoption(database, tenant, adopt=adopt)
    steps = migrations.upgrade(database, fresh=fresh, before=work.rename, after=work.carry)
    if not steps:  # nothing to do; or it began, was broken off, and another process did it
        return Report((), None)
    sentences = work.adopted.sentences(dry_run=False) if work.adopted else []
    renames = [_renaming(table, dry_run=False) for table in work.old]
    return Report((*renames, *steps, *sentences), work.adopted, created=work.created)


def undo(database: Database) -> list[str]:
    """Bring the old tables back, as long as nothing was written since the adoption.

    Raises:
        ConflictRefused: There is nothing to undo, or something was written.
    """

    def bring_back(connection: Connection) -> list[OldTable]:
        migrations.lock(database, connection)
        _lock_all(connection)
        kept = find_kept(connection)
        if not kept or migrations.current(connection) is None:
            raise ConflictRefused("Nothing was adopted here, so there is nothing to undo.")
        _refuse_if_written(connection)
        migrations.remove(connection, [each.name for each in reversed(metadata.sorted_tables)])
        for table in kept:
            _rename(connection, "TABLE", table.name, table.legacy.name)
            for index in _indexes(connection, table.legacy.name):
                if index.removeprefix(PREFIX) in _our_names() and index.startswith(PREFIX):
                    _rename(connection, "INDEX", index, index.removeprefix(PREFIX))
        return kept

    kept = database.transact(bring_back)
    return [f"Renamed {table.name} back to {table.legacy.name}." for table in kept] + [
        "Removed the tables of expresso-persist."
    ]


def _lock_all(connection: Connection) -> None:
    """Keep others from writing between the check and the change; on SQLite they cannot."""
    if connection.dialect.name == "postgresql" and migrations.current(connection) is not None:
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(table.name) for table in metadata.sorted_tables)
        connection.execute(sa.text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))


def _refuse_if_written(connection: Connection) -> None:
    # Who only looks as another tenant leaves a row at revision 0.
    revisions = connection.scalars(sa.select(tenants.c.revision).where(tenants.c.revision > 0))
    sources = connection.execute(sa.select(commits.c.source)).scalars().all()
    if [*revisions] != [1] or [*sources] != [SOURCE]:
        raise ConflictRefused(
            "There were changes since the adoption; undoing it would lose them. `history` shows "
            "them. What is in the legacy tables stays there."
        )
    made = (
        sa.select(sa.func.count())
        .select_from(data_backups)
        .where(data_backups.c.backup_type.not_in(_OWN), data_backups.c.actor != SOURCE)
    )
    if connection.scalar(made):
        raise ConflictRefused(
            "Somebody made or imported a backup since the adoption, which would be lost. "
            "`backup export` writes it to a file; docs/adopting.md says how to go back then."
        )
    if connection.scalar(sa.select(sa.func.count()).select_from(access_tokens)):
        raise ConflictRefused("There are access tokens that would be lost; revoke them first.")


class _Adoption:
    """What happens around the migrations, in their transaction."""

    def __init__(self, database: Database, tenant: str, *, adopt: bool) -> None:
        self._repository = InventoryRepository(database, tenant)
        self._adopt = adopt
        self.old: list[OldTable] = []
        self.adopted: Adopted | None = None
        self.created = False

    def rename(self, connection: Connection) -> None:
        self.created = migrations.current(connection) is None
        self.old = _adoptable(connection)
        if not self._adopt:
            _refuse_unasked(connection, self.old)
        for table in self.old:
            _rename(connection, "TABLE", table.name, table.legacy.kept_as)
            for index in _indexes(connection, table.legacy.kept_as):
                if index in _our_names():
                    _rename(connection, "INDEX", index, (PREFIX + index)[:_LONGEST])

    def carry(self, connection: Connection) -> None:
        if not self.old:
            return
        kept = [attrs.evolve(table, name=table.legacy.kept_as) for table in self.old]
        found = _converted(connection, kept)
        self.adopted = found.report()
        commit = self._repository.commit_within(
            connection,
            Decision(
                [Put(record) for record in found.records],
                json.dumps(self.adopted.to_json()),
                keep_empty=True,
            ),
            CommitRequest(
                actor=SOURCE,
                source=SOURCE,
                note=f"{len(found.records)} records of the replaced system",
                scanned=True,
            ),
        )
        stored = {change.key for change in commit.changes}
        if stored != {record.key for record in found.records}:
            raise SchemaMismatch("The old rows were not all stored; nothing was changed.")
        for backup in found.backups:
            self._store(connection, backup)
        _count(connection, kept, self.adopted)

    def _store(self, connection: Connection, backup: _OldBackup) -> None:
        repository = self._repository
        chunks = ChunkStore(repository.database, repository.tenant)
        writer = Writer(repository, Catalog(repository.tenant), chunks, HostTables())
        # Of a time before the first commit.
        draft = draft_of(Head("", 0, GENESIS), backup.state.sections)
        writer.store(
            connection,
            draft,
            {},
            kind=IMPORTED,
            notes=backup.notes,
            actor=SOURCE,
            created_at=backup.created_at,
        )


@attrs.frozen
class _OldBackup:
    state: OldState
    notes: str
    created_at: dt.datetime | None


@attrs.define
class _Converted:
    """All that the old tables hold, converted."""

    time_zone: str
    records: list[Record] = attrs.field(factory=list)
    backups: list[_OldBackup] = attrs.field(factory=list)
    tables: list[TableReport] = attrs.field(factory=list)

    def report(self) -> Adopted:
        """What became of each table."""
        return Adopted(tuple(self.tables), self.time_zone)


def _adoptable(connection: Connection) -> list[OldTable]:
    """The old tables of a database that is none of ours yet.

    Raises:
        SchemaMismatch: A table is in the way of keeping one of them.
        DatabaseAccessDenied: The database role may not rename them.
    """
    if migrations.current(connection) is not None:
        return []
    found = find(connection)
    present = {*sa.inspect(connection).get_table_names()}
    in_the_way = (metadata.tables.keys() & present) - {table.name for table in found}
    if in_the_way:
        raise SchemaMismatch(
            f"There are tables of other columns under names that expresso-persist needs: "
            f"{', '.join(sorted(in_the_way))}. Nothing was changed; use a database or a schema "
            "of its own."
        )
    for table in found:
        if table.legacy.kept_as in present:
            raise SchemaMismatch(
                f"{table.name} cannot be kept as {table.legacy.kept_as}, because there is a table "
                "of that name already; rename or drop that one first."
            )
    migrations.permitted(connection, [table.name for table in found])
    return found


def _refuse_unasked(connection: Connection, found: Iterable[OldTable]) -> None:
    """Rename no table of a system that may still be in use, unless that was asked for.

    Raises:
        SchemaMismatch: There are old tables with rows; nothing was changed.
    """
    rows = {table.name: table.count(connection) for table in found}
    if any(rows.values()):
        url = connection.engine.url.render_as_string(hide_password=True)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(rows.items()) if count)
        raise SchemaMismatch(
            f"This database has tables of the replaced system with rows: {listed}. Nothing was "
            "changed. To carry them over, which renames them to legacy_…: stop the old system, "
            f"look at `expresso-persist init --dry-run --database {url}`, then run it without "
            "--dry-run; or hand Store(url, migrate=True, adopt=True) to register_routes. To "
            "leave them alone, use a database or a schema of its own."
        )


def last_report(database: Database, tenant: str = "default") -> Adopted | None:
    """What the adoption of a database did, as it was kept with its commit.

    Args:
        database: Where the tables are.
        tenant: Whose the adopted data is.

    Returns:
        None where nothing was adopted, or where version 0.1.0 did it, which kept no report.
    """
    query = sa.select(commits.c.receipt).where(
        commits.c.tenant_id == tenant, commits.c.source == SOURCE
    )
    with database.of(tenant).read() as connection:
        receipt = connection.scalar(query)
    return None if receipt is None else msgspec.json.decode(receipt, type=Adopted)


def _count(connection: Connection, kept: Iterable[OldTable], adopted: Adopted) -> None:
    """See that every row is in one class, by a count that the database makes.

    Raises:
        SchemaMismatch: It is not; nothing is kept of the adoption.
    """
    reported = {table.name: table for table in adopted.tables}
    for table in kept:
        of = reported[table.legacy.name]
        if (
            not table.count(connection)
            == of.rows
            == (of.carried + len(of.quarantined) + len(of.refused))
        ):
            raise SchemaMismatch(
                f"The rows of {of.name} were not all accounted for; nothing was changed."
            )


def _renaming(table: OldTable, *, dry_run: bool) -> str:
    verb = "Would rename" if dry_run else "Renamed"
    return f"{verb} the replaced system's {table.legacy.name} to {table.legacy.kept_as}."


def _rename(connection: Connection, what: str, old: str, new: str) -> None:
    quote = connection.dialect.identifier_preparer.quote
    connection.execute(sa.text(f"ALTER {what} {quote(old)} RENAME TO {quote(new)}"))


def _indexes(connection: Connection, table: str) -> Sequence[str]:
    """Names of a table's indexes, those of its constraints too, which share the tables' names.

    SQLite has no such names that ours could meet.
    """
    if connection.dialect.name == "sqlite":
        return []
    query = sa.text(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = CAST(:name AS regclass)"
    )
    name = connection.dialect.identifier_preparer.quote(table)
    return connection.scalars(query, {"name": name}).all()


def _our_names() -> set[str]:
    names = {*metadata.tables}
    for table in metadata.tables.values():
        names.update(str(each.name)[:_LONGEST] for each in table.constraints)
        names.update(str(each.name)[:_LONGEST] for each in table.indexes)
    return names


def _converted(connection: Connection, old: Iterable[OldTable]) -> _Converted:
    """Read and convert the old tables; their backups last, which need the records."""
    found = _Converted(time_zone(connection))
    old = [*old]
    for table in (each for each in old if each.legacy.name != BACKUPS):
        converter = Converter(table.legacy, table.columns)
        outcomes = [converter.convert(row) for row in table.rows(connection)]
        records = [each.record for each in outcomes if isinstance(each, Carried)]
        found.records += records
        found.records += [each.record for each in outcomes if isinstance(each, Quarantined)]
        if converter.details:
            found.records.append(StoredDocument.of(DETAILS_KEY, "", data=converter.details))
        found.tables.append(_table_report(table, converter, outcomes))
    for table in (each for each in old if each.legacy.name == BACKUPS):
        found.tables.append(_read_backups(connection, table, found))
    return found


def _table_report(
    table: OldTable, converter: Converter, outcomes: Sequence[Outcome]
) -> TableReport:
    carried = [each for each in outcomes if isinstance(each, Carried)]
    aside = [each for each in outcomes if isinstance(each, Quarantined)]
    notes = []
    if converter.extra:
        notes.append(
            f"{table.legacy.name} has further columns ({', '.join(converter.extra)}); what they "
            "hold is kept with each record."
        )
    return TableReport(
        table.legacy.name,
        table.legacy.kept_as,
        rows=len(outcomes),
        carried=len(carried),
        quarantined=tuple(f"{each.place}: {each.reason}" for each in aside),
        refused=tuple(each.place for each in outcomes if isinstance(each, Refused)),
        removed=(*(place for each in carried for place in each.removed), *converter.removed),
        notes=tuple(notes),
    )


def _read_backups(connection: Connection, table: OldTable, found: _Converted) -> TableReport:
    reader = PayloadReader(found.records)
    rows = 0
    unreadable: list[str] = []
    removed: list[str] = []
    for row in table.rows(connection):
        rows += 1
        try:
            backup = _old_backup(reader, row)
        except Unreadable as reason:
            unreadable.append(f"{BACKUPS} row {row.label}: {reason}")
            continue
        found.backups.append(backup)
        removed += backup.state.removed
    return TableReport(
        table.legacy.name,
        table.legacy.kept_as,
        rows=rows,
        carried=rows - len(unreadable),
        quarantined=tuple(unreadable),
        removed=tuple(removed),
        notes=("Prove the backups with `expresso-persist backup verify --all`.",) if rows else (),
    )


def _old_backup(reader: PayloadReader, row: Row) -> _OldBackup:
    status = row.values.get("backup_status")
    if status not in _COMPLETED:
        raise Unreadable("it was never completed")
    state = reader.read(row.values["backup_data"])
    made = row.values.get("created_at")
    kind, notes = row.values.get("backup_type"), row.values.get("notes")
    text = f"{kind} backup of the replaced system, row {row.label}"
    if state.empty:
        text += ", which holds nothing"
    if isinstance(notes, str) and notes.isprintable() and not secrets.is_secret_text(notes):
        text += f": {notes}" if notes else ""
    return _OldBackup(state, text[:1_000], made if isinstance(made, dt.datetime) else None)
