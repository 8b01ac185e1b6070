"""The faults of the system that is replaced, each shown to be its opposite here.

The order and the words are those of its list of faults; every test goes through HTTP, as
its users did.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import metadata
from expresso_persist.model.records import Put, StationQuantity
from mounted import Client

IMPORT = "/api/migration/export-localStorage"
QUANTITY = "/api/inventory/station-quantity/update"
STOCK = "/api/inventory/event-stock/update"
REAL = {
    "event_inventory": {"milk": [{"id": "oat", "name": "Oat milk", "enabled": True}]},
    "event_stock_levels": {"milk": {"oat": {"name": "Oat milk", "quantity": 12.5, "unit": "l"}}},
    "station_inventory_quantities": {"1": {"milk": {"oat": {"quantity": 3, "unit": "l"}}}},
}
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJiYXJpc3RhIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


def dump_of(client: Client) -> dict[str, str]:
    return client("GET", "/api/migration/documents").json["data"]["localStorage"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("key", sorted(REAL))
def test_the_real_front_ends_shapes_come_back(client: Client, key: str) -> None:
    answer = client("POST", IMPORT, {key: REAL[key]})
    assert answer.status == 200
    assert json.loads(dump_of(client)[key]) == REAL[key]
    assert client("GET", "/api/inventory/get-all").json["data"][key] == REAL[key]


def test_a_failure_in_the_middle_leaves_nothing(client: Client, store: Store) -> None:
    updates = [
        {"type": "setting", "data": {"key": "theme", "value": "dark"}},
        {"type": "station_quantity", "data": {"station_id": 1, "item_name": "x", "quantity": "?"}},
    ]
    answer = client("POST", "/api/inventory/batch-update", {"updates": updates})
    assert answer.status == 422
    assert store.inventory.stats()["settings"] == 0
    bad = {"event_menu": {"a": 1}, "localStorage": 5}
    assert client("POST", IMPORT, bad).status in (200, 422)
    assert store.inventory.verify().ok


@pytest.mark.parametrize("station", ["station_1", "1.5", " 7 ", "１", "1_0", "front bar"])
def test_any_text_is_a_station_and_stays_that_text(client: Client, station: str) -> None:
    config = {station: {"name": "Bar"}}
    assert client("POST", IMPORT, {"station_inventory_configs": config}).status == 200
    body = {"station_id": station, "item_name": "Oat", "quantity": 1}
    assert client("POST", QUANTITY, body).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["station_inventory_configs"] == config
    assert list(data["station_inventory_quantities"]) == [station]


def test_a_station_number_is_never_rounded(client: Client, store: Store) -> None:
    answer = client("POST", QUANTITY, {"station_id": 3.7, "item_name": "Oat", "quantity": 1})
    assert answer.status == 422
    assert "SELECT" not in answer.body.decode()
    assert store.inventory.head().revision == 0


@pytest.mark.parametrize("quantity", [0.125, 1.005, 0.001, 1e8, 123_456_789.25, -3])
def test_quantities_keep_every_digit(client: Client, quantity: float) -> None:
    body = {"station_id": 1, "item_name": "Oat", "quantity": quantity}
    assert client("POST", QUANTITY, body).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["station_inventory_quantities"] == {"1": {"Oat": quantity}}


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"null", b'"5"', b"true"])
def test_what_is_no_number_is_refused_and_reading_goes_on(
    client: Client, store: Store, value: bytes
) -> None:
    body = b'{"station_id":1,"item_name":"Oat","quantity":' + value + b"}"
    assert client("POST", QUANTITY, body).status in (400, 422)
    assert store.inventory.head().revision == 0
    assert client("GET", "/api/inventory/get-all").status == 200
    # In a dump a null is what the browser held: kept, and readable.
    dump = {"station_inventory_quantities": {"1": {"milk": {"oat": {"quantity": None}}}}}
    assert client("POST", IMPORT, dump).status == 200
    answer = client("GET", "/api/inventory/get-all")
    assert (
        answer.json["data"]["station_inventory_quantities"] == dump["station_inventory_quantities"]
    )


@pytest.mark.parametrize("enabled", ["false", 0, None, 1, "yes"])
def test_enabled_is_true_or_false(client: Client, store: Store, enabled: object) -> None:
    body = {"category": "milk", "item_name": "Oat", "enabled": enabled}
    assert client("POST", "/api/inventory/event-inventory/update", body).status == 422
    assert store.inventory.head().revision == 0


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_unstorable_names_are_422_and_quarantined_in_a_dump(
    client: Client, store: Store, name: str
) -> None:
    body = {"station_id": 1, "item_name": name, "quantity": 1}
    assert client("POST", QUANTITY, body).status == 422
    answer = client("POST", IMPORT, {"event_menu": {name: 1}, "event_name": {"x": 1}})
    assert answer.status == 200
    assert answer.json["data"]["totals"]["quarantined"] == 1
    assert store.inventory.stats()["quarantined"] == 1


def test_long_names_and_large_amounts_are_kept(client: Client) -> None:
    document = {"c" * 150: [{"id": "i" * 250, "name": "n" * 250, "quantity": 1e12}]}
    assert client("POST", IMPORT, {"event_inventory": document}).status == 200
    assert json.loads(dump_of(client)["event_inventory"]) == document


def test_unknown_keys_are_stored(client: Client) -> None:
    assert client("POST", IMPORT, {"a_key_of_tomorrow": {"b": [1, {"c": None}]}}).status == 200
    assert json.loads(dump_of(client)["a_key_of_tomorrow"]) == {"b": [1, {"c": None}]}


def test_raw_strings_come_back_to_the_letter(client: Client) -> None:
    raw = {"event_menu": '{ "a" : 1.0 }', "event_menu_version": "2.0", "other": "plain text"}
    assert client("POST", IMPORT, {"localStorage": raw}).status == 200
    assert dump_of(client) == raw


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null"])
def test_what_is_no_dump_is_refused(client: Client, store: Store, body: bytes) -> None:
    answer = client("POST", IMPORT, body)
    assert answer.status in (400, 422)
    assert answer.json["success"] is False
    assert store.inventory.head().revision == 0


def test_duplicate_members_are_not_lost(client: Client, store: Store) -> None:
    body = b'{"station_id":1,"item_name":"Oat","quantity":1,"quantity":2}'
    assert client("POST", QUANTITY, body).status == 422
    raw = '{"a":1,"a":2}'
    assert client("POST", IMPORT, {"localStorage": {"event_menu": raw}}).status == 200
    assert dump_of(client)["event_menu"] == raw


def test_deep_nesting_is_a_sentence_and_in_a_dump_quarantined(client: Client) -> None:
    deep = "[" * 2000 + "]" * 2000
    answer = client("POST", QUANTITY, f'{{"station_id":{deep}}}'.encode())
    assert answer.status == 422
    assert "recursion" not in answer.body.decode()
    answer = client("POST", IMPORT, {"localStorage": {"event_menu": deep}})
    assert answer.json["data"]["totals"]["quarantined"] == 1


def test_large_bodies_are_413(client: Client, store: Store) -> None:
    assert client("POST", QUANTITY, b" " * (1 << 20) + b"{}").status == 413
    assert client("POST", IMPORT, b" " * (32 << 20) + b"{}").status == 413
    assert store.inventory.head().revision == 0


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [(b"{", "application/json", 400), (b"", "application/json", 400), (b"{}", "text/plain", 415)],
)
@pytest.mark.parametrize("path", [IMPORT, QUANTITY])
def test_bad_requests_are_4xx(
    client: Client, path: str, body: bytes, kind: str, status: int
) -> None:
    assert client("POST", path, body, headers={"Content-Type": kind}).status == status


def test_a_second_import_removes_and_changes_and_says_so(client: Client) -> None:
    first = {"event_stock_levels": {"milk": [{"id": "oat", "unit": "l"}, {"id": "soy"}]}}
    second = {"event_stock_levels": {"milk": [{"id": "oat", "unit": "kg"}]}}
    client("POST", IMPORT, first)
    merged = client("POST", IMPORT, second).json["data"]
    assert merged["records"]["changed"] >= 1
    items = json.loads(dump_of(client)["event_stock_levels"])["milk"]
    assert {"id": "oat", "unit": "kg"} in items
    replaced = client("POST", IMPORT + "?mode=replace", second).json["data"]
    assert replaced["records"]["removed"] == 1
    assert replaced["removals"][0]["key"] == ["milk", "soy"]
    assert json.loads(dump_of(client)["event_stock_levels"]) == second["event_stock_levels"]


def test_tokens_are_nowhere(client: Client, store: Store) -> None:
    dump = {
        "coffee_system_token": TOKEN,
        "coffee_settings": {"theme": "dark", "api_key": "sk_live_0123456789abcdef"},
        "notes_of_a_barista": f"call me, {TOKEN}",
    }
    answer = client("POST", IMPORT, dump)
    assert answer.status == 200
    client("POST", "/api/migration/create-backup", {})
    outcomes = {key["key"]: key["class"] for key in answer.json["data"]["keys"]}
    assert outcomes["coffee_system_token"] == "refused"
    refused = client(
        "POST", "/api/inventory/settings/update", {"key": "a", "value": {"password": "hunter22"}}
    )
    assert refused.status == 422
    answers = answer.body + refused.body + json.dumps(dump_of(client)).encode()
    with store.database.engine.connect() as connection:
        rows = [
            value
            for table in metadata.sorted_tables
            for row in connection.execute(sa.select(table))
            for value in row
        ]
    everything = answers + b"".join(repr(value).encode() for value in rows)
    for secret in (TOKEN, "sk_live_0123456789abcdef", "hunter22"):
        assert secret.encode() not in everything


def test_nobody_gets_in_without_a_token(client: Client) -> None:
    for method, path in (
        ("GET", "/api/inventory/get-all"),
        ("GET", "/api/migration/backup-status"),
        ("POST", IMPORT),
    ):
        assert client(method, path, {} if method == "POST" else None, token=None).status == 401


def test_backup_status_has_no_contents(client: Client, store: Store) -> None:
    client("POST", IMPORT, {"event_menu": {"secret recipe": 1}})
    client("POST", "/api/migration/create-backup", {})
    answer = client("GET", "/api/migration/backup-status")
    assert answer.json["data"]["total_backups"] == 1
    assert b"secret recipe" not in answer.body


def test_two_writers_add_up(client: Client) -> None:
    client("POST", QUANTITY, {"station_id": 1, "item_name": "Oat", "quantity": 10})
    for delta in (-1, -2):
        body = {"station_id": 1, "category": "milk", "item": "Oat", "delta": delta}
        assert client("POST", "/api/inventory/adjust", body).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["station_inventory_quantities"] == {"1": {"Oat": 7}}


def test_a_backup_needs_no_table_of_the_host(client: Client) -> None:
    answer = client("POST", "/api/migration/create-backup", {})
    assert answer.status == 200
    assert answer.json["data"]["verified_at"]


def test_a_restore_is_one_commit_with_everything_in_it(client: Client, store: Store) -> None:
    stock = {"item_name": "Oat", "category": "milk", "total_quantity": 9, "low_stock_threshold": 2}
    client("POST", STOCK, stock)
    client("POST", QUANTITY, {"station_id": 1, "item_name": "Oat", "quantity": 4})
    before = store.inventory.records()
    backup = client("POST", "/api/migration/create-backup", {}).json["data"]["id"]
    client("POST", STOCK, {**stock, "low_stock_threshold": 5})
    client("POST", "/api/inventory/settings/update", {"key": "later", "value": 1})
    assert client("POST", f"/api/migration/backups/{backup}/restore", {}).status == 200
    assert store.inventory.records() == before
    assert store.inventory.settings() == {}
    assert store.inventory.head().revision == 5
    assert store.inventory.verify().ok


def test_a_partial_update_leaves_the_rest(client: Client) -> None:
    whole = {
        "item_name": "Oat",
        "category": "milk",
        "total_quantity": 10,
        "allocated_quantity": 4,
        "available_quantity": 6,
        "unit": "l",
    }
    client("POST", STOCK, whole)
    client("POST", STOCK, {"item_name": "Oat", "total_quantity": 12})
    stock = client("GET", "/api/inventory/get-all").json["data"]["event_stock_levels"]["Oat"]
    assert stock == {"category": "milk", "total": 12, "allocated": 4, "available": 6, "unit": "l"}


def test_an_allotment_in_the_flat_shape_is_found_with_its_category(client: Client) -> None:
    """No second record of the item beside the first, which nobody could tell apart."""
    client("POST", IMPORT, {"station_inventory_quantities": {"1": {"Oat milk": 4}}})
    update = {"station_id": 1, "item_name": "Oat milk", "category": "milk", "quantity": 6}
    assert client("POST", QUANTITY, update).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["station_inventory_quantities"] == {"1": {"Oat milk": 6}}


def test_its_own_clients_spelling_is_understood(client: Client) -> None:
    body = {"item_name": "Oat", "category": "milk", "total": 5, "allocated": 1, "available": 4}
    assert client("POST", STOCK, body).status == 200
    stock = client("GET", "/api/inventory/get-all").json["data"]["event_stock_levels"]["Oat"]
    assert (stock["total"], stock["allocated"], stock["available"]) == (5, 1, 4)


def test_an_automatic_backup_is_a_row_with_the_state_in_it(store: Store) -> None:
    record = StationQuantity.of("1", "milk", "oat", data={"quantity": 1})
    store.inventory.commit([Put(record)], actor="test")
    assert store.backups.run_once()
    (backup,) = store.backups.list()
    assert (backup.backup_type, backup.backup_status) == ("automatic", "completed")
    assert backup.verified_at is not None
    assert store.backups.verify(backup.id).ok


def test_a_backup_has_the_hosts_dates_and_decimals(store: Store) -> None:
    times = "TIMESTAMP" if store.database.dialect == "postgresql" else "DATETIME"
    with store.database.engine.begin() as connection:
        connection.execute(
            sa.text(f"CREATE TABLE orders (id INTEGER, price NUMERIC(10,2), created_at {times})")
        )
        connection.execute(sa.text("INSERT INTO orders VALUES (1, 4.50, CURRENT_TIMESTAMP)"))
        connection.execute(sa.text("CREATE TABLE stations (id INTEGER, name TEXT)"))
        connection.execute(sa.text("INSERT INTO stations VALUES (1, 'Bar')"))
    backup = store.backups.create()
    counts: dict[str, Any] = dict(backup.record_counts)
    assert store.backups.verify(backup.id).ok
    assert 1 in counts.values()
