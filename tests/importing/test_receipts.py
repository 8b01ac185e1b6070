"""The classes of a receipt, and what each option leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.importing.receipt import Receipt
from shapes import FRONT_END, held

STOCK = {"event_stock_levels": {"milk": {"a": {"quantity": 1, "unit": "L"}, "b": {"quantity": 2}}}}
OTHER = {"event_stock_levels": {"milk": {"a": {"quantity": 9, "note": "x"}, "c": {"quantity": 3}}}}


def test_existing_wins_in_rows(store: Store) -> None:
    """The stored number stays; what only the dump has comes in beside it; both are counted."""
    store.importer.import_(STOCK, actor="test")
    receipt = store.importer.import_(OTHER, actor="test", on_conflict="existing")
    assert held(store)["event_stock_levels"] == {
        "milk": {
            "a": {"quantity": 1, "unit": "L", "note": "x"},
            "b": {"quantity": 2},
            "c": {"quantity": 3},
        }
    }
    (conflict,) = receipt.conflicts
    assert (conflict.key, conflict.path, conflict.resolution) == (
        ("milk", "a"), ("quantity",), "existing",
    )  # fmt: skip
    assert (conflict.existing, conflict.incoming) == (1, 9)
    assert [(key.outcome, key.kept) for key in receipt.keys] == [("stored", 1)]
    again = store.importer.import_(OTHER, actor="test", on_conflict="existing")
    assert [(key.outcome, key.kept) for key in again.keys] == [("kept", 1)]
    assert not again.committed


@pytest.mark.parametrize("kind", ["event_stock_levels", "coffee_stock_station_1", "event_menu"])
@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_existing_keeps_the_value_in_every_mode(store: Store, kind: str, mode: Any) -> None:
    """Of rows, of live stock and of whole documents; incoming takes the dump's."""
    mine, theirs = ({kind: {"milk": {"a": {"amount": n}}}} for n in (1, 2))
    store.importer.import_(mine, actor="test")
    receipt = store.importer.import_(theirs, actor="test", mode=mode, on_conflict="existing")
    assert held(store) == mine
    assert receipt.totals["kept"] == 1
    assert receipt.to_json()["keys"][0]["class"] == "kept"
    store.importer.import_(theirs, actor="test", mode=mode)
    assert held(store) == theirs


def test_every_key_is_in_one_class(store: Store) -> None:
    first = {"wait": "6", "menu": {"a": 1}, "same": "x", "list": [1]}
    store.importer.import_(first, actor="test")
    dump = {
        "localStorage": {
            "wait": "7",
            "menu": '{"a":2,"b":3}',
            "same": "x",
            "list": "[]",
            "new": "1",
            "token": "t",
            "html_etag": "e",
            "broken": "{",
        }
    }
    receipt = store.importer.import_(dump, actor="test", on_conflict="existing")
    assert {key.key: key.outcome for key in receipt.keys} == {
        "wait": "kept",
        "menu": "stored",
        "same": "unchanged",
        "list": "kept",
        "new": "stored",
        "token": "refused",
        "html_etag": "skipped",
        "broken": "quarantined",
    }
    totals = receipt.totals
    assert totals == {
        "keys": 8, "stored": 2, "unchanged": 1, "kept": 2, "refused": 1, "skipped": 1,
        "quarantined": 1,
    }  # fmt: skip
    assert {c.document: c.cause for c in receipt.conflicts} == {
        "wait": "different", "menu": "different", "list": "empty",
    }  # fmt: skip


