"""Access tokens: named, for one tenant, with an end, kept as hashes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import access_tokens, metadata
from expresso_persist.errors import ConflictRefused, InvalidInput, NotFound
from expresso_persist.http import Request, StoredTokens
from expresso_persist.http.api import Api
from expresso_persist.tenants.tokens import tenant_of

Send = Callable[[str, str, dict[str, str], bytes], Any]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_opens_what_it_was_made_for(mount: Callable[..., Send], store: Store) -> None:
    """Its permission, of its tenant, until it is revoked; the trail has its name."""
    store.for_tenant("south").inventory.head()
    reader, _ = store.tokens.create("display", "read")
    writer, _ = store.tokens.create("station 1", "write")
    foreign, _ = store.for_tenant("south").tokens.create("station 1", "write")
    send = mount(store)
    update = b'{"key":"hall","value":1}'
    path, kind = "/api/inventory/settings/update", {"Content-Type": "application/json"}

    def settings(token: str) -> Any:
        answer = send("GET", "/api/inventory/settings", bearing(token), b"")
        return answer.json["data"] if answer.status == 200 else answer.status

    assert send("POST", path, {**bearing(reader), **kind}, update).status == 403
    assert send("POST", path, {**bearing(writer), **kind}, update).status == 200
    assert settings(reader) == settings(writer) == {"hall": 1}
    assert settings(foreign) == {}
    assert next(iter(store.inventory.changes(0).commits)).actor == "station 1"
    assert send("GET", "/api/migration/export-localStorage", {}, b"").status in (401, 404, 405)


def test_a_revoked_token_opens_nothing(store: Store) -> None:
    authorize = StoredTokens(store)
    text, made = store.tokens.create("anna", "admin")
    request = Request("GET", "/", headers={"authorization": f"Bearer {text}"})
    assert authorize(request) is not None
    store.tokens.revoke("anna")
    assert StoredTokens(store)(request) is None, "a server that never saw it"
    authorize._seen = {key: (0.0, found) for key, (_, found) in authorize._seen.items()}
    assert authorize(request) is None, "one whose memory of it is over"
    with pytest.raises(NotFound, match="no token named 'anna'"):
        store.tokens.revoke("anna")
    again, _ = store.tokens.create("anna", "read")
    assert again != text
    assert store.tokens.recognise(again) == store.tokens.list()[0]
    assert made.id != store.tokens.list()[0].id


def test_a_token_ends(store: Store) -> None:
    """By the database's clock, and also while it is remembered."""
    text, made = store.tokens.create("night shift", "write", lifetime=dt.timedelta(hours=8))
    assert made.expires_at == made.created_at + dt.timedelta(hours=8)
    authorize = StoredTokens(store)
    request = Request("GET", "/", headers={"authorization": f"Bearer {text}"})
    assert authorize(request) is not None
    over = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    with store.database.write() as connection:
        connection.execute(sa.update(access_tokens).values(expires_at=over))
    assert store.tokens.recognise(text) is None
    ((digest, (until, found)),) = authorize._seen.items()
    authorize._seen[digest] = (until, attrs.evolve(found, expires_at=over))
    assert authorize(request) is None


def test_nothing_that_is_stored_is_the_token(store: Store) -> None:
    """Not in any table, nor in a backup."""
    text, _ = store.tokens.create("anna", "admin")
    secret = text.rpartition(".")[2]
    store.inventory.head()
    backup = store.backups.create()
    with store.database.read() as connection:
        for table in metadata.tables.values():
            for row in connection.execute(sa.select(table)):
                assert secret not in repr(tuple(row)), table.name
    assert "access_tokens" not in repr(store.backups.get(backup.id))


@pytest.mark.parametrize("tenant", ["default", "Frühling/2026 .x", "a.b.c"])
def test_what_is_not_quite_a_token_is_none(store: Store, tenant: str) -> None:
    own = store.for_tenant(tenant)
    text, _ = own.tokens.create("anna", "read")
    assert tenant_of(text) == tenant
    assert own.tokens.recognise(text) is not None
    mark, name, id_, secret = text.split(".")
    for other in (
        text[:-1],
        text + "x",
        text.upper(),
        f"{mark}.{name}.{id_}.",
        f"{mark}.{name}..{secret}",
        f"{mark}.{name}.{'0' * 12}.{secret}",
        f"{mark}.{name}.{id_}\0.{secret}",
        f"{mark}.!.{id_}.{secret}",
        f"{mark}.AA.{id_}.{secret}",
        f"{mark}.{name}.{id_}.{secret}é",
        f"{mark}.{name}.{id_}.{secret}\udce9",
        f"xq.{name}.{id_}.{secret}",
        "...",
        "",
    ):
        assert own.tokens.recognise(other) is None, other
        assert (
            StoredTokens(store)(Request("GET", "/", headers={"authorization": f"Bearer {other}"}))
            is None
        )
    assert store.for_tenant("another").tokens.recognise(text) is None


def test_names_are_taken_once(store: Store) -> None:
    store.tokens.create("anna", "read")
    store.for_tenant("south").tokens.create("anna", "read")
    with pytest.raises(ConflictRefused, match="revoke it first"):
        store.tokens.create("anna", "admin")
    for name in ("", "x" * 257, "a\nb", "a\0b"):
        with pytest.raises(InvalidInput, match="printable"):
            store.tokens.create(name, "read")
    with pytest.raises(InvalidInput, match="read, write or admin"):
        store.tokens.create("bert", "root")
    with pytest.raises(InvalidInput, match="lifetime"):
        store.tokens.create("bert", "read", lifetime=dt.timedelta(0))


def test_a_server_that_lets_nobody_in_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which of its stores, too; and nothing once there is a way in."""
    monkeypatch.delenv("EXPRESSO_PERSIST_TOKEN", raising=False)
    Api(store)
    Api(store, prefix="/north")
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == ["expresso-persist is closed", "expresso-persist at /north is closed"]
    store.tokens.create("desk", "read")
    Api(store)
    assert len(caplog.records) == 2
