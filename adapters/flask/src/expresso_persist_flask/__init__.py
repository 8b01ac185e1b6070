"""Mounts expresso-persist into a Flask application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import attrs
import click
import flask
from werkzeug.wsgi import get_input_stream

from expresso_persist.http.adapter import (
    ASSETS,
    ENDPOINTS,
    Api,
    Endpoint,
    Keywords,
    Settings,
    Store,
    command_group,
    open_store,
    serve_asset,
)
from expresso_persist_flask._requests import long_lived, to_request, to_response
from expresso_persist_flask._routes import clear_paths, endpoint_name, lookup_in, rule_of
from expresso_persist_flask._socket import add_socket, no_socket

__all__ = ["CONNECTIONS", "ExpressoPersist", "register_routes"]

CONNECTIONS = 2
"""How many connections may stay open at a time: waitress has four threads by default."""


def register_routes(
    app: flask.Flask,
    store: Store | str | None = None,
    settings: Settings | None = None,
    **keywords: Unpack[Keywords],
) -> Api:
    """Add the endpoints and the migration page to ``app``.

    A connection that stays open keeps a thread of the server, so that ``live`` allows
    :data:`CONNECTIONS` at a time when it does not say how many.

    Args:
        app: The application.
        store: A store, a database URL, or None for ``DATABASE_URL`` of the environment.
        settings: See :class:`expresso_persist.http.Settings`.
        keywords: Settings by name, such as ``prefix="/coffee"``.

    Raises:
        InvalidConfiguration: The application has routes that would answer instead of these, or a
            setting cannot be understood.
    """
    settings = Settings.of(settings, keywords)
    if settings.live.connections is None:
        live = attrs.evolve(settings.live, connections=CONNECTIONS)
        settings = attrs.evolve(settings, live=live)
    clear_paths(app, settings.prefix, replace=settings.replace)
    api = Api(open_store(store), settings, no_socket=no_socket())
    add_socket(app, api)
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
    # Routes that the host adds later are found by the first request, and by the doctor.
    api.watch_routes(lookup_in(app, api.prefix))
    app.extensions.setdefault("expresso-persist", {})[api.prefix] = api
    _add_command(app, api)
    if settings.backups:
        _start_backups(app, api)
    return api


def _start_backups(app: flask.Flask, api: Api) -> None:
    """Start the automatic backups; under ``flask shell`` and the like with the first request.

    Such a command ends with its work. It must not pass for a server that makes backups.
    """
    context = click.get_current_context(silent=True)
    command = context is not None and context.find_object(flask.cli.ScriptInfo) is not None
    if context is None or not command or context.info_name == "run":
        api.store.backups.start()
    else:
        app.before_request(api.store.backups.start)  # safe to call again


def _add_command(app: flask.Flask, api: Api) -> None:
    """``flask expresso`` for the first store, ``flask expresso-south`` for one at ``/south``."""
    name = "expresso"
    if name in app.cli.commands:
        name += api.prefix.replace("/", "-")
    if name not in app.cli.commands:
        app.cli.add_command(command_group(lambda: api.store, name))


class ExpressoPersist:
    """For application factories: made once, mounted by each ``init_app``."""

    def __init__(self, app: flask.Flask | None = None, **options: Any) -> None:
        """Keep the options of :func:`register_routes`, and mount into ``app`` if there is one."""
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, **options: Any) -> Api:
        """Mount into ``app``; options here replace those of the constructor."""
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
        request = to_request(path_params)
        if endpoint.long_lived:
            request = long_lived(request)
        # The endpoint's own limit, whatever the host allows for its other uploads.
        stream = get_input_stream(flask.request.environ)
        if endpoint.streams:
            request = attrs.evolve(request, stream=stream)
        return to_response(api.handle(endpoint, request, stream.read))

    def would_read() -> bool:
        return api.would_read(endpoint, to_request(flask.request.view_args or {}))

    # For a server that can ask before it receives the body.
    view.would_read = would_read  # type: ignore[attr-defined]
    return view


def _asset(path: str) -> Callable[..., flask.Response]:
    return lambda **path_params: to_response(serve_asset(path, to_request(path_params)))
