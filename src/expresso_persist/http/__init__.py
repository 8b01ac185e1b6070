"""The HTTP API, independent of any framework: what hosts use to set it up.

An adapter for a framework imports :mod:`expresso_persist.http.adapter`. Nothing in this package
imports a web framework.
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
from expresso_persist.http.access.connections import LiveSettings
from expresso_persist.http.access.jwt import JwtTokens
from expresso_persist.http.access.limits import NO_RATES, Limits
from expresso_persist.http.access.tenants import (
    tenant_from_header,
    tenant_from_path,
    tenant_from_subdomain,
)
from expresso_persist.http.api import Api
from expresso_persist.http.messages import Request, Response
from expresso_persist.http.settings import Settings

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
    "Settings",
    "StoredTokens",
    "first_of",
    "tenant_from_header",
    "tenant_from_path",
    "tenant_from_subdomain",
]
