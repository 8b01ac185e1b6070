"""What a renamed tenant takes with it, what it leaves behind, and what others keep."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups.scheduler import DUE
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import access_tokens, leases
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.model.records import Put, Setting

RENAMED = "renamed"  # the mark that keeps the old name from being made again


def names(store: Store) -> set[tuple[str, str]]:
    with store.database.read() as connection:
        rows = connection.execute(sa.select(leases.c.tenant_id, leases.c.name))
        return {(row.tenant_id, row.name) for row in rows}


def test_tokens_and_who_works_stay_behind_and_when_backups_are_due_goes_along(
    store: Store,
) -> None:
    """Of the renamed tenant alone."""
    texts = {}
    for tenant in ("south", "east"):
        own = store.for_tenant(tenant)
        own.inventory.commit([Put(Setting.of("a", data=tenant))], actor="anna")
        texts[tenant], _ = own.tokens.create("till", "write")
        for work in (DUE, "some-work"):
            lease = Lease(store.database, tenant, 60, name=work)
            assert lease.acquire()
            lease.release()
    store.tenants.rename("south", "north", actor="anna")
    found = names(store)
    assert {name for tenant, name in found if tenant == "south"} == {RENAMED}
    assert ("north", DUE) in found
    assert ("north", "some-work") not in found
    assert {("east", DUE), ("east", "some-work")} <= found
    with store.database.read() as connection:
        owners = connection.scalars(sa.select(access_tokens.c.tenant_id)).all()
    assert owners == ["east"]
    assert store.for_tenant("north").tokens.recognise(texts["south"]) is None
    assert store.for_tenant("east").tokens.recognise(texts["east"]) is not None
    assert store.for_tenant("north").inventory.settings() == {"a": "south"}
    assert store.for_tenant("east").inventory.settings() == {"a": "east"}


def test_an_old_name_is_free_once_a_tenant_is_made_or_renamed_to_it(store: Store) -> None:
    """Until then it opens nothing."""
    store.tenants.create("south")
    store.tenants.rename("south", "north", actor="anna")
    with pytest.raises(ExpressoPersistError):
        store.for_tenant("south").inventory.head()
    assert store.tenants.create("south").revision == 0
    assert ("south", RENAMED) not in names(store)
    assert store.for_tenant("south").inventory.head().revision == 0
    assert len(bytes.fromhex(store.for_tenant("south").inventory.head().epoch)) == 8
    store.tenants.rename("south", "west", actor="anna")
    with pytest.raises(ExpressoPersistError):
        store.for_tenant("south").inventory.head()
    store.tenants.rename("north", "south", actor="anna")
    assert {name for name in names(store) if name[1] == RENAMED} == {
        ("north", RENAMED),
    }
    assert store.for_tenant("south").inventory.head().revision == 2
    assert [tenant.name for tenant in store.tenants.list()] == ["south", "west"]
