"""Hosts that have routes at our paths already, as the replaced system's server has."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import anyio
import fastapi
import flask
import httpx
import pytest

import expresso_persist_fastapi
import expresso_persist_flask
from expresso_persist import Store
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http import NO_RATES, BearerTokens
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.ops.doctor import DoctorContext
from expresso_persist.ops.doctor import routes as check
from expresso_persist.testing import TOKENS

KNOWN = {"Authorization": "Bearer admin-token"}
LEGACY: dict[str, list[tuple[str, str]]] = {
    "migration_api": [
        ("POST", "/api/migration/export-localStorage"),
        ("GET", "/api/migration/get-inventory"),
        ("GET", "/api/migration/backup-status"),
        ("POST", "/api/migration/create-backup"),
    ],
    "inventory_database": [
        ("POST", "/api/inventory/event-inventory/update"),
        ("POST", "/api/inventory/event-stock/update"),
        ("POST", "/api/inventory/station-config/update"),
        ("POST", "/api/inventory/station-quantity/update"),
        ("POST", "/api/inventory/batch-update"),
        ("GET", "/api/inventory/get-all"),
        ("GET", "/api/inventory/stats"),
    ],
}
"""The two blueprints of the replaced system."""

inventory_database = flask.Blueprint("inventory_database", __name__)
migration_api = flask.Blueprint("migration_api", __name__)
for _blueprint in (inventory_database, migration_api):
    for _method, _path in LEGACY[_blueprint.name]:
        _blueprint.add_url_rule(
            _path, _path.replace("/", "_"), lambda: "open", methods=[_method, "OPTIONS"]
        )


def legacy_flask() -> flask.Flask:
    app = flask.Flask("host")
    app.register_blueprint(migration_api)
    app.register_blueprint(inventory_database)
    app.add_url_rule("/", "home", lambda: "home")
    app.add_url_rule("/orders/<int:number>", "order", lambda number: f"order {number}")
    app.add_url_rule("/<path:rest>", "everything", lambda rest: "page")
    return app


def old() -> str:
    return "open"


router = fastapi.APIRouter()
for _method, _path in itertools.chain(*LEGACY.values()):
    router.add_api_route(_path, old, methods=[_method])


def legacy_fastapi(*, included: bool = True) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    if included:
        app.include_router(router)
    else:
        app.router.routes += router.routes
    app.add_api_route("/orders/{number}", lambda number: f"order {number}")
    app.add_api_route("/{rest:path}", lambda rest: "page")
    return app


def mount(app: Any, store: Store, **options: Any) -> Any:
    adapter = expresso_persist_flask if isinstance(app, flask.Flask) else expresso_persist_fastapi
    return adapter.register_routes(
        app, store, authorize=BearerTokens(TOKENS), limits=NO_RATES, **options
    )


def ask(app: Any, method: str, path: str, **headers: str) -> tuple[int, str]:
    if isinstance(app, flask.Flask):
        answer = app.test_client().open(path, method=method, headers=headers)
        return answer.status_code, answer.text

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers)

    found = anyio.run(send)
    return found.status_code, found.text


HOSTS: dict[str, Callable[[], Any]] = {
    "flask": legacy_flask,
    "fastapi-included": legacy_fastapi,
    "fastapi-plain": lambda: legacy_fastapi(included=False),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Any:
    return HOSTS[request.param]()


def test_open_routes_are_not_left_in_charge(host: Any, sqlite_url: str) -> None:
    """The refusal names each of them and what to remove, before any database is opened."""
    with pytest.raises(InvalidConfiguration, match="replace=True") as refused:
        mount(host, sqlite_url)  # type: ignore[arg-type]
    message = str(refused.value)
    for method, path in itertools.chain(*LEGACY.values()):
        assert f"{method} {path}" in message
    if isinstance(host, flask.Flask):
        lines = [line.strip() for line in message.splitlines() if line.startswith("    ")]
        assert lines == [
            f"app.register_blueprint(migration_api)  # of {__name__}",
            f"app.register_blueprint(inventory_database)  # of {__name__}",
        ]
    else:
        assert f"{__name__}.old" in message
    assert "everything" not in message
    assert ask(host, "GET", "/api/inventory/stats") == ask(host, "GET", "/api/inventory/stats")


def test_replace_takes_them_over(host: Any, store: Store) -> None:
    """Each endpoint ends at ours; the host's others stay, and addresses are still built."""
    mount(host, store, replace=True)
    for method, path in itertools.chain(*LEGACY.values()):
        assert ask(host, method, path)[0] == 401, path
    assert ask(host, "GET", "/api/inventory/stats", **KNOWN)[0] == 200
    assert ask(host, "GET", "/orders/7")[1].strip('"') == "order 7"
    assert ask(host, "GET", "/whatever")[1].strip('"') == "page"
    assert check(DoctorContext(store)).state == "ok"
    if isinstance(host, flask.Flask):
        assert ask(host, "GET", "/")[1] == "home"
        with host.test_request_context():
            url = flask.url_for("migration_api._api_migration_create-backup")
            assert url == "/api/migration/create-backup"
    else:
        assert "/orders/{number}" in host.openapi()["paths"]


