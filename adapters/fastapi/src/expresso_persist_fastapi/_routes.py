"""The routes of an application: which one answers our paths, and how a host's gives way."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import fastapi
from starlette.routing import BaseRoute, Match, Route

from expresso_persist.http.adapter import (
    HostRoute,
    Lookup,
    conflicts,
    module_variable,
    probes,
    refuse_conflicts,
    sibling_path,
)

__all__ = ["lookup_in", "clear_paths"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")


def clear_paths(app: fastapi.FastAPI, prefix: str, *, replace: bool) -> None:
    """See that no route of the host is made for one of our paths, before ours are in front.

    Args:
        app: The application.
        prefix: Where ours will be.
        replace: Take such routes out; those of an included router stay behind ours.

    Raises:
        InvalidConfiguration: The host has such routes, and they are not to be replaced.
    """

    def look_up(method: str, path: str) -> HostRoute | None:
        route = _made_for(app, method, path)
        return None if route is None else _described(app, route, method, path)

    found = conflicts(prefix, look_up)
    if not found:
        return
    if not replace:
        refuse_conflicts(found)
    logger.warning("register_routes took over: %s", ", ".join(each.answers for each in found))
    for method, path in probes(prefix):
        while isinstance(route := _made_for(app, method, path), Route):
            app.router.routes.remove(route)


def lookup_in(app: fastapi.FastAPI, ours: Sequence[BaseRoute]) -> Lookup:
    """Looks up which route of the host comes before ours."""

    def look_up(method: str, path: str) -> HostRoute | None:
        route = _first(app, method, path)
        if route is None or route in ours:
            return None
        return _described(app, route, method, path)

    return look_up


def _made_for(app: fastapi.FastAPI, method: str, path: str) -> BaseRoute | None:
    """The route that answers this path and not, as a folder of files does, all like it."""
    route = _first(app, method, path)
    if route is None or _matches(app, route, method, sibling_path(path)):
        return None
    return route


def _first(app: fastapi.FastAPI, method: str, path: str) -> BaseRoute | None:
    return next((route for route in app.router.routes if _matches(app, route, method, path)), None)


def _matches(app: fastapi.FastAPI, route: BaseRoute, method: str, path: str) -> bool:
    return route.matches(_scope(app, method, path))[0] is Match.FULL


def _scope(app: fastapi.FastAPI, method: str, path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "app": app,
        "method": method,
        "path": path,
        "root_path": "",
        "headers": [],
    }


def _described(app: fastapi.FastAPI, route: BaseRoute, method: str, path: str) -> HostRoute:
    scope = _scope(app, method, path)
    router: Any = getattr(route, "original_router", None)  # a router that was included
    inner: Any = route
    if router is not None:
        inner = next(_inside(router, method, path), router)
    view: Any = route.matches(scope)[1].get("endpoint") or getattr(inner, "endpoint", inner)
    module = getattr(view, "__module__", "")
    name = f"{module}.{getattr(view, '__qualname__', type(view).__name__)}"
    if router is None:
        line = f"the route {getattr(route, 'path', path)!r} of {name}"
    else:
        line = f"app.include_router({module_variable(module, router) or 'router'})  # of {module}"
    return HostRoute(f"{method} {getattr(route, 'path', path)}", name, line)


def _inside(router: Any, method: str, path: str) -> Iterator[Route]:
    """The routes of an included router that may have answered; its own prefix is not known."""
    for route in router.routes:
        regex, methods = getattr(route, "path_regex", None), getattr(route, "methods", None) or ()
        starts = (place for place, letter in enumerate(path) if letter == "/")
        if regex and method in methods and any(regex.match(path[start:]) for start in starts):
            yield route
