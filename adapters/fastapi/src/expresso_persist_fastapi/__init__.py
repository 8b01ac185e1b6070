"""Mounts expresso-persist into a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, Unpack

import anyio.from_thread
import anyio.to_thread
import attrs
import fastapi
from anyio.lowlevel import RunVar
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.requests import Request as NativeRequest
from starlette.responses import Response as NativeResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from expresso_persist.http.adapter import (
    ASSETS,
    ENDPOINTS,
    Api,
    Endpoint,
    EventStream,
    Keywords,
    MinimumBodyRate,
    Permission,
    Request,
    RequestTimeout,
    Response,
    Settings,
    Store,
    add_to_host,
    endpoint_named,
    event_loop,
    failure,
    joined,
    name_in_host,
    open_store,
    same_origin,
    serve_asset,
)
from expresso_persist_fastapi._routes import clear_paths, lookup_in

__all__ = ["register_routes"]

T = TypeVar("T")

_NO_SOCKET = (
    "This address is for WebSockets. If that was one, the server lacks a package: "
    'pip install "expresso-persist-fastapi[ws]"; or use the stream.'
)


def register_routes(
    app: fastapi.FastAPI,
    store: Store | str | None = None,
    settings: Settings | None = None,
    **keywords: Unpack[Keywords],
) -> Api:
    """Add the endpoints and the migration page to ``app``.

    A connection that stays open keeps no thread, so that ``live`` allows a thousand at a time
    when it does not say how many.

    Args:
        app: The application.
        store: A store, a database URL, or None for ``DATABASE_URL`` of the environment.
        settings: See :class:`expresso_persist.http.Settings`.
        keywords: Settings by name, such as ``prefix="/coffee"``.

    Raises:
        InvalidConfiguration: The application has routes of its own for these paths, or a setting
            cannot be understood.
    """
    settings = Settings.of(settings, keywords)
    clear_paths(app, settings.prefix, replace=settings.replace)
    opened = open_store(store)
    api = Api(opened, settings, no_socket=_NO_SOCKET)
    routes = [
        Route(
            api.prefix + e.path,
            _view(api, e),
            methods=[e.method],
            name=name_in_host(api.prefix, e.name),
        )
        for e in ENDPOINTS
    ]
    socket = endpoint_named("ws").path
    sockets = [
        WebSocketRoute(
            api.prefix + socket, _socket(api), name=name_in_host(api.prefix, "ws_socket")
        )
    ]
    routes += [Route(api.prefix + path, _asset(path), methods=["GET"]) for path in ASSETS]
    # In front of the host's: a mount at /static would hide the page.
    app.router.routes[:0] = [*sockets, *routes]
    # Routes that the host puts in front later are found by the first request, and by the doctor.
    api.watch_routes(lookup_in(app, routes))
    _describe(app, api)
    _wrap_lifespan(app, opened, backups=settings.backups, close=opened is not store)
    return api


def _view(api: Api, endpoint: Endpoint) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        request = to_request(native)
        if endpoint.long_lived:
            return await _long_lived(api, endpoint, request, native)
        # The database is not asynchronous; the event loop must never wait for it.
        if not endpoint.reads_body:
            if endpoint.streams:
                stream = io.BufferedReader(_Stream(native.stream()), 256 * 1024)
                request = attrs.evolve(request, stream=stream)
            return to_response(await _in_thread(endpoint, api.handle, endpoint, request))
        call = await _in_thread(endpoint, api.receive, endpoint, request)
        if isinstance(call, Response):
            return to_response(call)
        try:
            body = await _body(native, api.body_limit(endpoint))
        except RequestTimeout as error:
            return to_response(failure(error))
        return to_response(await _in_thread(endpoint, api.answer, endpoint, call.with_body(body)))

    return view


_reserved: RunVar[anyio.CapacityLimiter] = RunVar("expresso_persist_reserved")
"""Threads for what is open to all, such as health; a database that hangs may take the others."""


async def _in_thread(endpoint: Endpoint, function: Callable[..., T], *arguments: Any) -> T:
    if endpoint.permission is not Permission.NONE:
        return await run_in_threadpool(function, *arguments)
    try:
        reserved = _reserved.get()
    except LookupError:
        reserved = anyio.CapacityLimiter(4)
        _reserved.set(reserved)
    return await anyio.to_thread.run_sync(function, *arguments, limiter=reserved)


async def _body(native: NativeRequest, limit: int) -> bytes:
    """The body; of one that is too large, one byte more than allowed."""
    body, pieces, rate = bytearray(), native.stream(), MinimumBodyRate()
    while len(body) <= limit and (piece := await _in_time(pieces, rate.time_left(len(body)))):
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


async def _long_lived(
    api: Api, endpoint: Endpoint, request: Request, native: NativeRequest
) -> NativeResponse:
    """Answer a request that may take as long as the client waits."""
    gone = asyncio.ensure_future(_gone(native.receive))
    response = None
    try:
        response = await api.handle_async(endpoint, request, run_in_threadpool, gone)
        if isinstance(response.stream, EventStream):
            return _Streaming(response, response.stream, gone)
        return to_response(response)
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
            return await event_loop.send_in_time(send(message))

        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            pieces = event_loop.deliver(self._events.subscription, run_in_threadpool, self._gone)
            async with contextlib.aclosing(pieces):
                if not await put(self._events.first):
                    return
                async for piece in pieces:
                    if not await put(piece):
                        return  # too slow; the client comes back and goes on where it was
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._events.close()
            self._gone.cancel()


def _socket(api: Api) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        request = Request(
            "GET",
            socket.url.path,
            dict(socket.query_params),
            _headers(socket),
            path_params=dict(socket.path_params),
            client=socket.client.host if socket.client else "",
            scheme="https" if socket.url.scheme == "wss" else "http",
            native=socket,
        )
        if not same_origin(request, api.settings.origins):
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
            greet = functools.partial(api.greet, request)
            number = await event_loop.run_socket(
                greet, run_in_threadpool, receive=receive, send=socket.send_text
            )
            if number is not None:
                await socket.close(number)

    return serve


def _asset(path: str) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def view(native: NativeRequest) -> NativeResponse:
        return to_response(serve_asset(path, to_request(native)))

    return view


def _headers(native: HTTPConnection) -> Headers:
    """The headers, found by a name in any case."""
    return Headers(joined(native.headers.items()))


def to_request(native: NativeRequest) -> Request:
    return Request(
        native.method,
        native.url.path,
        dict(native.query_params),
        _headers(native),
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
        self._rate = MinimumBodyRate()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            left = self._rate.time_left(self._received)
            self._rest = anyio.from_thread.run(_in_time, self._pieces, left)
            self._received += len(self._rest)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def to_response(response: Response) -> NativeResponse:
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
