"""Input that means harm, on every adapter and database: see also ``expresso_persist.testing``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.leases import exclusive
from expresso_persist.db.tables import tenants
from expresso_persist.errors import Forbidden, Unauthorized
from expresso_persist.http import Actor, BearerTokens, Permission
from expresso_persist.testing import TOKENS

Client = Callable[..., Any]
Send = Callable[[str, str, dict[str, str], bytes], Any]
UPDATE, SETTING = "/api/inventory/station-quantity/update", "/api/inventory/settings/update"

HOSTILE = [
    "'; DROP TABLE commits; --",
    '" OR ""="',
    "%s %(name)s :name ? ?1 $1 {x} ${x}",
    "100% _ \\ \\' %_",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "../../../etc/passwd",
    "line\r\nSet-Cookie: a=b",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe\u202c\u2066",
    "\u0085\u2028\u2029\ufeff\u200b",
    "é",
    "e\u0301",
    "\U0001f375\U0010ffff",
    "__proto__",
    "constructor",
    "=cmd|' /C calc'!A0",
    "null",
    " ",
]


def test_every_text_is_stored_as_it_is(client: Client, store: Store) -> None:
    """SQL, markup, escape sequences, twins in Unicode: names and values like any other."""
    updates = [
        {"type": "station_quantity", "data": {"station_id": 1, "item_name": text, "quantity": n}}
        for n, text in enumerate(HOSTILE)
    ] + [{"type": "setting", "data": {"key": text, "value": {text: [text]}}} for text in HOSTILE]
    assert client("POST", "/api/inventory/batch-update", {"updates": updates}).status == 200
    data = client("GET", "/api/inventory/get-all").json["data"]
    assert data["station_inventory_quantities"]["1"] == {t: n for n, t in enumerate(HOSTILE)}
    settings = client("GET", "/api/inventory/settings").json["data"]
    assert settings == {text: {text: [text]} for text in HOSTILE}
    again = client("GET", f"/api/inventory/history?kind=setting&key={json.dumps(['null'])}")
    assert again.json["data"]["entries"][0]["changes"][0]["after"] == {"null": ["null"]}
    assert store.inventory.verify().ok


def test_no_text_gets_into_a_header_or_a_second_line_of_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for text in HOSTILE:
        name = text.replace("/", "")
        for method, path, body in (
            ("GET", f"/api/migration/backups/{name}/archive".replace("?", "%3F"), None),
            ("POST", SETTING, {"key": 7, text: text}),
            ("POST", UPDATE, {"station_id": text, "item_name": text, "quantity": text}),
            ("POST", "/api/inventory/batch-update", {"updates": [{"type": text, "data": {}}]}),
        ):
            if method == "GET" and not (name.isascii() and name.isprintable() and " " not in name):
                continue  # a client cannot even send it
            answer = client(method, path, body)
            assert answer.status in (400, 404, 422), (path, answer.body)
            assert "set-cookie" not in answer.headers
            assert answer.headers["content-type"].startswith(("application/json", "text/html"))
    for record in caplog.records:
        if record.name.startswith("expresso_persist"):
            assert record.getMessage().isprintable(), record.getMessage()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"updates":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"key":"a","value":{%s}}' % b",".join(b'"%d":1' % n for n in range(60_000)),
        b'{"key":"a","value":' + b"9" * 1_000_000 + b"}",
        b'{"key":"a","value":1e' + b"9" * 1_000_000 + b"}",
        b'{"key":"a","value":0.' + b"0" * 1_000_000 + b"1}",
        b'{"key":"a","value":"' + b"\\ud800" * 100_000 + b'"}',
        b'{"key":"' + b"x" * 257 + b'","value":1}',
        b'{"key":"a","value":-Infinity}',
        b'\xff\xfe{"key":"a"}',
        b'\xef\xbb\xbf{"key":"a","value":1}',
        b'{"key":"a","value":"\xed\xa0\x80"}',
        b'{"key":"a","value":1}trailing',
        b'{"key":"a","value":1,}',
        b"{'key':'a'}",
    ],
    ids=range(16),
)
def test_bodies_that_are_too_much_are_answered(client: Client, body: bytes) -> None:
    """Taken or refused, and never with an error of the server."""
    answer = client("POST", SETTING, body)
    assert answer.status in (200, 400, 413, 422), answer.body[:200]
    assert len(answer.body) < 2_000, "what is wrong is told, not sent back"
    if answer.status == 200:
        json.loads(client("GET", "/api/inventory/settings").body)


def test_an_answer_is_no_page(client: Client) -> None:
    """Whatever is in it, no browser runs, frames or guesses anything."""
    for path, token in (
        ("/api/inventory/get-all", "admin-token"),
        ("/api/inventory/get-all", None),
        ("/api/migration/health", None),
        ("/static/localStorage-to-database-migration.html", None),
    ):
        headers = client("GET", path, token=token).headers
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert ("default-src 'none'" in policy) == path.endswith(".html")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_minus_zero_is_zero(client: Client) -> None:
    client("POST", SETTING, b'{"key":"a","value":-0.0}')
    assert client("GET", "/api/inventory/settings").body.count(b'"a":0') == 1


def test_a_replay_is_the_actors_own(mount: Callable[..., Send], store: Store) -> None:
    """The same key of another actor, or in another tenant, is another request."""
    store.for_tenant("south").inventory.head()
    actors = {**TOKENS, "south-token": Actor("writer", Permission.WRITE, "south")}
    send = mount(store, authorize=BearerTokens(actors))

    def adjust(token: str) -> Any:
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": "one",
        }
        return send("POST", SETTING, headers, b'{"key":"%s","value":1}' % token.encode())

    for token in ("write-token", "admin-token", "south-token"):
        assert adjust(token).status == 200
        again = adjust(token)
        assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert store.inventory.settings() == {"write-token": 1, "admin-token": 1}
    assert store.for_tenant("south").inventory.settings() == {"south-token": 1}


def test_one_import_or_restore_at_a_time(mount: Callable[..., Send], store: Store) -> None:
    """The other is told who works, and stores nothing; looking and small writes go on."""
    send = mount(store, authorize=BearerTokens(TOKENS))
    headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
    path, dump = "/api/migration/export-localStorage", b'{"event_name":"\\"Expo\\""}'
    backup = store.backups.create("manual", actor="test")
    undo = f"/api/migration/backups/{backup.id}/restore"
    assert send("POST", SETTING, headers, b'{"key":"b","value":2}').status == 200
    revision = store.inventory.head().revision
    with exclusive(store.database, store.tenant, actor="Zo\u00eb", work="importing", ttl=30):
        refused = send("POST", path, headers, dump)
        restore = send("POST", undo, headers, b"{}")
        for answer in (refused, restore):
            assert (answer.status, answer.json["code"]) == (409, "busy"), answer.json
            assert "Zo\u00eb is importing" in answer.json["error"]
            assert int(answer.headers["retry-after"]) > 0
        assert store.inventory.head().revision == revision
        assert send("POST", f"{path}?dry_run=true", headers, dump).status == 200
        assert send("POST", SETTING, headers, b'{"key":"a","value":1}').status == 200
    assert send("POST", path, headers, dump).status == 200
    assert send("POST", undo, headers, b"{}").status == 200


def test_imports_at_once_are_done_or_refused(mount: Callable[..., Send], store: Store) -> None:
    """Of many at once one at least is done; who was refused is done by trying again."""
    send = mount(store, authorize=BearerTokens(TOKENS))
    headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}

    def take(number: int) -> int:
        body = json.dumps({f"key{number}": json.dumps({"n": number})}).encode()
        answer = send("POST", "/api/migration/export-localStorage", headers, body)
        return int(answer.status)

    before = store.inventory.head().revision
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(take, range(4)))
    assert set(statuses) <= {200, 409}
    assert store.inventory.head().revision == before + statuses.count(200) > before
    assert [take(n) for n, status in enumerate(statuses) if status == 409].count(409) == 0
    assert store.inventory.head().revision == before + 4


def test_what_belongs_to_others_is_not_there(mount: Callable[..., Send], store: Store) -> None:
    """The id of another tenant's backup is answered like one that nobody has."""
    south = store.for_tenant("south")
    south.inventory.head()
    foreign = south.backups.create().id
    send = mount(store, authorize=BearerTokens(TOKENS))
    headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
    for method, rest in (
        ("GET", ""),
        ("GET", "/archive"),
        ("POST", "/verify"),
        ("POST", "/restore"),
    ):
        found, none = (
            send(method, f"/api/migration/backups/{name}{rest}", headers, b"")
            for name in (foreign, "0" * len(foreign))
        )
        assert found.status == none.status == 404
        assert found.body.replace(foreign.encode(), b"") == none.body.replace(
            b"0" * len(foreign), b""
        )


