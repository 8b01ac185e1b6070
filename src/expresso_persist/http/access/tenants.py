"""The tenant of a request: ready-made ``tenant`` hooks, and which actors may use which tenant."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import attrs

from expresso_persist.errors import NotFound, Unauthorized
from expresso_persist.http.access.auth import Actor
from expresso_persist.http.messages import Request
from expresso_persist.model.json_text import find_unstorable
from expresso_persist.store import Store

__all__ = [
    "ByRequest",
    "KnownTenants",
    "TenantOf",
    "tenant_from_header",
    "tenant_from_path",
    "tenant_from_subdomain",
]

TenantOf: TypeAlias = Callable[[Request], str | None]
"""Gives the tenant that a request names; None for the store's own."""

REMEMBERED = 10.0
"""Seconds until a tenant that was there is looked for again."""
_MANY = 1_000


@attrs.frozen
class ByRequest:
    """A hook whose tenant the sender of the request can choose."""

    _read: Callable[[Request], str | None]

    def __call__(self, request: Request) -> str | None:
        """The tenant that the request names."""
        return self._read(request)


def tenant_from_header(name: str) -> TenantOf:
    """The tenant that a header names, such as ``X-Event``."""
    return ByRequest(lambda request: request.headers.get(name.lower()))


def tenant_from_subdomain(domain: str) -> TenantOf:
    """The name in front of a domain: ``spring.coffee.example`` is ``spring``.

    Args:
        domain: The domain that the tenants' names stand in front of. Other hosts, and names
            of more than one part, are those of no tenant.
    """
    suffix = "." + domain.lower().strip(".")

    def tenant(request: Request) -> str | None:
        host = request.headers.get("host", "").lower().partition(":")[0].rstrip(".")
        if host == suffix[1:]:
            return None
        # A host of somewhere else must not end at the store's own data.
        return host.removesuffix(suffix) if host.endswith(suffix) else ""

    return ByRequest(tenant)


def tenant_from_path(name: str) -> TenantOf:
    """The tenant in the path, of ``register_routes(app, prefix="/events/{event}")``.

    Args:
        name: The placeholder, ``event`` in the example.
    """
    return ByRequest(lambda request: request.path_params.get(name, ""))


class KnownTenants:
    """Finds the store of the tenant that a request is about."""

    def __init__(self, store: Store) -> None:
        """Look for tenants in the store's database."""
        self._store = store
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def store(self, actor: Actor, asked: str | None) -> Store:
        """The store of the tenant that a request names.

        Args:
            actor: Who sends it; some belong to one tenant.
            asked: The tenant that the request names.

        Raises:
            Unauthorized: The actor belongs to another tenant.
            NotFound: There is no such tenant. A name in a request never makes one.
        """
        if actor.tenant is not None and asked is not None and actor.tenant != asked:
            raise Unauthorized
        tenant = self._store.tenant if asked is None else asked
        if actor.tenant is not None:
            tenant = actor.tenant
        if tenant == self._store.tenant:
            return self._store
        found = self._store.for_tenant(tenant)
        if not self._exists(found):
            if actor.tenant is not None:
                raise Unauthorized
            raise NotFound("There is no such event here; its name is in the address or a header.")
        return found

    def _exists(self, store: Store) -> bool:
        tenant, now = store.tenant, time.monotonic()
        with self._lock:
            if self._seen.get(tenant, 0.0) > now:
                return True
        # A name that no database could hold, or no tenant may have, is none either.
        if find_unstorable(tenant) is not None or not 0 < len(tenant) <= 256:
            return False
        if not store.inventory.exists():
            return False
        with self._lock:
            if len(self._seen) >= _MANY:
                self._seen.clear()
            self._seen[tenant] = now + REMEMBERED
        return True
