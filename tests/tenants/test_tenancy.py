"""Tenants as a whole: create, list, rename, delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from expresso_persist import Store
from expresso_persist.backups.scheduler import RUNNER
from expresso_persist.cli import cli
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import metadata
from expresso_persist.errors import (
    Busy,
    ConflictRefused,
    InvalidInput,
    NotFound,
    TenantRenamed,
    Unauthorized,
)
from expresso_persist.model.records import Put, Setting

TABLES = [table for table in metadata.sorted_tables if "tenant_id" in table.c]


def fill(store: Store, name: str) -> Store:
    """Give a tenant something in each table that a life of use fills."""
    tenant = store.for_tenant(name)
    tenant.importer.import_(
        {"localStorage": {"event_menu": '{"latte":1}', "coffee_broken": "{"}}, actor="them"
    )
    tenant.inventory.commit([Put(Setting.of("theme", data=name))], actor="t", idempotency_key="k")
    tenant.backups.create(notes="mine")
    tenant.tokens.create("till", "write")
    return tenant


def rows(store: Store, name: str) -> dict[str, int]:
    with store.database.read() as connection:
        counts = {
            table.name: connection.scalar(
                sa.select(sa.func.count()).select_from(table).where(table.c.tenant_id == name)
            )
            for table in TABLES
        }
    return {table: count for table, count in counts.items() if count}


def test_tenants_are_created_and_listed(store: Store) -> None:
    assert store.tenants.list() == []
    made = store.tenants.create("Spring Fair")
    assert (made.name, made.revision) == ("Spring Fair", 0)
    fill(store, "autumn")
    assert [tenant.name for tenant in store.tenants.list()] == ["Spring Fair", "autumn"]


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\0b", "x" * 257, "\ud800", "\u202ea"])
def test_names_that_nobody_could_see_or_store_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput):
        store.tenants.create(name)
    store.tenants.create("good")
    with pytest.raises(InvalidInput):
        store.tenants.rename("good", name, actor="t")
    assert [tenant.name for tenant in store.tenants.list()] == ["good"]


def test_names_that_people_would_mix_up_are_refused(store: Store) -> None:
    """But a tenant may be renamed to another spelling of its own name."""
    store.tenants.create("Café")
    for name in ("Café", "café", "Cafe\u0301"):
        with pytest.raises(ConflictRefused):
            store.tenants.create(name)
    assert store.tenants.rename("Café", "CAFÉ", actor="t").name == "CAFÉ"


def test_a_renamed_tenant_keeps_its_data_its_history_and_its_backups(store: Store) -> None:
    old = fill(store, "old")
    other = fill(store, "other")
    theirs = rows(store, "other")
    anchor = old.inventory.verify().anchor
    cursor, records = old.inventory.head().cursor, old.inventory.records()
    backups = old.backups.list()

    assert store.tenants.rename("old", "new", actor="boss").revision == 3
    new = store.for_tenant("new")
    assert new.inventory.records() == records
    assert new.inventory.verify(anchors=[anchor]).ok, "an anchor kept elsewhere still holds"
    assert [(c.actor, c.source) for c in new.inventory.commits(2)] == [("boss", "rename")]
    assert new.inventory.changes(cursor).reset, "who had the old cursor reads everything again"
    assert [backup.id for backup in new.backups.list()] == [backup.id for backup in backups]
    assert new.backups.verify(backups[0].id).ok
    new.inventory.commit([Put(Setting.of("theme", data="later"))], actor="t")
    new.backups.restore(backups[0].id, actor="t")
    assert new.inventory.settings() == {"theme": "old"}
    assert new.inventory.verify(anchors=[anchor]).ok
    assert rows(store, "other") == theirs
    assert other.inventory.verify().ok


def test_an_archive_of_a_renamed_tenants_backup_says_the_new_name(
    store: Store, tmp_path: Path
) -> None:
    backup = fill(store, "old").backups.list()[0]
    store.tenants.rename("old", "new", actor="t")
    store.for_tenant("new").backups.export(backup.id, tmp_path / "a.zst")
    with Store("sqlite://", tenant="new", migrate=True) as elsewhere:
        elsewhere.backups.import_(tmp_path / "a.zst")


def test_a_name_that_was_given_up_takes_no_more_writes(store: Store) -> None:
    """They would begin an empty tenant, where nobody finds them."""
    old = fill(store, "old")
    store.tenants.rename("old", "new", actor="t")
    with pytest.raises(TenantRenamed) as refused:
        old.inventory.commit([Put(Setting.of("theme", data="lost"))], actor="t")
    assert isinstance(refused.value, Unauthorized), "401: the browser keeps what it has"
    with pytest.raises(TenantRenamed):
        old.inventory.head()
    assert rows(store, "old") == {"leases": 1}
    store.tenants.create("old")
    assert old.inventory.head().revision == 0


def test_renaming_there_and_back_leaves_a_trail_that_verifies(store: Store) -> None:
    tenant = fill(store, "a")
    anchor = tenant.inventory.verify().anchor
    for old, new in (("a", "b"), ("b", "c"), ("c", "a")):
        store.tenants.rename(old, new, actor="t")
        store.for_tenant(new).inventory.commit([Put(Setting.of("at", data=new))], actor="t")
    report = tenant.inventory.verify(anchors=[anchor])
    assert (report.ok, report.problems, report.commits) == (True, (), 8)
    tenant.inventory.forget_history(6, actor="t")
    assert tenant.inventory.verify(anchors=[anchor]).ok


def test_a_forged_rename_is_found(store: Store) -> None:
    fill(store, "old")
    store.tenants.rename("old", "new", actor="t")
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE commits SET receipt = replace(receipt, 'old', 'odd')"))
    assert not store.for_tenant("new").inventory.verify().ok


def test_a_damaged_trail_is_not_renamed(store: Store) -> None:
    fill(store, "old")
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE commits SET actor = 'somebody else'"))
    before = rows(store, "old")
    with pytest.raises(ConflictRefused):
        store.tenants.rename("old", "new", actor="t")
    assert rows(store, "old") == {**before, "leases": before["leases"]}
    assert rows(store, "new") == {}


def test_a_taken_name_is_refused_and_a_missing_tenant_is_not_made(store: Store) -> None:
    fill(store, "a")
    fill(store, "b")
    with pytest.raises(ConflictRefused):
        store.tenants.rename("a", "b", actor="t")
    for action in (
        lambda: store.tenants.rename("none", "c", actor="t"),
        lambda: store.tenants.delete("none", "x.zst", actor="t"),
    ):
        with pytest.raises(NotFound):
            action()
    assert [tenant.name for tenant in store.tenants.list()] == ["a", "b"]


def test_nothing_is_renamed_or_deleted_under_a_running_scheduler(
    store: Store, tmp_path: Path
) -> None:
    fill(store, "busy")
    lease = Lease(store.database.of("busy"), "busy", 60, name=RUNNER)
    assert lease.acquire()
    with pytest.raises(Busy):
        store.tenants.rename("busy", "free", actor="t")
    with pytest.raises(Busy):
        store.tenants.delete("busy", tmp_path / "a.zst", actor="t")
    lease.release()
    store.tenants.rename("busy", "free", actor="t")


def test_a_deleted_tenant_leaves_its_archive_and_nothing_else(store: Store, tmp_path: Path) -> None:
    gone = fill(store, "gone")
    fill(store, "stays")
    theirs, records = rows(store, "stays"), gone.inventory.records()
    archive = tmp_path / "gone.expresso.zst"
    done = store.tenants.delete("gone", archive, actor="boss")
    assert rows(store, "gone") == {}
    assert rows(store, "stays") == theirs
    assert store.for_tenant("stays").inventory.verify().ok
    assert (done.bytes, done.rows["commits"]) == (archive.stat().st_size, 2)
    with Store("sqlite://", tenant="gone", migrate=True) as elsewhere:
        made = elsewhere.backups.import_(archive)
        elsewhere.backups.restore(made.id, actor="t")
        assert {r.key: r.text for r in elsewhere.inventory.records()} == {
            r.key: r.text for r in records
        }


def test_nothing_is_deleted_when_the_archive_cannot_be_written(
    store: Store, tmp_path: Path
) -> None:
    fill(store, "gone")
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(InvalidInput):
        store.tenants.delete("gone", taken, actor="t")
    with pytest.raises(ConflictRefused):
        store.tenants.delete("gone", tmp_path / "no" / "such" / "folder.zst", actor="t")
    assert taken.read_text() == "mine"
    assert rows(store, "gone")["commits"] == 2


def test_what_was_written_meanwhile_is_not_deleted(store: Store, tmp_path: Path) -> None:
    """A write between the archive and the deletion is not in the archive."""
    tenant = fill(store, "gone")
    import expresso_persist.tenants.tenancy as tenancy

    prove = tenancy._prove

    def late(*words: Any) -> None:
        prove(*words)
        tenant.inventory.commit([Put(Setting.of("late", data=1))], actor="t")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenancy, "_prove", late)
        with pytest.raises(Busy):
            store.tenants.delete("gone", tmp_path / "a.zst", actor="t")
    assert tenant.inventory.settings()["late"] == 1


def test_an_archive_that_does_not_restore_keeps_the_tenant(store: Store, tmp_path: Path) -> None:
    """A flipped bit in the stored piece, after the backup was made and verified."""
    import expresso_persist.tenants.tenancy as tenancy

    fill(store, "gone")
    prove = tenancy._prove

    def damaged(path: Path, *rest: Any) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        prove(path, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenancy, "_prove", damaged)
        with pytest.raises(ConflictRefused):
            store.tenants.delete("gone", tmp_path / "a.zst", actor="t")
    assert rows(store, "gone")["commits"] == 2


def test_the_command(database_url: str, tmp_path: Path) -> None:
    def run(*words: str, code: int = 0, stdin: str | None = None) -> str:
        result = CliRunner().invoke(cli, [*words, "--database", database_url], input=stdin)
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    run("init")
    run("tenant", "create", "spring")
    run("tenant", "rename", "spring", "summer")
    listed = json.loads(run("tenant", "list", "--json"))["tenants"]
    assert [tenant["name"] for tenant in listed] == ["summer"]
    archive = tmp_path / "s.zst"
    run("tenant", "delete", "summer", "-o", str(archive), code=1, stdin="n\n")
    assert not archive.exists()
    run("tenant", "delete", "summer", "-o", str(archive), "--yes")
    assert archive.exists()
    assert json.loads(run("tenant", "list", "--json"))["tenants"] == []
