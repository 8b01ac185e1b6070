"""The host's sign-in decides what they are called: nothing fails for that."""

from __future__ import annotations

from pathlib import Path

import pytest

import routes
from expresso_persist import Store
from expresso_persist.errors import InvalidInput
from expresso_persist.http import Actor, Limits, Permission
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.model.records import Put, Setting

NAMES = {
    "lines": "anna\r\nX-Evil: 1",
    "right to left": "\u202eanna",
    "SQL": "'; DROP TABLE commits; --%(x)s :x ?",
    "HTML": "<script>alert(1)</script>",
    "nothing": "",
    "very long": "x" * 100_000,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=[*NAMES])
def test_every_endpoint_answers_whoever_asks(store: Store, tmp_path: Path, name: str) -> None:
    """A stock movement, a backup, a restore, an undo…: each twice, the second one a repeat."""
    store.importer.import_(routes.STOCK, actor="t")
    store.inventory.commit([Put(Setting.of("theme", data="light"))], actor="t")
    made = store.backups.create()
    store.backups.export(made.id, tmp_path / "a.zst")
    api = Api(
        store,
        authorize=lambda _: Actor(name, Permission.ADMIN),
        limits=Limits(heavy="99/minute", storage="database"),
    )
    for endpoint in ENDPOINTS:
        for _ in range(2):
            status, body = routes.ask(
                api, endpoint, backup_id=made.id, archive=(tmp_path / "a.zst").read_bytes(),
                idempotency_key=f"{endpoint.name}-1",
            )  # fmt: skip
            assert status == routes.UNANSWERED.get(endpoint.name, 200), (endpoint.name, body[:300])
    assert store.inventory.verify().ok


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_nobody_is_called_what_no_audit_trail_can_hold(store: Store, name: str) -> None:
    """On SQLite neither, which could hold one of them."""
    api = Api(store, authorize=lambda _: Actor(name, Permission.ADMIN))
    for endpoint in ENDPOINTS:
        status, body = routes.ask(api, endpoint, backup_id="0" * 32)
        known = endpoint.permission is not Permission.NONE
        assert not known or status == 401, (endpoint.name, status, body[:300])
    with pytest.raises(InvalidInput, match="of actor has a NUL character or half"):
        store.inventory.commit([Put(Setting.of("theme", data=1))], actor=name)
    with pytest.raises(InvalidInput, match="of note has"):
        store.inventory.commit([Put(Setting.of("theme", data=1))], actor="t", note=name)
    with pytest.raises(InvalidInput, match="of notes has"):
        store.backups.create(notes=name)
    with pytest.raises(InvalidInput, match="of actor has"):
        store.backups.create(actor=name)
    assert store.inventory.head().revision == 0
    assert store.backups.list() == []
    store.backups.create(notes="and it goes on")
