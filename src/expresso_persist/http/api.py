"""Api: turns a request into a response, for any web framework."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, Unpack

import attrs

from expresso_persist.db import timeouts
from expresso_persist.errors import ExpressoPersistError, TooManyStreams
from expresso_persist.http.access.admission import Admission, Admitted, authorizer
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.connections import Slots
from expresso_persist.http.bodies import check_body, check_headers, check_parameters
from expresso_persist.http.cache import ResponseCache
from expresso_persist.http.call import Call, Services
from expresso_persist.http.endpoints import Endpoint, endpoint_named
from expresso_persist.http.live import event_loop, websocket
from expresso_persist.http.live.long_poll import LongPoll, PendingResponse
from expresso_persist.http.live.subscription import Subscription
from expresso_persist.http.messages import Request, Response, failure, standard_headers
from expresso_persist.http.mounting import Lookup, conflicts, explain
from expresso_persist.http.settings import Keywords, Settings
from expresso_persist.ops.doctor import ROUTES
from expresso_persist.store import Store

__all__ = ["Api"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")
T = TypeVar("T")
CONNECTIONS = 1_000
"""How many connections may stay open where they cost no thread."""


class Api:
    """The endpoints over one store.

    Attributes:
        store: What is served.
        settings: What the host decided.
        prefix: The path in front of every endpoint.
        slots: The connections that are open.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings | None = None,
        *,
        no_socket: str | None = None,
        **keywords: Unpack[Keywords],
    ) -> None:
        """Serve ``store``.

        Args:
            store: What is served.
            settings: See :class:`Settings`. ``backups`` and ``replace`` are the adapter's.
            no_socket: Why a request to the WebSocket's address gets none, if an adapter knows.
            keywords: Settings by name.

        Raises:
            InvalidConfiguration: A setting cannot be understood, a token of the environment is
                short, or every signed-in actor could name any tenant.
        """
        self.store = store
        self.settings: Settings = Settings.of(settings, keywords)
        self.prefix: str = self.settings.prefix
        live, tokens = self.settings.live, self.settings.one_time_tokens
        limit = CONNECTIONS if live.connections is None else live.connections
        self.slots: Slots = Slots(limit, live.per_actor)
        self._admission = Admission(
            store,
            authorizer(store, self.settings.authorize, tokens, self.prefix),
            tenant=self.settings.tenant,
            limits=self.settings.limits,
            origins=self.settings.origins,
        )
        self._services = Services(
            admission=self._admission,
            limits=self.settings.limits,
            slots=self.slots,
            heartbeat=live.heartbeat,
            cache=ResponseCache(),
            one_time_tokens=tokens,
            no_socket=no_socket,
            describe=self.openapi,
        )
        self._unchecked_routes: Callable[[], str | None] | None = None

    # -- the routes -----------------------------------------------------------------------

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._openapi

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        from expresso_persist.http.openapi import openapi_document

        version = importlib.metadata.version("expresso-persist")
        return openapi_document(self.prefix, version, self.settings.limits)

    def watch_routes(self, look_up: Lookup) -> None:
        """Look for routes that the host adds later, at the first request and in the doctor.

        Args:
            look_up: Looks a method and a path up in the application's own router.
        """

        def look() -> str | None:
            found = conflicts(self.prefix, look_up)
            return explain(found) if found else None

        watched = self.store.database.extensions.setdefault(ROUTES, [])
        assert isinstance(watched, list)
        watched.append(look)
        self._unchecked_routes = look

    def _check_routes(self) -> None:
        look, self._unchecked_routes = self._unchecked_routes, None
        if look is not None and (sentence := look()) is not None:
            logger.error("%s", sentence)

    # -- a request ------------------------------------------------------------------------

    def handle(
        self,
        endpoint: Endpoint,
        request: Request,
        read: Callable[[int], bytes] | None = None,
    ) -> Response:
        """Answer a request; errors become responses, never exceptions.

        It may take as long as the client is willing to wait.

        Args:
            endpoint: Which endpoint.
            request: The request.
            read: Reads up to so many bytes of the body; called once the request is admitted.
                None if the request has its body already.
        """
        call = self.receive(endpoint, request)
        if isinstance(call, Response):
            return call
        if read is not None and endpoint.reads_body:
            # One byte more than allowed shows that it is too large; the rest is never read.
            call = call.with_body(read(self.body_limit(endpoint) + 1))
        response = self.answer(endpoint, call)
        while isinstance(response, PendingResponse):
            with contextlib.closing(response.long_poll) as poll:
                poll.wait()
            response = self._resume(endpoint, request, poll)
        return response

    async def handle_async(
        self,
        endpoint: Endpoint,
        request: Request,
        in_thread: event_loop.InThread,
        gone: asyncio.Future[Any],
    ) -> Response:
        """Answer a request without a body as :meth:`handle` does, waiting without a thread.

        Args:
            endpoint: Which endpoint.
            request: The request.
            in_thread: Runs a function with its arguments in a thread.
            gone: Is done when the client is gone.
        """
        response: Response = await in_thread(self._begin, endpoint, request)
        while isinstance(response, PendingResponse):
            with contextlib.closing(response.long_poll) as poll:
                await event_loop.wait_for(poll, gone)
            if gone.done():
                break
            response = await in_thread(self._resume, endpoint, request, poll)
        return response

    def receive(self, endpoint: Endpoint, request: Request) -> Call | Response:
        """Decide by the headers alone, before any of the body is read.

        Returns:
            The call to :meth:`answer` once its body is read, or the answer that refuses it.
        """

        def received() -> Call:
            self._check_routes()
            call = self._call(endpoint, request, self._admission.admit(endpoint.needs, request))
            check_parameters(request)
            check_headers(endpoint, request, self.body_limit(endpoint))
            return call

        return self._guarded(endpoint, received)

    def answer(self, endpoint: Endpoint, call: Call) -> Response:
        """Answer a call that was received, without waiting."""

        def answered() -> Response:
            check_body(endpoint, call.request, self.body_limit(endpoint))
            response = endpoint.handler(call)
            return attrs.evolve(response, headers={**standard_headers(), **response.headers})

        return self._guarded(endpoint, answered)

    def body_limit(self, endpoint: Endpoint) -> int:
        """Bytes that the body may have."""
        return endpoint.body_limit(self.settings.limits)

    def would_read(self, endpoint: Endpoint, request: Request) -> bool:
        """Whether a body would be read at all, by the headers and without counting anything.

        For servers that receive bodies before they call the application: what is refused here
        is refused by :meth:`handle` as well, with the reason.
        """
        if endpoint.body is None:
            return False
        try:
            if endpoint.permission is not Permission.NONE:
                self._admission.check_address(request)
                self._admission.identify(endpoint.needs, request)
            check_headers(endpoint, request, self.body_limit(endpoint))
        except ExpressoPersistError:
            return False
        # Without credentials, only a body of a known length is received.
        length = request.headers.get("content-length", "")
        known = length.isascii() and length.isdigit()
        return known or endpoint.permission is not Permission.NONE

    def greet(self, request: Request, hello: str | bytes | None) -> Subscription:
        """Subscribe a WebSocket by its first message.

        Raises:
            Refusal: It is to be closed.
        """
        endpoint = endpoint_named("ws")

        def admit(handshake: Request) -> Call:
            return self._call(endpoint, handshake, self._admission.admit(endpoint.needs, handshake))

        return websocket.begin(admit, request, hello)

    def _begin(self, endpoint: Endpoint, request: Request) -> Response:
        call = self.receive(endpoint, request)
        return call if isinstance(call, Response) else self.answer(endpoint, call)

    def _resume(self, endpoint: Endpoint, request: Request, poll: LongPoll) -> Response:
        """Answer again after waiting; the actor is authorised again."""
        rest = {"since": poll.cursor, "wait": f"{max(0.0, poll.time_left()):.3f}"}
        again = attrs.evolve(request, query={**request.query, **rest})

        def resumed() -> Response:
            # Not through admit(): it is the same request, and was counted.
            admitted = self._admission.identify(endpoint.needs, again)
            return self.answer(endpoint, self._call(endpoint, again, admitted))

        return self._guarded(endpoint, resumed)

    def _call(self, endpoint: Endpoint, request: Request, admitted: Admitted) -> Call:
        return Call(request, admitted.actor, admitted.store, endpoint.needs, self._services)

    def _guarded(self, endpoint: Endpoint, action: Callable[[], T]) -> T | Response:
        """The result of ``action``; an error becomes its response."""
        try:
            with timeouts.request(takes_time=endpoint.takes_time):
                return action()
        except ExpressoPersistError as error:
            if error.status >= 500 and not isinstance(error, TooManyStreams):
                # No traceback: it would carry SQL and paths into the log.
                logger.error("%s answered %s: %s", endpoint.name, error.status, error.code)  # noqa: TRY400
            return failure(error)
        except Exception as error:  # noqa: BLE001 - the last line: nothing leaks to the client
            name = secrets.token_hex(4)
            logger.error("%s failed (%s): %s", endpoint.name, name, type(error).__name__)  # noqa: TRY400
            return failure(
                ExpressoPersistError(f"Something went wrong on the server (reference {name}).")
            )
