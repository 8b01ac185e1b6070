"""Flask hosts: own static folder, own hooks and error pages, several stores, tenants."""

from __future__ import annotations

import json
from pathlib import Path

import flask
import flask.cli
import pytest
from click.testing import CliRunner

from expresso_persist import Store
from expresso_persist.http import BearerTokens
from expresso_persist.model.records import Put, Setting
from expresso_persist.testing import TOKENS
from expresso_persist_flask import register_routes

KNOWN = {"Authorization": "Bearer admin-token"}
PAGE = "/static/localStorage-to-database-migration.html"


@pytest.mark.parametrize("backups", [True, False])
def test_the_scheduler_runs_only_when_asked(store: Store, backups: bool) -> None:
    register_routes(flask.Flask("host"), store, authorize=BearerTokens(TOKENS), backups=backups)
    assert store.backups._runner.alive is backups
    store.backups.stop()


def test_a_command_of_the_application_makes_no_backups(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`flask shell` and the like serve nobody; a server that another command starts does."""
    Store(database_url, migrate=True).close()
    made: list[flask.Flask] = []

    def create_app() -> flask.Flask:
        app = flask.Flask("host")
        api = register_routes(app, database_url, authorize=BearerTokens(TOKENS), backups=True)
        app.cli.command("check")(lambda: print("runs:", api.store.backups._runner.alive))
        made.append(app)
        return app

    group = flask.cli.FlaskGroup(create_app=create_app)
    result = CliRunner().invoke(group, ["check"])
    assert "runs: False" in result.output
    made[0].test_client().get("/api/migration/health")
    store = made[0].extensions["expresso-persist"][""].store
    assert store.backups._runner.alive
    store.close()


def test_a_static_folder_of_the_host_hides_nothing_and_is_not_hidden(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "logo.txt").write_text("the host's")
    app = flask.Flask("host", static_folder=str(tmp_path), static_url_path="/static")
    register_routes(app, store, authorize=BearerTokens(TOKENS))
    client = app.test_client()
    with client.get("/static/logo.txt") as answer:
        assert answer.text == "the host's"
    assert "Analyze localStorage Data" in client.get(PAGE).text


def test_the_hosts_hooks_and_error_pages_are_its_own(store: Store) -> None:
    app = flask.Flask("host")
    seen = []
    app.before_request(lambda: seen.append(flask.request.path))
    app.register_error_handler(404, lambda _: ("the host's page", 404))

    @app.after_request
    def mark(response: flask.Response) -> flask.Response:
        response.headers["X-Host"] = "yes"
        return response

    register_routes(app, store, authorize=BearerTokens(TOKENS))
    client = app.test_client()
    answer = client.get("/api/inventory/get-all", headers=KNOWN)
    assert answer.status_code == 200
    assert answer.headers["X-Host"] == "yes"
    assert seen == ["/api/inventory/get-all"]
    assert client.get("/nothing").text == "the host's page"
    missing = client.post("/api/migration/backups/none/restore", headers=KNOWN, json={})
    assert missing.status_code == 404
    assert missing.json is not None
    assert missing.json["success"] is False


def test_two_stores_in_one_application_and_two_applications(tmp_path: Path) -> None:
    stores = {}
    for name in ("north", "south"):
        stores[name] = Store(f"sqlite:///{tmp_path / name}.db", migrate=True)
        stores[name].inventory.commit([Put(Setting.of("hall", data=name))], actor="test")

    def create_app() -> flask.Flask:
        app = flask.Flask("host")
        for name, store in stores.items():
            register_routes(app, store, prefix=name, authorize=BearerTokens(TOKENS))
        return app

    for app in (create_app(), create_app()):
        client = app.test_client()
        for name in stores:
            answer = client.get(f"/{name}/api/inventory/settings", headers=KNOWN)
            assert answer.json is not None
            assert answer.json["data"] == {"hall": name}
            assert client.get(f"/{name}{PAGE}").status_code == 200
        assert client.get("/api/inventory/settings", headers=KNOWN).status_code == 404
        for command, name in (("expresso", "north"), ("expresso-south", "south")):
            told = app.test_cli_runner().invoke(args=[command, "status", "--json"])
            assert json.loads(told.stdout)["database"].endswith(f"{name}.db")
    for store in stores.values():
        store.close()


def test_tenants_by_a_header_see_their_own(store: Store) -> None:
    app = flask.Flask("host")
    register_routes(
        app,
        store,
        authorize=BearerTokens(TOKENS),
        tenant=lambda request: request.headers.get("x-event", "default"),
    )
    client = app.test_client()
    for name in ("a", "b"):
        store.for_tenant(name).inventory.commit([Put(Setting.of("name", data=name))], actor="test")
    for name in ("a", "b"):
        headers = {**KNOWN, "X-Event": name}
        answer = client.get("/api/inventory/settings", headers=headers)
        assert answer.json is not None
        assert answer.json["data"] == {"name": name}
    answer = client.get("/api/inventory/settings", headers=KNOWN)
    assert answer.json is not None
    assert answer.json["data"] == {}
