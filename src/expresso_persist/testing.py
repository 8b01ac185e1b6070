"""The HTTP contract as tests: the same on every framework and database.

Any adapter can run them. In a test module: ``from expresso_persist.testing import *``, and
two fixtures beside it: ``store``, an empty :class:`~expresso_persist.Store`, and ``client``,
which asks an application that the store is mounted into, see :class:`Client`. Needs pytest.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from expresso_persist import Store
from expresso_persist.http import Actor, Permission
from expresso_persist.http.adapter import ENDPOINTS, Endpoint


class Answer(Protocol):
    """A response; the names of ``headers`` are in lower case, ``json`` is the parsed body."""

    status: int
    headers: dict[str, str]
    body: bytes
    json: Any


class Client(Protocol):
    """Asks an endpoint.

    ``token`` is one of :data:`TOKENS`, which the application accepts as bearer tokens;
    None asks without credentials. A ``body`` that is not bytes is sent as JSON.
    """

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask, and give the answer."""
        ...


TOKENS = {
    "admin-token": Actor("admin", Permission.ADMIN),
    "write-token": Actor("writer", Permission.WRITE),
    "read-token": Actor("reader", Permission.READ),
}
UPDATE = "/api/inventory/station-quantity/update"
OAT: dict[str, Any] = {"station_id": 1, "item_name": "Oat milk", "quantity": 100}


def path_of(endpoint: Endpoint) -> str:
    """The endpoint's path, its placeholders filled."""
    return endpoint.path.replace("{backup_id}", "none")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_closed(client: Client, endpoint: Endpoint) -> None:
    """Without credentials 401, with too little permission 403; the answer tells no cause."""
    path = path_of(endpoint)
    if endpoint.permission is Permission.NONE:
        assert client(endpoint.method, path, {} if endpoint.body else None).status != 403
        return
    missing = client(endpoint.method, path, {}, token=None)
    wrong = client(endpoint.method, path, {}, token="wrong-token")
    assert missing.status == wrong.status == 401
    assert missing.body == wrong.body
    assert missing.headers["www-authenticate"] == "Bearer"
    if endpoint.permission > Permission.READ:
        assert client(endpoint.method, path, {}, token="read-token").status == 403


def test_the_seeds_calls_work(client: Client) -> None:
    """A batch of each kind, read back in the seed's shapes."""
    answer = client(
        "POST",
        "/api/inventory/batch-update",
        {
            "updates": [
                {
                    "type": "event_inventory",
                    "data": {"category": "milk", "item_name": "Oat milk", "enabled": False},
                },
                {
                    "type": "event_stock",
                    "data": {"item_name": "Oat milk", "category": "milk", "total_quantity": 10.125},
                },
                {"type": "station_config", "data": {"station_id": 1, "config_data": {"a": [1]}}},
                {"type": "station_quantity", "data": OAT},
            ]
        },
    )
    assert (answer.status, answer.json["revision"]) == (200, 1)
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["event_inventory"] == {"milk": {"Oat milk": {"enabled": False}}}
    assert data["event_stock_levels"]["Oat milk"] == {
        "category": "milk",
        "total": 10.125,
        "allocated": 0,
        "available": 10.125,
        "unit": "units",
    }
    assert data["station_inventory_configs"] == {"1": {"a": [1]}}
    assert data["station_inventory_quantities"] == {"1": {"Oat milk": 100}}
    assert client("GET", "/api/inventory/stats").json["data"]["stock_items"] == 1


def test_a_batch_is_all_or_nothing(client: Client, store: Store) -> None:
    """The error names the element, and nothing before it stays."""
    updates = [
        {"type": "station_quantity", "data": OAT},
        {"type": "station_quantity", "data": {**OAT, "quantity": "many"}},
    ]
    answer = client("POST", "/api/inventory/batch-update", {"updates": updates})
    assert answer.status == 422
    assert answer.json["details"][0]["path"] == "updates[1].data.quantity"
    assert store.inventory.head().revision == 0


def test_fifty_stations_adjusting_lose_nothing(client: Client, store: Store) -> None:
    """An adjustment is a delta, whatever the number is by then."""
    assert client("POST", UPDATE, OAT).status == 200
    body = {"station_id": "1", "category": "milk", "item": "Oat milk", "delta": -0.1}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: client("POST", "/api/inventory/adjust", body).status, range(50))
        )
    assert answers == [200] * 50
    record = store.inventory.get("station_quantity", "1", "", "Oat milk")
    assert record is not None
    assert record.data == 95


def test_the_same_request_twice_is_one(client: Client, store: Store) -> None:
    """An Idempotency-Key gives the first answer again; with another body it is refused."""
    client("POST", UPDATE, OAT)
    body = {"station_id": 1, "category": "milk", "item": "Oat milk", "delta": -1}
    key = {"Idempotency-Key": "k1"}
    first = client("POST", "/api/inventory/adjust", body, headers=key)
    again = client("POST", "/api/inventory/adjust", body, headers=key)
    assert again.json["revision"] == first.json["revision"] == 2
    assert again.json["data"] == {**first.json["data"], "replayed": True}
    assert again.headers["idempotency-replayed"] == "true"
    other = client("POST", "/api/inventory/adjust", {**body, "delta": -2}, headers=key)
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert store.inventory.head().revision == 2


