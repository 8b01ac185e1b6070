"""The framework-neutral HTTP contract: one table of endpoints, handlers, authorisation.

Handlers take a plain Request and give a plain Response; adapters only translate. Nothing
in this folder imports a web framework.
"""

from __future__ import annotations

from expresso_persist.http.api import Api
from expresso_persist.http.auth import Actor, BearerTokens, OneTimeTokens, Permission
from expresso_persist.http.live import LiveSettings
from expresso_persist.http.messages import Request, Response

__all__ = [
    "Actor",
    "Api",
    "BearerTokens",
    "LiveSettings",
    "OneTimeTokens",
    "Permission",
    "Request",
    "Response",
]
