"""Api: from a request to a response, for any web framework."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import attrs
import msgspec

from expresso_persist.errors import (
    ExpressoPersistError,
    Forbidden,
    MalformedJson,
    PayloadTooLarge,
    TooManyStreams,
    Unauthorized,
    UnsupportedMediaType,
)
from expresso_persist.http.auth import (
    Actor,
    Authorize,
    BearerTokens,
    OneTimeTokens,
    Permission,
    first_of,
)
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints import Endpoint
from expresso_persist.http.live import Later, LiveSettings, Slots
from expresso_persist.http.messages import Request, Response
from expresso_persist.store import Store

__all__ = ["Api"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")
_ANYONE = Actor("anonymous", Permission.NONE)
_KEPT_BODIES = 32
CONNECTIONS = 1_000
"""How many connections may stay open where they cost no thread."""


class Api:
    """The endpoints over one store.

    Closed by default: without an ``authorize`` and without tokens in the environment,
    everything but health, the description and the page answers 401.
    """

    def __init__(
        self,
        store: Store,
        *,
        prefix: str = "",
        authorize: Authorize | None = None,
        tenant: Callable[[Request], str] | None = None,
        one_time_tokens: OneTimeTokens | None = None,
        live: LiveSettings | None = None,
    ) -> None:
        """Serve ``store``.

        Args:
            store: What is served.
            prefix: Path in front of every endpoint, such as ``/coffee``.
            authorize: Tells who is asking; None for nobody known.
            tenant: Tells whose data a request is about; the store's tenant when left out.
            one_time_tokens: Links of ``serve`` that can be exchanged for a session.
            live: What may stay connected.
        """
        self.store = store
        self.prefix: str = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self.one_time_tokens = one_time_tokens
        self.live: LiveSettings = live or LiveSettings()
        limit = self.live.connections
        self.no_socket: str | None = None  # why there are no WebSockets, if an adapter knows
        self.slots: Slots = Slots(CONNECTIONS if limit is None else limit)
        self._tenant = tenant
        ways: list[Authorize] = [authorize] if authorize is not None else []
        if authorize is None:
            tokens = BearerTokens.from_environment()
            ways += [tokens] if tokens is not None else []
        if one_time_tokens is not None:
            ways.append(one_time_tokens)
        if not ways:
            logger.warning(
                "expresso-persist is closed: set EXPRESSO_PERSIST_TOKEN or pass authorize= to "
                "register_routes() to let somebody in."
            )
        self._authorize = first_of(ways)
        self._bodies: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._openapi

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        from expresso_persist.http.openapi import openapi_document

        return openapi_document(self.prefix, importlib.metadata.version("expresso-persist"))

    def too_large(self, endpoint: Endpoint) -> Response:
        """The answer to a body over the limit, which an adapter stops reading."""
        limit = endpoint.body_limit // (1024 * 1024)
        return self._failure(PayloadTooLarge(f"The body is larger than {limit} MiB."))

    def handle(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request; errors become responses, never exceptions.

        It may take as long as the client is willing to wait; see :meth:`begin`.
        """
        response = self.begin(endpoint, request)
        while response.later is not None:
            with contextlib.closing(response.later) as later:
                later.wait()
            response = self.resume(endpoint, request, later)
        return response

    def begin(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request at once; the answer may hold a place to wait for a better one."""
        try:
            call = self.admit(endpoint, request)
            _check_body(endpoint, request)
            response = endpoint.handler(call)
        except ExpressoPersistError as error:
            if error.status >= 500 and not isinstance(error, TooManyStreams):
                # No traceback: it would carry SQL and paths into the log.
                logger.error("%s answered %s: %s", endpoint.name, error.status, error.code)  # noqa: TRY400
            return self._failure(error)
        except Exception as error:  # noqa: BLE001 - the last line: nothing leaks to the client
            name = secrets.token_hex(4)
            logger.error("%s failed (%s): %s", endpoint.name, name, type(error).__name__)  # noqa: TRY400
            return self._failure(
                ExpressoPersistError(f"Something went wrong on the server (reference {name}).")
            )
        return attrs.evolve(response, headers={**_headers(), **response.headers})

    def resume(self, endpoint: Endpoint, request: Request, later: Later) -> Response:
        """Answer again after waiting: whoever asks is asked for once more as well."""
        rest = {"since": later.cursor, "wait": f"{max(0.0, later.rest()):.3f}"}
        return self.begin(endpoint, attrs.evolve(request, query={**request.query, **rest}))

    def admit(self, endpoint: Endpoint, request: Request) -> Call:
        """Find out who asks, and for whose data.

        Raises:
            Unauthorized: Nobody known asks.
            Forbidden: Somebody known may not.
        """
        actor = self._actor(endpoint, request)
        store = self.store
        tenant = actor.tenant or (self._tenant(request) if self._tenant else None)
        if tenant is not None and tenant != store.tenant:
            store = store.for_tenant(tenant)
        return Call(self, request, actor, store, endpoint)

    def still_allowed(self, call: Call) -> bool:
        """Whether the same request would be let in now, to the same tenant's data."""

        def ask() -> bool:
            try:
                now = self.admit(call.endpoint, call.request)
            except (Unauthorized, Forbidden):
                return False
            return now.store.tenant == call.store.tenant

        again = call.request.again
        return ask() if again is None else bool(again(ask))

    def _actor(self, endpoint: Endpoint, request: Request) -> Actor:
        if endpoint.permission is Permission.NONE:
            return _ANYONE
        actor = self._authorize(request)
        if actor is None:
            raise Unauthorized
        if actor.permission < endpoint.permission:
            raise Forbidden
        return actor

    def cached(self, call: Call, name: str, build: Callable[[Call], tuple[str, bytes]]) -> Response:
        """The encoded body of the current revision, made once; 304 where the client has it."""
        etag = call.store.inventory.head().etag
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if _has(call.request.headers.get("if-none-match"), etag):
            return Response(304, b"", headers)
        place = (call.store.tenant, name)
        with self._lock:
            kept = self._bodies.get(place)
        if kept is None or kept[0] != etag:
            kept = build(call)
            with self._lock:
                self._bodies[place] = kept
                self._bodies.move_to_end(place)
                while len(self._bodies) > _KEPT_BODIES:
                    self._bodies.popitem(last=False)
        return Response(200, kept[1], {**headers, "ETag": kept[0]})

    def _failure(self, error: ExpressoPersistError) -> Response:
        content: dict[str, Any] = {
            "success": False,
            "error": error.message,
            "code": error.code,
            "details": [
                {"path": problem.path, "message": problem.message} for problem in error.problems
            ],
        }
        if error.context:
            content["data"] = dict(error.context)
        headers = _headers()
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return Response(error.status, msgspec.json.encode(content), headers)


def _has(if_none_match: str | None, etag: str) -> bool:
    """Whether the client holds this version; a proxy that compresses makes tags weak."""
    if if_none_match is None:
        return False
    return etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


def _headers() -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Authorization",
    }


def _check_body(endpoint: Endpoint, request: Request) -> None:
    if endpoint.body is None:
        return
    if len(request.body) > endpoint.body_limit:
        raise PayloadTooLarge
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    if not request.body and not endpoint.streams:
        if endpoint.body_required:
            raise MalformedJson("The body is empty at offset 0; send a JSON object.")
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in endpoint.takes:
        return
    if "application/json" in endpoint.takes:
        if kind.startswith("application/") and kind.endswith("+json"):
            return
        raise UnsupportedMediaType
    raise UnsupportedMediaType(f"Send the body as {endpoint.takes[0]}.")