def test_every_endpoint_is_asked_for(store: Store) -> None:
    """Whichever of our paths a host has, and however it writes the placeholders."""
    for endpoint in ENDPOINTS:
        app = flask.Flask("host")
        path = endpoint.path.replace("{", "<").replace("}", ">")
        names = endpoint.path.count("{")
        app.add_url_rule(path, "own", lambda **_: "open", methods=[endpoint.method])
        with pytest.raises(InvalidConfiguration, match="/api/"):
            mount(app, store)
        other = fastapi.FastAPI()
        other.add_api_route(
            endpoint.path.replace("backup_id", "id"), old, methods=[endpoint.method]
        )
        with pytest.raises(InvalidConfiguration, match="/api/"):
            mount(other, store)
        if names:
            app = flask.Flask("host")
            number = path.replace("<backup_id>", "<int:number>")
            app.add_url_rule(number, "own", lambda number: "open", methods=[endpoint.method])
            with pytest.raises(InvalidConfiguration, match="int:number"):
                mount(app, store)


def test_what_takes_everything_else_is_no_rival(store: Store) -> None:
    """werkzeug weighs rules, and ours are in front in FastAPI; another method is another thing."""
    app = flask.Flask("host")
    for number, rule in enumerate(
        ("/<path:p>", "/api/<path:p>", "/api/<a>/<b>", "/static/<path:p>", "/api/inventory/<x>")
    ):
        app.add_url_rule(rule, f"own{number}", lambda **_: "page", methods=["GET", "POST"])
    app.add_url_rule("/api/inventory/stats", "delete", lambda: "gone", methods=["DELETE"])
    mount(app, store)
    assert ask(app, "GET", "/api/inventory/stats")[0] == 401
    assert ask(app, "POST", "/api/inventory/batch-update")[0] == 401
    assert ask(app, "GET", "/api/inventory/nothing") == (200, "page")
    assert ask(app, "DELETE", "/api/inventory/stats") == (200, "gone")
    sub = fastapi.FastAPI()
    sub.add_api_route("/stats", old)
    other = fastapi.FastAPI()
    other.mount("/api/inventory", sub)
    other.add_api_route("/api/{rest:path}", old, methods=["GET", "POST"])
    mount(other, store)
    assert ask(other, "GET", "/api/inventory/stats")[0] == 401


def test_a_prefix_is_somewhere_else(store: Store) -> None:
    for build in HOSTS.values():
        app = build()
        mount(app, store, prefix="/coffee")
        assert ask(app, "GET", "/coffee/api/inventory/stats")[0] == 401
        assert ask(app, "GET", "/api/inventory/stats")[1].strip('"') == "open"
    app = flask.Flask("host")
    app.add_url_rule("/events/<name>/api/inventory/stats", "own", lambda name: "open")
    with pytest.raises(InvalidConfiguration, match="events"):
        mount(app, store, prefix="/events/{event}")


@pytest.mark.parametrize("kind", ["flask", "fastapi"])
def test_what_is_added_later_is_found(
    store: Store, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first request, in the log; and by the doctor, over HTTP and beside the database."""
    app: Any = flask.Flask("host") if kind == "flask" else fastapi.FastAPI()
    mount(app, store)
    assert check(DoctorContext(store)).state == "ok"
    if kind == "flask":
        app.register_blueprint(inventory_database)  # comes after ours, which still answer
        assert check(DoctorContext(store)).state == "ok"
        late = flask.Blueprint("late", __name__)
        late.add_url_rule(
            "/api/migration/backups/<int:id>",
            "own",
            lambda id: "open",  # noqa: A006
        )
        app.register_blueprint(late)
    else:
        app.include_router(router)
        assert check(DoctorContext(store)).state == "ok"
        late_route = fastapi.routing.APIRoute("/api/migration/backups/{id}", old)
        app.router.routes.insert(0, late_route)
    with caplog.at_level(logging.ERROR, "expresso_persist.http"):
        assert ask(app, "GET", "/api/inventory/stats")[0] == 401
        assert ask(app, "GET", "/api/inventory/stats")[0] == 401
    assert [record.getMessage().count("/api/migration/backups/") for record in caplog.records] in (
        [1],
        [2],
    )
    found = check(DoctorContext(store))
    assert (found.state, found.check) == ("problem", "routes")
    assert "GET /api/migration/backups/" in found.text
    deep = ask(app, "GET", "/api/migration/health?deep=1", **KNOWN)[1]
    assert "Remove what adds them" in deep
