"""Call: a request that was admitted, with its actor and store; and what handlers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import attrs

from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.commits.offers import Position, Standing
from expresso_persist.errors import InvalidInput, MalformedJson, Problem
from expresso_persist.http.access.admission import Admission, Needs
from expresso_persist.http.access.auth import Actor, OneTimeTokens
from expresso_persist.http.access.connections import Slots
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.cache import ResponseCache
from expresso_persist.http.messages import Request
from expresso_persist.model import json_text
from expresso_persist.store import Store

__all__ = ["Call", "Services"]


@attrs.frozen
class Services:
    """What handlers share; one for all calls of an API.

    Attributes:
        admission: Admits the request again: at heartbeats, and for more than it needed at first.
        limits: How large a request may be.
        slots: The connections that are open.
        heartbeat: Seconds between two heartbeats of an open connection.
        cache: Encoded answers.
        one_time_tokens: Links that can be exchanged for a session.
        no_socket: Why a request to the WebSocket's address gets none.
        describe: Makes the OpenAPI document.
    """

    admission: Admission
    limits: Limits
    slots: Slots
    heartbeat: float
    cache: ResponseCache
    one_time_tokens: OneTimeTokens | None
    no_socket: str | None
    describe: Callable[[], dict[str, Any]]


@attrs.frozen
class Call:
    """What a handler works with.

    Attributes:
        request: The request.
        actor: Who sends it.
        store: The store of the tenant that it is about.
        needs: What the endpoint requires of it.
        services: What some handlers need besides the call.
    """

    request: Request
    actor: Actor
    store: Store
    needs: Needs
    services: Services

    @property
    def slot_owner(self) -> str:
        """The actor's name among those of all tenants."""
        return f"{self.store.tenant}/{self.actor.name}"

    def still_allowed(self) -> bool:
        """Whether the same request would be admitted now."""
        admission = self.services.admission
        return admission.still_allowed(self.needs, self.request, self.store.tenant)

    def with_body(self, body: bytes) -> Call:
        """The same call, its body read."""
        return attrs.evolve(self, request=attrs.evolve(self.request, body=body))

    def body(self) -> dict[str, Any]:
        """The body as an object; an empty body is an empty object where that is allowed.

        Raises:
            MalformedJson: It is not JSON, or not an object.
            InvalidInput: It is nested too deeply, names a member twice, or holds
                characters that no database can store.
        """
        if not self.request.body:
            return {}
        value = json_text.loads(self.request.body, reject_duplicates=True, reject_unstorable=True)
        if not isinstance(value, dict):
            raise MalformedJson("The body is not a JSON object at offset 0.")
        return value

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false."""
        value = self.request.query.get(name, "false").lower()
        if value not in ("true", "false", "1", "0"):
            raise InvalidInput(
                f"{name} is true or false.", problems=[Problem(name, "true or false")]
            )
        return value in ("true", "1")

    @property
    def idempotency_key(self) -> str | None:
        """The request's Idempotency-Key."""
        key = self.request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
            raise InvalidInput(
                "Idempotency-Key has 1 to 200 printable characters.",
                problems=[Problem("Idempotency-Key", "1 to 200 printable characters")],
            )
        return key

    @property
    def expected_revision(self) -> int | None:
        """The record's revision that ``If-Match`` asks for."""
        value = self.request.headers.get("if-match")
        if value is None:
            return None
        number = value.strip().removeprefix("W/").strip('"')
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise InvalidInput(
                'If-Match holds a revision, such as "17".',
                problems=[Problem("If-Match", "a revision in quotes")],
            )
        return int(number)

    def standing(self, *, adds: bool) -> Standing:
        """What the client says about the timeline with a write.

        Args:
            adds: The write adds to numbers and sets nothing.
        """
        names = ("Expresso-Since", "Expresso-Acknowledged", "Expresso-Lost")
        since, acknowledged, lost = map(self._position, names)
        return Standing(since, acknowledged, adds, lost)

    def _position(self, name: str) -> Position | None:
        text = self.request.headers.get(name.lower())
        return None if text is None else Position.read(text, name)

    @property
    def fingerprint(self) -> bytes:
        """Distinguishes this request from another one with the same Idempotency-Key."""
        query = "?" + urlencode(sorted(self.request.query.items())) if self.request.query else ""
        return b"%s %s%s\n%s" % (
            self.request.method.encode(),
            self.request.path.encode(),
            query.encode(),
            self.request.body,
        )

    @property
    def keyed(self) -> KeyedRequest | None:
        """The request under its Idempotency-Key, for handlers that make no commit."""
        return KeyedRequest.of(
            self.store.tenant, self.actor.name, self.idempotency_key, self.fingerprint
        )
