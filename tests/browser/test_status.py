"""Every member of the status becomes true by itself: without another write, commit or message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from browser_tabs import Tab

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

UPDATES = "**/api/inventory/*/update"
# The entry of an earlier page, at any step of its life.
PLACE = """(entry) => new Promise((resolve) => {
  indexedDB.open('expresso-persist').onsuccess = ({target}) => {
    const transaction = target.result.transaction('outbox', 'readwrite');
    transaction.objectStore('outbox').add({
      scope: `${location.origin} `, id: 'earlier', key: 'earlier', ifMatch: null, at: Date.now(),
      path: '/api/inventory/settings/update', body: '{"key":"earlier","value":1}',
      error: null, revision: null, ...entry});
    transaction.oncomplete = () => { target.result.close(); resolve(); };
  };
})"""
# A tab that wants to lead waits until the page lets it.
HELD_LOCK = """
  const request = LockManager.prototype.request;
  window.released = new Promise((resolve) => { window.release = resolve; });
  LockManager.prototype.request = async function (...rest) {
    await window.released;
    return request.apply(this, rest);
  };
"""
NO_PULSE = """
  const setInterval = window.setInterval;
  window.setInterval = (act, delay, ...rest) =>
    delay === 2500 ? 0 : setInterval(act, delay, ...rest);
"""


@pytest.fixture
def open_tab(context: BrowserContext, one_server: Any) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def opened(**options: object) -> Tab:
        tabs.append(Tab.beside(context, one_server.url, **{"token": one_server.token, **options}))
        listen(tabs[-1])
        return tabs[-1]

    yield opened
    assert [error for tab in tabs for error in tab.errors] == []


def listen(tab: Tab) -> None:
    """What listeners were told last, which is all that an application shows."""
    tab.page.evaluate(
        "() => { window.told = service.status();"
        " service.onStatus((status) => { window.told = status; }); }"
    )


def told(tab: Tab, condition: str) -> None:
    tab.until(f"{condition} && {condition.replace('status', 'told')}")


@pytest.mark.parametrize("revision", [0, 1])
def test_caught_up_when_an_acknowledged_write_is_read_after_the_copy(
    open_tab: Any, context: Any, revision: int
) -> None:
    """The page before it ended right after the server took a write, which the copy has."""
    tab = open_tab()
    tab.run("await service.updateSetting('first', 1)")
    told(tab, "status.caughtUp")
    tab.page.evaluate(PLACE, {"state": "acked", "revision": revision})
    context.add_init_script(HELD_LOCK)
    tab.open()
    listen(tab)
    tab.run("await service.getAll()")
    tab.page.evaluate("release()")
    told(tab, "status.caughtUp")


def test_caught_up_with_a_parked_write_after_a_reload(open_tab: Any, context: Any) -> None:
    tab = open_tab()
    tab.run("return service.updateSetting('event_inventory', {})")
    told(tab, "status.caughtUp")
    assert tab.status()["parked"] == 1
    tab.page.evaluate(PLACE, {"state": "acked", "revision": 0})
    context.add_init_script(HELD_LOCK)
    tab.open()
    listen(tab)
    tab.run("await service.getAll()")
    tab.page.evaluate("release()")
    told(tab, "status.caughtUp && status.parked === 1")


def test_caught_up_in_a_tab_that_comes_later(open_tab: Any, context: Any) -> None:
    """It asks how things stand, and does not wait for the next sign of life."""
    context.add_init_script(NO_PULSE)
    told(open_tab(), "status.caughtUp")
    told(open_tab(), "status.caughtUp && status.feed === 'stream'")


def test_caught_up_after_a_revision_that_nothing_resolves(open_tab: Any) -> None:
    """A tab that led was ahead of a server that has lost that since: the answer is 304."""
    leader, follower = open_tab(), open_tab()
    leader.run("await service.updateSetting('first', 1)")
    for tab in (leader, follower):
        told(tab, "status.caughtUp")
    follower.run("await service.refresh()")
    follower.page.evaluate(
        """() => {
          const channel = new BroadcastChannel(`expresso-persist ${location.origin} `);
          const {online, caughtUp, feed, signInNeeded, lastServerAck} = service.status();
          const link = {online, caughtUp, feed, signInNeeded, lastServerAck, setAside: 0};
          channel.postMessage({type: 'alive', from: 'a tab that is gone', link, revision: 1000});
        }"""
    )
    follower.until("!status.caughtUp")
    told(follower, "status.caughtUp")


def test_caught_up_in_a_tab_that_takes_over(open_tab: Any) -> None:
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        told(tab, "status.caughtUp")
    first.page.close()
    second.until("true")
    told(second, "status.caughtUp && status.online && status.feed === 'stream'")


def test_durable_again_once_the_write_is_sent(open_tab: Any) -> None:
    """The storage was full; the server has it now, so nothing is left to lose."""
    first, second = open_tab(patience=10), open_tab(patience=10)
    for tab in (first, second):
        told(tab, "status.caughtUp")
    first.page.context.route(UPDATES, lambda route: route.abort())
    second.page.evaluate(
        "() => { IDBObjectStore.prototype.add ="
        "  () => { throw new DOMException('', 'QuotaExceededError'); }; }"
    )
    second.run("return service.updateSetting('full', 1)")
    for tab in (first, second):
        told(tab, "!status.durable")
    first.page.context.unroute(UPDATES)
    for tab in (first, second):
        told(tab, "status.durable && status.pending === 0 && status.caughtUp")


def test_durable_again_once_the_write_is_refused_and_let_go_of(open_tab: Any) -> None:
    first, second = open_tab(patience=10), open_tab(patience=10)
    for tab in (first, second):
        told(tab, "status.caughtUp")
    second.page.evaluate(
        "() => { IDBObjectStore.prototype.add ="
        "  () => { throw new DOMException('', 'QuotaExceededError'); }; }"
    )
    second.run("return service.updateSetting('event_inventory', {})")
    for tab in (first, second):
        told(tab, "status.parked === 1")
    assert second.status()["durable"] is False
    (parked,) = first.run("return service.parked()")
    first.run("return service.discardParked(argument)", parked["id"])
    for tab in (first, second):
        told(tab, "status.durable && status.parked === 0")


def test_parked_in_a_tab_that_was_not_there(open_tab: Any) -> None:
    first = open_tab()
    first.run("return service.updateSetting('event_inventory', {})")
    told(open_tab(), "status.parked === 1 && status.pending === 0 && status.caughtUp")


def test_pending_and_online_after_the_network_is_back(open_tab: Any, context: Any) -> None:
    first, second = open_tab(patience=10), open_tab(patience=10)
    for tab in (first, second):
        told(tab, "status.caughtUp")
    context.set_offline(True)
    first.run("return service.updateSetting('later', 1)")
    for tab in (first, second):
        told(tab, "!status.online && status.pending === 1 && !status.caughtUp")
    context.set_offline(False)
    for tab in (first, second):
        told(tab, "status.online && status.pending === 0 && status.caughtUp")
