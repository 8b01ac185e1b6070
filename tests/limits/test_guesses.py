"""Guessing credentials: counted before they are looked up, over every way in."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.errors import InvalidConfiguration, TooManyRequests, Unauthorized
from expresso_persist.http import (
    Actor,
    Api,
    BearerTokens,
    Limits,
    OneTimeTokens,
    Permission,
    Request,
)
from expresso_persist.http.access.guesses import Guesses
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.http.live.websocket import Refusal
from expresso_persist.testing import TOKENS

Send = Callable[[str, str, dict[str, str], bytes], Any]
READ = "/api/inventory/settings"
DEEP = "/api/migration/health?deep=1"
SESSION = "/api/migration/session"
FIVE = Limits(guesses="5/hour")
WS = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "ws")


def ask(send: Send, path: str, token: str) -> Any:
    return send("GET", path, {"Authorization": f"Bearer {token}"}, b"")


def exchange(send: Send, token: str) -> Any:
    body = json.dumps({"one_time_token": token}).encode()
    return send("POST", SESSION, {"Content-Type": "application/json"}, body)


def greeted(api: Api, token: str, client: str = "192.0.2.1") -> str:
    request = Request("GET", WS.path, client=client)
    hello = json.dumps({"type": "hello", "token": token})
    try:
        subscription = api.greet(request, hello)
    except Refusal as refusal:
        return refusal.code
    subscription.close()
    return "welcome"


@pytest.mark.parametrize("path", [READ, DEEP])
def test_over_the_limit_the_right_token_is_answered_as_a_wrong_one(
    mount: Callable[..., Send], store: Store, path: str
) -> None:
    send = mount(store, authorize=BearerTokens(TOKENS), limits=FIVE)
    for _ in range(20):
        assert ask(send, path, "read-token").status == 200, "success uses nothing up"
    assert [ask(send, path, f"guess-{n}").status for n in range(7)] == [401] * 5 + [429] * 2
    wrong, right = ask(send, path, "guess-0"), ask(send, path, "read-token")
    assert (wrong.status, right.status) == (429, 429)
    assert wrong.body == right.body
    assert wrong.headers["retry-after"] == right.headers["retry-after"]
    assert send("GET", "/api/migration/health", {}, b"").status == 200


def test_every_way_in_has_one_budget(store: Store) -> None:
    """A socket's hello, a one-time link and a header count together."""
    links = OneTimeTokens()
    link = links.issue()
    api = Api(store, authorize=BearerTokens(TOKENS), one_time_tokens=links, limits=FIVE)
    assert greeted(api, "read-token") == "welcome"
    for number in range(5):
        assert greeted(api, f"guess-{number}") == "unauthorized"
    assert greeted(api, "guess-9") == greeted(api, "read-token") == "too_many_requests"
    session = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "session")

    def exchanged(client: str, token: str) -> int:
        body = json.dumps({"one_time_token": token}).encode()
        headers = {"content-type": "application/json"}
        request = Request("POST", SESSION, headers=headers, body=body, client=client)
        return api.handle(session, request).status

    assert exchanged("192.0.2.1", link) == 429, "the right link, from the guesser"
    assert [exchanged("192.0.2.2", f"guess-{n}") for n in range(6)] == [401] * 5 + [429]
    assert exchanged("192.0.2.3", link) == 200, "it was not used up"
    assert greeted(api, "read-token", "192.0.2.3") == "welcome"


def test_links_cannot_be_guessed(mount: Callable[..., Send], store: Store) -> None:
    links = OneTimeTokens()
    send = mount(store, one_time_tokens=links, limits=FIVE)
    link = links.issue()
    assert [exchange(send, f"guess-{n}").status for n in range(6)] == [401] * 5 + [429]
    assert exchange(send, link).status == 429


def test_one_expired_token_locks_nobody_out(mount: Callable[..., Send], store: Store) -> None:
    """A station whose token ended asks again and again, at the same address as all others."""
    send = mount(store, authorize=BearerTokens(TOKENS), limits=FIVE)
    for _ in range(30):
        assert ask(send, READ, "a-token-that-ended").status == 401
        assert send("GET", READ, {}, b"").status == 401, "and a page where nobody signed in"
    assert ask(send, READ, "read-token").status == 200


def test_the_check_is_before_the_look_up(store: Store) -> None:
    """However many come at once; and other addresses, and cookies, are judged the same way."""
    looked_up: list[str] = []
    slow = threading.Event()

    def authorize(request: Request) -> Actor | None:
        looked_up.append(request.headers["cookie"])
        slow.wait(0.05)
        return Actor("anna", Permission.READ) if request.headers["cookie"] == "right" else None

    api = Api(store, authorize=authorize, limits=FIVE)
    endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "get_settings")

    def request(cookie: str, client: str = "2001:db8::1") -> int:
        return api.handle(
            endpoint, Request("GET", READ, headers={"cookie": cookie}, client=client)
        ).status

    threads = [threading.Thread(target=request, args=[f"guess-{n}"]) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looked_up) == 5
    assert request("right") == request("right", "2001:db8::ffff") == 429, "one network"
    assert request("right", "2001:db8:1::1") == 200
    assert len(looked_up) == 6


