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
    service.adjust({stationId: 1, category: 'milk', item: argument.item, delta: -0.1})
    service.adjust({category: 'milk', item: argument.item, delta: -0.2})
    service.batchUpdate([{type: 'setting', data: {key: 'a', value: 1}},
                         {type: 'adjust', data: {category: 'milk', item: argument.item, delta: 5}}])
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
    """A changed value is changed in the copy; whatever else happened, the copy is read again."""
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
        ("/api/inventory/adjust", {"station_id": 1, "category": "milk", "item": "m1", "delta": -1}),
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


def test_signing_out_deletes_the_copy_and_no_write(context: Any, server: Any) -> None:
    """`stop({forget: true})`: nothing to read is left in the browser; what is unsent is."""
    tab = Tab.beside(context, server.url, token=server.token, patience=10)
    post(server.url, server.token, SETTING, {"key": "to be forgotten", "value": 1})
    tab.until("status.caughtUp && 'to be forgotten' in await service.getSettings()")
    tab.run("await service.getRaw('to be forgotten')")
    tab.until_kept("to be forgotten")
    context.set_offline(True)
    tab.run("await service.updateSetting('unsent', 1); await service.stop({forget: true});")
    left = tab.page.evaluate(
        """() => new Promise(resolve => {
          indexedDB.open('expresso-persist').onsuccess = ({target}) => {
            const all = target.result.transaction(['copies', 'outbox']);
            const found = ['copies', 'outbox'].map(name => all.objectStore(name).getAll());
            all.oncomplete = () => resolve(found.map(request => request.result.length));
          };
        })"""
    )
    assert left == [0, 1]
    context.set_offline(False)


def test_a_bundle_that_is_no_module_has_no_address(modules: Any) -> None:
    """Bundlers that write plain scripts leave `import.meta` empty."""
    base = modules.evaluate(
        """async (url) => {
          const text = (await (await fetch(url)).text()).replaceAll('import.meta.url', 'undefined');
          const bundle = URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));
          return (await import(bundle)).default.baseUrl;
        }""",
        "http://expresso.test/DatabaseInventoryService.js",
    )
    assert base == ""


# A server that says what the test wants, at the moment that the test wants.
SCRIPTED = """async (body) => {
  const { DatabaseInventoryService } =
    await import('http://expresso.test/DatabaseInventoryService.js');
  const server = {
    data: {event_stock_levels: {Oat: {total: 10}}, settings: {a: 1}}, revision: 1, reads: 0,
    pages: [], asked: 0, post: () => null,
  };
  const answer = (content, headers = {}, status = 200) =>
    new Response(JSON.stringify({success: status === 200, message: '', error: '', ...content}),
                 {status, headers: {'Content-Type': 'application/json', ...headers}});
  const fetch = async (url, init) => {
    if (init.method === 'POST') return answer({revision: await server.post()});
    if (url.includes('/stream')) return answer({code: 'not_found'}, {}, 404);
    if (url.includes('/get-all')) {
      server.reads += 1;
      const etag = `"e-${server.revision}-aa"`;
      return answer({data: server.data, revision: server.revision}, {ETag: etag});
    }
    server.asked += 1;
    const commits = server.pages.shift() ?? [];
    const cursor = `e.${server.revision}.aa`;
    return answer({data: {commits, cursor, reset: false, has_more: false}});
  };
  const service = new DatabaseInventoryService(
    {baseUrl: 'http://api', token: 'secret', fetch, retryDelay: 1, pollInterval: 10});
  const until = async (met) => {
    while (!(await met())) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const commit = (revision, kind, key, before, after) =>
    ({revision, actor: 'a', source: 'api', changes: [{kind, key, before, after}]});
  await service.start();
  await until(() => service.status().caughtUp);
  const AsyncFunction = (async () => {}).constructor;
  const run = new AsyncFunction('service', 'server', 'until', 'commit', body);
  const result = await run(service, server, until, commit);
  await service.stop();
  return result;
}"""


def test_a_gap_in_the_feed_is_noticed(modules: Any) -> None:
    """Commit 3 after commit 1: whatever was in commit 2 is read, not missed."""
    seen = modules.evaluate(
        SCRIPTED,
        """
        Object.assign(server, {revision: 3, data: {settings: {a: 3, missed: true}}});
        server.pages.push([commit(3, 'setting', ['a'], 1, 3)]);
        await until(async () => (await service.getSettings()).a === 3);
        return service.getSettings();
        """,
    )
    assert seen == {"a": 3, "missed": True}


def test_a_copy_that_is_not_what_the_feed_thinks_is_read_anew(modules: Any) -> None:
    """A commit found another value than the copy has: the copy is wrong somewhere."""
    seen = modules.evaluate(
        SCRIPTED,
        """
        Object.assign(server, {revision: 2, data: {settings: {a: 5, other: true}}});
        server.pages.push([commit(2, 'setting', ['a'], 4, 5)]);
        await until(async () => (await service.getSettings()).a === 5);
        return service.getSettings();
        """,
    )
    assert seen == {"a": 5, "other": True}


def test_a_commit_that_comes_before_the_answer_to_its_write_counts_once(modules: Any) -> None:
    """The feed is faster than the answer: nobody sees the sale twice in between."""
    totals = modules.evaluate(
        SCRIPTED,
        """
        const totals = [];
        const look = async () => (await service.getEventStockLevels()).Oat.total;
        service.onChange(async () => totals.push(await look()));
        server.post = async () => {
          Object.assign(server, {revision: 2, data: {event_stock_levels: {Oat: {total: 9}}}});
          server.pages.push([commit(2, 'event_stock', ['milk', 'Oat'], {total: 10}, {total: 9})]);
          const asked = server.asked;
          await until(() => server.pages.length === 0 && server.asked > asked);
          await new Promise((resolve) => setTimeout(resolve, 100));
          return 2;
        };
        await service.adjust({item: 'Oat', category: 'milk', delta: -1});
        await until(() => service.status().pending === 0 && service.status().caughtUp);
        totals.push(await look());
        return [...new Set(totals)];
        """,
    )
    assert totals == [9]
