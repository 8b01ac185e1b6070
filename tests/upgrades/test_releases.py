"""Databases, archives and mirrors of every release are read, migrated and lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import releases
from expresso_persist import BackupManager, Put, Store
from expresso_persist.backups.mirrors import Mirror
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.errors import SchemaMismatch
from expresso_persist.model.records import Setting

if TYPE_CHECKING:
    from conftest import Left


def test_there_is_a_release() -> None:
    """The tests below run for each folder that they find."""
    assert "0.1.0" in [folder.name for folder in releases.releases()]


def test_every_record_commit_and_backup_is_the_same(left: Left) -> None:
    """All that a release said of its data, the current version says after the migration."""
    with Store(left.url, migrate=True) as store:
        assert [tenant.name for tenant in store.tenants.list()] == sorted(left.tenants)
        for tenant in left.tenants:
            now, before = releases.describe(store.for_tenant(tenant)), left.expected["tenants"]
            for part, told in before[tenant].items():
                assert now[part] == told, (tenant, part)
            assert now["verify"]["ok"]
    with Store(left.url) as store:
        assert store.init() == [], "the second start has nothing to migrate"


def test_it_is_migrated_only_when_told_to(left: Left) -> None:
    """Opened without `migrate`, it works as it is or is refused with what to do; never half."""
    database = Database(left.url)
    try:
        steps = migrations.upgrade(database, dry_run=True)
    finally:
        database.close()
    if steps:
        with pytest.raises(SchemaMismatch, match="expresso-persist init"):
            Store(left.url)
    else:
        Store(left.url).close()
    with Store(left.url, migrate=True) as store:
        assert store.inventory.verify().ok


def test_every_backup_verifies_and_restores(left: Left) -> None:
    """Each gives the very state that was there when it was made, and so does the past."""
    with Store(left.url, migrate=True) as store:
        for tenant in left.tenants:
            one, states = store.for_tenant(tenant), left.expected["states"][tenant]
            listed = {backup.id: backup for backup in one.backups.list()}
            for backup_id, backup in listed.items():
                result = one.backups.verify(backup_id)
                assert result.ok, (tenant, backup_id, result.problems)
                one.backups.restore(backup_id, actor="upgrade")
                assert releases.state(one) == states[backup_id], (tenant, backup.notes)
            anchor = left.expected["tenants"][tenant]["verify"]["anchor"]
            assert one.inventory.verify(anchors=[anchor]).ok


def test_the_past_is_still_there(left: Left) -> None:
    """What was stored at the revision of a backup is read back from the trail."""
    with Store(left.url, migrate=True) as store:
        states = left.expected["states"]["default"]
        for backup in store.backups.list():
            past = store.inventory.records(as_of=backup.revision)
            assert releases.digests(past) == states[backup.id]


def test_it_goes_on_working(left: Left) -> None:
    """New commits, undo, a backup of a changed state, and the rotation."""
    with Store(left.url, migrate=True) as store:
        for tenant in left.tenants:
            one = store.for_tenant(tenant)
            before = releases.state(one)
            commit = one.inventory.commit([Put(Setting.of("upgraded", data=True))], actor="now")
            assert commit.revision == left.expected["tenants"][tenant]["head"]["revision"] + 1
            backup = one.backups.create("automatic")
            assert backup.revision == commit.revision
            one.inventory.undo(commit.revision, actor="now")
            assert releases.state(one) == before
            kept = {decision.backup_id for decision in one.backups.rotate() if decision.keep}
            assert kept >= {*left.expected["tenants"][tenant]["backups"]}
            assert all(one.backups.verify(backup_id).ok for backup_id in kept)
            assert one.inventory.verify().ok


def test_a_repeated_request_is_still_known(left: Left) -> None:
    """Its idempotency key gives the commit that the release made."""
    with Store(left.url, migrate=True) as store:
        head = store.inventory.head()
        again = store.inventory.commit(
            [Put(Setting.of("branding", data="another"))],
            actor="anna", idempotency_key="batch-1", request="the batch",
        )  # fmt: skip
        assert again.replayed
        assert store.inventory.head() == head


def test_tokens_still_open(left: Left) -> None:
    """Each with its permission; a changed one opens nothing."""
    with Store(left.url, migrate=True) as store:
        for name, token in left.expected["tokens"].items():
            known = store.tokens.recognise(token)
            assert known is not None
            told = left.expected["tenants"]["default"]["tokens"][name]
            assert (known.name, known.permission) == (name, told["permission"])
            assert store.tokens.recognise(token[:-1] + ("A" if token[-1] != "A" else "B")) is None


@pytest.mark.parametrize("how", ["plain", "key", "passphrase"])
def test_archives_are_imported_and_restored(how: str, release: Path, database_url: str) -> None:
    """Into an empty database of either kind."""
    expected = releases.read_json(release / "expected" / "sqlite.json.gz")
    name, options = {
        "plain": ("archive.expresso.zst", {}),
        "key": ("archive-key.expresso.zst.age", {"identities": _keys(release)}),
        "passphrase": (
            "archive-passphrase.expresso.zst.age",
            {"passphrase": releases.PASSPHRASE},
        ),
    }[how]
    options = dict[str, Any](options)
    with Store(database_url, migrate=True) as store:
        imported = store.backups.import_(release / name, **options)
        assert imported.id == expected["archived"]
        told = expected["tenants"]["default"]["backups"][imported.id]
        assert imported.payload_sha256 == told["payload_sha256"]
        assert imported.record_counts == told["record_counts"]
        store.backups.restore(imported.id, actor="upgrade")
        assert releases.state(store) == expected["states"]["default"][imported.id]


def _keys(release: Path) -> list[str]:
    lines = (release / "age.key").read_text().splitlines()
    return [line for line in lines if line.startswith("AGE-SECRET-KEY")]


def test_every_copy_at_a_mirror_restores(
    release: Path, mirror_folder: Path, database_url: str
) -> None:
    """The mirror lists what the release copied, and each copy gives its state."""
    expected = releases.read_json(release / "expected" / "sqlite.json.gz")
    mirror = Mirror(str(mirror_folder))
    with Store(database_url, migrate=True) as store:
        for tenant, states in expected["states"].items():
            one = store.for_tenant(tenant)
            told = expected["tenants"][tenant]["backups"]
            copies = mirror.copies(tenant)
            assert {copy.id for copy in copies} == {*told}
            for copy in copies:
                with mirror.open(copy, tenant) as archive:
                    # What was imported from another tenant is an archive of this one now.
                    imported = one.backups.import_(archive)
                assert imported.payload_sha256 == told[copy.id]["payload_sha256"]
                one.backups.restore(imported.id, actor="upgrade")
                assert releases.state(one) == states[copy.id]


def test_a_migrated_store_goes_on_with_its_mirror(left: Left, mirror_folder: Path) -> None:
    """The copies that are there are known; a new backup joins them."""
    with Store(left.url, migrate=True) as store:
        before = {copy.id for copy in Mirror(str(mirror_folder)).copies()}
        store.inventory.commit([Put(Setting.of("upgraded", data=True))], actor="now")
        with BackupManager(
            store.database, store.inventory, mirrors=[Mirror(str(mirror_folder))]
        ) as backups:
            made = backups.create("manual")
            (synced,) = backups.sync_mirrors()
        assert synced.error is None
        after = {copy.id for copy in Mirror(str(mirror_folder)).copies()}
        assert made.id in after
        if left.kind == "sqlite":
            assert after == {*before, made.id}