@pytest.mark.parametrize(
    ("constant", "place"),
    [
        ({}, "?token="),
        ({"X-Any": "1"}, "?token="),
        ({"Cookie": "theme=dark"}, "?key="),
        ({}, "X-Forwarded-Access-Token"),
        ({"X-Any": "1"}, "Sec-WebSocket-Protocol"),
        ({}, "Accept-Token"),
    ],
)
def test_a_guess_counts_wherever_a_host_reads_it(
    mount: Callable[..., Send], store: Store, constant: dict[str, str], place: str
) -> None:
    """What else is sent hides nothing."""

    def authorize(request: Request) -> Actor | None:
        sent = request.query if place[0] == "?" else request.headers
        right = sent.get(place.strip("?=").lower()) == "right"
        return Actor("anna", Permission.READ) if right else None

    send = mount(store, authorize=authorize, limits=FIVE)

    def sent(token: str) -> int:
        if place[0] == "?":
            status = send("GET", f"{READ}{place}{token}", constant, b"").status
        else:
            status = send("GET", READ, {**constant, place: token}, b"").status
        return int(status)

    assert [sent(f"guess-{n}") for n in range(7)] == [401] * 5 + [429] * 2
    assert sent("right") == 429


def test_ordinary_requests_are_no_guesses(mount: Callable[..., Send], store: Store) -> None:
    """A client whose token ended goes on asking for other things, in other words."""
    send = mount(store, authorize=BearerTokens(TOKENS), limits=FIVE)
    for number in range(20):
        headers = {
            "Authorization": "Bearer ended", "User-Agent": f"Tab/{number}",
            "Sec-Fetch-Mode": f"m{number}", "X-Forwarded-For": f"192.0.2.{number}",
            "If-None-Match": f'"{number}"', "Accept-Language": f"x{number}",
            "Expresso-Since": f"{'e' * 16}.{number}.abcdef",
        }  # fmt: skip
        path = f"/api/inventory/changes?since={number}&limit={number + 1}"
        assert send("GET", path, headers, b"").status == 401


def attempt(guesses: Guesses, token: str, *, right: bool = False, client: str = "a") -> str:
    try:
        with guesses.attempt(client, token):
            if not right:
                raise Unauthorized
    except (Unauthorized, TooManyRequests) as refused:
        return refused.code
    return "in"


def test_the_budget_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that the answer names, and no sooner."""
    now = [1000.0]
    monkeypatch.setattr("expresso_persist.http.access.guesses.time.monotonic", lambda: now[0])
    guesses = Guesses(3, 60)
    assert [attempt(guesses, str(n)) for n in range(3)] == ["unauthorized"] * 3
    with (
        pytest.raises(TooManyRequests) as refused,
        guesses.attempt("a", "x"),
    ):
        pass
    assert refused.value.retry_after is not None
    now[0] += refused.value.retry_after - 1
    assert attempt(guesses, "y", right=True) == "too_many_requests"
    now[0] += 1.01
    assert attempt(guesses, "y", right=True) == "in"


def test_a_look_up_that_failed_is_no_guess() -> None:
    guesses = Guesses(2, 3600)
    for number in range(9):
        with (
            contextlib.suppress(OSError),
            guesses.attempt("", str(number)),
        ):
            raise OSError
    assert attempt(guesses, "x", right=True, client="") == "in"


def test_many_addresses_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that tried most is kept."""
    monkeypatch.setattr("expresso_persist.http.access.guesses._MANY", 100)
    guesses = Guesses(3, 3600)
    for number in range(3):
        attempt(guesses, str(number), client="worst")
    for number in range(1000):
        attempt(guesses, "guess", client=f"192.0.2.{number}")
    assert len(guesses._addresses) <= 100
    assert attempt(guesses, "x", right=True, client="worst") == "too_many_requests"


@pytest.mark.parametrize(
    "name",
    ["EXPRESSO_PERSIST_TOKEN", "EXPRESSO_PERSIST_WRITE_TOKEN", "EXPRESSO_PERSIST_READ_TOKEN"],
)
def test_a_short_token_of_the_environment_is_refused(
    mount: Callable[..., Send], store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "fifteen-letters")
    with pytest.raises(InvalidConfiguration, match=f"{name} has fewer than 16") as refused:
        mount(store)
    assert "fifteen-letters" not in str(refused.value)
    monkeypatch.setenv(name, "sixteen--letters")
    assert ask(mount(store), READ, "sixteen--letters").status == 200


def test_a_host_decides_on_guesses(mount: Callable[..., Send], store: Store) -> None:
    send = mount(store, authorize=BearerTokens(TOKENS), limits=attrs.evolve(FIVE, guesses=None))
    assert [ask(send, READ, f"guess-{n}").status for n in range(70)] == [401] * 70
    with pytest.raises(InvalidConfiguration, match="rate"):
        mount(store, limits=Limits(guesses="often"))
