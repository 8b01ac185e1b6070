"""Two tenants share a database and nothing else."""

from __future__ import annotations

from expresso_persist import Store
from expresso_persist.model.records import Put, Setting, StationQuantity


def test_one_tenant_sees_nothing_of_another(store: Store) -> None:
    ours, theirs = store.for_tenant("ours"), store.for_tenant("theirs")
    theirs.importer.import_(
        {"localStorage": {"event_menu": '{"secret-latte":1}', "coffee_broken": "{"}}, actor="them"
    )
    theirs.inventory.commit(
        [
            Put(Setting.of("a", data="theirs")),
            Put(StationQuantity.of("1", "milk", "oat", data={"quantity": 1})),
        ],
        actor="them",
        idempotency_key="k",
    )
    theirs.backups.create()
    inventory = ours.inventory
    assert inventory.records() == []
    assert inventory.get("setting", "a") is None
    assert inventory.settings() == {}
    assert inventory.dump()["localStorage"] == {}
    assert inventory.document("event_menu") is None
    assert b"latte" not in inventory.inventory_json()[1]
    assert inventory.commits() == []
    assert inventory.changes(0).commits == ()
    assert inventory.stats()["documents"] == inventory.stats()["revision"] == 0
    assert ours.backups.list() == []
    assert ours.backups.status()["total_backups"] == 0
    assert inventory.changes(theirs.inventory.head().cursor).reset


def test_the_same_keys_of_two_tenants_are_two_records(store: Store) -> None:
    for number, name in enumerate(("a", "b", "c")):
        store.for_tenant(name).inventory.commit(
            [Put(Setting.of("theme", data=number))], actor="test"
        )
    for number, name in enumerate(("a", "b", "c")):
        tenant = store.for_tenant(name).inventory
        assert tenant.settings() == {"theme": number}
        assert tenant.head().revision == 1
        assert tenant.verify().ok
    assert (
        store.for_tenant("a").inventory.head().epoch != store.for_tenant("b").inventory.head().epoch
    )
