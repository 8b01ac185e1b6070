"""Permissions, actors, and ready-made ``authorize`` hooks."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Self

import attrs

from expresso_persist.errors import IdempotencyMismatch, InvalidConfiguration, Unauthorized
from expresso_persist.http.messages import Request
from expresso_persist.store import Store
from expresso_persist.tenants.tokens import AccessToken, tenant_of

__all__ = [
    "Actor",
    "Authorize",
    "BearerTokens",
    "OneTimeTokens",
    "Permission",
    "StoredTokens",
    "bearer",
    "first_of",
    "names_any_tenant",
]

SESSION_HOURS = 12
SHORTEST = 16
"""Characters that a token of the environment has at least."""
REMEMBERED = 10.0
"""Seconds for which a token that was found in the database is not looked up again."""
_MANY = 1_000
REPEATED = 600.0
"""Seconds for which the exchange of a one-time link can be repeated under its key."""


class Permission(enum.IntEnum):
    """What an endpoint needs; a higher one includes the lower ones."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


@attrs.frozen
class Actor:
    """Who sends a request; the name goes into the audit trail."""

    name: str
    permission: Permission
    tenant: str | None = None


Authorize = Callable[[Request], Actor | None]


def first_of(authorizers: Iterable[Authorize]) -> Authorize:
    """Try several ``authorize`` hooks in turn; the first actor found is taken."""
    return _FirstOf(tuple(authorizers))


@attrs.frozen
class _FirstOf:
    ways: tuple[Authorize, ...]

    @property
    def names_any_tenant(self) -> bool:
        return any(names_any_tenant(way) for way in self.ways)

    def __call__(self, request: Request) -> Actor | None:
        for way in self.ways:
            actor = way(request)
            if actor is not None:
                return actor
        return None


def names_any_tenant(authorize: Authorize) -> bool:
    """Whether its actors could name any tenant, without the host saying so."""
    return bool(getattr(authorize, "names_any_tenant", False))


def bearer(request: Request) -> str | None:
    """The bearer token of a request, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class BearerTokens:
    """Fixed bearer tokens; only their hashes are kept, and compared in constant time."""

    def __init__(self, tokens: Mapping[str, Actor]) -> None:
        """Accept each token as its actor."""
        if any(len(token) < 8 for token in tokens):
            raise InvalidConfiguration("A bearer token has at least 8 characters.")
        self._tokens = [(_digest(token), actor) for token, actor in tokens.items()]

    @classmethod
    def from_environment(cls) -> Self | None:
        """The tokens of ``EXPRESSO_PERSIST_TOKEN`` (admin), ``…_WRITE_TOKEN``, ``…_READ_TOKEN``.

        Raises:
            InvalidConfiguration: One of them is short enough to be guessed.
        """
        found: dict[str, Actor] = {}
        for name, actor in (
            ("EXPRESSO_PERSIST_READ_TOKEN", Actor("reader", Permission.READ)),
            ("EXPRESSO_PERSIST_WRITE_TOKEN", Actor("writer", Permission.WRITE)),
            ("EXPRESSO_PERSIST_TOKEN", Actor("admin", Permission.ADMIN)),
        ):
            token = os.environ.get(name)
            if token and len(token) < SHORTEST:
                raise InvalidConfiguration(
                    f"{name} has fewer than {SHORTEST} characters and could be guessed. Take one "
                    "of `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
                )
            if token:
                found[token] = actor
        return cls(found) if found else None

    def __call__(self, request: Request) -> Actor | None:
        """The actor of the request's token, or None."""
        token = bearer(request)
        if token is None:
            return None
        digest, found = _digest(token), None
        for known, actor in self._tokens:  # every one, so that the time reveals nothing
            if hmac.compare_digest(known, digest):
                found = actor
        return found


class StoredTokens:
    """The tokens of ``expresso-persist token create``, each for the tenant it was made for.

    A token that was found is remembered for :data:`REMEMBERED` seconds, which saves a query per
    request; a revoked token works for that long at most.
    """

    def __init__(self, store: Store) -> None:
        """Look tokens up in the store's database."""
        self._store = store
        self._seen: dict[bytes, tuple[float, AccessToken]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Actor | None:
        """The actor of the request's token, or None."""
        token = bearer(request)
        tenant = None if token is None else tenant_of(token)
        if token is None or tenant is None:
            return None
        digest, now = _digest(token), time.monotonic()
        with self._lock:
            until, found = self._seen.get(digest, (0.0, None))
        if found is None or until <= now or found.expired(dt.datetime.now(dt.UTC)):
            found = self._store.for_tenant(tenant).tokens.recognise(token)
            with self._lock:
                if len(self._seen) >= _MANY:
                    self._seen.clear()
                self._seen.pop(digest, None)
                if found is not None:
                    self._seen[digest] = (now + REMEMBERED, found)
        if found is None:
            return None
        return Actor(found.name, Permission[found.permission.upper()], found.tenant)


@attrs.frozen
class Session:
    """What a link was exchanged for: a token, and when it ends.

    Attributes:
        token: The bearer token.
        until: When it ends.
        replayed: The link was exchanged before, by a request with the same idempotency key.
    """

    token: str = attrs.field(repr=False)
    until: dt.datetime
    replayed: bool = False


class OneTimeTokens:
    """Link tokens that can be exchanged once for a session of twelve hours."""

    def __init__(self, on_used: Callable[[], None] | None = None) -> None:
        """Call ``on_used`` after each exchange, so that a fresh link can be shown."""
        self._links: set[bytes] = set()
        self._sessions: dict[bytes, dt.datetime] = {}
        self._given: dict[str, tuple[dt.datetime, bytes, Session]] = {}
        self._lock = threading.Lock()
        self._on_used = on_used

    def issue(self) -> str:
        """A new link token."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._links.add(_digest(token))
        return token

    def exchange(self, token: str, idempotency_key: str | None = None) -> Session:
        """Use a link token up.

        Args:
            token: The link's token.
            idempotency_key: The client's name for the request; the same again within
                :data:`REPEATED` seconds, as when the answer was lost, gives the first answer.

        Raises:
            Unauthorized: The link token is unknown or was used.
            IdempotencyMismatch: The key was used for another link.
        """
        now, link = dt.datetime.now(dt.UTC), _digest(token)
        session = Session(secrets.token_urlsafe(32), now + dt.timedelta(hours=SESSION_HOURS))
        with self._lock:
            since = now - dt.timedelta(seconds=REPEATED)
            self._given = {k: given for k, given in self._given.items() if given[0] > since}
            earlier = self._given.get(idempotency_key) if idempotency_key is not None else None
            if earlier is not None:
                if earlier[1] != link:
                    raise IdempotencyMismatch
                return attrs.evolve(earlier[2], replayed=True)
            if link not in self._links:
                raise Unauthorized("This link was used already, or is too old; ask for a new one.")
            self._links.discard(link)
            self._sessions = {k: end for k, end in self._sessions.items() if end > now}
            self._sessions[_digest(session.token)] = session.until
            if idempotency_key is not None:
                self._given[idempotency_key] = now, link, session
        if self._on_used is not None:
            self._on_used()
        return session

    def __call__(self, request: Request) -> Actor | None:
        """The actor of a session's token, or None."""
        token = bearer(request)
        if token is None:
            return None
        with self._lock:
            until = self._sessions.get(_digest(token))
        if until is None or until <= dt.datetime.now(dt.UTC):
            return None
        return Actor("organiser", Permission.ADMIN)
