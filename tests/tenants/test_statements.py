"""No statement reads or writes two tenants: the whole public surface, watched."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

import routes
from expresso_persist import Store
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.db.tables import changes, commits, leases, metadata, tenants
from expresso_persist.db.tables import data_backups as backups
from expresso_persist.http.access.auth import Actor, BearerTokens, Permission
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.model.records import Put, Setting
from statements import OURS, Unbound, tenants_of, watching
from surface import everything

SETTINGS = metadata.tables["system_settings"]


def served(store: Store, tenant: str) -> Api:
    """The endpoints, each request counted in the database, for somebody of one tenant."""
    tokens = BearerTokens({"ours-token": Actor("us", Permission.ADMIN, tenant)})
    return Api(store, authorize=tokens, limits=Limits(storage="database"))


def test_every_statement_names_its_tenant(store: Store, tmp_path: Path) -> None:
    ours = store.for_tenant("ours")
    with watching(store.database, "ours") as watch:
        everything(ours, tmp_path / "work")
    assert watch.faults == []
    assert OURS - watch.seen.keys() == {"rate_counters"}, "which the endpoints below use"


def test_every_endpoint_names_its_tenant(store: Store, tmp_path: Path) -> None:
    ours = store.for_tenant("ours")
    ours.importer.import_(routes.STOCK, actor="t")
    ours.inventory.commit([Put(Setting.of("theme", data="light"))], actor="t")
    made = ours.backups.create()
    ours.backups.export(made.id, tmp_path / "a.zst")
    archive = (tmp_path / "a.zst").read_bytes()
    api = served(store, "ours")
    store.inventory.head()
    # "default" is the store's own tenant, of which health tells.
    with watching(store.database, "ours") as watch, watching(store.database, "default") as own:
        for endpoint in ENDPOINTS:
            before = len(own.faults)
            status, body = routes.ask(
                api, endpoint, backup_id=made.id, archive=archive,
                authorization="Bearer ours-token",
            )  # fmt: skip
            assert status == routes.UNANSWERED.get(endpoint.name, 200), (endpoint.name, body[:300])
            if endpoint.permission is Permission.NONE:
                assert len(own.faults) == before, endpoint.name
                watch.faults.clear()
            assert watch.faults == [], endpoint.name
    assert "rate_counters" in watch.seen


one = tenants.c.tenant_id == "a"
later = changes.alias("later")


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(tenants),
        sa.select(tenants).where(tenants.c.revision == 1),
        sa.select(tenants).where(sa.or_(one, tenants.c.revision == 1)),
        sa.select(tenants).where(sa.not_(one)),
        sa.select(tenants).where(tenants.c.tenant_id != "a"),
        sa.select(tenants).where(tenants.c.tenant_id.in_(["a", "b"])),
        sa.select(sa.func.count()).select_from(commits),
        sa.select(commits).where(one, tenants.c.tenant_id == commits.c.hash),
        sa.select(commits).join(tenants, tenants.c.tenant_id == commits.c.hash).where(one),
        sa.select(changes).where(changes.c.tenant_id == "a", sa.exists().where(
            later.c.revision > changes.c.revision)),
        sa.select(tenants).where(one, tenants.c.revision.in_(sa.select(commits.c.revision))),
        sa.union(sa.select(tenants.c.epoch).where(one), sa.select(commits.c.hash)),
        sa.select(sa.select(commits.c.hash).cte("c")),
        sa.select(commits).outerjoin(backups, backups.c.tenant_id == "a"),
        sa.update(tenants).values(revision=1),
        sa.update(leases).where(leases.c.name == "x").values(holder=""),
        sa.delete(changes),
        sa.delete(changes).where(sa.or_(changes.c.tenant_id == "a", changes.c.ordinal == 0)),
    ],
)  # fmt: skip
def test_the_watch_finds_a_statement_without_its_tenant(statement: sa.ClauseElement) -> None:
    with pytest.raises(Unbound):
        tenants_of(statement, {})


def test_the_watch_lets_a_proper_statement_pass() -> None:
    mine = changes.c.tenant_id == "a"
    for statement in (
        sa.select(changes).where(mine, sa.or_(changes.c.ordinal == 0, changes.c.ordinal == 1)),
        sa.select(changes)
        .where(mine)
        .where(sa.exists().where(later.c.tenant_id == changes.c.tenant_id)),
        sa.select(commits)
        .join(changes, changes.c.tenant_id == commits.c.tenant_id)
        .where(commits.c.tenant_id == "a"),
        sa.delete(changes).where(sa.and_(mine, changes.c.ordinal == 0)),
    ):
        assert tenants_of(statement, {}) == {"a"}
    assert tenants_of(sa.select(changes).where(mine, later.c.tenant_id == "b"), {}) == {"a", "b"}


def test_the_watch_finds_what_goes_past_the_statements_parts(store: Store) -> None:
    """Text, rows that are copied or inserted for another tenant, and the quick look-up."""
    database = store.database
    row = {"tenant_id": "b", "name": "n", "slot": 1, "hits": 0, "previous": 0}
    counters = metadata.tables["rate_counters"]
    query = sa.select(tenants.c.epoch).where(tenants.c.revision == sa.bindparam("tenant"))

    def copied() -> None:
        with database.write() as connection:
            rows = [{**row, "name": str(i)} for i in range(20)]
            database.bulk_insert(connection, counters, rows, 20)

    def inserted() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(counters), [row])

    def absent() -> None:
        with database.write() as connection:
            database.insert_if_absent(connection, counters, {**row, "name": "m"})

    def told() -> None:
        with database.read() as connection:
            connection.execute(sa.text("SELECT * FROM commits WHERE revision = 1"))

    def looked_up() -> None:
        database.fetch_one(query, {"tenant": 1})  # type: ignore[dict-item]

    for action in (copied, inserted, absent, told, looked_up):
        with watching(database, "a") as watch:
            action()
        assert watch.faults, action.__name__


def test_the_watch_finds_a_repository_that_forgets_its_tenant(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof by breaking the code: one condition left out of one query."""

    def stats(self: InventoryRepository) -> object:
        with self.database.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(SETTINGS))

    monkeypatch.setattr(InventoryRepository, "stats", stats)
    with watching(store.database, "ours") as watch:
        store.for_tenant("ours").inventory.stats()
    assert watch.faults
