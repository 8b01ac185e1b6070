"""The tenants of a database as a whole: create, list, rename, delete."""

from __future__ import annotations

import builtins
import datetime as dt
import secrets
import tempfile
from pathlib import Path

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.manifest import Manifest
from expresso_persist.backups.scheduler import DUE, RUNNER
from expresso_persist.commits import aliases, audit, hash_chain
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import insert_tenant
from expresso_persist.db.database import Database
from expresso_persist.db.leases import EXCLUSIVE, Lease, lock_row
from expresso_persist.db.tables import (
    access_tokens,
    backup_manifests,
    backup_mirrors,
    commits,
    data_backups,
    leases,
    metadata,
    tenants,
)
from expresso_persist.errors import (
    ArchiveRefused,
    BackupCorrupted,
    Busy,
    ConflictRefused,
    InvalidInput,
    NotFound,
)
from expresso_persist.model.names import alike, check_tenant
from expresso_persist.model.records import Head

__all__ = ["Deleted", "Tenant", "Tenants"]

_TABLES = [table for table in metadata.sorted_tables if "tenant_id" in table.c]


@attrs.frozen
class Tenant:
    """One shop or event.

    Attributes:
        name: Its name.
        revision: How many commits it has.
        created_at: When it came to be.
    """

    name: str
    revision: int
    created_at: dt.datetime


@attrs.frozen
class Deleted:
    """What became of a deleted tenant.

    Attributes:
        name: Its name.
        archive: The file with its last state, which was read back and restored elsewhere.
        bytes: Size of that file.
        rows: How many rows of each table were removed.
    """

    name: str
    archive: Path
    bytes: int
    rows: dict[str, int]


class Tenants:
    """All tenants of a database."""

    def __init__(self, database: Database) -> None:
        """Look after the tenants in ``database``; nothing is read yet."""
        self._database = database

    def list(self) -> builtins.list[Tenant]:
        """Every tenant, by name."""
        query = sa.select(tenants.c.tenant_id, tenants.c.revision, tenants.c.created_at)
        with self._database.of(None).read() as connection:
            rows = connection.execute(query).all()
        return sorted((Tenant(*row) for row in rows), key=lambda tenant: tenant.name)

    def create(self, name: str) -> Tenant:
        """Create a tenant without data.

        Raises:
            InvalidInput: A tenant cannot have this name.
            ConflictRefused: There is one of this name, or one that people would take for it.
        """
        check_tenant(name)
        self._require_free(name)
        database = self._database.of(name)

        def add(connection: Connection) -> None:
            aliases.clear_mark(connection, name)
            insert_tenant(database, connection, name, database.now(connection))

        database.transact(add)
        return self._get(name)

    def rename(self, old: str, new: str, *, actor: str) -> Tenant:
        """Give a tenant another name, in every table, in one transaction.

        Its data, its history and its backups stay. The hashes of earlier commits do not
        change (they verify under the name they were made under), so anchors kept elsewhere
        still hold; a commit of its own records the new name. A client that goes on under the old
        name is answered 401, access tokens are revoked; clients under the new one read
        everything again. Copies at
        mirrors stay in the old name's folder, and archives say the old name.

        Args:
            old: Its name.
            new: The name it gets.
            actor: Who does it.

        Raises:
            NotFound: There is no such tenant.
            InvalidInput: A tenant cannot have this name.
            ConflictRefused: The name is taken, or the audit trail has problems.
            Busy: A scheduler or a restore is at work for it.
        """
        check_tenant(new)
        self._get(old)
        self._require_free(new, but=old)
        database = self._database.of(old)

        def move(connection: Connection) -> int:
            if database.row_security:
                connection.execute(
                    sa.text("SELECT set_config('expresso.renamed_to', :new, true)"), {"new": new}
                )
            head = _lock(database, connection, old)
            report = audit.verify(connection, old)
            if not report.ok:
                raise ConflictRefused(
                    "The audit trail has problems, see `verify`; they would be hard to tell "
                    f"from those of renaming. The first: {report.problems[0]}"
                )
            _move(database, connection, old, new)
            _tell(connection, old, new, head, actor, dt.datetime.now(dt.UTC))
            return head.revision + 1

        database.committed(new, database.transact(move))
        return self._get(new)

    def delete(
        self,
        name: str,
        archive: str | Path,
        *,
        actor: str,
        passphrase: str | None = None,
        replace: bool = False,
    ) -> Deleted:
        """Write a tenant's state to a file, prove that it restores, remove every row of it.

        What the archive does not have is gone: the history and the earlier backups. The
        host's own tables and copies at mirrors are not touched.

        Args:
            name: The tenant.
            archive: Where to.
            actor: Who does it.
            passphrase: Encrypt the archive with this.
            replace: Write over the file if there is one, instead of refusing.

        Raises:
            NotFound: There is no such tenant.
            ConflictRefused: The archive cannot be written or does not restore; nothing was
                deleted.
            Busy: Somebody wrote meanwhile, or a scheduler or a restore is at work for it.
        """
        self._get(name)
        path = Path(archive)
        if path.exists() and not replace:
            raise InvalidInput(f"There is a file {path} already; name another one.")
        database = self._database.of(name)
        with database.read() as connection:
            _require_idle(database, connection, name)
        with BackupManager(database, InventoryRepository(database, name)) as backups:
            made = backups.create(notes="Before the tenant was deleted", actor=actor)
            try:
                backups.export(made.id, path, passphrase=passphrase)
            except OSError as error:
                raise ConflictRefused(
                    f"The archive cannot be written ({error.strerror}); nothing was deleted."
                ) from error
        _prove(path, name, passphrase)

        def remove(connection: Connection) -> dict[str, int]:
            head = _lock(database, connection, name)
            if head.revision != made.revision:
                raise Busy(
                    "Somebody wrote to the tenant while its archive was made; nothing was "
                    "deleted. Take away the access of those who use it, and try again."
                )
            return {
                table.name: connection.execute(
                    sa.delete(table).where(table.c.tenant_id == name)
                ).rowcount
                for table in reversed(_TABLES)
            }

        rows = database.transact(remove)
        return Deleted(name, path, path.stat().st_size, rows)

    def _get(self, name: str) -> Tenant:
        for tenant in self.list():
            if tenant.name == name:
                return tenant
        raise NotFound("There is no tenant of this name; `tenant list` shows them all.")

    def _require_free(self, name: str, but: str | None = None) -> None:
        for tenant in self.list():
            if tenant.name == name:
                raise ConflictRefused("There is a tenant of this name already.")
            if tenant.name != but and alike(tenant.name) == alike(name):
                raise ConflictRefused(
                    f"There is a tenant {tenant.name!r}, which people would take for this one; "
                    "choose a name that differs in more than its case."
                )