def test_the_same_import_twice_is_one(client: Client, store: Store) -> None:
    """Also when the first found everything stored: a later sale is not taken back."""
    path = "/api/migration/export-localStorage"
    stock = {"event_stock_levels": {"milk": {"oat": {"quantity": 20}}}}
    client("POST", path, stock)
    key = {"Idempotency-Key": "import-1"}
    first = client("POST", path, stock, headers=key)
    update = {"item_id": "oat", "category": "milk", "total_quantity": 4}
    client("POST", "/api/inventory/event-stock/update", update)
    again = client("POST", path, stock, headers=key)
    assert (again.status, again.json) == (200, first.json)
    assert first.json["data"]["committed"] is False
    assert again.headers["idempotency-replayed"] == "true"
    record = store.inventory.get("event_stock", "milk", "oat")
    assert record is not None
    assert record.data == {"quantity": 4}
    for query in ("?include=caches", "?mode=replace", "?on_conflict=existing"):
        other = client("POST", path + query, stock, headers=key)
        assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")


def test_an_import_keeps_what_it_is_told_to(client: Client, store: Store) -> None:
    """The receipt says what was kept, and names the backup made before a change."""
    path = "/api/migration/export-localStorage"
    first = client("POST", path, {"coffee_wait_time": "6", "shifts": [{"id": 1}]}).json["data"]
    assert first["safety_backup_id"] is None
    dump = {"coffee_wait_time": "9", "shifts": []}
    kept = client("POST", path + "?on_conflict=existing", dump).json["data"]
    assert {key["key"]: key["class"] for key in kept["keys"]} == dict.fromkeys(dump, "kept")
    assert (kept["totals"]["kept"], kept["totals"]["unchanged"]) == (2, 0)
    assert {c["document"]: c["cause"] for c in kept["conflicts"]} == {
        "coffee_wait_time": "different",
        "shifts": "empty",
    }
    dry = client("POST", path + "?dry_run=true&mode=replace", dump).json["data"]
    assert dry["safety_backup_id"] is None
    assert store.backups.list() == []
    done = client("POST", path + "?mode=replace", dump).json["data"]
    (backup,) = store.backups.list()
    assert (backup.id, backup.backup_type) == (done["safety_backup_id"], "preimport")
    assert store.inventory.dump()["localStorage"]["shifts"] == "[]"


def test_a_stale_revision_is_refused(client: Client, store: Store) -> None:
    """If-Match with an older revision answers 412 with the current value."""
    client("POST", UPDATE, OAT)
    client("POST", UPDATE, {**OAT, "quantity": 5})
    answer = client("POST", UPDATE, OAT, headers={"If-Match": '"1"'})
    assert answer.status == 412
    assert answer.json["data"]["value"] == 5
    assert store.inventory.head().revision == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"station_id":1,"station_id":2}', "application/json", 422),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", 422),
        (b'{"quantity":NaN}', "application/json", 400),
        (b'{"quantity":1e999}', "application/json", 400),
        (b'{"quantity":' + b"9" * 1_000_000 + b"}", "application/json", 400),
        (b'{"station_id":1,"item_name":"a\\u0000","quantity":1}', "application/json", 422),
        (b'{"station_id":1,"item_name":"\\ud800","quantity":1}', "application/json", 422),
        (b'{"station_id":3.7,"item_name":"a","quantity":1}', "application/json", 422),
        (b'{"station_id":true,"item_name":"a","quantity":1}', "application/json", 422),
        (b'{"station_id":1,"item_name":"a","quantity":null}', "application/json", 422),
        (b'{"station_id":1,"item_name":"a","quantity":1e16}', "application/json", 422),
        (b" " * (1024 * 1024 + 1), "application/json", 413),
    ],
)
def test_bad_input_is_refused(
    client: Client, store: Store, body: bytes, kind: str, status: int
) -> None:
    """With the status that says why, and nothing stored."""
    answer = client("POST", UPDATE, body, headers={"Content-Type": kind})
    assert answer.status == status
    assert answer.json["success"] is False
    assert answer.json["error"]
    assert store.inventory.head().revision == 0


def test_what_is_unchanged_is_not_sent_again(client: Client) -> None:
    """Reads carry an ETag; If-None-Match answers 304 until something changes."""
    client("POST", UPDATE, OAT)
    first = client("GET", "/api/inventory/get-all")
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        headers = {"If-None-Match": known}
        assert client("GET", "/api/inventory/get-all", headers=headers).status == 304
    client("POST", UPDATE, {**OAT, "quantity": 1})
    assert client("GET", "/api/inventory/get-all", headers=headers).status == 200


