"""The table of endpoints: the one source of routes, permissions and the OpenAPI document.

Each module has its rows, their parameters and their handlers together.
"""

from __future__ import annotations

from expresso_persist.http.endpoints import (
    backups,
    documents,
    feed,
    history,
    imports,
    inventory,
    ops,
    stock,
)
from expresso_persist.http.endpoints.endpoint import Endpoint

__all__ = ["ENDPOINTS", "Endpoint", "endpoint_named"]

ENDPOINTS: tuple[Endpoint, ...] = (
    *ops.ENDPOINTS,
    *imports.ENDPOINTS,
    *documents.ENDPOINTS,
    *backups.ENDPOINTS,
    *inventory.ENDPOINTS,
    *feed.ENDPOINTS,
    *stock.ENDPOINTS,
    *history.ENDPOINTS,
)


def endpoint_named(name: str) -> Endpoint:
    """The endpoint of a name."""
    return next(endpoint for endpoint in ENDPOINTS if endpoint.name == name)
