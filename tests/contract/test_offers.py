"""Writes that are offered again, over HTTP, on every adapter and database."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store

SETTING = "/api/inventory/settings/update"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SETTING, {"key": "s", "value": 1}),
        ("/api/inventory/event-stock/update", {"item_name": "Oat", "total": 1, "category": "milk"}),
        ("/api/inventory/event-inventory/update", {"item_name": "Oat", "category": "milk"}),
        ("/api/inventory/station-config/update", {"station_id": 1, "config_data": {}}),
        (
            "/api/inventory/station-quantity/update",
            {"station_id": 1, "item_name": "Oat", "quantity": 1},
        ),
        ("/api/inventory/batch-update", {"updates": []}),
        ("/api/inventory/adjust", {"category": "milk", "item": "oat", "delta": 1}),
        ("/api/inventory/count", {"category": "milk", "item": "oat", "quantity": 1}),
        (
            "/api/inventory/transfer",
            {"category": "milk", "item": "oat", "quantity": 1, "to_station": 1},
        ),
        (
            "/api/inventory/waste",
            {"category": "milk", "item": "oat", "quantity": 1, "reason": "sour"},
        ),
    ],
)
def test_every_write_that_clients_keep_can_be_offered(
    client: Any, store: Store, path: str, body: dict[str, Any]
) -> None:
    """It says where it stands; it is refused on a lost timeline; what was lost is applied once."""
    store.importer.import_(
        {"event_stock_levels": {"milk": {"oat": {"quantity": 9, "name": "Oat"}}}}, actor="test"
    )
    epoch, revision, _ = (base := store.inventory.head().cursor).split(".")
    lost = f"{epoch}.{int(revision) + 1}.0123456789ab"
    refused = client("POST", path, body, headers={"Expresso-Since": lost, "Idempotency-Key": "k"})
    assert (refused.status, refused.json["code"]) == (409, "timeline_lost")
    assert refused.json["data"] == {"cursor": base}
    offer = {"Expresso-Since": base, "Expresso-Acknowledged": lost, "Idempotency-Key": "k"}
    first, again = (client("POST", path, body, headers=offer) for _ in "ab")
    assert (first.status, again.status) == (200, 200)
    assert first.json["cursor"] == again.json["cursor"] == store.inventory.head().cursor
    assert again.headers["idempotency-replayed"] == "true"
    survived = {**offer, "Expresso-Acknowledged": first.json["cursor"]}
    assert client("POST", path, body, headers=survived).json["revision"] == int(revision) + 1
    assert client("GET", "/api/inventory/get-all").json["cursor"] == first.json["cursor"]
    feed = client("GET", f"/api/inventory/changes?since={base}").json["data"]
    assert feed["commits"][0]["hash"].startswith(first.json["cursor"].rpartition(".")[2])


def test_a_conflict_says_what_is_stored(client: Any, store: Store) -> None:
    client("POST", SETTING, {"key": "s", "value": 0})
    base = store.inventory.head().cursor
    client("POST", SETTING, {"key": "s", "value": "theirs"})
    epoch, revision, _ = base.split(".")
    offer = {
        "Expresso-Since": base,
        "Expresso-Acknowledged": f"{epoch}.{int(revision) + 1}.0123456789ab",
        "Idempotency-Key": "k",
    }
    answer = client("POST", SETTING, {"key": "s", "value": "mine"}, headers=offer)
    assert (answer.status, answer.json["code"]) == (409, "offer_conflict")
    assert answer.json["data"]["value"] == "theirs"


@pytest.mark.parametrize("header", ["Expresso-Since", "Expresso-Acknowledged"])
@pytest.mark.parametrize("text", ["7", "x", "a.b.c", "a.1.", "e.1.ab' OR 1=1", "9" * 5000])
def test_what_is_no_position_is_refused(client: Any, store: Store, header: str, text: str) -> None:
    answer = client("POST", SETTING, {"key": "s", "value": 1}, headers={header: text})
    assert (answer.status, answer.json["details"][0]["path"]) == (422, header)
    assert store.inventory.head().revision == 0
