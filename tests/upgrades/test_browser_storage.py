"""What a release's client left in a browser: the current client shows it and sends it once."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import releases
from browser_tabs import Tab
from expresso_persist import Store

if TYPE_CHECKING:
    from conftest import Left
    from playwright.sync_api import Browser, BrowserContext

pytestmark = pytest.mark.browser


@pytest.fixture(
    params=[
        ("fastapi", "sqlite"),
        pytest.param(("flask", "postgresql"), marks=pytest.mark.postgresql),
    ],
    ids="-".join,
)
def server(
    request: pytest.FixtureRequest, put_back: Callable[[str], Left], tmp_path: Path
) -> Iterator[tuple[Left, str]]:
    """The current server on the database that the browser's server had."""
    adapter, kind = request.param
    left = put_back(kind)
    with releases.served(left.url, tmp_path / "log", adapter) as url:
        yield left, url


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context()
    yield opened
    opened.close()


def answer(url: str, path: str) -> Any:
    headers = {"Authorization": f"Bearer {releases.TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers)) as found:
        return json.load(found)["data"]


def quantities(url: str) -> dict[str, float]:
    """How much of each milk there is, by its name."""
    data = answer(url, "/api/inventory/get-all")
    names = {item["id"]: item["name"] for item in data["event_inventory"]["milk"]}
    levels = data["event_stock_levels"]["milk"]
    return {names[id_]: level["quantity"] for id_, level in levels.items()}


def test_the_outbox_and_the_copy_of_a_release(
    server: tuple[Left, str], context: BrowserContext
) -> None:
    """Shown without a network; then sent exactly once; what was refused stays to be decided."""
    left, url = server
    kept = releases.read_json(left.release / f"browser-{left.kind}.json.gz")
    storage = releases.moved(kept, url)
    expected = quantities(url)

    context.route("**/api/inventory/**", lambda route: route.abort())
    page = context.new_page()
    page.goto(f"{url}/api/migration/health")
    page.evaluate(releases.WRITE_BROWSER, storage)
    page.close()
    tab = Tab.beside(context, url, token=releases.TOKEN, patience=100, user="station 1")
    status = tab.status()
    assert (status["pending"], status["parked"], status["durable"]) == (3, 2, True)
    shown = tab.run(releases.SHOWN)
    # 0.1.0 left `available` as it was where an adjustment named the item by `itemName`.
    assert shown["stock"] == in_step(kept["shown"]["stock"])
    assert shown["settings"] == kept["shown"]["settings"]
    assert _decided(shown["parked"]) == _decided(kept["shown"]["parked"])

    context.unroute("**/api/inventory/**")
    tab.until("status.pending === 0 && status.caughtUp")
    after = answer(url, "/api/inventory/get-all")
    for item, _, delta in releases.PENDING:
        expected[item] += delta
    assert quantities(url) == expected
    assert after["settings"]["pending"] == {"when": "later"}
    assert tab.run(releases.SHOWN)["stock"] == after["event_stock_levels"]
    assert _decided(tab.run("return service.parked()")) == _decided(kept["shown"]["parked"])

    tab.open()
    tab.until("status.caughtUp && status.pending === 0 && status.parked === 2")
    assert quantities(url) == expected
    assert tab.errors == []
    with Store(left.url) as store:
        keys = [commit.idempotency_key for commit in store.inventory.commits(0, 1000)]
        assert store.inventory.verify().ok
    for entry in [*releases.entries(kept, "queued"), *releases.entries(kept, "acked")]:
        assert keys.count(entry["key"]) == 1, entry
    for entry in releases.entries(kept, "parked"):
        assert entry["key"] not in keys


def in_step(stock: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        category: {
            item: {**level, "available": level["quantity"] - level["allocated"]}
            for item, level in items.items()
        }
        for category, items in stock.items()
    }


def _decided(parked: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (one["id"], one["at"], one["path"], one["body"], one["error"]["code"]) for one in parked
    ]