def test_a_backup_is_made_and_restored(client: Client, store: Store) -> None:
    """Dry run first, then one commit; what came after the backup is undone."""
    client("POST", UPDATE, OAT)
    backup = client("POST", "/api/migration/create-backup", {"notes": "before"}).json["data"]
    client("POST", UPDATE, {**OAT, "quantity": 1})
    path = f"/api/migration/backups/{backup['id']}/restore"
    assert client("POST", path + "?dry_run=true").status == 200
    assert store.inventory.head().revision == 2
    assert client("POST", path).status == 200
    record = store.inventory.get("station_quantity", "1", "", "Oat milk")
    assert record is not None
    assert record.data == 100
    assert client("GET", "/api/migration/backup-status").json["data"]["total_backups"] >= 1


def test_a_backup_travels_as_an_archive(client: Client) -> None:
    """Out and in again; what is damaged or of another tenant is refused."""
    client("POST", UPDATE, OAT)
    made = client("POST", "/api/migration/create-backup").json["data"]
    assert client("GET", f"/api/migration/backups/{made['id']}").json["data"] == made
    checked = client("POST", f"/api/migration/backups/{made['id']}/verify")
    assert checked.json["data"]["ok"] is True
    archive = client("GET", f"/api/migration/backups/{made['id']}/archive")
    assert archive.status == 200
    assert archive.headers["content-type"] == "application/zstd"
    assert archive.headers["content-length"] == str(len(archive.body))
    upload, kind = "/api/migration/import-archive", {"Content-Type": "application/zstd"}
    known = client("POST", upload, archive.body, headers=kind)
    assert known.json["data"]["id"] == made["id"], "it is the backup that is there already"

    damaged = bytearray(archive.body)
    damaged[len(damaged) // 2] ^= 1
    for body, status in ((bytes(damaged), 422), (archive.body[:-1], 422), (b"", 422)):
        answer = client("POST", upload, body, headers=kind)
        assert (answer.status, answer.json["code"]) == (status, "archive_refused")
    plain = client("POST", upload, archive.body, headers={"Content-Type": "text/plain"})
    assert plain.status == 415
    elsewhere = client("POST", f"{upload}?from_tenant=elsewhere", archive.body, headers=kind)
    assert elsewhere.status == 422
    assert len(client("GET", "/api/migration/backups").json["data"]["backups"]) == 1
    assert client("GET", "/api/migration/backups/none/archive").status == 404


def test_health_tells_of_the_backups(client: Client) -> None:
    """Without credentials, and 200 as long as the database answers."""
    path = "/api/migration/health"
    before = client("GET", path, token=None)
    assert before.status == 200
    assert before.json["data"]["backups"] == {
        "ok": False,
        "last_success_at": None,
        "lag_seconds": 0,
        "damaged_backups": 0,
    }
    made = client("POST", "/api/migration/create-backup").json["data"]
    after = client("GET", path, token=None)
    assert after.json["data"]["backups"] == {
        "ok": True,
        "last_success_at": made["created_at"],
        "lag_seconds": 0,
        "damaged_backups": 0,
    }


def test_prometheus_can_read_the_metrics(client: Client) -> None:
    """As text; a server without the extra says what to install."""
    client("POST", "/api/migration/create-backup")
    answer = client("GET", "/api/migration/metrics", token="read-token")
    if importlib.util.find_spec("prometheus_client") is None:
        assert answer.status == 404
        assert "expresso-persist[metrics]" in answer.json["error"]
        return
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.body.decode().splitlines()
    assert 'expresso_persist_backups{tenant="default"} 1.0' in lines
    assert 'expresso_persist_backup_last_verified{tenant="default"} 1.0' in lines


def test_settings_and_changes(client: Client) -> None:
    """A setting comes back, a secret does not go in, and the feed tells both."""
    path = "/api/inventory/settings/update"
    assert client("POST", path, {"key": "theme", "value": {"dark": True}}).status == 200
    assert client("POST", path, {"key": "sms", "value": {"auth_token": "x1"}}).status == 422
    assert client("GET", "/api/inventory/settings").json["data"] == {"theme": {"dark": True}}
    page = client("GET", "/api/inventory/changes?since=0").json["data"]
    assert [commit["revision"] for commit in page["commits"]] == [1]
    rest = client("GET", f"/api/inventory/changes?since={page['cursor']}").json["data"]
    assert (rest["commits"], rest["reset"]) == ([], False)
    epoch, _, prefix = page["cursor"].split(".")
    for elsewhere in (f"{epoch}.99.{prefix}", f"other.1.{prefix}", f"{epoch}.1.{'0' * 12}"):
        answer = client("GET", f"/api/inventory/changes?since={elsewhere}")
        assert answer.json["data"]["reset"] is True
    for alone in (1, 99):  # of which history?
        answer = client("GET", f"/api/inventory/changes?since={alone}")
        assert (answer.status, answer.json["details"][0]["path"]) == (422, "since")
    whole = client("GET", "/api/inventory/get-all").json
    assert whole["cursor"] == page["cursor"]


def test_the_page_and_the_description_are_served(client: Client) -> None:
    """Under a strict content policy, without credentials."""
    page = client("GET", "/static/localStorage-to-database-migration.html", token=None)
    assert page.status == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    described = client("GET", "/api/migration/openapi.json", token=None).json
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
