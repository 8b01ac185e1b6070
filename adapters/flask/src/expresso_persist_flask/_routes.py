"""The routes in Flask's map: which rule answers our paths, and how a host's rule gives way."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect, Rule

from expresso_persist.http.adapter import (
    ASSETS,
    ENDPOINTS,
    HostRoute,
    Lookup,
    conflicts,
    module_variable,
    probes,
    refuse_conflicts,
)

__all__ = ["endpoint_name", "lookup_in", "clear_paths", "rule_of"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")
_Key: TypeAlias = tuple[str, Any, frozenset[str]]


def rule_of(path: str) -> str:
    """A path of the table as Flask writes it."""
    return path.replace("{", "<").replace("}", ">")


def endpoint_name(prefix: str, name: str) -> str:
    """The name of one of our endpoints in Flask."""
    return f"expresso_persist{prefix}{name}".replace(".", "_")


def clear_paths(app: flask.Flask, prefix: str, *, replace: bool) -> None:
    """See that no rule of the host will answer our paths, before ours are added.

    Args:
        app: The application.
        prefix: Where ours will be.
        replace: Let the host's rules match nothing any more; addresses are still built by them.

    Raises:
        InvalidConfiguration: The host has such rules, and they are not to be replaced.
    """
    silenced: set[_Key] = set()
    while True:
        coming = _copied(app.url_map, silenced)
        for method, path, name in _ours(prefix):
            coming.add(app.url_rule_class(rule_of(path), methods=[method], endpoint=name))
        found = conflicts(prefix, lookup_in(app, prefix, coming))
        if not found:
            break
        if not replace:
            refuse_conflicts(found)
        logger.warning("register_routes took over: %s", ", ".join(each.answers for each in found))
        silenced |= {_key(rule) for rule in _rivals(coming, prefix)}
    if silenced:
        app.url_map = _copied(app.url_map, silenced)


def lookup_in(app: flask.Flask, prefix: str, coming: Map | None = None) -> Lookup:
    """Looks rules of the host up in a map: werkzeug weighs rules, so only the map can say.

    Args:
        app: The application.
        prefix: Where ours are.
        coming: The map; None for the application's current one.
    """

    def look_up(method: str, path: str) -> HostRoute | None:
        rule = _rival(app.url_map if coming is None else coming, prefix, method, path)
        return None if rule is None else _described(app, rule, method)

    return look_up


def _rivals(url_map: Map, prefix: str) -> list[Rule]:
    found = (_rival(url_map, prefix, method, path) for method, path in probes(prefix))
    return [rule for rule in found if rule is not None]


def _rival(url_map: Map, prefix: str, method: str, path: str) -> Rule | None:
    """The rule that answers, unless it is ours."""
    try:
        adapter = url_map.bind("" if url_map.host_matching else "localhost")
        rule, _ = adapter.match(path, method, return_rule=True)
    except (HTTPException, RequestRedirect):
        return None
    return None if rule.endpoint in {name for _, _, name in _ours(prefix)} else rule


def _ours(prefix: str) -> Iterator[tuple[str, str, str]]:
    for endpoint in ENDPOINTS:
        yield endpoint.method, prefix + endpoint.path, endpoint_name(prefix, f".{endpoint.name}")
    for path in ASSETS:
        yield "GET", prefix + path, endpoint_name(prefix, path)


def _described(app: flask.Flask, rule: Rule, method: str) -> HostRoute:
    view: Any = app.view_functions.get(rule.endpoint)
    name = f"{getattr(view, '__module__', '')}.{getattr(view, '__qualname__', rule.endpoint)}"
    blueprint = app.blueprints.get(str(rule.endpoint).rpartition(".")[0])
    if blueprint is None:
        line = f"@app.route({rule.rule!r}, …)  # above {name}"
    else:
        module = blueprint.import_name
        variable = module_variable(module, blueprint) or blueprint.name
        line = f"app.register_blueprint({variable})  # of {module}"
    return HostRoute(f"{method} {rule.rule}", name, line)


def _key(rule: Rule) -> _Key:
    return rule.rule, rule.endpoint, frozenset(rule.methods or ())


def _copied(url_map: Map, silenced: Collection[_Key]) -> Map:
    """The same map, in which some rules only build addresses; werkzeug can take none out."""
    made = type(url_map)(host_matching=url_map.host_matching)
    for name in (
        "default_subdomain",
        "strict_slashes",
        "merge_slashes",
        "redirect_defaults",
        "converters",
        "sort_parameters",
        "sort_key",
    ):
        setattr(made, name, getattr(url_map, name))
    for rule in url_map.iter_rules():
        twin = rule.empty()
        for name in ("websocket", "merge_slashes", "provide_automatic_options"):  # left out by it
            if hasattr(rule, name):
                setattr(twin, name, getattr(rule, name))
        twin.build_only = rule.build_only or _key(rule) in silenced
        made.add(twin)
    return made
