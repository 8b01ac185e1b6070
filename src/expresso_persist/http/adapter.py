"""What adapters import: the published interface for mounting the API into a framework.

docs/other-frameworks.md says what an adapter does; the Flask and FastAPI adapters use nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from expresso_persist.errors import RequestTimeout
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.body_rate import HEADERS, STALLED, MinimumBodyRate
from expresso_persist.http.access.connections import LiveSettings, Slots
from expresso_persist.http.access.origins import same_origin
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint, endpoint_named
from expresso_persist.http.live import event_loop
from expresso_persist.http.live.greenlets import may_wait
from expresso_persist.http.live.sse import EventStream
from expresso_persist.http.live.subscription import PATIENCE, Subscription
from expresso_persist.http.live.websocket import HELLO_BYTES, TOO_SLOW, run_socket
from expresso_persist.http.messages import Request, Response, failure, joined
from expresso_persist.http.mounting import (
    HostRoute,
    Lookup,
    conflicts,
    module_variable,
    probes,
    refuse_conflicts,
    sibling_path,
)
from expresso_persist.http.openapi import add_to_host, name_in_host
from expresso_persist.http.pages import ASSETS, serve_asset
from expresso_persist.http.settings import Keywords, Settings
from expresso_persist.store import Store

__all__ = [
    "ASSETS",
    "Api",
    "ENDPOINTS",
    "Endpoint",
    "EventStream",
    "HEADERS",
    "HELLO_BYTES",
    "HostRoute",
    "Keywords",
    "LiveSettings",
    "Lookup",
    "MinimumBodyRate",
    "PATIENCE",
    "Permission",
    "Request",
    "RequestTimeout",
    "Response",
    "STALLED",
    "Settings",
    "Slots",
    "Store",
    "Subscription",
    "TOO_SLOW",
    "add_to_host",
    "command_group",
    "conflicts",
    "sibling_path",
    "endpoint_named",
    "event_loop",
    "failure",
    "joined",
    "may_wait",
    "module_variable",
    "name_in_host",
    "open_store",
    "refuse_conflicts",
    "probes",
    "run_socket",
    "same_origin",
    "serve_asset",
]


def open_store(store: Store | str | None) -> Store:
    """The store itself, or one opened at a database URL or at ``DATABASE_URL``, and migrated."""
    return store if isinstance(store, Store) else Store(store, migrate=True)


def command_group(store: Callable[[], Store], name: str) -> Any:
    """The verbs of the command line as a click group, for a host's own command line.

    Args:
        store: Returns the store that the verbs are about.
        name: What the group is called.
    """
    # By name: the command line stands above this room, and loads only where it is used.
    return importlib.import_module("expresso_persist.cli").host_group(store, name)
