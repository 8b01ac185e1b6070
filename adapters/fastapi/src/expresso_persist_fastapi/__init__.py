"""Mounts expresso-persist into a FastAPI application."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import anyio.from_thread
import attrs
import fastapi
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as NativeRequest
from starlette.responses import Response as NativeResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route

from expresso_persist import Store
from expresso_persist.http.api import Api
from expresso_persist.http.auth import Authorize, OneTimeTokens
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.pages import ASSETS, serve_asset

__all__ = ["register_routes"]


def register_routes(
    app: fastapi.FastAPI,
    store: Store | str | None = None,
    *,
    prefix: str = "",
    authorize: Authorize | None = None,
    tenant: Callable[[Request], str] | None = None,
    one_time_tokens: OneTimeTokens | None = None,
    backups: bool = False,
) -> Api:
    """Add the endpoints and the migration page to ``app``.

    Args:
        app: The application.
        store: A store, a database URL, or None for ``DATABASE_URL`` of the environment.
        prefix: Path in front of everything, such as ``/coffee``.
        authorize: Tells who is asking; bearer tokens of the environment when left out.
        tenant: Tells whose data a request is about.
        one_time_tokens: Links that can be exchanged for a session.
        backups: Make automatic backups while the application runs.
    """
    opened = store if isinstance(store, Store) else Store(store, migrate=True)
    api = Api(
        opened,
        prefix=prefix,
        authorize=authorize,
        tenant=tenant,
        one_time_tokens=one_time_tokens,
    )
    routes = [
        Route(api.prefix + e.path, _view(api, e), methods=[e.method], name=f"expresso_{e.name}")
        for e in ENDPOINTS
    ]
    routes += [Route(api.prefix + path, _asset(path), methods=["GET"]) for path in ASSETS]
    # In front of the host's: a mount at /static would hide the page.
    app.router.routes[:0] = routes
    _describe(app, api)
    _wrap_lifespan(app, opened, backups=backups, close=opened is not store)
    return api


def _view(api: Api, endpoint: Endpoint) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        body = bytearray()
        if endpoint.body is not None and not endpoint.streams:
            async for chunk in native.stream():
                body += chunk
                if len(body) > endpoint.body_limit:
                    return _respond(api.too_large(endpoint))
        request = _request(native, bytes(body))
        if endpoint.streams:
            stream = io.BufferedReader(_Stream(native.stream()), 256 * 1024)
            request = attrs.evolve(request, stream=stream)
        # The database is not asynchronous; the event loop must never wait for it.
        return _respond(await run_in_threadpool(api.handle, endpoint, request))

    return view


def _asset(path: str) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        return _respond(serve_asset(path, _request(native, b"")))

    return view


def _request(native: NativeRequest, body: bytes) -> Request:
    return Request(
        native.method,
        native.url.path,
        dict(native.query_params),
        native.headers,  # finds a name in any case
        body,
        dict(native.path_params),
        native=native,
    )


class _Stream(io.RawIOBase):
    """The body as a file that is read in a thread while the event loop receives it."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = anyio.from_thread.run(anext, self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _respond(response: Response) -> NativeResponse:
    if response.stream is not None:
        return StreamingResponse(response.stream, response.status, dict(response.headers))
    return NativeResponse(response.body, response.status, dict(response.headers))


def _describe(app: fastapi.FastAPI, api: Api) -> None:
    """Show the endpoints in the application's own ``/docs``."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        ours = api.openapi()
        document.setdefault("paths", {}).update(ours["paths"])
        components = document.setdefault("components", {})
        for section, members in ours["components"].items():
            components.setdefault(section, {}).update(members)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _wrap_lifespan(app: fastapi.FastAPI, store: Store, *, backups: bool, close: bool) -> None:
    """Start and stop with the application, around whatever lifespan the host has."""
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        if backups:
            store.backups.start()
        try:
            async with inner(application) as state:
                yield state
        finally:
            if backups:
                await run_in_threadpool(store.backups.stop)
            if close:
                await run_in_threadpool(store.close)

    app.router.lifespan_context = lifespan
