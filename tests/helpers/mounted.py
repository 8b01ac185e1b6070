"""Fixtures: every adapter over every database, asked through the framework's test client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.http import NO_RATES, BearerTokens
from expresso_persist.testing import TOKENS


@attrs.frozen
class Answer:
    """A response, its JSON body read."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Client = Callable[..., Answer]


def _flask(store: Store, **options: Any) -> Callable[..., Answer]:
    import flask

    import expresso_persist_flask as adapter

    app = flask.Flask("test")
    adapter.register_routes(app, store, **options)
    client = app.test_client(use_cookies=False)  # a Cookie header is sent as it is

    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = client.open(path, method=method, headers=headers, data=body)
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, found, answer.data)

    return send


def _fastapi(store: Store, **options: Any) -> Callable[..., Answer]:
    import anyio
    import fastapi
    import httpx

    import expresso_persist_fastapi as adapter

    app = fastapi.FastAPI()
    adapter.register_routes(app, store, **options)

    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, content=body)

        answer = anyio.run(ask)
        return Answer(answer.status_code, dict(answer.headers), answer.content)

    return send


@pytest.fixture(params=["fastapi", "flask"])
def mount(request: pytest.FixtureRequest) -> Callable[..., Callable[..., Answer]]:
    """Mounts a store into an application of each framework."""
    return {"fastapi": _fastapi, "flask": _flask}[request.param]


@pytest.fixture
def client(mount: Callable[..., Callable[..., Answer]], store: Store) -> Client:
    """Asks an endpoint; ``token=None`` asks without credentials."""
    send = mount(store, authorize=BearerTokens(TOKENS), limits=NO_RATES)

    def ask(
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        return send(method, path, sent, content)

    return ask
