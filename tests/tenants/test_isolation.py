"""On every route of the table: one tenant's token sees and changes nothing of another's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa

import routes
from expresso_persist import Store
from expresso_persist.db.tables import metadata
from expresso_persist.errors import ArchiveRefused, BackupNotFound
from expresso_persist.http.access.auth import Actor, BearerTokens, Permission
from expresso_persist.http.access.limits import NO_RATES
from expresso_persist.http.access.tenants import tenant_from_header
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.model.records import Put, Setting

MARK = "only-they-know-this"
TABLES = [table for table in metadata.sorted_tables if "tenant_id" in table.c]


@pytest.fixture
def theirs(store: Store) -> Store:
    """Another tenant with data of its own everywhere."""
    other = store.for_tenant("theirs")
    other.importer.import_(
        {**routes.STOCK, "event_menu": {MARK: 1}, "coffee_broken": f"{{{MARK}"}, actor=MARK
    )
    other.inventory.commit(
        [Put(Setting.of(MARK, data=MARK))], actor="us", idempotency_key="tap", note=MARK
    )
    other.backups.create(notes=MARK)
    other.tokens.create(MARK, "read")
    return other


def fingerprint(store: Store, tenant: str) -> str:
    """Every value that a tenant has in the database."""
    digest = hashlib.sha256()
    with store.database.of(tenant).read() as connection:
        for table in TABLES:
            query = sa.select(table).where(table.c.tenant_id == tenant)
            for row in connection.execute(query.order_by(*table.primary_key.columns)):
                digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


@pytest.fixture
def api(store: Store) -> Api:
    tokens = BearerTokens(
        {
            "ours-token": Actor("us", Permission.ADMIN, "ours"),
            "theirs-token": Actor("them", Permission.ADMIN, "theirs"),
        }
    )
    return Api(store, authorize=tokens, tenant=tenant_from_header("X-Event"), limits=NO_RATES)


def test_no_route_shows_or_changes_anything_of_another_tenant(
    store: Store, theirs: Store, api: Api, tmp_path: Path
) -> None:
    ours = store.for_tenant("ours")
    ours.importer.import_(routes.STOCK, actor="t")
    ours.inventory.commit([Put(Setting.of("theme", data="light"))], actor="t")
    mine, foreign = ours.backups.create(), theirs.backups.list()[0]
    ours.backups.export(mine.id, tmp_path / "a.zst")
    archive = (tmp_path / "a.zst").read_bytes()
    before = fingerprint(store, "theirs")
    shown = 0
    for endpoint in ENDPOINTS:
        for backup_id in (mine.id, foreign.id) if "{backup_id}" in endpoint.path else ("",):
            status, body = routes.ask(
                api, endpoint, backup_id=backup_id, archive=archive,
                authorization="Bearer ours-token", idempotency_key=f"{endpoint.name}-{backup_id}",
            )  # fmt: skip
            expected = 404 if backup_id == foreign.id else 200
            expected = routes.UNANSWERED.get(endpoint.name, expected)
            assert status == expected, (endpoint.name, body[:300])
            assert MARK.encode() not in body, endpoint.name
            assert foreign.id.encode() not in body, endpoint.name
            assert fingerprint(store, "theirs") == before, endpoint.name
        if endpoint.permission is not Permission.NONE:
            asked = routes.ask(
                api, endpoint, backup_id=foreign.id, archive=archive,
                authorization="Bearer ours-token", x_event="theirs",
            )  # fmt: skip
            assert asked[0] == 401, endpoint.name
            status, body = routes.ask(
                api, endpoint, backup_id=foreign.id, archive=archive,
                authorization="Bearer theirs-token",
            ) if endpoint.method == "GET" else (0, b"")  # fmt: skip
            shown += MARK.encode() in body
    assert shown >= 8, "the mark would be seen where it is theirs to see"
    assert fingerprint(store, "theirs") == before


def test_a_backup_of_another_tenant_is_no_backup(store: Store, theirs: Store) -> None:
    ours, backup = store.for_tenant("ours"), theirs.backups.list()[0]
    before = fingerprint(store, "theirs")
    for action in (
        ours.backups.get, ours.backups.verify, ours.backups.pin, ours.backups.plan_restore,
        lambda made: ours.backups.restore(made, actor="t"),
        lambda made: ours.backups.diff(made),
    ):  # fmt: skip
        with pytest.raises(BackupNotFound):
            action(backup.id)
    assert fingerprint(store, "theirs") == before


def test_an_archive_of_another_tenant_is_refused(
    store: Store, theirs: Store, tmp_path: Path
) -> None:
    theirs.backups.export(theirs.backups.list()[0].id, tmp_path / "a.zst")
    ours = store.for_tenant("ours")
    with pytest.raises(ArchiveRefused):
        ours.backups.import_(tmp_path / "a.zst")
    assert ours.backups.list() == []


def test_the_same_idempotency_key_of_another_tenant_is_another_request(
    store: Store, theirs: Store
) -> None:
    """The very same actor and key: not replayed, not a mismatch."""
    ours = store.for_tenant("ours").inventory
    made = ours.commit([Put(Setting.of("a", data=1))], actor="us", idempotency_key="tap")
    assert (made.replayed, made.revision) == (False, 1)


def test_a_chunk_of_another_tenant_is_not_shared(store: Store, theirs: Store) -> None:
    """The same contents are stored for each: deleting one tenant takes nothing of another."""
    twin = store.for_tenant("twin")
    for record in theirs.inventory.records():
        twin.inventory.commit([Put(record)], actor="t")
    backup = twin.backups.create()
    store.database.on_commit.clear()
    with store.database.write() as connection:
        for table in reversed(TABLES):
            connection.execute(sa.delete(table).where(table.c.tenant_id == "theirs"))
    assert twin.backups.verify(backup.id).ok
