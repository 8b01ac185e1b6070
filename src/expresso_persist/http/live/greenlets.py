"""Servers that run every request in greenlets of one thread: may a request wait there?

Nothing here imports eventlet or gevent; it looks only at what the host has imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from expresso_persist.http.messages import Request

__all__ = ["may_wait", "wait_stops_server"]


def may_wait(request: Request) -> bool:
    """Whether a request can be kept open without stopping the others."""
    stops = wait_stops_server()
    return request.can_wait if stops is None else not stops


def wait_stops_server() -> bool | None:
    """Whether a wait in this request would stop every other request of the server.

    A blocking wait stops the hub, which runs all the greenlets, unless eventlet or gevent has
    replaced the locks of ``threading`` by its own (monkey patching).

    Returns:
        None outside eventlet and gevent, where this is unknown.
    """
    for ancestor in _ancestors():
        if _is_eventlet_hub(ancestor):
            return not sys.modules["eventlet.patcher"].is_monkey_patched("thread")
        if _is_gevent_hub(ancestor):
            monkey = sys.modules.get("gevent.monkey")
            return monkey is None or not monkey.is_module_patched("threading")
    return None


def _ancestors() -> Iterator[Any]:
    """The greenlets above the current one; a thread without greenlets has none."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return
    ancestor = greenlet.getcurrent().parent
    while ancestor is not None:
        yield ancestor
        ancestor = ancestor.parent


def _is_eventlet_hub(ancestor: Any) -> bool:
    hubs = sys.modules.get("eventlet.hubs")
    return hubs is not None and ancestor is hubs.get_hub().greenlet


def _is_gevent_hub(ancestor: Any) -> bool:
    hub = sys.modules.get("gevent.hub")
    return hub is not None and isinstance(ancestor, hub.Hub)
