"""FastAPI hosts: lifespans, static folders, several stores, tenants, a free event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import fastapi
import fastapi.security
import httpx
import pydantic
import pytest
from fastapi.staticfiles import StaticFiles

from expresso_persist import Store
from expresso_persist.http import BearerTokens
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.model.records import Put, Setting
from expresso_persist.testing import TOKENS
from expresso_persist_fastapi import register_routes

KNOWN = {"Authorization": "Bearer admin-token"}
PAGE = "/static/localStorage-to-database-migration.html"


def ask(app: fastapi.FastAPI, path: str, **headers: str) -> httpx.Response:
    """One request, without the lifespan."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={**KNOWN, **headers})

    return asyncio.run(go())


def live(app: fastapi.FastAPI, inside: Any = lambda: None) -> Any:
    """Run the lifespan around a function."""

    async def go() -> Any:
        async with app.router.lifespan_context(app):
            return inside()

    return asyncio.run(go())


@pytest.mark.parametrize("own_lifespan", [True, False])
@pytest.mark.parametrize("backups", [True, False])
def test_the_scheduler_runs_with_the_application_and_only_when_asked(
    store: Store, own_lifespan: bool, backups: bool
) -> None:
    events = []

    @contextlib.asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        events.append("begun")
        yield
        events.append("ended")

    app = fastapi.FastAPI(lifespan=lifespan) if own_lifespan else fastapi.FastAPI()
    register_routes(app, store, authorize=BearerTokens(TOKENS), backups=backups)
    assert not store.backups.status()["backup_running"]
    assert live(app, lambda: store.backups._runner.alive) is backups
    assert not store.backups._runner.alive
    assert events == (["begun", "ended"] if own_lifespan else [])


def test_a_store_of_our_own_is_closed_with_the_application(sqlite_url: str) -> None:
    app = fastapi.FastAPI()
    api = register_routes(app, sqlite_url, authorize=BearerTokens(TOKENS))
    live(app, lambda: ask_in_thread(app))
    assert api.store.database.engine.pool.checkedin() == 0  # type: ignore[attr-defined]


def ask_in_thread(app: fastapi.FastAPI) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, app, "/api/inventory/get-all").result().status_code == 200


@pytest.mark.parametrize("before", [True, False])
def test_a_static_folder_of_the_host_hides_nothing_and_is_not_hidden(
    store: Store, tmp_path: Path, before: bool
) -> None:
    (tmp_path / "logo.txt").write_text("the host's")
    app = fastapi.FastAPI()
    if before:
        app.mount("/static", StaticFiles(directory=tmp_path))
    register_routes(app, store, authorize=BearerTokens(TOKENS))
    if not before:
        app.mount("/static", StaticFiles(directory=tmp_path))
    assert ask(app, "/static/logo.txt").text == "the host's"
    page = ask(app, PAGE)
    assert page.status_code == 200
    assert "Analyze localStorage Data" in page.text


def test_two_stores_in_one_application_and_two_applications(tmp_path: Path) -> None:
    def create_app() -> fastapi.FastAPI:
        app = fastapi.FastAPI()
        for name in ("north", "south"):
            url = f"sqlite:///{tmp_path / name}.db"
            register_routes(app, url, prefix=f"/{name}", authorize=BearerTokens(TOKENS))
        return app

    for name in ("north", "south"):
        with Store(f"sqlite:///{tmp_path / name}.db", migrate=True) as store:
            store.inventory.commit([Put(Setting.of("hall", data=name))], actor="test")
    for app in (create_app(), create_app()):
        for name in ("north", "south"):
            answer = ask(app, f"/{name}/api/inventory/settings").json()
            assert answer["data"] == {"hall": name}
            assert ask(app, f"/{name}{PAGE}").status_code == 200
        assert ask(app, "/api/inventory/settings").status_code == 404
        documented = ask(app, "/openapi.json").json()["paths"]
        assert "/north/api/inventory/get-all" in documented
        assert "/south/api/inventory/get-all" in documented


def test_the_description_of_the_host_keeps_its_names(store: Store) -> None:
    """Beside two stores, a host's model, scheme and operation of a name of ours are its own."""

    class Success(pydantic.BaseModel):
        cake: str

    app = fastapi.FastAPI()
    bearer = fastapi.security.HTTPBearer(scheme_name="bearer", description="the host's")

    @app.get(
        "/cake",
        operation_id="health",
        response_model=Success,
        dependencies=[fastapi.Depends(bearer)],
    )
    def cake() -> Any:
        return {"cake": "carrot"}

    for prefix in ("/north", "/south/{event}"):
        register_routes(
            app, store, prefix=prefix, authorize=BearerTokens(TOKENS), tenant=lambda _: "default"
        )
    document = ask(app, "/openapi.json").json()
    assert ask(app, "/openapi.json").json() == document
    assert {*document["components"]["schemas"]["Success"]["properties"]} == {"cake"}
    assert document["components"]["securitySchemes"]["bearer"]["description"] == "the host's"
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len(operations) == 1 + 2 * len(ENDPOINTS)
    names = [o["operationId"] for o in operations]
    assert len({*names}) == len(names)

    def strings(node: Any, key: str) -> Iterator[Any]:
        """What stands under ``key``, wherever it is."""
        if isinstance(node, list):
            node = dict(enumerate(node))
        if isinstance(node, dict):
            for name, value in node.items():
                if name == key:
                    yield value
                yield from strings(value, key)

    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert {*strings(document, "$ref")} <= schemas
    assert {*strings(document, "operationId")} == {*names}  # those that links name are there
    needs = [need for needed in strings(document, "security") for need in needed]
    assert {name for need in needs for name in need} == {*document["components"]["securitySchemes"]}
    assert app.url_path_for("expresso_north_health") == "/north/api/migration/health"


def test_tenants_by_a_header_see_their_own(store: Store) -> None:
    app = fastapi.FastAPI()
    register_routes(
        app,
        store,
        authorize=BearerTokens(TOKENS),
        tenant=lambda request: request.headers.get("x-event", "default"),
    )
    for name in ("a", "b"):
        store.for_tenant(name).inventory.commit([Put(Setting.of("name", data=name))], actor="test")
    for name in ("a", "b"):
        answer = ask(app, "/api/inventory/settings", **{"X-Event": name}).json()
        assert answer["data"] == {"name": name}
    assert ask(app, "/api/inventory/settings").json()["data"] == {}


def test_a_database_that_makes_us_wait_leaves_the_event_loop_free(
    sqlite_url: str, tmp_path: Path
) -> None:
    """While an update waits for a lock, the host's own view answers."""
    with Store(sqlite_url, migrate=True) as store:
        app = fastapi.FastAPI()

        @app.get("/own")
        async def own() -> str:
            return "free"

        register_routes(app, store, authorize=BearerTokens(TOKENS))
        holder = sqlite3.connect(tmp_path / "expresso.db", isolation_level=None)

        async def go() -> tuple[list[int], int]:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://test", headers=KNOWN
            ) as client:
                holder.execute("BEGIN IMMEDIATE")
                update = asyncio.create_task(
                    client.post("/api/inventory/settings/update", json={"key": "a", "value": 1})
                )
                answers = [(await client.get("/own")).status_code for _ in range(20)]
                assert not update.done()
                holder.rollback()
                return answers, (await update).status_code

        assert asyncio.run(go()) == ([200] * 20, 200)
        holder.close()
