"""Mounts expresso-persist into a Flask application."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import attrs
import flask
from werkzeug.wsgi import get_input_stream

from expresso_persist import Store
from expresso_persist.http.access.auth import Authorize, OneTimeTokens
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.access.tenants import TenantOf
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.http.live import LiveSettings
from expresso_persist.http.mounting import normal_prefix
from expresso_persist.http.pages import ASSETS, serve_asset
from expresso_persist_flask._requests import give, neutral, staying
from expresso_persist_flask._routes import endpoint_name, lookup_in, make_way, rule_of
from expresso_persist_flask._socket import add_socket

__all__ = ["CONNECTIONS", "ExpressoPersist", "register_routes"]

CONNECTIONS = 2
"""How many connections may stay open at a time: waitress has four threads by default."""


def register_routes(
    app: flask.Flask,
    store: Store | str | None = None,
    *,
    prefix: str = "",
    authorize: Authorize | None = None,
    tenant: TenantOf | None = None,
    one_time_tokens: OneTimeTokens | None = None,
    backups: bool = False,
    live: LiveSettings | None = None,
    limits: Limits | None = None,
    origins: Collection[str] = (),
    replace: bool = False,
) -> Api:
    """Add the endpoints and the migration page to ``app``.

    Args:
        app: The application.
        store: A store, a database URL, or None for ``DATABASE_URL`` of the environment.
        prefix: Path in front of everything, such as ``/coffee``.
        authorize: Tells who is asking; bearer tokens of the environment when left out.
        tenant: Tells whose data a request is about.
        one_time_tokens: Links that can be exchanged for a session.
        backups: Make automatic backups in this process.
        live: What may stay connected. Each keeps a thread of the server, so that it is
            :data:`CONNECTIONS` at a time when left out.
        limits: How large requests may be, and how many there may be.
        origins: Other origins whose pages may write with this one's cookies.
        replace: Take over the paths that the application has routes for already.

    Raises:
        InvalidConfiguration: The application has routes that would answer instead of these.
    """
    settings = live or LiveSettings()
    if settings.connections is None:
        settings = attrs.evolve(settings, connections=CONNECTIONS)
    prefix = normal_prefix(prefix)
    make_way(app, prefix, replace=replace)
    opened = store if isinstance(store, Store) else Store(store, migrate=True)
    api = Api(
        opened,
        prefix=prefix,
        authorize=authorize,
        tenant=tenant,
        one_time_tokens=one_time_tokens,
        live=settings,
        limits=limits,
        origins=origins,
    )
    api.no_socket = add_socket(app, api)
    for endpoint in ENDPOINTS:
        app.add_url_rule(
            rule_of(api.prefix + endpoint.path),
            endpoint_name(api.prefix, f".{endpoint.name}"),
            _view(api, endpoint),
            methods=[endpoint.method],
        )
    for path in ASSETS:
        app.add_url_rule(
            rule_of(api.prefix + path),
            endpoint_name(api.prefix, path),
            _asset(path),
            methods=["GET"],
        )
    # What the host adds later is looked at when somebody asks, and by the doctor.
    api.watch_routes(lookup_in(app, prefix))
    app.extensions.setdefault("expresso-persist", {})[api.prefix] = api
    _add_command(app, api)
    if backups:
        opened.backups.start()
    return api


def _add_command(app: flask.Flask, api: Api) -> None:
    """``flask expresso`` for the first store, ``flask expresso-south`` for one at ``/south``."""
    from expresso_persist.cli import host_group

    name = "expresso"
    if name in app.cli.commands:
        name += api.prefix.replace("/", "-")
    if name not in app.cli.commands:
        app.cli.add_command(host_group(lambda: api.store, name))


class ExpressoPersist:
    """The same for application factories: made once, mounted by each ``init_app``."""

    def __init__(self, app: flask.Flask | None = None, **options: Any) -> None:
        """Keep the options of :func:`register_routes`, and mount into ``app`` if there is one."""
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, **options: Any) -> Api:
        """Mount into ``app``; options here go before those given at first."""
        return register_routes(app, **{**self._options, **options})

    @property
    def store(self) -> Store:
        """The store of the current application.

        Raises:
            RuntimeError: There is no current application, or it has several stores; those are
                ``app.extensions["expresso-persist"][prefix].store``.
        """
        mounted: dict[str, Api] = flask.current_app.extensions.get("expresso-persist", {})
        if len(mounted) != 1:
            raise RuntimeError(f"This application has {len(mounted)} stores, not one.")
        return next(iter(mounted.values())).store


def _view(api: Api, endpoint: Endpoint) -> Callable[..., flask.Response]:
    def view(**path_params: str) -> flask.Response:
        request = neutral(path_params)
        if endpoint.stays:
            request = staying(request)
        # The endpoint's own limit, whatever the host allows for its other uploads.
        stream = get_input_stream(flask.request.environ)
        if endpoint.streams:
            request = attrs.evolve(request, stream=stream)
        return give(api.handle(endpoint, request, stream.read))

    def would_read() -> bool:
        return api.would_read(endpoint, neutral(flask.request.view_args or {}))

    # For a server that can ask before it receives the body.
    view.would_read = would_read  # type: ignore[attr-defined]
    return view


def _asset(path: str) -> Callable[..., flask.Response]:
    return lambda **path_params: give(serve_asset(path, neutral(path_params)))