def test_nobody_known_learns_nothing(mount: Callable[..., Send], store: Store) -> None:
    """No, wrong, ended, another event's: one answer; and it makes no tenant."""
    foreign, _ = store.for_tenant("south").tokens.create("anna", "admin")
    ended, _ = store.tokens.create("bert", "admin")
    store.tokens.revoke("bert")
    send = mount(store, tenant=lambda request: request.headers.get("x-event"))
    store.inventory.head()
    path = "/api/inventory/settings"
    answers = [
        send("GET", path, {"X-Event": "default"} | sent, b"")
        for sent in (
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer wrong-token"},
            {"Authorization": "Basic YTpi"},
            {"Authorization": f"Bearer {ended}"},
            {"Authorization": f"Bearer {foreign}"},
            {"Authorization": f"Bearer {foreign}x"},
            {"Cookie": f"token={foreign}"},
        )
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}
    good, _ = store.tokens.create("carl", "admin")
    known = {"Authorization": f"Bearer {good}"}
    assert send("GET", path, known, b"").status == 200
    assert send("GET", path, {**known, "X-Event": "north"}, b"").status == 401
    assert not store.for_tenant("north").inventory.exists()


def test_a_name_in_a_request_makes_no_tenant(mount: Callable[..., Send], store: Store) -> None:
    """Of somebody who may see every event: 404, whatever the name is."""
    send = mount(
        store,
        authorize=BearerTokens(TOKENS),
        tenant=lambda request: request.headers.get("x-event"),
    )
    for name in ("north", "x" * 300, "'; --", "..", "%00"):
        headers = {"Authorization": "Bearer admin-token", "X-Event": name}
        answer = send("GET", "/api/inventory/settings", headers, b"")
        assert (answer.status, answer.json["code"]) == (404, "not_found")
        assert send("GET", "/api/migration/health", {"X-Event": name}, b"").status == 200
    with store.database.read() as connection:
        assert connection.execute(sa.select(tenants.c.tenant_id)).scalars().all() == ["default"]


@pytest.mark.parametrize("secret", ["hunter2", "/srv/secret/path", "SELECT * FROM users"])
def test_nothing_inside_gets_out(
    mount: Callable[..., Send], store: Store, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that nobody thought of is told by a reference; the log names its kind only."""

    def authorize(_: object) -> Actor:
        raise RuntimeError(secret)

    send = mount(store, authorize=authorize)
    answer = send("GET", "/api/inventory/settings", {"Authorization": f"Bearer {secret}"}, b"")
    assert answer.status == 500
    assert secret not in answer.body.decode() + repr(answer.headers) + caplog.text
    reference = answer.json["error"].partition("reference ")[2][:8]
    assert reference
    assert reference in caplog.text
    assert "RuntimeError" in caplog.text


def test_an_authorizer_may_raise_what_it_means(mount: Callable[..., Send], store: Store) -> None:
    for error, status in ((Unauthorized, 401), (Forbidden, 403)):

        def authorize(_: object, error: Any = error) -> Actor:
            raise error

        send = mount(store, authorize=authorize)
        assert send("GET", "/api/inventory/settings", {}, b"").status == status
