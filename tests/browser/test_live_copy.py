"""The local copy: kept fresh by the feed over whatever way there is, and guessed well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser_tabs import Tab, post

if TYPE_CHECKING:
    from playwright.sync_api import Route

STREAM = "**/api/inventory/stream*"
CHANGES = "**/api/inventory/changes*"
GET_ALL = "/api/inventory/get-all"
SETTING = "/api/inventory/settings/update"

OFFER = {
    "milk": [
        {"id": "m1", "name": "Oat", "enabled": True, "category": "milk"},
        {"id": "m2", "name": "Soy", "enabled": True, "category": "milk"},
    ],
    "extras": [{"id": "e1", "name": "Lids", "enabled": True, "category": "extras"}],
}
FRONT_END = {
    "event_inventory": OFFER,
    "event_stock_levels": {
        "milk": {
            "m1": {"quantity": 20.5, "unit": "L", "allocated": 4, "available": 16.5},
            "m2": {"quantity": 7, "unit": "L", "allocated": 0, "available": 7},
        },
        "extras": {"e1": {"quantity": 100, "unit": "units", "allocated": 0, "available": 100}},
    },
    "station_inventory_configs": {"1": {"milk": {"m1": True}}},
    "station_inventory_quantities": {"1": {"milk": {"m1": {"quantity": 4}}}},
    "coffee_stock_station_1": {
        "milk": [{"id": "m1", "name": "Oat", "amount": 3.2, "capacity": 5, "unit": "L"}],
        "other": [{"id": "e1", "name": "Lids", "amount": 9, "capacity": 50, "unit": "units"}],
    },
    "branding_settings": {"name": "Coffee"},
}
SEED = {
    "event_inventory": {"milk": {"Oat": {"enabled": True}}},
    "event_stock_levels": {
        "Oat": {"category": "milk", "total": 20, "allocated": 4, "available": 16, "unit": "L"}
    },
    "station_inventory_configs": {"1": {"name": "Bar", "inventory": []}},
    "station_inventory_quantities": {"1": {"Oat": 4}},
    "branding_settings": {"name": "Coffee"},
}

UPDATES = """
    service.updateEventInventory('milk', argument.item, false)
    service.updateEventInventory('milk', argument.item, {enabled: true, color: '#fff'})
    service.updateEventInventory('milk', 'Rice', true)
    service.updateEventStock(argument.item, {total: 30, available: 26}, 'milk')
    service.updateEventStock(argument.item, 31)
    service.updateStationConfig(1, {milk: {m2: true}})
    service.updateStationConfig('new', {})
    service.updateStationQuantity(1, argument.item, 6, 'milk')
    service.updateSetting('branding_settings', {name: 'Tea'})
    service.updateSetting('new_setting', [1, 2])
    service.adjust({stationId: 1, itemName: argument.item, delta: -0.1})
    service.adjust({stationId: 1, itemName: argument.item, field: 'quantity', delta: 1})
    service.adjust({itemName: argument.item, category: 'milk', delta: -0.2})
    service.adjust({itemName: argument.item, field: 'allocated', delta: 2})
    service.batchUpdate([{type: 'setting', data: {key: 'a', value: 1}},
                         {type: 'adjust', data: {item_name: argument.item, delta: 5}}])
"""
MOVEMENTS = """
    service.adjust({category: 'milk', item: argument.item, delta: -0.1})
    service.adjust({stationId: 1, category: 'milk', item: argument.item, delta: -0.3, note: 'x'})
    service.count({stationId: 1, category: 'milk', item: argument.item, quantity: 2.5})
    service.count({category: 'milk', item: argument.item, quantity: 18})
    service.count({stationId: 3, category: 'milk', item: argument.item, quantity: 2})
    service.transfer({toStation: 1, category: 'milk', item: argument.item, quantity: 1.1})
    service.transfer({fromStation: 1, toStation: '2', category: 'milk', item: argument.item,
                      quantity: 0.5})
    service.transfer({fromStation: 1, category: 'milk', item: argument.item, quantity: 0.5})
    service.waste({stationId: 1, category: 'milk', item: argument.item, quantity: 0.4,
                   reason: 'sour'})
    service.waste({category: 'milk', item: {id: argument.id}, quantity: 2, reason: 'spilt'})
