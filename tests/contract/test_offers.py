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


COUNT = "/api/inventory/count"
ADJUST = "/api/inventory/adjust"
STOCK = "/api/inventory/event-stock/update"
OAT = {"category": "milk", "item": "oat"}


def oat(store: Store) -> Any:
    record = store.inventory.get("event_stock", "milk", "oat")
    return None if record is None else record.data["quantity"]  # type: ignore[call-overload, index]


@pytest.fixture
def stocked(store: Store) -> Store:
    store.importer.import_(
        {"event_stock_levels": {"milk": {"oat": {"quantity": 20, "name": "Oat"}}}}, actor="test"
    )
    return store


def test_a_write_says_what_stood_before_it(client: Any, stocked: Store) -> None:
    """Also when it is repeated later: the client may have missed the first answer."""
    for path, body in ((ADJUST, {**OAT, "delta": -1}), (SETTING, {"key": "s", "value": 1})):
        before = stocked.inventory.head().cursor
        headers = {"Idempotency-Key": path}
        assert client("POST", path, body, headers=headers).json["before"] == before
        client("POST", SETTING, {"key": "later", "value": path})
        assert client("POST", path, body, headers=headers).json["before"] == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COUNT, {**OAT, "quantity": 50}),
        (STOCK, {"category": "milk", "item_id": "oat", "total": 50}),
    ],
)
@pytest.mark.parametrize("says", ["nothing", "what was lost", "what stood before"])
def test_a_sale_that_survived_is_not_taken_off_a_later_count(
    client: Any, stocked: Store, path: str, body: dict[str, Any], says: str
) -> None:
    """The client's newest shared position is older than the loss."""
    stale = stocked.inventory.head().cursor
    survived = client("POST", ADJUST, {**OAT, "delta": -5}).json["cursor"]
    epoch, revision, _ = survived.split(".")
    place = int(revision) + (1 if says == "what stood before" else 2)
    offer = {
        "Expresso-Since": survived if says == "what stood before" else stale,
        "Expresso-Acknowledged": f"{epoch}.{place}.0123456789ab",
        "Idempotency-Key": "k",
    }
    if says == "what was lost":
        offer["Expresso-Lost"] = f"{epoch}.{int(revision) + 1}.ab0123456789"
    answer = client("POST", path, body, headers=offer)
    if says == "what stood before":
        assert (answer.status, oat(stocked)) == (200, 50)
    else:
        assert (answer.json["code"], answer.json["data"]["value"]["quantity"]) == (
            "offer_conflict",
            15,
        )
        assert oat(stocked) == 15


def test_what_is_said_to_be_lost_and_is_there_is_shared(client: Any, stocked: Store) -> None:
    """After a second failover, back to where it was."""
    stale = stocked.inventory.head().cursor
    there = client("POST", ADJUST, {**OAT, "delta": -5}).json["cursor"]
    epoch, revision, _ = there.split(".")
    client("POST", ADJUST, {**OAT, "delta": -1})
    offer = {
        "Expresso-Since": stale,
        "Expresso-Lost": there,
        "Expresso-Acknowledged": f"{epoch}.{int(revision) + 1}.0123456789ab",
        "Idempotency-Key": "k",
    }
    assert client("POST", COUNT, {**OAT, "quantity": 50}, headers=offer).status == 200
    assert oat(stocked) == 49


@pytest.mark.parametrize("unit", [{}, {"unit": "l"}])
def test_an_update_to_what_is_stored_already_is_moved_by_later_sales(
    client: Any, stocked: Store, unit: dict[str, str]
) -> None:
    """It would change nothing now, and says all the same what there was before them."""
    base = stocked.inventory.head().cursor
    epoch, revision, _ = base.split(".")
    client("POST", ADJUST, {**OAT, "delta": -5})
    offer = {
        "Expresso-Since": base,
        "Expresso-Acknowledged": f"{epoch}.{int(revision) + 1}.0123456789ab",
        "Idempotency-Key": "k",
    }
    body = {"category": "milk", "item_id": "oat", "total": 15, **unit}
    assert client("POST", STOCK, body, headers=offer).status == 200
    assert oat(stocked) == 10


def test_what_two_people_offer_counts_once(client: Any, stocked: Store) -> None:
    """The answer to the first was lost; the tablet has another person's token by now."""
    base = stocked.inventory.head().cursor
    epoch, revision, _ = base.split(".")
    offer = {
        "Expresso-Since": base,
        "Expresso-Acknowledged": f"{epoch}.{int(revision) + 2}.0123456789ab",
        "Idempotency-Key": "k",
    }
    client("POST", ADJUST, {**OAT, "delta": -5})
    body = {**OAT, "delta": -1}
    first, again = (
        client("POST", ADJUST, body, token=token, headers=offer)
        for token in ("admin-token", "write-token")
    )
    assert (first.status, again.status) == (200, 200)
    assert again.json["revision"] == first.json["revision"]
    assert again.headers["idempotency-replayed"] == "true"
    assert oat(stocked) == 14


@pytest.mark.parametrize("header", ["Expresso-Since", "Expresso-Acknowledged", "Expresso-Lost"])
@pytest.mark.parametrize("text", ["7", "x", "a.b.c", "a.1.", "e.1.ab' OR 1=1", "9" * 5000])
def test_what_is_no_position_is_refused(client: Any, store: Store, header: str, text: str) -> None:
    answer = client("POST", SETTING, {"key": "s", "value": 1}, headers={header: text})
    assert (answer.status, answer.json["details"][0]["path"]) == (422, header)
    assert store.inventory.head().revision == 0
