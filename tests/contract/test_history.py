"""History, the past and undo over HTTP, on every adapter and database."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from expresso_persist import Store

OAT = {"coffee_stock_station_1": {"milk": [{"id": "oat", "name": "Oat", "amount": 5}]}}
PLACE = {"category": "milk", "item": "oat", "station_id": "1"}


def test_history_the_past_and_undo(client: Any, store: Store) -> None:
    store.importer.import_(OAT, actor="test")
    inventory = store.inventory.inventory_json()[1]
    body = {**PLACE, "quantity": 1, "reason": "sour", "note": "in the sun"}
    assert client("POST", "/api/inventory/waste", body).status == 200
    key = quote('["1","milk","oat"]')
    about = f"/api/inventory/history?kind=station_stock&key={key}"
    (newest, oldest) = client("GET", about).json["data"]["entries"]
    assert newest["movement"]["reason"] == "sour"
    assert newest["note"] == "in the sun"
    assert newest["source"] == "movement"
    assert [change["after"]["amount"] for change in newest["changes"]] == [4]
    assert [change["before"] for change in oldest["changes"]] == [None]
    station = client("GET", "/api/inventory/history?station_id=1&limit=1").json["data"]
    assert (len(station["entries"]), station["more"]) == (1, True)
    rest = client("GET", "/api/inventory/history?station_id=1&before=2").json["data"]
    assert ([e["revision"] for e in rest["entries"]], rest["more"]) == ([1], False)
    assert client("GET", "/api/inventory/history?station_id=2").json["data"]["entries"] == []

    was = client("GET", "/api/inventory/get-all?as_of=1")
    assert was.json["revision"] == 1
    assert inventory in was.body
    for moment in (oldest["at"], oldest["at"].replace("Z", "+00:00")):
        then = client("GET", f"/api/inventory/get-all?as_of={moment}")
        assert then.body == was.body
    assert client("GET", "/api/inventory/get-all?as_of=99").status == 404
    for wrong in ("yesterday", "2026-11-23T10:00:00", "-1", "9" * 30):
        assert client("GET", f"/api/inventory/get-all?as_of={wrong}").status == 422
    for wrong in ("kind=x&key=[]", "kind=setting", "key=[1]", "limit=0", "limit=1001", "before=x"):
        assert client("GET", f"/api/inventory/history?{wrong}").status == 422

    client("POST", "/api/inventory/adjust", {**PLACE, "delta": -1})
    refused = client("POST", "/api/inventory/undo", {"revision": 2})
    assert (refused.status, refused.json["code"]) == (409, "undo_conflict")
    (conflict,) = refused.json["details"]
    assert conflict["path"] == "station_stock:1/milk/oat"
    assert "revision 3" in conflict["message"]
    dry = client("POST", "/api/inventory/undo", {"revision": 2, "dry_run": True}).json
    assert dry["data"]["conflicts"] == [conflict]
    assert dry["revision"] == 3
    tap = {"Idempotency-Key": "tap"}
    ask = {"revision": 2, "force": True}
    done = client("POST", "/api/inventory/undo", ask, headers=tap)
    again = client("POST", "/api/inventory/undo", ask, headers=tap)
    assert done.json["revision"] == again.json["revision"] == 4
    assert again.json["data"] == {**done.json["data"], "replayed": True}
    assert again.json["data"]["conflicts"] == [conflict]
    assert store.inventory.inventory_json()[1] == inventory
    assert client("POST", "/api/inventory/undo", {"revision": 99}).status == 404
    assert client("POST", "/api/inventory/undo", {"revision": 10**30}).status == 422


def test_imports_are_for_administrators(client: Any, store: Store) -> None:
    """And so are the undoes of undoes of imports."""
    store.importer.import_(OAT, actor="test")

    def undo(revision: int, token: str) -> int:
        body = {"revision": revision}
        status: int = client("POST", "/api/inventory/undo", body, token=token).status
        return status

    for revision in (1, 2):
        assert undo(revision, "read-token") == 403
        assert undo(revision, "write-token") == 403
        assert undo(revision, "admin-token") == 200
    assert store.inventory.document("coffee_stock_station_1") is not None
    client("POST", "/api/inventory/adjust", {**PLACE, "delta": -1}, token="write-token")
    assert undo(4, "write-token") == 200


def test_an_undone_restore_is_what_was_before(client: Any, store: Store) -> None:
    store.importer.import_(OAT, actor="test")
    backup = store.backups.create()
    store.inventory.adjust("milk", "oat", -2, station_id="1", actor="test")
    store.importer.import_({"event_menu": "[1, 2]"}, actor="test")
    before = store.inventory.dump()["localStorage"]
    store.backups.restore(backup.id, actor="test")
    assert "event_menu" not in store.inventory.dump()["localStorage"]
    restored = store.inventory.head().revision
    assert client("POST", "/api/inventory/undo", {"revision": restored}).status == 200
    assert store.inventory.dump()["localStorage"] == before
    assert store.inventory.verify().ok
