"""Keys of requests that are no commits, taken and answered one statement at a time."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.commits import idempotency
from expresso_persist.commits.idempotency import KeyedRequest, Remembered, fingerprint_of
from expresso_persist.db.tables import idempotency_keys
from expresso_persist.errors import IdempotencyMismatch, InvalidInput
from expresso_persist.model.records import Put, Setting

REQUEST = KeyedRequest("default", "anna", "k", "print")
OTHERS = [
    attrs.evolve(REQUEST, tenant="south"),
    attrs.evolve(REQUEST, actor="bert"),
    attrs.evolve(REQUEST, key="l"),
]


@pytest.fixture
def _tenants(store: Store) -> None:
    for name in ("default", "south"):
        store.for_tenant(name).inventory.commit([Put(Setting.of("a", data=1))], actor="test")


def rows(store: Store) -> list[tuple[Any, ...]]:
    table = idempotency_keys.c
    with store.database.read() as connection:
        query = sa.select(
            table.tenant_id, table.actor, table.idempotency_key,
            table.request_fingerprint, table.subject, table.answer,
        )  # fmt: skip
        return sorted((tuple(row) for row in connection.execute(query)), key=str)


def claim(store: Store, request: KeyedRequest, subject: str | None = None) -> Remembered | None:
    subjects = () if subject is None else (subject,)
    with store.database.write() as connection:
        return idempotency.claim(store.database, connection, request, *subjects)


def taken(store: Store, tenant: str, actor: str, key: str) -> bool:
    with store.database.read() as connection:
        return idempotency.is_taken(connection, tenant, actor, key)


def test_a_request_is_known_by_the_digest_of_its_bytes() -> None:
    assert fingerprint_of(None) is None
    assert fingerprint_of(b"a") == fingerprint_of("a") == hashlib.sha256(b"a").hexdigest()
    assert fingerprint_of("ü") == hashlib.sha256("ü".encode()).hexdigest()
    half = fingerprint_of("\ud800")
    assert half == hashlib.sha256(b"\xed\xa0\x80").hexdigest(), "half a pair is text as well"
    given: Any = 7
    with pytest.raises(InvalidInput, match="the text or the bytes"):
        fingerprint_of(given)


def test_a_request_without_a_key_is_not_remembered() -> None:
    assert KeyedRequest.of("default", "a\0", None, b"x") is None
    made = KeyedRequest.of("default", "anna", "k", b"x")
    assert made == KeyedRequest("default", "anna", "k", fingerprint_of(b"x"))
    for actor, key, path in (("a\0b", "k", "actor"), ("anna", "k\0", "idempotency_key")):
        with pytest.raises(InvalidInput) as caught:
            KeyedRequest.of("default", actor, key, b"x")
        assert [problem.path for problem in caught.value.problems] == [path]


@pytest.mark.usefixtures("_tenants")
def test_a_key_is_taken_once_per_tenant_actor_and_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a time in UTC, wherever the machine is."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
        time.tzset()
        assert claim(store, REQUEST, "backup 1") is None
    time.tzset()
    assert rows(store) == [("default", "anna", "k", "print", "backup 1", None)]
    with store.database.read() as connection:
        made_at = connection.scalar(sa.select(idempotency_keys.c.created_at))
    assert before < made_at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    assert claim(store, REQUEST, "backup 2") == Remembered("backup 1", None)
    with pytest.raises(IdempotencyMismatch):
        claim(store, attrs.evolve(REQUEST, fingerprint="other"))
    assert taken(store, "default", "anna", "k")
    for other in OTHERS:
        assert not taken(store, other.tenant, other.actor, other.key)
        assert claim(store, other) is None
        assert claim(store, other) == Remembered("", None), "named later"
        assert taken(store, other.tenant, other.actor, other.key)
    assert len(rows(store)) == 4


@pytest.mark.usefixtures("_tenants")
def test_a_commit_has_its_key_for_itself(store: Store) -> None:
    store.inventory.commit(
        [Put(Setting.of("a", data=2))], actor="anna", idempotency_key="k", request=b"x"
    )
    with pytest.raises(IdempotencyMismatch):
        claim(store, REQUEST)
    assert not taken(store, "default", "anna", "k")
    for other in OTHERS:
        assert claim(store, other) is None


@pytest.mark.usefixtures("_tenants")
def test_what_was_taken_between_looking_and_taking_is_looked_at_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other transaction ended while this one waited to insert."""
    find = idempotency.find
    looks: list[Remembered | None] = []

    def late(connection: Any, request: KeyedRequest) -> Remembered | None:
        found = find(connection, request)
        if not looks:
            inserted = store.database.insert_if_absent(
                connection,
                idempotency_keys,
                {
                    "tenant_id": "default", "actor": "anna", "idempotency_key": "k",
                    "request_fingerprint": "print", "subject": "theirs", "answer": None,
                    "created_at": dt.datetime.now(dt.UTC),
                },
            )  # fmt: skip
            assert inserted
        looks.append(found)
        return found

    monkeypatch.setattr(idempotency, "find", late)
    assert claim(store, REQUEST, "mine") == Remembered("theirs", None)
    assert looks == [None, Remembered("theirs", None)]


@pytest.mark.usefixtures("_tenants")
def test_what_a_request_made_is_named_in_its_row_alone(store: Store) -> None:
    for request in (REQUEST, *OTHERS):
        claim(store, request)
    with store.database.write() as connection:
        idempotency.made(connection, REQUEST, "backup 1")
    assert {row[:3]: row[4] for row in rows(store)} == {
        ("default", "anna", "k"): "backup 1",
        ("south", "anna", "k"): "",
        ("default", "bert", "k"): "",
        ("default", "anna", "l"): "",
    }


@pytest.mark.usefixtures("_tenants")
def test_the_first_answer_is_kept(store: Store) -> None:
    for request in OTHERS:
        claim(store, request, "other")
    assert idempotency.answered(store.database, REQUEST, "backup 1", "{1}") == ("{1}", True)
    assert idempotency.answered(store.database, REQUEST, "backup 2", "{2}") == ("{1}", False)
    assert [row[3:] for row in rows(store) if row[5]] == [("print", "backup 1", "{1}")]
    assert claim(store, REQUEST) == Remembered("backup 1", "{1}")
    with pytest.raises(IdempotencyMismatch):
        idempotency.answered(store.database, attrs.evolve(REQUEST, fingerprint="x"), "b", "{3}")
    # One that was claimed before gets its answer, and keeps what it is about.
    assert idempotency.answered(store.database, OTHERS[2], "mine", "{4}") == ("{4}", True)
    assert claim(store, OTHERS[2]) == Remembered("other", "{4}")
    assert [row[5] for row in rows(store)].count(None) == 2


@pytest.mark.usefixtures("_tenants")
def test_a_whole_request_is_remembered_at_once_or_refused(store: Store) -> None:
    def remember(answer: str) -> None:
        with store.database.write() as connection:
            idempotency.remember(store.database, connection, REQUEST, "import", answer)

    remember("{1}")
    assert rows(store) == [("default", "anna", "k", "print", "import", "{1}")]
    with pytest.raises(IdempotencyMismatch):
        remember("{2}")
    assert claim(store, REQUEST) == Remembered("import", "{1}")