"""


def calls(listing: str) -> list[str]:
    """One call each, however many lines it takes."""
    found: list[str] = []
    for line in listing.strip().splitlines():
        if line.strip().startswith("service."):
            found.append("")
        found[-1] += line.strip() + " "
    return found


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """One server for all."""
    directory = tmp_path_factory.mktemp("live")
    started = make_server("fastapi", f"sqlite:///{directory / 'live.db'}", directory / "log")
    started.start()
    yield started
    started.stop()


def load(server: Any, documents: dict[str, object]) -> None:
    """Put these documents, and only these, into the database."""
    dump = {"localStorage": {key: json.dumps(value) for key, value in documents.items()}}
    path = "/api/migration/export-localStorage?mode=replace"
    post(server.url, server.token, path, dump)


def same(tab: Tab, server: Any) -> None:
    """Wait until there is nothing new, then compare with the server, order included."""
    wanted = server.get(GET_ALL)
    tab.page.evaluate(
        "wanted => window.until(async () =>"
        " JSON.stringify(await service.getAll()) === JSON.stringify(wanted))",
        wanted,
    )


@pytest.mark.parametrize("shape", ["front end", "seed"])
@pytest.mark.parametrize("listing", [UPDATES, MOVEMENTS], ids=["updates", "movements"])
def test_what_is_shown_before_it_is_sent_is_what_the_server_makes_of_it(
    context: Any, server: Any, shape: str, listing: str
) -> None:
    """Each kind of write is shown offline as it is read back afterwards."""
    load(server, FRONT_END if shape == "front end" else SEED)
    item = {"item": "Oat", "id": "m1" if shape == "front end" else "Oat"}
    tab = Tab.beside(context, server.url, token=server.token, patience=0)
    for call in calls(listing):
        tab.until("status.caughtUp && status.pending === 0")
        context.set_offline(True)
        tab.run(f"return {call}", item)
        guessed = tab.run("return JSON.stringify(await service.getAll())")
        context.set_offline(False)
        tab.until("status.pending === 0 && status.caughtUp")
        assert [p["error"] for p in tab.run("return service.parked()")] == [], call
        assert json.loads(guessed) == server.get(GET_ALL), call
        same(tab, server)


def test_commits_of_others_are_followed_without_reading_everything(
    context: Any, server: Any
) -> None:
    """A changed value is changed in the copy; whatever else happened, the copy is read anew."""
    load(server, FRONT_END)
    tab = Tab.beside(context, server.url, token=server.token)
    tab.until("status.caughtUp")
    reads: list[str] = []
    tab.page.on("request", lambda r: reads.append(r.url) if r.url.endswith(GET_ALL) else None)
    for path, body in (
        (SETTING, {"key": "branding_settings", "value": {"name": "Tea"}}),
        ("/api/inventory/event-inventory/update",
         {"category": "milk", "item_id": "m2", "enabled": False}),
        ("/api/inventory/event-stock/update", {"item_id": "m1", "category": "milk", "total": 3}),
        ("/api/inventory/station-config/update", {"station_id": 1, "config_data": {"a": {}}}),
        ("/api/inventory/adjust", {"station_id": 1, "item_id": "m1", "delta": -1}),
        ("/api/inventory/station-quantity/update",
         {"station_id": 1, "item_id": "m1", "category": "milk", "quantity": 9}),
    ):  # fmt: skip
        post(server.url, server.token, path, body)
    same(tab, server)
    assert reads == []
    told = tab.run("return changes.flatMap(change => change.changes ?? [])")
    assert [change["kind"] for change in told] == [
        "setting", "event_inventory", "event_stock", "station_config", "station_stock",
        "station_quantity",
    ]  # fmt: skip
    post(server.url, server.token, SETTING, {"key": "another", "value": 1})
    load(server, SEED)
    same(tab, server)
    assert reads


def without_wait(route: Route) -> None:
    """A server of an earlier version, or one whose threads are all taken."""
    url = route.request.url
    route.continue_(url=url.partition("&wait=")[0])


@pytest.mark.parametrize("feed", ["stream", "long-poll", "poll"])
def test_changes_arrive_over_whatever_way_there_is(context: Any, server: Any, feed: str) -> None:
    """A stream; without one a request that waits; without that, looking now and then."""
    if feed != "stream":
        refused = {"success": False, "error": "Too many.", "code": "too_many_streams"}
        context.route(STREAM, lambda route: route.fulfill(status=503, json=refused))
    if feed == "poll":
        context.route(CHANGES, without_wait)
    tabs = [Tab.beside(context, server.url, token=server.token) for _ in "ab"]
    for tab in tabs:
        tab.until(f"status.caughtUp && status.feed === '{feed}'")
    key = f"by {feed}"
    for value in (1, 2, 3):
        post(server.url, server.token, SETTING, {"key": key, "value": value})
        for tab in tabs:
            tab.until(f"(await service.getSettings())[{key!r}] === {value}")
    assert [error for tab in tabs for error in tab.errors] == []


def test_a_feed_that_is_cut_goes_on_where_it_was(
    make_server: Callable[..., Any], context: Any, tmp_path: Path
) -> None:
    """Cut again and again while others write: nothing is missed, nothing comes twice."""
    server = make_server("flask", f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "log")
    server.start()
    try:
        tab = Tab.beside(context, server.url, token=server.token)
        for value in range(6):
            tab.until("status.caughtUp")
            context.set_offline(True)
            post(server.url, server.token, SETTING, {"key": "cut", "value": value})
            context.set_offline(False)
            tab.until(f"(await service.getSettings()).cut === {value}")
        told = tab.run("return changes.flatMap(change => change.changes ?? [])")
        values = [change["after"] for change in told]
        assert values == sorted(set(values)), "in order, and none twice"
        assert tab.errors == []
    finally:
        server.stop()


def test_subscriptions_end_and_status_is_told(context: Any, server: Any) -> None:
    """`onChange` and `onStatus` give back what ends them; one listener's fault is its own."""
    tab = Tab.beside(context, server.url, token=server.token)
    tab.until("status.caughtUp")
    seen = tab.run(
        """
        const seen = [];
        const end = service.onChange(() => seen.push('change'));
        const endStatus = service.onStatus(({pending}) => seen.push(pending));
        await service.updateSetting('told', 1);
        await until((status) => status.pending === 0 && status.caughtUp);
        end(); endStatus();
        const count = seen.length;
        await service.updateSetting('told', 2);
        return [seen.length === count, seen.includes('change'), seen.includes(1), seen.at(-1)];
        """
    )
    assert seen[:3] == [True, True, True]


