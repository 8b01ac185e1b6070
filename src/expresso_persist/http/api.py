"""Api: from a request to a response, for any web framework."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any, TypeVar

import attrs
import msgspec

from expresso_persist.errors import (
    ExpressoPersistError,
    Forbidden,
    InvalidConfiguration,
    InvalidInput,
    MalformedJson,
    NotFound,
    PayloadTooLarge,
    Problem,
    TooManyRequests,
    TooManyStreams,
    Unauthorized,
    UnsupportedMediaType,
)
from expresso_persist.http.access.auth import (
    Actor,
    Authorize,
    BearerTokens,
    OneTimeTokens,
    Permission,
    StoredTokens,
    first_of,
    names_any_tenant,
)
from expresso_persist.http.access.limits import MIB, Limits, RateLimiter
from expresso_persist.http.access.origins import same_origin
from expresso_persist.http.access.tenants import ByRequest, KnownTenants, TenantOf
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints import Endpoint
from expresso_persist.http.live import Later, LiveSettings, Slots
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.mounting import Lookup, conflicts, normal_prefix, told
from expresso_persist.model.json_text import check_storable, find_unstorable
from expresso_persist.ops.doctor import ROUTES
from expresso_persist.store import Store

__all__ = ["Api"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")
_ANYONE = Actor("anonymous", Permission.NONE)
_KEPT_BODIES = 32
T = TypeVar("T")
MAX_PARAMETER = 8_192
"""Characters that a parameter of the path or the query may have."""

STRANGERS_BYTES = 4 * 1024
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
        tenant: TenantOf | None = None,
        one_time_tokens: OneTimeTokens | None = None,
        live: LiveSettings | None = None,
        limits: Limits | None = None,
        origins: Collection[str] = (),
    ) -> None:
        """Serve ``store``.

        Args:
            store: What is served.
            prefix: Path in front of every endpoint, such as ``/coffee``.
            authorize: Tells who is asking; None for nobody known.
            tenant: Tells whose data a request is about; the store's tenant when left out.
            one_time_tokens: Links of ``serve`` that can be exchanged for a session.
            live: What may stay connected.
            limits: How large requests may be, and how many there may be.
            origins: Other origins, such as ``https://display.example``, whose pages may use
                what the browser keeps for this one: cookies, for writes and WebSockets.

        Raises:
            InvalidConfiguration: The limits cannot be understood, a token of the environment is
                short, or anybody signed in could name any tenant.
        """
        self.store = store
        self.prefix: str = normal_prefix(prefix)
        self.one_time_tokens = one_time_tokens
        self.live: LiveSettings = live or LiveSettings()
        self.limits: Limits = limits or Limits()
        self.origins: frozenset[str] = frozenset(origins)
        self._rates = RateLimiter(self.limits, store)
        self._tenants = KnownTenants(store)
        limit = self.live.connections
        self._unlooked: Callable[[], str | None] | None = None
        self.no_socket: str | None = None  # why there are no WebSockets, if an adapter knows
        self.slots: Slots = Slots(CONNECTIONS if limit is None else limit, self.live.per_actor)
        self._tenant = tenant
        ways: list[Authorize] = [authorize] if authorize is not None else []
        if authorize is None:
            tokens = BearerTokens.from_environment()
            ways += [tokens] if tokens is not None else []
            if tokens is None and one_time_tokens is None and not store.tokens.list():
                logger.warning(
                    "expresso-persist%s is closed: set EXPRESSO_PERSIST_TOKEN, run "
                    "`expresso-persist token create`, or pass authorize= to register_routes() "
                    "to let somebody in.",
                    f" at {self.prefix}" if self.prefix else "",
                )
            ways.append(StoredTokens(store))
        if one_time_tokens is not None:
            ways.append(one_time_tokens)
        self._authorize = first_of(ways)
        if isinstance(tenant, ByRequest) and names_any_tenant(self._authorize):
            raise InvalidConfiguration(
                "Whoever is signed in could name any event: tenant= reads it from the request, and "
                "JwtTokens has no tenant_claim. Name the claim that holds a person's event, "
                "JwtTokens(..., tenant_claim=...); or say that all may see all, all_tenants=True."
            )
        self._bodies: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._openapi

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        from expresso_persist.http.openapi import openapi_document

        return openapi_document(self.prefix, importlib.metadata.version("expresso-persist"))

    def watch_routes(self, look_up: Lookup) -> None:
        """Look for routes that the host adds later, at the first request and in the doctor.

        Args:
            look_up: Asks the application's own router.
        """

        def look() -> str | None:
            found = conflicts(self.prefix, look_up)
            return told(found) if found else None

        watched = self.store.database.companions.setdefault(ROUTES, [])
        assert isinstance(watched, list)
        watched.append(look)
        self._unlooked = look

    def _look_at_routes(self) -> None:
        look, self._unlooked = self._unlooked, None
        if look is not None and (sentence := look()) is not None:
            logger.error("%s", sentence)

    def body_limit(self, endpoint: Endpoint) -> int:
        """Bytes that the body may have."""
        size: int = getattr(self.limits, endpoint.size)
        # What strangers may send is a token.
        return min(size, STRANGERS_BYTES) if endpoint.permission is Permission.NONE else size

    def would_read(self, endpoint: Endpoint, request: Request) -> bool:
        """Whether a body would be read at all, by the headers and without counting anything.

        For servers that receive bodies before they call the application: what is refused here
        is refused by :meth:`handle` as well, with the reason.
        """
        length = request.headers.get("content-length", "")
        if endpoint.body is None:
            return False
        try:
            if endpoint.permission is Permission.NONE:
                self._check_headers(endpoint, request)
                return length.isascii() and length.isdigit()
            self._rates.guesses.check(request)
            self.admit(endpoint, request)
            self._check_headers(endpoint, request)
        except ExpressoPersistError:
            return False
        return True

    def refuse(self, error: ExpressoPersistError) -> Response:
        """The answer that tells of an error."""
        return self._failure(error)

    def handle(
        self,
        endpoint: Endpoint,
        request: Request,
        read: Callable[[int], bytes] | None = None,
    ) -> Response:
        """Answer a request; errors become responses, never exceptions.

        It may take as long as the client is willing to wait; see :meth:`begin`.

        Args:
            endpoint: Which endpoint.
            request: The request.
            read: Gives so many bytes of the body; asked once it is clear who sends them. None
                if the request has its body already.
        """
        call = self.receive(endpoint, request)
        if isinstance(call, Response):
            return call
        if read is not None and endpoint.reads_body:
            # One byte more than allowed is enough to know; the rest is never read.
            call = call.with_body(read(self.body_limit(endpoint) + 1))
        response = self.answer(call)
        while response.later is not None:
            with contextlib.closing(response.later) as later:
                later.wait()
            response = self.resume(endpoint, request, later)
        return response

    def begin(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request at once; the answer may hold a place to wait for a better one."""
        call = self.receive(endpoint, request)
        return call if isinstance(call, Response) else self.answer(call)

    def receive(self, endpoint: Endpoint, request: Request) -> Call | Response:
        """Decide by the headers alone, before any of the body is read.

        Returns:
            The call to :meth:`answer` once its body is read, or the answer that refuses it.
        """
        return self._guarded(endpoint, lambda: self._received(endpoint, request))

    def answer(self, call: Call) -> Response:
        """Answer a call that was received; like :meth:`begin` it does not wait."""
        return self._guarded(call.endpoint, lambda: self._answered(call))

    def _received(self, endpoint: Endpoint, request: Request) -> Call:
        self._look_at_routes()
        if endpoint.permission is Permission.NONE:
            self._rates.count_stranger(endpoint.rate, request.client)
            call = self.admit(endpoint, request)
        else:
            call = self.let_in(endpoint, request)
        _check_parameters(request)
        self._check_headers(endpoint, request)
        return call

    def let_in(self, endpoint: Endpoint, request: Request) -> Call:
        """Admit a request that was not admitted before: it is counted, and so are guesses.

        Raises:
            TooManyRequests: There were too many, of this actor or of wrong ones from there.
            Unauthorized: See :meth:`admit`, as for the others.
            Forbidden: The same.
            NotFound: The same.
        """
        new = False
        try:
            with self.guesses(request) as new:
                call = self.admit(endpoint, request)
        except Unauthorized:
            try:
                self._rates.count_stranger(endpoint.rate, request.client)
            except TooManyRequests as error:
                # Else the right credentials would be answered otherwise than the next wrong
                # ones. A station whose token ended is no guesser, and closes nothing.
                if new:
                    self._rates.guesses.close(request, error.retry_after or 0)
                raise
            raise
        self._rates.count(endpoint.rate, call.store.tenant, call.actor.name)
        return call

    def guesses(
        self, request: Request, secret: str | None = None
    ) -> contextlib.AbstractContextManager[bool]:
        """Counts a guess by its address while it is looked up; see :class:`Guesses`."""
        return self._rates.guesses.attempt(request, secret)

    def _answered(self, call: Call) -> Response:
        self._check_body(call.endpoint, call.request)
        response = call.endpoint.handler(call)
        return attrs.evolve(response, headers={**_headers(), **response.headers})

    def _guarded(self, endpoint: Endpoint, action: Callable[[], T]) -> T | Response:
        """What ``action`` gives; an error becomes the answer that tells of it."""
        try:
            return action()
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

    def resume(self, endpoint: Endpoint, request: Request, later: Later) -> Response:
        """Answer again after waiting: whoever asks is asked for once more as well."""
        rest = {"since": later.cursor, "wait": f"{max(0.0, later.rest()):.3f}"}
        again = attrs.evolve(request, query={**request.query, **rest})
        # Not through receive(): it is the same request, and was counted.
        return self._guarded(endpoint, lambda: self._answered(self.admit(endpoint, again)))

    def admit(self, endpoint: Endpoint, request: Request) -> Call:
        """Find out who asks, and for whose data.

        Raises:
            Unauthorized: Nobody known asks, or somebody known elsewhere.
            Forbidden: Somebody known may not, or the page of another origin asks for them.
            NotFound: There is no such tenant.
        """
        if endpoint.permission is Permission.NONE:
            # Nobody known: no name that they send leads to a tenant.
            return Call(self, request, _ANYONE, self.store, endpoint)
        actor = self._actor(endpoint, request)
        store = self._tenants.store(actor, self._tenant(request) if self._tenant else None)
        return Call(self, request, actor, store, endpoint)

    def still_allowed(self, call: Call) -> bool:
        """Whether the same request would be let in now, to the same tenant's data."""

        def ask() -> bool:
            try:
                now = self.admit(call.endpoint, call.request)
            except (Unauthorized, Forbidden, NotFound):
                return False
            return now.store.tenant == call.store.tenant

        again = call.request.again
        return ask() if again is None else bool(again(ask))

    def _actor(self, endpoint: Endpoint, request: Request) -> Actor:
        actor = self._authorize(request)
        # Nobody can be called what no audit trail can hold.
        if actor is None or find_unstorable(actor.name) is not None:
            raise Unauthorized
        if endpoint.method != "GET" and not same_origin(request, self.origins):
            raise Forbidden(
                "A page of another origin may not do this with what the browser keeps for this "
                "one. If it is yours, name it: register_routes(..., origins=[...])."
            )
        if actor.permission < endpoint.permission:
            raise Forbidden
        return actor

    def _check_headers(self, endpoint: Endpoint, request: Request) -> None:
        if endpoint.body is None:
            return
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
        length = request.headers.get("content-length", "")
        if not endpoint.streams and length.isascii() and length.isdigit():
            # As texts of digits: a number of a million digits is none to convert.
            limit = str(self.body_limit(endpoint))
            digits = length.lstrip("0")
            if (len(digits), digits) > (len(limit), limit):
                raise self.too_large(endpoint)
        kind = _media_type(request)
        if kind and length != "0" and not _takes(endpoint, kind):
            raise _wrong_type(endpoint)

    def _check_body(self, endpoint: Endpoint, request: Request) -> None:
        if endpoint.body is None:
            return
        if len(request.body) > self.body_limit(endpoint):
            raise self.too_large(endpoint)
        if not request.body and not endpoint.streams:
            if endpoint.body_required:
                raise MalformedJson("The body is empty at offset 0; send a JSON object.")
            return
        if not _takes(endpoint, _media_type(request)):
            raise _wrong_type(endpoint)

    def too_large(self, endpoint: Endpoint) -> PayloadTooLarge:
        """The error about a body over the limit, which an adapter stops reading."""
        limit = self.body_limit(endpoint)
        size = f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit:,} bytes"
        return PayloadTooLarge(f"The body is larger than {size}.")

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


def _check_parameters(request: Request) -> None:
    """Refuse names of a path or a query that no database could look up."""
    parameters = {**request.query, **request.path_params}
    check_storable(**parameters)
    for name, value in parameters.items():
        if len(value) > MAX_PARAMETER:
            raise InvalidInput(
                f"{name[:50]} has more than {MAX_PARAMETER:,} characters.",
                problems=[Problem(name[:50], f"at most {MAX_PARAMETER:,} characters")],
            )


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
        # No other page may embed an answer. It is no page itself: JSON that nobody may sniff.
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Authorization, Cookie",
    }


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _takes(endpoint: Endpoint, kind: str) -> bool:
    if kind in endpoint.takes:
        return True
    # RFC 6839: what ends in +json is JSON too.
    json = kind.startswith("application/") and kind.endswith("+json")
    return json and "application/json" in endpoint.takes


def _wrong_type(endpoint: Endpoint) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"Send the body as {endpoint.takes[0]}.")
