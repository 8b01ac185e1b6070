"""What answers say about revisions and devices, and what If-Match means for what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.testing import OAT, UPDATE

ABSENT: dict[str, dict[str, Any]] = {
    "event-inventory": {"category": "milk", "item_id": "new", "enabled": True},
    "event-stock": {"category": "milk", "item_id": "new", "total_quantity": 1},
    "station-config": {"station_id": "new", "config_data": {}},
    "station-quantity": {"station_id": "new", "item_id": "new", "quantity": 1},
    "settings": {"key": "new", "value": 1},
}


@pytest.mark.parametrize("kind", ABSENT)
def test_if_match_on_what_is_not_there(client: Any, store: Store, kind: str) -> None:
    """A revision means that it was there: 412. "0" means that it must not be."""
    path, body = f"/api/inventory/{kind}/update", ABSENT[kind]
    client("POST", UPDATE, OAT)
    for revision in ('"1"', '"7"', 'W/"1"', "1"):
        gone = client("POST", path, body, headers={"If-Match": revision})
        assert (gone.status, gone.json["code"]) == (412, "revision_conflict")
        assert (gone.json["data"]["revision"], gone.json["data"]["value"]) == (0, None)
    assert store.inventory.head().revision == 1
    assert client("POST", path, body, headers={"If-Match": '"0"'}).json["revision"] == 2
    assert client("POST", path, body, headers={"If-Match": '"0"'}).status == 412
    assert client("POST", path, body, headers={"If-Match": '"2"'}).status == 200
    assert client("POST", path, body, headers={"If-Match": '"1"'}).status == 412


def test_if_match_holds_for_every_record_of_a_batch(client: Any, store: Store) -> None:
    client("POST", UPDATE, OAT)
    updates = [
        {"type": "station_quantity", "data": OAT},
        {"type": "setting", "data": ABSENT["settings"]},
    ]
    body = {"updates": updates}
    refused = client("POST", "/api/inventory/batch-update", body, headers={"If-Match": '"1"'})
    assert (refused.status, refused.json["data"]["kind"]) == (412, "setting")
    assert store.inventory.head().revision == 1
    lost = {"station_id": 9, "category": "milk", "item": "none", "delta": 1}
    adjust = client("POST", "/api/inventory/adjust", lost, headers={"If-Match": '"1"'})
    assert adjust.status == 404


def test_a_restore_answers_with_its_own_revision(client: Any, store: Store) -> None:
    client("POST", UPDATE, OAT)
    backup = store.backups.create()
    client("POST", UPDATE, {**OAT, "quantity": 1})
    path = f"/api/migration/backups/{backup.id}/restore"
    key = {"Idempotency-Key": "k"}
    first = client("POST", path, headers=key)
    client("POST", UPDATE, {**OAT, "quantity": 2})
    again = client("POST", path, headers=key)
    assert store.inventory.head().revision == 4
    for answer in (first, again):
        assert answer.json["revision"] == answer.json["data"]["revision"] == 3
    planned = client("POST", f"{path}?dry_run=true").json
    assert planned["revision"] == planned["data"]["revision"] == 4


def test_a_restore_that_had_nothing_to_do_is_remembered(client: Any, store: Store) -> None:
    """Its repetition does not take back what was written meanwhile."""
    client("POST", UPDATE, OAT)
    backup = store.backups.create()
    path = f"/api/migration/backups/{backup.id}/restore"
    key = {"Idempotency-Key": "k"}
    first = client("POST", path, headers=key)
    assert first.json["data"]["records"]["changed"] == 0
    assert first.json["data"]["safety_backup_id"] is None
    client("POST", UPDATE, {**OAT, "quantity": 1})
    again = client("POST", path, headers=key)
    assert (again.json, again.headers["idempotency-replayed"]) == (first.json, "true")
    record = store.inventory.get("station_quantity", "1", "", "Oat milk")
    assert record is not None
    assert record.data == 1
    assert [made.backup_type for made in store.backups.list()] == ["manual"]
    assert client("POST", path).status == 200
    assert client("POST", UPDATE, OAT, headers=key).json["code"] == "idempotency_mismatch"


def test_a_count_below_zero_is_refused(client: Any) -> None:
    client("POST", UPDATE, OAT)
    body = {"station_id": 1, "category": "", "item": "Oat milk", "quantity": -5}
    answer = client("POST", "/api/inventory/count", body)
    assert (answer.status, answer.json["details"][0]["path"]) == (422, "quantity")
    assert client("POST", "/api/inventory/count", {**body, "quantity": 0}).status == 200


def test_documents_say_which_device_they_are_of(client: Any, store: Store) -> None:
    for device, tab in (("till", '"stock"'), ("bar", '"orders"'), ("door", '"menu"')):
        dump = {"localStorage": {"coffee_cue_active_tab": tab}, "device_id": device}
        client("POST", "/api/migration/export-localStorage", dump)
    data = client("GET", "/api/migration/documents").json["data"]
    assert data["from_devices"] == {"coffee_cue_active_tab": "door"}
    assert [(d["device_id"], d["newest"]) for d in data["devices"]] == [
        ("bar", 0), ("door", 1), ("till", 0),
    ]  # fmt: skip
    own = client("GET", "/api/migration/documents?device_id=bar").json["data"]
    assert own["localStorage"] == {"coffee_cue_active_tab": '"orders"'}
    assert own["from_devices"] == {"coffee_cue_active_tab": "bar"}
