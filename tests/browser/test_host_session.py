"""The page and the client where the host's own cookie signs people in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.http import Actor, Permission, Request
from live import served

PAGE = "/static/localStorage-to-database-migration.html"


def by_cookie(request: Request) -> Actor | None:
    """A host's session."""
    known = "session=anna" in request.headers.get("cookie", "")
    return Actor("anna", Permission.ADMIN) if known else None


@pytest.fixture(params=["fastapi", "flask"])
def port(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[int]:
    with (
        Store(sqlite_url, migrate=True) as store,
        served(request.param, store, authorize=by_cookie) as number,
    ):
        yield number


def test_nobody_is_asked_for_a_token(port: int, page: Any) -> None:
    """Analyze, migrate and read back, and the client's writes, with nothing but the cookie."""
    base = f"http://127.0.0.1:{port}"
    page.context.add_cookies([{"name": "session", "value": "anna", "url": base}])
    page.goto(f"{base}/api/migration/health")
    page.evaluate("localStorage.setItem('event_settings', JSON.stringify({hall: 'North'}))")
    page.goto(base + PAGE)

    def press(name: str, told: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_role("status").filter(has_text=told).wait_for()

    press("Analyze localStorage Data", "Analyzed")
    press("Migrate to Database", "igrated and verified.")
    press("Verify Migration", "")
    page.locator("#verdict").wait_for()
    assert not page.locator("#sign-in").is_visible()
    told = page.evaluate(
        """async () => {
            const { DatabaseInventoryService } = await import(
                '/static/expresso-persist/DatabaseInventoryService.js');
            const service = new DatabaseInventoryService();
            await service.initialize();
            await service.updateStationQuantity(1, {item_name: 'Oat'}, 3);
            return (await service.getAll()).station_inventory_quantities;
        }"""
    )
    assert told == {"1": {"Oat": 3}}


def test_a_page_elsewhere_can_do_nothing_with_the_cookie(port: int, page: Any) -> None:
    """Not by fetch, not by a form, whatever they send."""
    base = f"http://127.0.0.1:{port}"
    page.context.add_cookies([{"name": "session", "value": "anna", "url": base}])
    page.route("http://evil.example/*", lambda route: route.fulfill(body="<p>evil</p>"))
    page.goto("http://evil.example/")
    status = page.evaluate(
        """async (url) => {
            const options = {
                method: 'POST', mode: 'no-cors', credentials: 'include',
                headers: {'Content-Type': 'text/plain'}, body: '{"key":"a","value":1}',
            };
            return fetch(url, options).then(() => 'sent', () => 'blocked');
        }""",
        f"{base}/api/inventory/settings/update",
    )
    assert status in ("sent", "blocked")
    page.goto(f"{base}/api/migration/health")
    revision = page.evaluate(
        "async () => (await (await fetch('/api/inventory/stats')).json()).revision"
    )
    assert revision == 0
