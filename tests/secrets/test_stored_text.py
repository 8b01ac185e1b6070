"""No way in stores a secret: every text goes through one rule where it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import secret_vectors as vectors
from expresso_persist import Store
from expresso_persist.commits.decision import Decision
from expresso_persist.errors import InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.records import (
    RECORD_TYPES,
    Delete,
    EventItem,
    Patch,
    Put,
    RecordKey,
    Setting,
    StoredDocument,
)

SECRET = vectors.jwt()
AWS = vectors.credentials()["aws"]


def everything(store: Store) -> str:
    """All that is stored, as text."""
    commits = store.inventory.commits(limit=1000)
    told = [f"{c.actor} {c.note} {c.receipt} {c.idempotency_key} {c.changes}" for c in commits]
    backups = [f"{backup}" for backup in store.backups.list()]
    return "\n".join([*told, *backups, f"{store.inventory.snapshot()}"])


WAYS: dict[str, Callable[[Store], Any]] = {
    "actor": lambda s: s.inventory.commit([Put(Setting.of("a", data=1))], actor=SECRET),
    "note": lambda s: s.inventory.commit([Put(Setting.of("a", data=1))], actor="a", note=SECRET),
    "idempotency_key": lambda s: s.inventory.commit(
        [Put(Setting.of("a", data=1))], actor="a", idempotency_key=AWS
    ),
    "setting: <name>": lambda s: s.inventory.commit([Put(Setting.of(SECRET, data=1))], actor="a"),
    "setting:sms: list[1].note": lambda s: s.inventory.commit(
        [Put(Setting.of("sms", data={"list": [1, {"note": f"see {AWS}"}]}))], actor="a"
    ),
    "setting:wifi_password": lambda s: s.inventory.commit(
        [Put(Setting.of("wifi_password", data="latte"))], actor="a"
    ),
    "event_inventory: <name>": lambda s: s.inventory.commit(
        [Put(EventItem.of("milk", SECRET, data={"enabled": True}))], actor="a"
    ),
    "event_inventory:milk/oat: unit": lambda s: s.inventory.commit(
        [
            Put(EventItem.of("milk", "oat", data={"enabled": True})),
            Patch(RecordKey("event_inventory", ("milk", "oat")), {"unit": SECRET}),
        ],
        actor="a",
    ),
    "document: <name>": lambda s: s.inventory.commit(
        [Put(StoredDocument.of("a", SECRET, data="x"))], actor="a"
    ),
    "document:a/: text": lambda s: s.inventory.commit(
        [Put(StoredDocument.of("a", "", data={"text": '{"password": "hunter2", '}))], actor="a"
    ),
    "document:a/": lambda s: s.inventory.commit(
        [Put(StoredDocument(("a", ""), "{}", raw='{"password":"first","password":""}'))],
        actor="a",
    ),
    "notes": lambda s: s.backups.create(notes=f"made with {SECRET}"),
    "name": lambda s: s.tokens.create(AWS, "read"),
    "tenant": lambda s: s.for_tenant(AWS).inventory.commit(Decision(keep_empty=True), actor="a"),
    "device_id": lambda s: s.importer.import_({"a": "b"}, actor="a", device_id=SECRET),
    "origin": lambda s: s.importer.import_(
        {"localStorage": {"a": "b"}, "origin": "https://ann:hunter2@example.org"}, actor="a"
    ),
}


@pytest.mark.parametrize("place", WAYS)
def test_no_text_of_the_python_interface_holds_a_secret(store: Store, place: str) -> None:
    """Refused with the place and never the value, and nothing is stored."""
    before = store.inventory.head()
    with pytest.raises(InvalidInput) as refused:
        WAYS[place](store)
    assert [problem.path for problem in refused.value.problems] == [place]
    assert SECRET not in refused.value.message + str(refused.value.problems)
    assert store.inventory.head() == before
    assert store.backups.list() == []


UPDATES = [
    ("event-inventory", "item_name", {"category": "milk", "enabled": True}),
    ("event-inventory", "category", {"item_name": "Oat", "enabled": True}),
    ("event-inventory", "item_id", {"category": "milk", "enabled": True}),
    ("event-inventory", "color", {"category": "milk", "item_name": "Oat", "enabled": True}),
    ("event-stock", "unit", {"category": "milk", "item_name": "Oat", "total": 1}),
    ("event-stock", "item_name", {"category": "milk", "total": 1}),
    ("station-config", "station_id", {"config_data": {"a": 1}}),
    ("station-quantity", "item_name", {"station_id": 1, "quantity": 1}),
    ("station-quantity", "station_id", {"item_name": "Oat", "quantity": 1}),
]


@pytest.mark.parametrize(("path", "member", "body"), UPDATES)
def test_no_member_of_an_update_holds_a_secret(
    client: Any, store: Store, path: str, member: str, body: dict[str, Any]
) -> None:
    """Each text that the update endpoints take: 422 with the path, nothing stored."""
    before = store.inventory.head()
    for secret in (SECRET, AWS):
        answer = client("POST", f"/api/inventory/{path}/update", {**body, member: secret})
        assert answer.status == 422, answer.json
        assert [detail["path"] for detail in answer.json["details"]] == [member]
        assert secret not in json.dumps(answer.json)
        batch = {"updates": [{"type": path.replace("-", "_"), "data": {**body, member: secret}}]}
        answer = client("POST", "/api/inventory/batch-update", batch)
        assert [detail["path"] for detail in answer.json["details"]] == [
            f"updates[0].data.{member}"
        ]
    assert store.inventory.head() == before


@pytest.mark.parametrize("member", ["note", "item", "category", "reason", "station_id", "extra"])
def test_no_member_of_a_movement_holds_a_secret(client: Any, store: Store, member: str) -> None:
    body = {"category": "milk", "item": "Oat", "quantity": 1, "reason": "spilt", member: SECRET}
    answer = client("POST", "/api/inventory/waste", body)
    assert (answer.status, [d["path"] for d in answer.json["details"]]) == (422, [member])
    assert SECRET not in json.dumps(answer.json)


def test_notes_of_backups_and_undos_hold_no_secret(client: Any, store: Store) -> None:
    client("POST", "/api/inventory/event-inventory/update",
           {"category": "milk", "item_name": "Oat", "enabled": True})  # fmt: skip
    answer = client("POST", "/api/migration/create-backup", {"notes": f"token={SECRET}"})
    assert (answer.status, answer.json["details"][0]["path"]) == (422, "notes")
    with pytest.raises(InvalidInput, match="note looks like a secret"):
        store.inventory.undo(1, actor="a", note=SECRET)
    assert SECRET not in everything(store)


def test_an_import_leaves_every_secret_out_and_names_it(store: Store) -> None:
    """Names of members, text in text, keys: taken out or refused by path, value nowhere."""
    dump = {
        SECRET: "a token as a key",
        "event_inventory": json.dumps(
            {"milk": {SECRET: {"enabled": True}, "Oat": {"enabled": True}}}
        ),
        "event_stock_levels": json.dumps({"Oat": {"category": AWS, "total": 1, "unit": "L"}}),
        "event_sessions": json.dumps([{"title": "one", "log": '{"auth": {"token": "abc99"}, '}]),
        "coffee_system_users": json.dumps([{"name": "Ann", "Passwort": "geheim99", "pin": "4711"}]),
        "broken": '{"mot_de_passe": "soleil99", ',
        "admin_password": "123456",
        "notes": "contraseña=luna99",
    }
    receipt = store.importer.import_({"localStorage": dump}, actor="a")
    classes = {key.key: key.outcome for key in receipt.keys}
    assert {name for name, outcome in classes.items() if outcome == "refused"} == {
        "<name>", "broken", "admin_password", "notes",
    }  # fmt: skip
    removed = {key.key: key.removed_secrets for key in receipt.keys if key.removed_secrets}
    assert removed == {
        "event_inventory": ("milk.<name>",),
        "event_stock_levels": ("Oat.category",),
        "event_sessions": ("[0].log",),
        "coffee_system_users": ("[0].Passwort", "[0].pin"),
    }
    stored = everything(store) + json.dumps(receipt.to_json())
    for text in (SECRET, AWS, "abc99", "geheim99", "4711", "soleil99", "123456", "luna99"):
        assert text not in stored
    assert store.inventory.document("event_inventory").value == {"milk": {"Oat": {"enabled": True}}}


def stored_before(store: Store) -> None:
    """What a version that did not know better wrote."""
    record = EventItem.of("milk", "oat", data={"name": SECRET, "amount": 1})
    store.inventory.commit([Put(record)], actor="old", scanned=True)


def test_what_is_stored_already_does_not_stop_work(store: Store) -> None:
    """Counting goes on, an undo and a restore give back what was; a new secret is refused."""
    stored_before(store)
    key = RecordKey("event_inventory", ("milk", "oat"))
    store.inventory.commit([Patch(key, {"amount": 2})], actor="a")
    with pytest.raises(InvalidInput, match="looks like a secret"):
        store.inventory.commit([Patch(key, {"name": AWS})], actor="a")
    backup = store.backups.create()
    store.inventory.commit([Delete(key)], actor="a")
    store.backups.restore(backup.id, actor="a")
    assert store.inventory.get("event_inventory", "milk", "oat").data["name"] == SECRET
    store.inventory.undo(store.inventory.head().revision, actor="a")
    assert store.inventory.get("event_inventory", "milk", "oat") is None


def test_the_rule_is_asked_for_every_kind_of_record(store: Store) -> None:
    """A table that is added later is under it as well."""
    for kind, cls in RECORD_TYPES.items():
        parts = [f"part{number}" for number in range(len(cls.key_columns))]
        record = cls(tuple(parts), json_text.dumps({"any": [SECRET]}))
        with pytest.raises(InvalidInput, match=r"any\[0\] looks like a secret"):
            store.inventory.commit([Put(record)], actor="a")
        for number in range(len(parts)):
            named = cls((*parts[:number], SECRET, *parts[number + 1 :]), "{}")
            with pytest.raises(InvalidInput, match=f"{kind}: <name> looks like a secret"):
                store.inventory.commit([Put(named)], actor="a")


@pytest.mark.parametrize("text", [text for text in vectors.HARMLESS if text])
def test_harmless_text_is_stored(store: Store, text: str) -> None:
    """As a name, a value, a note."""
    store.inventory.commit(
        [Put(EventItem.of("milk", text[:200], data={"name": text, text: 1}))],
        actor="Ann",
        note=text,
    )
    assert store.inventory.get("event_inventory", "milk", text[:200]).data["name"] == text