@pytest.mark.parametrize("on_conflict", ["incoming", "existing"])
def test_another_text_of_the_same_value_is_a_conflict(store: Store, on_conflict: Any) -> None:
    """The browser's own spelling is part of what is kept."""
    for raw in ('{"a":1}', '{ "a": 1 }'):
        receipt = store.importer.import_(
            {"localStorage": {"event_menu": raw}}, actor="test", on_conflict=on_conflict
        )
    (conflict,) = receipt.conflicts
    assert (conflict.cause, conflict.resolution) == ("text", on_conflict)
    assert (conflict.existing, conflict.incoming) == ('{"a":1}', '{ "a": 1 }')
    kept = on_conflict == "existing"
    assert receipt.keys[0].outcome == ("kept" if kept else "stored")
    stored = store.inventory.dump()["localStorage"]["event_menu"]
    assert stored == ('{"a":1}' if kept else '{ "a": 1 }')


def test_replace_spares_the_preferences_of_other_devices(store: Store) -> None:
    """They are not in this browser's dump because they are another browser's."""
    preferences = {"demoSpeed": "2", "station_id": "1"}
    for device in ("ipad", "till"):
        store.importer.import_({"localStorage": preferences, "device_id": device}, actor="test")
    store.importer.import_({"event_menu": {"a": 1}}, actor="test")
    receipt = store.importer.import_(
        {"localStorage": {"station_id": "3"}, "device_id": "till"}, actor="test", mode="replace"
    )
    assert store.inventory.dump("ipad")["localStorage"] == preferences
    assert store.inventory.dump("till")["localStorage"] == {"station_id": "3"}
    assert {removal.key for removal in receipt.removals} == {
        ("demoSpeed", "till"), ("event_menu", ""),
    }  # fmt: skip


def test_documents_without_a_layout_are_united(store: Store) -> None:
    """By member and by id, at any depth; a list without ids is one value."""
    store.importer.import_(
        {
            "coffee_chat_messages": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}],
            "coffee_system_branding": {"systemName": "Beans", "colors": {"main": "#fff"}},
            "sync_queue": [{"op": 1}],
        },
        actor="test",
    )
    receipt = store.importer.import_(
        {
            "coffee_chat_messages": [{"id": 2, "text": "B"}, {"id": 3, "text": "c"}],
            "coffee_system_branding": {"systemName": "", "colors": {"text": "#000"}},
            "sync_queue": [{"op": 2}],
        },
        actor="test",
    )
    assert held(store) == {
        "coffee_chat_messages": [
            {"id": 1, "text": "a"}, {"id": 2, "text": "B"}, {"id": 3, "text": "c"},
        ],
        "coffee_system_branding": {
            "systemName": "Beans", "colors": {"main": "#fff", "text": "#000"},
        },
        "sync_queue": [{"op": 2}],
    }  # fmt: skip
    assert [(c.document, c.path, c.cause, c.resolution) for c in receipt.conflicts] == [
        ("coffee_chat_messages", ("2", "text"), "different", "incoming"),
        ("coffee_system_branding", ("systemName",), "empty", "existing"),
        ("sync_queue", (), "different", "incoming"),
    ]
    assert [(key.outcome, key.kept) for key in receipt.keys] == [
        ("stored", 0), ("stored", 1), ("stored", 0),
    ]  # fmt: skip


def test_a_receipt_is_read_back_from_its_json(store: Store) -> None:
    """Also one that an earlier version wrote, without what is new."""
    store.importer.import_(FRONT_END, actor="test")
    made = [
        store.importer.import_(STOCK, actor="test"),
        store.importer.plan({"event_inventory": {"milk": {"Oat Milk": {}}}, "token": "t"}),
        store.importer.import_({"event_menu": "1"}, actor="test", mode="replace"),
    ]
    for receipt in made:
        value = json.loads(json.dumps(receipt.to_json()))
        assert Receipt.from_json(value) == receipt
        for key in ("matched", "matched_count", "safety_backup_id"):
            del value[key]
        for key in value["keys"]:
            del key["kept"]
        for conflict in value["conflicts"]:
            del conflict["path"], conflict["cause"]
        older = Receipt.from_json(value)
        assert older.revision == receipt.revision
        assert older.totals == receipt.totals
