"""The calls of the service that this one replaces, against a real server: they do what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from browser_tabs import Tab

OFFER = '{"milk": [{"id": "milk_1", "name": "Oat Milk", "enabled": true}]}'


@pytest.fixture(params=[True, False], ids=["live", "requests"])
def tab(context: Any, one_server: Any, request: pytest.FixtureRequest) -> Tab:
    """A page with the service started, or with one request per call."""
    tab = Tab.beside(context, one_server.url, token=one_server.token)
    if not request.param:
        tab.run("await service.stop()")
    return tab


def hold(tab: Tab, **storage: str) -> None:
    tab.page.evaluate("entries => Object.assign(localStorage, entries)", storage)


def keys(tab: Tab) -> set[str]:
    found = tab.page.evaluate("Object.keys(localStorage)")
    return {key for key in found if not key.startswith("expresso_persist")}


def test_updates_answer_true(tab: Tab, one_server: Any) -> None:
    answers = tab.run(
        """return [
          await service.updateEventInventoryItem('milk', 'Oat Milk', true),
          await service.updateEventInventoryItem('milk', 'Oat Milk', false),
          await service.updateEventStockLevel('Oat Milk',
            {category: 'milk', total_quantity: 10, allocated_quantity: 2, available_quantity: 8,
             unit: 'L'}),
          await service.updateEventStockLevel('Oat Milk', {total: 12, category: 'milk'}),
          await service.updateStationInventoryConfig(1, {milk: {'Oat Milk': true}}),
          await service.updateStationInventoryQuantity(1, 'Oat Milk', 4),
        ]"""
    )
    assert answers == [True] * 6
    stored = one_server.get("/api/inventory/get-all")
    assert stored["event_inventory"]["milk"]["Oat Milk"]["enabled"] is False
    stock = stored["event_stock_levels"]["Oat Milk"]
    assert (stock["total"], stock["allocated"], stock["unit"]) == (12, 2, "L")
    assert stored["station_inventory_configs"] == {"1": {"milk": {"Oat Milk": True}}}
    assert stored["station_inventory_quantities"] == {"1": {"Oat Milk": 4}}
    read = "return [await service.getInventoryData(), await service.getStockData()]"
    assert tab.run(read) == [stored["event_inventory"], stored["event_stock_levels"]]


@pytest.mark.parametrize(
    "call",
    [
        "updateEventInventoryItem('', 'x', true)",
        "updateEventStockLevel('Oat Milk', {total_quantity: 'many'})",
        "updateStationInventoryConfig('', {})",
        "updateStationInventoryQuantity(1, 'Oat Milk', 'four')",
    ],
)
def test_a_refused_update_answers_false_and_says_why(tab: Tab, call: str) -> None:
    said: list[str] = []
    tab.page.on("console", lambda message: said.append(message.type))
    assert tab.run(f"return service.{call}") is False
    assert "error" in said


def test_the_cache_is_loaded_and_valid(tab: Tab, one_server: Any) -> None:
    tab.run("await service.updateEventInventoryItem('milk', 'Oat Milk', true)")
    loaded = tab.run("return service.loadFromDatabase()")
    assert loaded["event_inventory"]["milk"]["Oat Milk"]["enabled"] is True
    assert abs(loaded["lastUpdate"] - tab.page.evaluate("Date.now()")) < 60_000
    tab.until("service.isCacheValid()")
    one_server.stop()
    tab.run("service.configure({retries: 0})")
    assert tab.run("return service.loadFromDatabase()") is None


def test_the_cache_is_valid_as_soon_as_it_is_loaded(context: Any, one_server: Any) -> None:
    """Before the feed has said anything; and not while the server is away."""
    for feed in ("stream", "changes"):
        context.route(f"**/api/inventory/{feed}*", lambda _: None)  # never answered
    tab = Tab.beside(context, one_server.url, token=one_server.token)
    read = "await service.initialize(); return [service.isCacheValid(), service.status().caughtUp]"
    assert tab.run(read) == [True, False]
    tab.page.evaluate("() => { const now = Date.now; Date.now = () => now() + 301_000; }")
    assert tab.run("return service.isCacheValid()") is False


def test_the_cache_gets_old(tab: Tab, request: pytest.FixtureRequest) -> None:
    """Five minutes after the last read; with a live copy, when the server is away."""
    tab.run("await service.getEventInventory()")
    live = request.node.callspec.params["tab"]
    tab.until("status.caughtUp" if live else "service.isCacheValid()")
    tab.page.evaluate("() => { const now = Date.now; Date.now = () => now() + 301_000; }")
    assert tab.run("return service.isCacheValid()") is live


def test_local_storage_is_migrated_and_read_back_before_it_is_cleared(
    tab: Tab, one_server: Any
) -> None:
    assert tab.run("return service.checkForLocalStorageData()") is False
    assert tab.run("return service.migrateLocalStorageData()") is True, "there is nothing to do"
    hold(
        tab,
        event_inventory=OFFER,
        station_inventory_quantities="null",
        branding_settings='{"name":"Fair"}',
        coffee_system_token="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOjF9.c2lnbmF0dXJl",
        sms_settings='{"auth_token":"0123456789abcdef0123456789abcdef","from":"x"}',
        something_else="1",
    )
    sent: list[str] = []
    tab.page.on("request", lambda request: sent.append(request.post_data or ""))
    assert tab.run("return service.checkForLocalStorageData()") is True
    assert tab.run("return service.migrateLocalStorageData()") is True
    assert tab.run("return service.checkForLocalStorageData()") is False
    assert keys(tab) == {
        "coffee_system_token", "sms_settings", "something_else", "station_inventory_quantities",
        "migration_completed", "migration_date",
    }  # fmt: skip
    assert "0123456789abcdef" not in "".join(sent)
    assert json.dumps(one_server.get("/api/inventory/get-all")["event_inventory"]) == OFFER
    assert one_server.get("/api/inventory/settings")["branding_settings"] == {"name": "Fair"}


def test_what_is_not_read_back_as_it_was_stays(tab: Tab) -> None:
    """The database has another item: what was merged is not what the browser had."""
    hold(tab, event_inventory=OFFER)
    assert tab.run("return service.migrateLocalStorageData()") is True
    hold(tab, event_inventory=OFFER.replace("milk_1", "milk_2").replace("Oat", "Soy"))
    assert tab.run("return service.migrateLocalStorageData()") is False
    assert "event_inventory" in keys(tab)


def test_an_older_localstorage_takes_no_sale_back(tab: Tab, one_server: Any) -> None:
    """A page that migrates at each start would set the stock back each time."""
    levels = '{"milk":{"milk_1":{"quantity":99}}}'
    hold(tab, event_stock_levels=levels)
    assert tab.run("return service.migrateLocalStorageData()") is True
    sale = "{ category: 'milk', item: 'milk_1', delta: -5 }"
    tab.run(f"await service.adjust({sale})")
    before = one_server.get("/api/inventory/get-all")["event_stock_levels"]
    hold(tab, event_stock_levels=levels)
    assert tab.run("return service.migrateLocalStorageData()") is False
    assert one_server.get("/api/inventory/get-all")["event_stock_levels"] == before
    assert before["milk"]["milk_1"]["quantity"] == 94
    assert "event_stock_levels" in keys(tab)


def test_a_failed_migration_clears_nothing(
    make_server: Callable[..., Any], context: Any, one_server: Any
) -> None:
    tab = Tab.beside(context, one_server.url, token="unknown", live=False, retries=0)
    hold(tab, event_inventory=OFFER)
    assert tab.run("return service.migrateLocalStorageData()") is False
    assert "event_inventory" in keys(tab)
    assert tab.run("return service.checkForLocalStorageData()") is True
