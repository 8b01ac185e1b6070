"""What the server acknowledged and lost: the client keeps it, notices, and offers it again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from browser_tabs import Tab, post

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

SETTING = "/api/inventory/settings/update"
STOCK = "/api/inventory/event-stock/update"
ADJUST = "**/api/inventory/adjust"
BROKEN_INDEXEDDB = """
    IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };
"""
STORED = """([store, change]) => new Promise((resolve) => {
  indexedDB.open('expresso-persist').onsuccess = ({target}) => {
    const transaction = target.result.transaction(store, 'readwrite');
    const request = transaction.objectStore(store).getAll();
    request.onsuccess = () => {
      for (const entry of change ? request.result : []) {
        transaction.objectStore(store).put({...entry, ...change});
      }
    };
    transaction.oncomplete = () => { target.result.close(); resolve(request.result); };
  };
})"""


# What version 0.1.0 left behind: its database, and a write at each step of its life.
FIRST_VERSION = """() => new Promise((resolve) => {
  const request = indexedDB.open('expresso-persist', 1);
  request.onupgradeneeded = () => {
    const outbox = request.result.createObjectStore('outbox',
      {keyPath: 'seq', autoIncrement: true});
    outbox.createIndex('scope', 'scope');
    outbox.createIndex('id', ['scope', 'id'], {unique: true});
    request.result.createObjectStore('copies', {keyPath: 'scope'});
    request.result.createObjectStore('leases', {keyPath: 'name'});
    for (const state of ['acked', 'parked', 'queued']) {
      outbox.add({
        scope: `${location.origin} `, id: state, key: state, ifMatch: null, at: 1, state,
        path: '/api/inventory/settings/update', body: `{"key":"${state}","value":1}`,
        error: state === 'parked' ? {message: 'no', code: 'x', status: 422, details: []} : null,
        revision: state === 'acked' ? 1 : null});
    }
  };
  request.onsuccess = () => { request.result.close(); resolve(); };
})"""


@attrs.define
class Venue:
    """A server, and older copies of its database."""

    server: Any
    file: Path

    def keep(self) -> None:
        """From here on commits will be lost."""
        with (
            contextlib.closing(sqlite3.connect(self.file)) as source,
            contextlib.closing(sqlite3.connect(self.file.with_suffix(".older"))) as target,
        ):
            source.backup(target)

    def lose(self, *, everything: bool = False) -> None:
        """Put the older copy in place, or an empty store."""
        self.server.stop()
        for leftover in self.file.parent.glob("a.db*"):
            leftover.unlink()
        if not everything:
            shutil.copy(self.file.with_suffix(".older"), self.file)
        self.server.start()

    def post(self, path: str, body: object) -> Any:
        return post(self.server.url, self.server.token, path, body)

    def set(self, key: str, value: object) -> None:
        self.post(SETTING, {"key": key, "value": value})

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.server.get("/api/inventory/settings")
        return settings

    @property
    def oat(self) -> float:
        stored: dict[str, dict[str, float]] = self.server.get("/api/inventory/get-all")[
            "event_stock_levels"
        ]
        return stored["Oat"]["total"]


@pytest.fixture
def venue(make_server: Callable[..., Any], tmp_path: Path) -> Iterator[Venue]:
    server = make_server("fastapi", f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "log")
    server.start()
    venue = Venue(server, tmp_path / "a.db")
    venue.post(STOCK, {"item_name": "Oat", "category": "milk", "total_quantity": 10})
    yield venue
    server.stop()


@pytest.fixture
def open_tab(context: BrowserContext, venue: Venue) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def opened(**options: object) -> Tab:
        options = {"token": venue.server.token, **options}
        tabs.append(Tab.beside(context, venue.server.url, **options))
        tabs[-1].until("status.caughtUp")
        return tabs[-1]

    yield opened
    assert [error for tab in tabs for error in tab.errors] == []


def take(delta: float = -1) -> str:
    return f"await service.adjust({{item: 'Oat', category: 'milk', delta: {delta}}});"


def stored(tab: Tab, store: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tab.page.evaluate(STORED, [store, None])
    return entries


def healed(tab: Tab) -> None:
    tab.until("status.pending === 0 && status.caughtUp")


@pytest.mark.parametrize("storage", ["indexeddb", "localstorage"])
def test_a_closed_browser_puts_back_what_was_lost_while_it_was_away(
    open_tab: Any, venue: Venue, context: Any, storage: str
) -> None:
    """Nothing but the disk knows it; and a second loss of the same writes is mended as well."""
    if storage == "localstorage":
        context.add_init_script(BROKEN_INDEXEDDB)
    tab = open_tab()
    assert tab.status()["storage"] == storage
    venue.keep()
    tab.run(take() * 3)
    healed(tab)
    if storage == "indexeddb":
        tab.until_kept('"total":7')
    for _ in range(2):
        tab.page.close()
        venue.lose()
        assert venue.oat == 10
        tab = open_tab()
        healed(tab)
        assert venue.oat == 7


def test_what_was_written_meanwhile_comes_after_what_was_lost(
    open_tab: Any, venue: Venue, context: Any
) -> None:
    """The server is back with an older state; the new value is the last one, not the old one."""
    tab = open_tab(patience=200)
    venue.keep()
    tab.run("await service.updateSetting('s', 1); await service.updateSetting('s', 2);")
    healed(tab)
    context.set_offline(True)
    tab.run("await service.updateSetting('s', 3);")
    venue.lose()
    sent: list[Any] = []
    tab.page.on("request", lambda request: sent.append(request) if request.post_data else None)
    context.set_offline(False)
    healed(tab)
    assert (venue.settings["s"], tab.status()["parked"]) == (3, 0)
    done = [each for each in sent if (answer := each.response()) and answer.status == 200]
    assert [request.post_data_json["value"] for request in done] == [1, 2, 3]


def test_an_older_value_than_that_of_others_is_parked_and_shown(
    open_tab: Any, venue: Venue, context: Any
) -> None:
    """What others set after the loss stands; people compare and decide."""
    tab = open_tab(patience=200)
    venue.keep()
    tab.run(f"await service.updateSetting('s', 'mine'); {take()}")
    healed(tab)
    context.set_offline(True)
    venue.lose()
    venue.set("s", "theirs")
    context.set_offline(False)
    tab.until("status.parked === 1")
    healed(tab)
    assert (venue.settings["s"], venue.oat) == ("theirs", 9)
    (parked,) = tab.run("return service.parked()")
    assert (parked["error"]["code"], parked["error"]["data"]["value"]) == (
        "offer_conflict",
        "theirs",
    )
    tab.open()
    assert tab.status()["parked"] == 1, "it survives a reload"
    assert tab.run("return service.retryParked(argument)", parked["id"])["revision"] > 0
    assert venue.settings["s"] == "mine"


def test_a_tab_killed_while_it_offers_leads_to_one_effect(
    open_tab: Any, venue: Venue, context: Any
) -> None:
    tab = open_tab()
    venue.keep()
    tab.run(take() * 3)
    healed(tab)
    tab.page.close()
    venue.lose()
    held: list[Any] = []

    def hold(route: Route) -> None:
        route.fetch()  # the server does it; the answer never comes
        held.append(route)

    context.route(ADJUST, hold)
    first = Tab.beside(context, venue.server.url, token=venue.server.token)
    while not held:
        first.page.evaluate("1")
    assert venue.oat == 9
    context.unroute(ADJUST)
    first.page.close()
    healed(open_tab())
    assert venue.oat == 7


def test_browsers_that_offer_at_the_same_time(venue: Venue, browser: Any) -> None:
    """Each its own; the count of one comes before the sale of the other, as it was."""
    contexts = [browser.new_context() for _ in "ab"]
    tabs = [
        Tab.beside(each, venue.server.url, token=venue.server.token, patience=200)
        for each in contexts
    ]
    for tab in tabs:
        tab.until("status.caughtUp")
    venue.keep()
    count = "await service.updateEventStock('Oat', 100, 'milk');"
    tabs[0].run(count)
    healed(tabs[0])
    tabs[1].run(take())
    healed(tabs[1])
    for each in contexts:
        each.set_offline(True)
    venue.lose()
    contexts[1].set_offline(False)  # the sale is back first
    healed(tabs[1])
    assert venue.oat == 9
    contexts[0].set_offline(False)
    healed(tabs[0])
    assert venue.oat == 99
    assert [tab.status()["parked"] for tab in tabs] == [0, 0]
    for each in contexts:
        each.close()


def test_writes_that_expected_a_revision_are_offered_again(open_tab: Any, venue: Venue) -> None:
    """The revisions that they expected are those of the state that was lost."""
    venue.set("s", 0)
    tab = open_tab()
    venue.keep()
    tab.run(
        """for (const value of [1, 2]) {
             const changes = await fetch('/api/inventory/history?kind=setting&key=["s"]',
               {headers: {Authorization: `Bearer ${argument}`}}).then(r => r.json());
             const ifMatch = changes.data.entries[0].revision;
             await service.updateSetting('s', value, {ifMatch});
           }""",
        venue.server.token,
    )
    assert venue.settings["s"] == 2
    venue.set("other", 1)  # so that revisions differ
    venue.lose()
    tab.until("changes.some((change) => change.reason === 'reset')")
    healed(tab)
    assert (venue.settings["s"], tab.status()["parked"]) == (2, 0)


def test_another_store_is_not_given_what_the_first_one_took(open_tab: Any, venue: Venue) -> None:
    """It may have been filled from a backup: people decide, and nothing is dropped."""
    tab, other = open_tab(), open_tab()
    tab.run("await service.updateSetting('first', 1); await service.updateSetting('second', 2);")
    healed(tab)
    venue.lose(everything=True)
    for each in (tab, other):
        each.until("status.setAside === 2 && status.caughtUp && status.pending === 0")
    assert venue.settings == {}
    tab.open()
    tab.until("status.setAside === 2")
    aside = tab.run("return service.setAside()")
    assert [entry["body"]["key"] for entry in aside] == ["first", "second"]
    tab.run("await service.sendSetAside([argument])", aside[0]["id"])
    healed(tab)
    assert venue.settings == {"first": 1}
    tab.run("await service.discardSetAside()")
    other.until("status.setAside === 0")
    assert tab.run("return service.setAside()") == []
    assert venue.settings == {"first": 1}


def test_what_is_kept_is_bounded_and_the_oldest_go_first(open_tab: Any, venue: Venue) -> None:
    tab = open_tab(keepWrites=2)
    venue.keep()
    for number in range(4):
        tab.run("await service.updateSetting(`s${argument}`, 1)", number)
    healed(tab)
    tab.until(f"(await ({STORED})(['outbox', null])).length === 0")
    tab.page.close()
    tab = open_tab(keepWrites=2)
    kept = sorted(entry["body"] for entry in stored(tab, "acknowledged"))
    assert kept == [f'{{"key":"s{number}","value":1}}' for number in (2, 3)]
    day = 86_400_000
    tab.page.evaluate(STORED, ["acknowledged", {"ackedAt": 0}])
    tab.page.close()
    tab = open_tab()
    assert stored(tab, "acknowledged") == [], "older than a week"
    tab.run("await service.updateSetting('late', 1)")
    tab.until(f"(await ({STORED})(['acknowledged', null])).length === 1")
    (entry,) = stored(tab, "acknowledged")
    assert abs(entry["ackedAt"] - tab.page.evaluate("Date.now()")) < day


def test_an_item_that_another_station_has_to_bring_back_is_waited_for(
    open_tab: Any, venue: Venue, browser: Any
) -> None:
    """The sale of an item whose making was lost too: offered again once that is there."""
    tab = open_tab(patience=200)
    venue.keep()
    maker = browser.new_context()
    laptop = Tab.beside(maker, venue.server.url, token=venue.server.token, patience=200)
    laptop.until("status.caughtUp")
    laptop.run("await service.updateEventStock('Soy', 5, 'milk')")
    healed(laptop)
    tab.run("await service.adjust({item: 'Soy', category: 'milk', delta: -1})")
    healed(tab)
    maker.set_offline(True)
    venue.lose()
    tab.until("status.parked === 1")
    maker.set_offline(False)
    tab.until("status.parked === 0 && status.pending === 0")
    assert venue.server.get("/api/inventory/get-all")["event_stock_levels"]["Soy"]["total"] == 4
    maker.close()


def test_a_loss_that_no_reset_tells_of_is_noticed_by_the_hash(open_tab: Any, venue: Venue) -> None:
    """The client was behind: its cursor is on both timelines, and others took the place."""
    tab = open_tab()
    venue.keep()
    tab.page.route("**/api/inventory/stream*", lambda route: route.abort())
    tab.page.route("**/api/inventory/changes*", lambda route: route.abort())
    tab.page.evaluate("dispatchEvent(new Event('offline'))")  # ends the stream
    tab.run(take())
    tab.until("status.pending === 0")
    venue.lose()
    for number in range(3):
        venue.set(f"of others {number}", 1)
    tab.page.unroute("**/api/inventory/stream*")
    tab.page.unroute("**/api/inventory/changes*")
    tab.until("(await service.getEventStock()).Oat.total === 9")
    healed(tab)
    assert venue.oat == 9


def test_a_sale_of_others_that_survived_is_not_taken_off_a_later_value(
    open_tab: Any, venue: Venue
) -> None:
    """The feed had told of neither: the answer says what stood before the write."""
    tab = open_tab()
    tab.page.route("**/api/inventory/stream*", lambda route: route.abort())
    tab.page.route("**/api/inventory/changes*", lambda route: route.abort())
    tab.page.evaluate("dispatchEvent(new Event('offline'))")  # ends the stream
    venue.post("/api/inventory/adjust", {"item": "Oat", "category": "milk", "delta": -3})
    venue.keep()
    tab.run("await service.updateEventStock('Oat', 50, 'milk')")
    tab.until("status.pending === 0")
    venue.lose()
    assert venue.oat == 7
    tab.page.unroute("**/api/inventory/stream*")
    tab.page.unroute("**/api/inventory/changes*")
    tab.until("(await service.getEventStock()).Oat.total === 50")
    healed(tab)
    assert (venue.oat, tab.status()["parked"]) == (50, 0)


def test_what_an_earlier_version_left_behind_is_taken_over(
    open_tab: Any, venue: Venue, context: Any
) -> None:
    """Unsent writes are sent, refused ones are shown; finished ones are not sent again."""
    page = context.new_page()
    page.goto(f"{venue.server.url}/api/migration/health")
    page.evaluate(FIRST_VERSION)
    tab = open_tab()
    healed(tab)
    assert [parked["id"] for parked in tab.run("return service.parked()")] == ["parked"]
    assert venue.settings == {"queued": 1}
    venue.keep()
    tab.run(take())
    healed(tab)
    venue.lose()
    tab.until("changes.some((change) => change.reason === 'reset')")
    healed(tab)
    assert venue.oat == 9
