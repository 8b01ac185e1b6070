"""Requests that a page of another origin makes the browser send."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from expresso_persist import Store
from expresso_persist.http import Actor, Permission, Request

Send = Callable[[str, str, dict[str, str], bytes], Any]
PATH = "/api/inventory/settings/update"


CASES: list[tuple[dict[str, str], int]] = [
    ({}, 200),  # no browser
    ({"Origin": "http://expresso.example"}, 200),
    ({"Origin": "http://EXPRESSO.example"}, 200),
    ({"Origin": "https://display.example"}, 200),  # named by the host
    ({"Origin": "https://display.example", "Sec-Fetch-Site": "cross-site"}, 200),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://outside-name.example"}, 200),
    ({"Sec-Fetch-Site": "none"}, 200),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "https://expresso.example.evil.example"}, 403),
    ({"Origin": "http://expresso.example:80"}, 200),
    ({"Origin": "http://expresso.example", "Host": "expresso.example:80"}, 200),
    ({"Origin": "http://expresso.example:8080", "Host": "expresso.example:8080"}, 200),
    ({"Origin": "http://[::1]:8080", "Host": "[::1]:8080"}, 200),
    ({"Origin": "http://expresso.example:8080"}, 403),
    ({"Origin": "http://expresso.example", "Host": "expresso.example:8080"}, 403),
    ({"Origin": "https://expresso.example"}, 403),
    ({"Origin": "https://expresso.example:443"}, 403),
    ({"Origin": "https://expresso.example:80"}, 403),
    ({"Origin": "https://expresso.example", "X-Forwarded-Proto": "https"}, 403),  # whose?
    ({"Origin": "https://expresso.example", "Forwarded": "proto=https"}, 403),
    ({"Origin": "ws://expresso.example"}, 403),
    ({"Origin": "expresso.example"}, 403),
    ({"Origin": "//expresso.example"}, 403),
    ({"Origin": "http://expresso.example:x"}, 403),
    ({"Origin": "http://expresso.example:99999"}, 403),
    ({"Origin": "http://expresso.example/"}, 403),
    ({"Origin": "http://a@expresso.example"}, 403),
    ({"Origin": "http://[expresso.example"}, 403),
    ({"Origin": "http://expresso.example, http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": ""}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.expresso.example"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://expresso.example"}, 403),
    ({"Sec-Fetch-Site": "sideways"}, 403),
    ({"Origin": "https://evil.example", "Authorization": "Bearer anna's token"}, 200),
    ({"Origin": "https://evil.example", "Authorization": "Basic YTpi"}, 403),
]


def by_cookie(request: Request) -> Actor | None:
    """A host's session."""
    known = "session=anna" in request.headers.get("cookie", "")
    known = known or request.headers.get("authorization") == "Bearer anna's token"
    return Actor("anna", Permission.ADMIN) if known else None


def test_cookies_open_nothing_to_other_pages(mount: Callable[..., Send], store: Store) -> None:
    """Neither are there CORS headers that would let such a page read an answer."""
    send = mount(store, authorize=by_cookie, origins=["https://display.example"])
    for headers, status in CASES:
        before = store.inventory.head().revision
        sent = {
            "Host": "expresso.example",
            "Cookie": "session=anna",
            "Content-Type": "application/json",
            **headers,
        }
        body = json.dumps({"key": "a", "value": before}).encode()
        answer = send("POST", PATH, sent, body)
        assert answer.status == status, headers
        assert store.inventory.head().revision == before + (status == 200)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        if "Authorization" not in headers:
            read = send("GET", "/api/inventory/settings", sent, b"")
            assert read.status == 200, "what cannot be read by that page changes nothing either"
            assert "Cookie" in read.headers["vary"]


def test_what_a_form_can_send_is_no_update(mount: Callable[..., Send], store: Store) -> None:
    send = mount(store, authorize=by_cookie)
    sent = {"Host": "expresso.example", "Cookie": "session=anna"}
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        body = b'{"key":"a","value":1}'
        assert send("POST", PATH, {**sent, "Content-Type": kind}, body).status == 415
    assert store.inventory.head().revision == 0


def test_behind_tls_the_framework_says_so(store: Store) -> None:
    """Told to trust its proxy, as each framework is; then the same page without TLS may not."""
    import flask
    from werkzeug.middleware.proxy_fix import ProxyFix

    from expresso_persist_flask import register_routes

    app = flask.Flask("host")
    register_routes(app, store, authorize=by_cookie)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    for origin, status in (("https://expresso.example", 200), ("http://expresso.example", 403)):
        answer = app.test_client(use_cookies=False).post(
            PATH,
            json={"key": "a", "value": 1},
            headers={
                "Host": "expresso.example",
                "Cookie": "session=anna",
                "Origin": origin,
                "X-Forwarded-Proto": "https",
            },
        )
        assert answer.status_code == status
