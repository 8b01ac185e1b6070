"""Every POST of the table, sent again under its Idempotency-Key, has one effect."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

import routes
from expresso_persist import Store
from expresso_persist.db.tables import metadata
from expresso_persist.http import NO_RATES, BearerTokens, OneTimeTokens
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.testing import TOKENS

POSTS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "POST"]
# Bodies that ask for something else than those of `routes`.
OTHERS: dict[str, Any] = {
    "import_local_storage": {"localStorage": {"event_menu": '{"latte":2}'}},
    "create_backup": {"notes": "others"},
    "verify_backup": {"please": True},
    "restore_backup": {"kinds": ["setting"]},
    "update_event_inventory": {"category": "milk", "item_id": "oat", "enabled": True},
    "update_event_stock": {"category": "milk", "item_id": "oat", "total_quantity": 8},
    "update_station_config": {"station_id": "1", "config_data": {"name": "Other"}},
    "update_station_quantity": {"station_id": 1, "item_name": "oat", "quantity": 4},
    "update_setting": {"key": "theme", "value": "light"},
    "batch_update": {"updates": []},
    "update_adjust": {**routes.OAT, "station_id": "1", "delta": -2},
    "count": {**routes.OAT, "station_id": "1", "quantity": 4},
    "transfer": {**routes.OAT, "quantity": 2, "to_station": 1},
    "waste": {**routes.OAT, "station_id": "1", "quantity": 2, "reason": "spilt"},
    "undo": {"revision": 3, "force": True},
}
TOLD_APART = {"replayed"}


@attrs.frozen
class Server:
    """An application with a stocked store, a backup, an archive and a link to sign in with."""

    send: Any
    store: Store
    links: OneTimeTokens
    backup_id: str
    archives: tuple[bytes, bytes]

    def body(self, endpoint: Endpoint, *, other: bool = False) -> bytes:
        if endpoint.streams:
            return self.archives[other]
        if endpoint.name == "session":
            return json.dumps({"one_time_token": self.links.issue()}).encode()
        return json.dumps((OTHERS if other else routes.BODIES).get(endpoint.name, {})).encode()

    def ask(self, endpoint: Endpoint, body: bytes, key: str | None, query: str = "") -> Any:
        path = endpoint.path.replace("{backup_id}", self.backup_id)
        headers = {"Authorization": "Bearer admin-token", "Content-Type": endpoint.consumes[0]}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.send("POST", path + query, headers, body)


@pytest.fixture(scope="module")
def archives() -> tuple[bytes, bytes]:
    made = []
    with Store("sqlite://", migrate=True) as elsewhere:
        for number in (1, 2):
            elsewhere.importer.import_({"event_menu": f"[{number}]"}, actor="test")
            file = io.BytesIO()
            elsewhere.backups.export(elsewhere.backups.create().id, file)
            made.append(file.getvalue())
    return made[0], made[1]


@pytest.fixture
def server(mount: Any, store: Store, archives: tuple[bytes, bytes]) -> Server:
    links = OneTimeTokens()
    send = mount(store, authorize=BearerTokens(TOKENS), one_time_tokens=links, limits=NO_RATES)
    store.importer.import_(routes.STOCK, actor="test")
    store.inventory.count("milk", "oat", 7, station_id="1", actor="test")
    backup = store.backups.create()
    store.inventory.adjust("milk", "oat", -2, station_id="1", actor="test")
    return Server(send, store, links, backup.id, archives)


def rows(store: Store) -> dict[str, int]:
    with store.database.read() as connection:
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for name, table in metadata.tables.items()
            if name not in ("leases", "rate_counters")
        }


def content(answer: Any) -> Any:
    """The answer without what may differ by design."""
    body = json.loads(answer.body)
    data = body.get("data")
    if isinstance(data, dict):
        body["data"] = {name: value for name, value in data.items() if name not in TOLD_APART}
    return body


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
def test_a_repetition_gets_the_first_answer_and_does_nothing(
    server: Server, endpoint: Endpoint
) -> None:
    body, other = server.body(endpoint), server.body(endpoint, other=True)
    first = server.ask(endpoint, body, "k")
    assert (first.status, first.json["success"]) == (200, True), first.body
    assert "idempotency-replayed" not in first.headers
    # What others do in between is not undone by the repetition.
    server.store.inventory.adjust("milk", "oat", -4, station_id="1", actor="seller")
    before, state = rows(server.store), server.store.inventory.snapshot()
    for _ in range(2):
        again = server.ask(endpoint, body, "k")
        assert (again.status, again.headers.get("idempotency-replayed")) == (200, "true")
        assert content(again) == content(first)
        assert again.json.get("revision") == first.json.get("revision")
    assert (rows(server.store), server.store.inventory.snapshot()) == (before, state)

    different = server.ask(endpoint, other, "k")
    assert (different.status, different.json["code"]) == (422, "idempotency_mismatch")
    assert (rows(server.store), server.store.inventory.snapshot()) == (before, state)
    if endpoint.name != "session":
        assert server.ask(endpoint, other, "other").status == 200
        unnamed = server.ask(endpoint, other, None)
        assert "idempotency-replayed" not in unnamed.headers


@pytest.mark.parametrize(
    "endpoint", [e for e in POSTS if e.name != "session"], ids=lambda endpoint: endpoint.name
)
def test_a_key_is_of_one_path_query_and_actor(server: Server, endpoint: Endpoint) -> None:
    """Whichever request used it first: one that is a commit, or one that is none."""
    setting = next(e for e in POSTS if e.name == "update_setting")
    backup = next(e for e in POSTS if e.name == "create_backup")
    theme = server.body(setting)
    assert server.ask(setting, theme, "of a commit").status == 200
    assert server.ask(backup, b"", "of a backup").status == 200
    for key, owner in (("of a commit", setting), ("of a backup", backup)):
        if endpoint is not owner:
            taken = server.ask(endpoint, server.body(endpoint), key)
            assert (taken.status, taken.json["code"]) == (422, "idempotency_mismatch")
    assert server.ask(endpoint, server.body(endpoint), "k").status == 200
    asked = server.ask(endpoint, server.body(endpoint), "k", "?other=1")
    if endpoint.name != "import_local_storage":  # what is asked is in its dump and its options
        assert (asked.status, asked.json["code"]) == (422, "idempotency_mismatch")
    headers = {
        "Authorization": "Bearer write-token",
        "Content-Type": "application/json",
        "Idempotency-Key": "of a commit",
    }
    theirs = server.send("POST", setting.path, headers, theme)
    assert theirs.status == 200
    assert "idempotency-replayed" not in theirs.headers


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
def test_sent_many_times_at_once_it_is_done_once(server: Server, endpoint: Endpoint) -> None:
    body = server.body(endpoint)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: server.ask(endpoint, body, "k"), range(4)))
    # Imports and restores of one tenant exclude each other, and say when to try again.
    answers = [
        server.ask(endpoint, body, "k") if answer.json.get("code") == "busy" else answer
        for answer in answers
    ]
    assert {answer.status for answer in answers} == {200}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len({json.dumps(content(answer)) for answer in answers}) == 1
    kinds = [backup.backup_type for backup in server.store.backups.list()]
    made = {
        "create_backup": ["manual"],
        "restore_backup": ["safety"],
        "import_archive": ["imported"],
    }
    assert sorted(kinds) == sorted(["manual", *made.get(endpoint.name, [])])
    commits = server.store.inventory.commits(since=3)
    assert len(commits) == (
        0 if endpoint.name in ("session", "create_backup", "verify_backup", "import_archive") else 1
    )


@pytest.mark.parametrize("name", ["import_local_storage", "restore_backup", "undo"])
def test_a_dry_run_is_not_remembered(server: Server, name: str) -> None:
    """It has no effect: the same key goes on to the real thing, and is then used up."""
    endpoint = next(e for e in POSTS if e.name == name)
    body, dry, query = server.body(endpoint), server.body(endpoint), "?dry_run=true"
    if name == "undo":
        dry, query = json.dumps({**routes.BODIES["undo"], "dry_run": True}).encode(), ""
    for _ in range(2):
        planned = server.ask(endpoint, dry, "k", query)
        assert (planned.status, planned.json["data"]["dry_run"]) == (200, True)
        assert "idempotency-replayed" not in planned.headers
    done = server.ask(endpoint, body, "k")
    assert (done.status, done.json["data"]["dry_run"]) == (200, False)
    late = server.ask(endpoint, dry, "k", query)
    assert (late.status, late.json["code"]) == (422, "idempotency_mismatch")