def test_a_plain_script_module_and_an_import_map(context: Any, server: Any) -> None:
    """No bundler: a script element; or a bare name that an import map resolves."""
    page = context.new_page()
    module = f"{server.url}/static/expresso-persist/DatabaseInventoryService.js"
    html = f"""<!doctype html><title>station</title>
      <script type="importmap">{{"imports": {{"expresso-persist": "{module}"}}}}</script>
      <script type="module">
        import inventory, {{ ExpressoPersistError }} from 'expresso-persist';
        window.ready = inventory.initialize({{token: '{server.token}'}}).then(async () => {{
          await inventory.updateSetting('plain', 1);
          return [(await inventory.getSettings()).plain, typeof ExpressoPersistError];
        }});
      </script>"""
    page.route("**/station.html", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{server.url}/station.html")
    assert page.evaluate("window.ready") == [1, "function"]
    page.close()


def test_before_it_is_started_every_call_is_a_request(context: Any, server: Any) -> None:
    """`live: false`, and a service that nobody started, keep nothing and throw."""
    tab = Tab.beside(context, server.url, token=server.token)
    tab.run("await service.stop({forget: true}); await service.initialize({live: false});")
    context.set_offline(True)
    failed = tab.run("service.configure({retries: 0}); return service.updateSetting('direct', 1)")
    assert failed["error"] == "network"
    assert tab.status()["feed"] == "off"
    context.set_offline(False)
