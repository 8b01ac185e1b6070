"""Endpoint: a row of the table, and the parameters that several rows share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from expresso_persist.errors import InvalidInput, Problem
from expresso_persist.http.access.admission import Needs
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.limits import Limits, Rate
from expresso_persist.http.call import Call
from expresso_persist.http.messages import Response

__all__ = [
    "DRY_RUN",
    "FLAG",
    "JSON",
    "LIMIT",
    "MAX_LIMIT",
    "OF_WRITE",
    "STANDING",
    "Data",
    "Endpoint",
    "Handler",
    "Query",
    "Schema",
    "whole_number",
]

Handler: TypeAlias = Callable[[Call], Response]
Schema: TypeAlias = Mapping[str, Any]
JSON = "application/json"
ANONYMOUS_BYTES = 4 * 1024
"""Bytes that a body may have without credentials: what is sent there is a token."""


@attrs.frozen
class Query:
    """A parameter of the query or a header: a sentence for people, and its JSON Schema."""

    text: str
    schema: Schema = attrs.field(factory=lambda: {"type": "string"})


@attrs.frozen
class Data:
    """The ``data`` of an answer: the name of its schema in the OpenAPI document, and the schema."""

    name: str
    schema: Schema


@attrs.frozen
class Endpoint:
    """One endpoint.

    Attributes:
        name: Its name in the OpenAPI document and for adapters.
        method: ``GET`` or ``POST``.
        path: Its path without the prefix; placeholders in braces.
        permission: What the actor needs.
        handler: Answers a call.
        summary: A sentence for people.
        query: Query parameters and what they mean.
        headers: Headers of its own and what they mean.
        body: The request's body: a JSON Schema, a function that makes one of the
            :class:`Limits`, or an attrs class; None without a body.
        size: Which of :class:`Limits` its body has, unless it streams.
        heavy: Whether it is counted among imports and restores.
        body_required: Whether an empty body is refused.
        consumes: Media types of the body.
        streams: The body is a file that the handler reads as it arrives, so the permission is
            checked before any of it is received.
        produces: Media types of the answer, the usual one first.
        data: The answer's ``data``.
        links: How the answer leads to the next request: OpenAPI links by name.
        error_statuses: Statuses it may have besides those that follow from the rest.
        long_lived: The answer may take as long as the client is willing to wait.
        takes_time: Whether it may work in the database for longer than reads and single writes
            do: what is heavy, and what administrators do.
    """

    name: str
    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    query: Mapping[str, Query] = attrs.field(factory=dict)
    headers: Mapping[str, Query] = attrs.field(factory=dict)
    body: Any = None
    size: str = "update_bytes"
    heavy: bool = False
    body_required: bool = True
    consumes: tuple[str, ...] = (JSON,)
    streams: bool = False
    produces: tuple[str, ...] = (JSON,)
    data: Data | None = None
    links: Mapping[str, Schema] = attrs.field(factory=dict)
    error_statuses: tuple[int, ...] = ()
    long_lived: bool = False
    takes_time: bool = attrs.field(
        default=attrs.Factory(
            lambda it: it.heavy or it.permission is Permission.ADMIN, takes_self=True
        )
    )

    @property
    def needs(self) -> Needs:
        """What it requires of a request."""
        writes = self.method != "GET"
        rate = Rate.HEAVY if self.heavy else Rate.WRITE if writes else Rate.READ
        return Needs(self.permission, rate, writes, self.query)

    @property
    def reads_body(self) -> bool:
        """Whether an adapter reads the body before the handler runs."""
        return self.body is not None and not self.streams

    def body_limit(self, limits: Limits) -> int:
        """Bytes that the body may have."""
        size: int = getattr(limits, self.size)
        return min(size, ANONYMOUS_BYTES) if self.permission is Permission.NONE else size


# In any case of letters: str(True) of Python is one too.
FLAG: Schema = {
    "type": "string",
    "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|1|0)$",
}
DRY_RUN = Query("true: only say what would be done", FLAG)
MAX_LIMIT = 1_000
LIMIT = Query(f"1 to {MAX_LIMIT}", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
_POSITION: Schema = {"type": "string", "pattern": r"^[^.\s]{1,256}\.[0-9]{1,18}\.[0-9a-f]{1,64}$"}
STANDING = {
    "Expresso-Since": Query(
        "a cursor that the client knows; 409 timeline_lost from a database that does not have it",
        _POSITION,
    ),
    "Expresso-Acknowledged": Query(
        "the cursor of this write's first answer, when it is offered again after a loss",
        _POSITION,
    ),
    "Expresso-Lost": Query(
        "with an offer, the oldest cursor that the client knows and this database does not have",
        _POSITION,
    ),
}
OF_WRITE: Mapping[str, Schema] = {
    "undo": {"operationId": "undo", "requestBody": {"revision": "$response.body#/revision"}},
    "as_it_was": {"operationId": "get_all", "parameters": {"as_of": "$response.body#/revision"}},
}
"""Where the answer of a write leads."""


def whole_number(text: str, name: str, most: int = 10**18 - 1) -> int:
    """A parameter that is a whole number from 1 to ``most``.

    Raises:
        InvalidInput: It is not.
    """
    if text.isascii() and text.isdigit() and len(text) <= 18 and 1 <= int(text) <= most:
        return int(text)
    span = f"1 to {most}" if most < 10**18 - 1 else "1 or more"
    raise InvalidInput(f"{name} is a whole number, {span}.", problems=[Problem(name, span)])