def _lock(database: Database, connection: Connection, name: str) -> Head:
    """Keep everybody else from writing for this tenant, backups included."""
    query = sa.select(tenants.c.epoch, tenants.c.revision, tenants.c.head_hash).where(
        tenants.c.tenant_id == name
    )
    row = connection.execute(database.lock_rows(query)).one_or_none()
    if row is None:
        raise NotFound("There is no tenant of this name any more.")
    lock_row(database, connection, name, "backup-chunks")
    _require_idle(database, connection, name)
    return Head(*row)


def _require_idle(database: Database, connection: Connection, name: str) -> None:
    for work, who in (
        (RUNNER, "The scheduler of its backups is"),
        (EXCLUSIVE, "A restore or an import is"),
    ):
        if Lease(database, name, 1, name=work).view(connection).live:
            raise Busy(
                f"{who} is at work for this tenant; stop the servers that look after it, and try "
                "again."
            )


def _move(database: Database, connection: Connection, old: str, new: str) -> None:
    """Every row of a tenant under its new name; the new row first, which others refer to."""
    aliases.clear_mark(connection, new)
    for table in (leases, backup_mirrors, access_tokens):
        # Over: who works, what the mirrors' folders of the old name hold, and the tokens,
        # each of which says the old name in itself.
        gone = sa.delete(table).where(table.c.tenant_id == old)
        connection.execute(gone if table is not leases else gone.where(leases.c.name != DUE))
    # Another epoch: clients under the new name read everything again.
    copied = [column for column in tenants.c if column.name not in ("tenant_id", "epoch")]
    connection.execute(
        sa.insert(tenants).from_select(
            ["tenant_id", "epoch", *(column.name for column in copied)],
            sa.select(sa.literal(new), sa.literal(secrets.token_hex(8)), *copied).where(
                tenants.c.tenant_id == old
            ),
        )
    )
    for table in _TABLES:
        if table is not tenants:
            connection.execute(
                sa.update(table).where(table.c.tenant_id == old).values(tenant_id=new)
            )
    connection.execute(sa.delete(tenants).where(tenants.c.tenant_id == old))
    for table in (data_backups, backup_manifests):
        query = sa.select(table.c.id, table.c.manifest).where(
            table.c.tenant_id == new, table.c.manifest != ""
        )
        for backup_id, text in connection.execute(query).all():
            try:
                manifest = attrs.evolve(Manifest.decode(text), tenant=new)
            except BackupCorrupted:
                continue  # stays as damaged as it was
            connection.execute(
                sa.update(table)
                .where(table.c.tenant_id == new, table.c.id == backup_id)
                .values(manifest=manifest.encode())
            )
    aliases.leave_mark(connection, old, database.now(connection))


def _tell(
    connection: Connection, old: str, new: str, head: Head, actor: str, now: dt.datetime
) -> None:
    """The commit that says so; it changes no record."""
    revision, note = head.revision + 1, f"Renamed from {old}"
    text = aliases.receipt(old, new)
    digest = hash_chain.commit_hash(
        head.hash,
        tenant=new,
        revision=revision,
        actor=actor,
        source=aliases.RENAME,
        note=note,
        created_at=now,
        idempotency_key=None,
        fingerprint=None,
        receipt=text,
        rows=(),
    )
    connection.execute(
        sa.insert(commits),
        {
            "tenant_id": new, "revision": revision, "actor": actor, "source": aliases.RENAME,
            "note": note, "receipt": text, "created_at": now, "hash": digest,
        },
    )  # fmt: skip
    connection.execute(
        sa.update(tenants)
        .where(tenants.c.tenant_id == new)
        .values(revision=revision, head_hash=digest)
    )


def _prove(archive: Path, tenant: str, passphrase: str | None) -> None:
    """Restore the archive into a database that is thrown away."""
    with (
        tempfile.TemporaryDirectory(prefix="expresso-proof-") as folder,
        BackupManager.from_url(
            f"sqlite:///{Path(folder) / 'proof.db'}", tenant=tenant, migrate=True, mirrors=()
        ) as backups,
    ):
        try:
            stored = backups.import_(archive, passphrase=passphrase)
            backups.restore(stored.id, actor="proof")
        except (ArchiveRefused, BackupCorrupted) as error:
            raise ConflictRefused(
                f"The archive was written but does not restore: {error.message} Nothing was "
                "deleted."
            ) from error
