"""The framework-neutral HTTP contract: one table of endpoints, handlers, authorisation.

Handlers take a plain Request and give a plain Response; adapters only translate. Nothing
in this folder imports a web framework.
"""

from __future__ import annotations

from expresso_persist.http.access.auth import (
    Actor,
    BearerTokens,
    OneTimeTokens,
    Permission,
    StoredTokens,
    first_of,
)
from expresso_persist.http.access.jwt import JwtTokens
from expresso_persist.http.access.limits import NO_RATES, Limits
from expresso_persist.http.access.tenants import (
    tenant_from_header,
    tenant_from_path,
    tenant_from_subdomain,
)
from expresso_persist.http.api import Api
from expresso_persist.http.live import LiveSettings
from expresso_persist.http.messages import Request, Response

__all__ = [
    "Actor",
    "Api",
    "BearerTokens",
    "JwtTokens",
    "Limits",
    "LiveSettings",
    "NO_RATES",
    "OneTimeTokens",
    "Permission",
    "Request",
    "Response",
    "StoredTokens",
    "first_of",
    "tenant_from_header",
    "tenant_from_path",
    "tenant_from_subdomain",
]
