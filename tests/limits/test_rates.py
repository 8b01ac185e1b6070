"""Too many requests: who is refused, how they are told, and who is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import InvalidConfiguration, TooManyRequests
from expresso_persist.http import Actor, BearerTokens, Limits, Permission
from expresso_persist.http.access.limits import Rate, RateLimiter
from expresso_persist.testing import TOKENS

Send = Callable[[str, str, dict[str, str], bytes], Any]
READ, WRITE = "/api/inventory/settings", "/api/inventory/settings/update"
IMPORT = "/api/migration/export-localStorage"
TWO = {"read": "4/hour", "write": "3/hour", "heavy": "2/hour"}
ACTORS = {**TOKENS, "south-token": Actor("admin", Permission.ADMIN, "south")}


def ask(send: Send, path: str, token: str | None = "admin-token", body: bytes = b"") -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if body:
        headers["Content-Type"] = "application/json"
    return send("POST" if body else "GET", path, headers, body)


@pytest.fixture(params=["memory://", "database", "redis"])
def storage(request: pytest.FixtureRequest) -> str:
    """Where is counted."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return str(request.param)


def test_beyond_the_rate_it_is_429(mount: Callable[..., Send], store: Store, storage: str) -> None:
    """Per kind of request, actor and tenant; what is refused does nothing."""
    store.for_tenant("south").inventory.head()
    limits = Limits(**TWO, storage=storage)
    send = mount(store, authorize=BearerTokens(ACTORS), limits=limits)
    update = b'{"key":"a","value":1}'
    assert [ask(send, READ).status for _ in range(5)] == [200] * 4 + [429]
    assert [ask(send, WRITE, body=update).status for _ in range(4)] == [200] * 3 + [429]
    revision = store.inventory.head().revision
    dumps = [b'{"n%d":"1"}' % n for n in range(3)]
    answers = [ask(send, IMPORT, body=dump) for dump in dumps]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert store.inventory.head().revision == revision + 2
    refused = answers[-1]
    assert refused.json["code"] == "too_many_requests"
    assert "at most 2 in 3600 seconds" in refused.json["error"]
    assert 0 < int(refused.headers["retry-after"]) <= 7200
    assert ask(send, READ, "read-token").status == 200, "another actor"
    assert ask(send, READ, "south-token").status == 200, "the same name in another tenant"
    again = mount(store, authorize=BearerTokens(ACTORS), limits=limits)  # another process
    assert ask(again, READ).status == (200 if storage == "memory://" else 429)


def test_nobody_known_is_counted_by_address(mount: Callable[..., Send], store: Store) -> None:
    """Guessing tokens ends soon, and then the right one is answered as the next wrong one."""
    send = mount(store, authorize=BearerTokens(TOKENS), limits=Limits(**TWO))
    guessed = [ask(send, READ, f"guess-number-{n}").status for n in range(6)]
    assert guessed == [401] * 4 + [429] * 2
    assert ask(send, "/api/migration/health", None).status == 429
    assert ask(send, READ, "read-token").status == 429


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 100_000, "a/b c\r\n", ""])
def test_whatever_somebody_is_called(store: Store, storage: str, name: str) -> None:
    """A login elsewhere decides on names, and signs what it likes."""
    limiter = RateLimiter(Limits(read="2/hour", storage=storage), store)
    for _ in range(2):
        limiter.count(Rate.READ, "default", name)
    with pytest.raises(TooManyRequests):
        limiter.count(Rate.READ, "default", name)
    limiter.count(Rate.READ, "default", f"{name}2")


def test_a_refused_flood_makes_no_database_work(store: Store) -> None:
    limiter = RateLimiter(Limits(**TWO, storage="database"), store)
    for _ in range(3):
        limiter.count(Rate.WRITE, "default", "anna")
    asked: list[str] = []
    import sqlalchemy as sa

    @sa.event.listens_for(store.database.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    def flood() -> None:
        for _ in range(200):
            with pytest.raises(TooManyRequests):
                limiter.count(Rate.WRITE, "default", "anna")

    flood()
    first = len(asked)
    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < first < 20
    assert len(asked) == first


@pytest.mark.parametrize(
    "options",
    [{"read": "often"}, {"write": ""}, {"storage": "nowhere://x"}, {"storage": ""}],
)
def test_settings_that_cannot_work_say_so(store: Store, options: dict[str, str]) -> None:
    from expresso_persist.http import Api

    with pytest.raises(InvalidConfiguration, match=r"rate|counted"):
        Api(store, limits=Limits(**options))  # type: ignore[arg-type]
