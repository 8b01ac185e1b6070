"""Mounts expresso-persist into a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import anyio.from_thread
import attrs
import fastapi
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as NativeRequest
from starlette.responses import Response as NativeResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from expresso_persist import Store
from expresso_persist.errors import RequestTimeout
from expresso_persist.http import asynchronous
from expresso_persist.http.access.auth import Authorize, OneTimeTokens
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.access.origins import same_origin
from expresso_persist.http.access.tenants import TenantOf
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.http.live import Listening, LiveSettings
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.mounting import normal_prefix
from expresso_persist.http.openapi import add_to_host, name_in_host
from expresso_persist.http.pace import Pace
from expresso_persist.http.pages import ASSETS, serve_asset
from expresso_persist.http.streams import EventStream
from expresso_persist_fastapi._routes import lookup_in, make_way

__all__ = ["register_routes"]


def register_routes(
    app: fastapi.FastAPI,
    store: Store | str | None = None,
    *,
    prefix: str = "",
    authorize: Authorize | None = None,
    tenant: TenantOf | None = None,
    one_time_tokens: OneTimeTokens | None = None,
    backups: bool = False,
    live: LiveSettings | None = None,
    limits: Limits | None = None,
    origins: Collection[str] = (),
    replace: bool = False,
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
        live: What may stay connected; a thousand at a time when left out, none of which
            keeps a thread.
        limits: How large requests may be, and how many there may be.
        origins: Other origins whose pages may write with this one's cookies.
        replace: Take over the paths that the application has routes for already.

    Raises:
        InvalidConfiguration: The application has routes of its own for these paths.
    """
    prefix = normal_prefix(prefix)
    make_way(app, prefix, replace=replace)
    opened = store if isinstance(store, Store) else Store(store, migrate=True)
    api = Api(
        opened,
        prefix=prefix,
        authorize=authorize,
        tenant=tenant,
        one_time_tokens=one_time_tokens,
        live=live,
        limits=limits,
        origins=origins,
    )
    api.no_socket = (
        "This address is for WebSockets. If that was one, the server lacks a package: "
        'pip install "expresso-persist-fastapi[ws]"; or use the stream.'
    )
    routes = [
        Route(
            api.prefix + e.path,
            _view(api, e),
            methods=[e.method],
            name=name_in_host(api.prefix, e.name),
        )
        for e in ENDPOINTS
    ]
    sockets = [
        WebSocketRoute(
            api.prefix + e.path, _socket(api, e), name=name_in_host(api.prefix, e.name + "_socket")
        )
        for e in ENDPOINTS
        if e.name == "ws"
    ]
    routes += [Route(api.prefix + path, _asset(path), methods=["GET"]) for path in ASSETS]
    # In front of the host's: a mount at /static would hide the page.
    app.router.routes[:0] = [*sockets, *routes]
    # What the host puts in front later is looked at when somebody asks, and by the doctor.
    api.watch_routes(lookup_in(app, routes))
    _describe(app, api)
    _wrap_lifespan(app, opened, backups=backups, close=opened is not store)
    return api


def _view(api: Api, endpoint: Endpoint) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        request = _request(native)
        if endpoint.stays:
            return await _stay(api, endpoint, request, native)
        # The database is not asynchronous; the event loop must never wait for it.
        if not endpoint.reads_body:
            if endpoint.streams:
                stream = io.BufferedReader(_Stream(native.stream()), 256 * 1024)
                request = attrs.evolve(request, stream=stream)
            return _respond(await run_in_threadpool(api.handle, endpoint, request))
        call = await run_in_threadpool(api.receive, endpoint, request)
        if isinstance(call, Response):
            return _respond(call)
        try:
            body = await _body(native, api.body_limit(endpoint))
        except RequestTimeout as error:
            return _respond(api.refuse(error))
        return _respond(await run_in_threadpool(api.answer, call.with_body(body)))

    return view


async def _body(native: NativeRequest, limit: int) -> bytes:
    """The body, or one byte more than allowed of it, which is enough to know."""
    body, pieces, pace = bytearray(), native.stream(), Pace()
    while len(body) <= limit and (piece := await _in_time(pieces, pace.left(len(body)))):
        body += piece
    return bytes(body[: limit + 1])


async def _in_time(pieces: AsyncGenerator[bytes, None], seconds: float) -> bytes:
    """The next piece that is not empty; nothing at the end."""
    try:
        async with asyncio.timeout(seconds):
            async for piece in pieces:
                if piece:
                    return piece
    except TimeoutError:
        raise RequestTimeout from None
    return b""


async def _stay(
    api: Api, endpoint: Endpoint, request: Request, native: NativeRequest
) -> NativeResponse:
    """Answer a request that may take as long as the client is willing to wait."""
    gone = asyncio.ensure_future(_gone(native.receive))
    response = None
    try:
        response = await asynchronous.handle(api, endpoint, request, run_in_threadpool, gone)
        if isinstance(response.stream, EventStream):
            return _Streaming(response, response.stream, gone)
        return _respond(response)
    finally:
        if response is None or response.stream is None:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Streaming(NativeResponse):
    """Server-sent events, without the layers that StreamingResponse puts around each piece."""

    def __init__(self, response: Response, events: EventStream, gone: asyncio.Future[None]) -> None:
        super().__init__(None, response.status, dict(response.headers))
        del self.headers["content-length"]
        self._events = events
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put(body: bytes, more: bool = True) -> bool:
            message = {"type": "http.response.body", "body": body, "more_body": more}
            return await asynchronous.send_in_time(send(message))

        listening: Listening = self._events.listening
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            coming = asynchronous.pieces(listening, run_in_threadpool, self._gone)
            async with contextlib.aclosing(coming):
                if not await put(self._events.first):
                    return
                async for piece in coming:
                    if not await put(piece):
                        return  # too slow; it comes again and goes on where it was
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._events.close()
            self._gone.cancel()


def _socket(api: Api, endpoint: Endpoint) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        request = Request(
            "GET",
            socket.url.path,
            dict(socket.query_params),
            socket.headers,
            path_params=dict(socket.path_params),
            client=socket.client.host if socket.client else "",
            scheme="https" if socket.url.scheme == "wss" else "http",
            native=socket,
        )
        if not same_origin(request, api.origins):
            await socket.close()  # before it is accepted: 403
            return

        async def receive() -> str | bytes | None:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            text: str | None = message.get("text")
            return message.get("bytes", b"") if text is None else text

        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            number = await asynchronous.run_socket(
                api, endpoint, request, run_in_threadpool, receive=receive, send=socket.send_text
            )
            if number is not None:
                await socket.close(number)

    return serve


def _asset(path: str) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        return _respond(serve_asset(path, _request(native)))

    return view


def _request(native: NativeRequest) -> Request:
    return Request(
        native.method,
        native.url.path,
        dict(native.query_params),
        native.headers,  # finds a name in any case
        path_params=dict(native.path_params),
        client=native.client.host if native.client else "",
        scheme=native.url.scheme,
        native=native,
    )


class _Stream(io.RawIOBase):
    """The body as a file that is read in a thread while the event loop receives it."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._received = 0
        self._pace = Pace()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            left = self._pace.left(self._received)
            self._rest = anyio.from_thread.run(_in_time, self._pieces, left)
            self._received += len(self._rest)
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
        add_to_host(document, api.openapi(), api.prefix)
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
