"""The client on a bad network: what it keeps, what it sends, and that it sends it once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser_tabs import Tab, post

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

UPDATES = "**/api/inventory/*/update"
ADJUST = "**/api/inventory/adjust"
EVERYTHING = "**/api/inventory/**"
SETTING = "/api/inventory/settings/update"
STOCK = "/api/inventory/event-stock/update"


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """One server for all; each test has a browser and names of its own."""
    directory = tmp_path_factory.mktemp("offline")
    started = make_server("fastapi", f"sqlite:///{directory / 'offline.db'}", directory / "log")
    started.start()
    post(started.url, started.token, SETTING, {"key": "first", "value": True})
    yield started
    started.stop()


@pytest.fixture
def open_tab(context: BrowserContext, server: Any) -> Iterator[Callable[..., Tab]]:
    """Open tabs of one browser; an error that no code awaited fails the test."""
    tabs: list[Tab] = []

    def opened(**options: object) -> Tab:
        tabs.append(Tab.beside(context, server.url, **{"token": server.token, **options}))
        return tabs[-1]

    yield opened
    assert [error for tab in tabs for error in tab.errors] == []


def stock(server: Any, item: str, quantity: float = 10) -> str:
    """An item with stock of the event."""
    body = {"item_name": item, "category": "milk", "total_quantity": quantity}
    post(server.url, server.token, STOCK, body)
    return item


def quantity(server: Any, item: str) -> float:
    levels: dict[str, dict[str, float]] = server.get("/api/inventory/get-all")["event_stock_levels"]
    return levels[item]["total"]


def take(item: str, delta: float = -1) -> str:
    return f"service.adjust({{item: {item!r}, category: 'milk', delta: {delta}}})"


def failing(
    status: int, times: int, code: str, headers: dict[str, str], at: list[float]
) -> Callable[[Any], None]:
    """Answer so many requests with an error before the server itself answers."""

    def answer(route: Route) -> None:
        at.append(time.monotonic())
        if len(at) > times:
            route.continue_()
            return
        body = {"success": False, "error": "Not now.", "code": code, "details": []}
        route.fulfill(
            status=status,
            body=json.dumps(body),
            headers={"Content-Type": "application/json", **headers},
        )

    return answer


def test_offline_writes_show_at_once_and_are_sent_in_order(
    open_tab: Any, context: Any, server: Any
) -> None:
    """What is tapped without a network is read back at once and reaches the server later."""
    item = stock(server, "offline milk")
    tab = open_tab()
    tab.until("status.caughtUp")
    tab.run("await service.getRaw('tap')")  # documents are there offline once they were read
    context.set_offline(True)
    answers = tab.run(
        f"return [await {take(item)}, await {take(item)},"
        " await service.updateSetting('tap', 1), await service.updateSetting('tap', 2)]"
    )
    assert [answer["pending"] for answer in answers] == [True] * 4
    assert tab.settings()["tap"] == 2
    assert tab.run(f"return (await service.getEventStock())[{item!r}].total") == 8
    assert tab.run("return service.getRaw('tap')") == "2"
    status = tab.status()
    assert (status["online"], status["pending"], status["durable"]) == (False, 4, True)
    assert status["oldestPendingAge"] >= 0
    assert "tap" not in server.get("/api/inventory/settings")
    context.set_offline(False)
    tab.until("status.pending === 0 && status.caughtUp")
    assert server.get("/api/inventory/settings")["tap"] == 2
    assert quantity(server, item) == 8
    assert tab.status()["lastServerAck"] is not None


def test_what_is_pulled_does_not_hide_what_is_not_sent(open_tab: Any, server: Any) -> None:
    """Others' changes arrive while this tab cannot send: both are seen, and both remain."""
    item = stock(server, "rebased milk")
    tab = open_tab()
    tab.until("status.caughtUp")
    tab.page.route(ADJUST, lambda route: route.abort())
    tab.run(f"return {take(item, -3)}")
    stock(server, item, 20)
    post(server.url, server.token, SETTING, {"key": "of others", "value": 1})
    tab.until("(await service.getSettings())['of others'] === 1")
    read = f"return (await service.getEventStockLevels())[{item!r}].total"
    assert tab.run(read) == 17
    assert quantity(server, item) == 20
    tab.page.unroute(ADJUST)
    tab.until("status.pending === 0 && status.caughtUp")
    assert tab.run(read) == quantity(server, item) == 17


def test_pending_writes_survive_a_reload_and_reads_work_without_a_network(
    open_tab: Any, server: Any
) -> None:
    """The page is loaded again while the server is away: nothing is lost, all is shown."""
    item = stock(server, "reloaded milk")
    tab = open_tab()
    tab.until("status.caughtUp")
    tab.until_kept(item)
    tab.page.context.route(EVERYTHING, lambda route: route.abort())
    tab.run(f"await {take(item)}; await {take(item)};")
    tab.open()
    assert tab.status()["pending"] == 2
    assert tab.run(f"return (await service.getEventStockLevels())[{item!r}].total") == 8
    tab.page.context.unroute(EVERYTHING)
    tab.until("status.pending === 0 && status.caughtUp")
    assert quantity(server, item) == 8


def test_pending_writes_survive_the_browser(
    server: Any, browser: Any, browser_options: dict[str, Any], tmp_path: Path
) -> None:
    """The browser is closed with unsent writes and started the next morning."""
    item = stock(server, "milk of yesterday")
    for evening in (True, False):
        context = browser.browser_type.launch_persistent_context(
            tmp_path / "profile", **browser_options
        )
        if evening:
            context.route(EVERYTHING, lambda route: route.abort())
        tab = Tab.beside(context, server.url, token=server.token, patience=100)
        if evening:
            tab.run(f"await {take(item)}")
            assert tab.status()["pending"] == 1
        else:
            tab.until("status.pending === 0 && status.caughtUp")
        context.close()
    assert quantity(server, item) == 9


@pytest.mark.parametrize("locks", [True, False], ids=["web-locks", "lease"])
def test_one_tab_sends_for_all_and_another_takes_over(
    open_tab: Any, context: Any, server: Any, locks: bool
) -> None:
    """Two tabs tap; one sends, the other one knows; when that one closes, the other sends."""
    if not locks:
        context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    item = stock(server, f"shared milk {locks}", 100)
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.until("status.caughtUp")
    senders: list[Page] = []
    context.on(
        "request",
        lambda request: senders.append(request.frame.page) if request.method == "POST" else None,
    )
    tap = f"await Promise.all(Array.from({{length: 5}}, () => {take(item)}))"
    first.run(tap)
    answers = second.run(f"return {take(item)}")
    assert answers["revision"] > 0, "the answer reaches the tab that wrote"
    second.run(tap)
    assert set(senders) == {first.page}
    assert quantity(server, item) == 89
    second.until(f"(await service.getEventStockLevels())[{item!r}].total === 89")
    first.page.close()
    second.run(tap)
    second.until("status.pending === 0 && status.caughtUp")
    assert quantity(server, item) == 84
    assert second.page in senders


def test_a_tab_killed_while_sending_leads_to_one_effect(
    open_tab: Any, context: Any, server: Any
) -> None:
    """The server has the write, the tab dies before the answer; the next one asks again."""
    item = stock(server, "killed milk")
    first = open_tab(patience=100)
    first.until("status.caughtUp")
    held: list[Any] = []

    def hold(route: Route) -> None:
        route.fetch()
        held.append(route)

    first.page.route(ADJUST, hold)
    with first.page.expect_request(ADJUST):
        first.run(f"{take(item)}")
    while not held:
        first.page.evaluate("1")
    assert quantity(server, item) == 9
    first.page.close()
    second = open_tab()
    second.until("status.pending === 0 && status.caughtUp")
    assert quantity(server, item) == 9
    assert second.run(f"return (await service.getEventStockLevels())[{item!r}].total") == 9


def test_a_frozen_tab_does_not_keep_others_from_sending(
    open_tab: Any, context: Any, server: Any
) -> None:
    """iPads freeze tabs that nobody looks at, with all the locks that they hold."""
    item = stock(server, "frozen milk")
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.until("status.caughtUp")
    # As frozen as it gets in a test: no timer, no message and no answer reaches its code.
    session = context.new_cdp_session(first.page)
    session.send("Debugger.enable")
    session.send("Debugger.pause")
    second.run(take(item))
    second.until("status.pending === 0")
    assert quantity(server, item) == 9
    session.send("Debugger.disable")
    first.until("status.pending === 0 && status.caughtUp")
    assert quantity(server, item) == 9


def test_a_refused_token_is_renewed_and_the_write_is_sent(open_tab: Any, server: Any) -> None:
    """The token expired over night; the hook gets another one, and nobody notices."""
    tab = open_tab(token=None)
    tab.run("await service.stop()")
    answer = tab.run(
        """
        window.asked = 0;
        service.configure({onUnauthorized: () => { window.asked += 1; return argument; },
                           token: 'expired'});
        await service.start();
        return service.updateSetting('renewed', true);
        """,
        server.token,
    )
    assert answer["revision"] > 0
    assert tab.run("return asked") == 1
    assert server.get("/api/inventory/settings")["renewed"] is True


def test_without_a_token_writes_wait_until_somebody_signs_in(open_tab: Any, server: Any) -> None:
    """401 is nobody's refusal of the write: it is kept, the page can ask, then it is sent."""
    tab = open_tab(token="expired")
    answer = tab.run("return service.updateSetting('signed in', true)")
    assert answer["pending"] is True
    tab.until("status.signInNeeded && status.pending === 1 && status.parked === 0")
    tab.run("service.setToken(argument)", server.token)
    tab.until("status.pending === 0 && !status.signInNeeded && status.caughtUp")
    assert server.get("/api/inventory/settings")["signed in"] is True


@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (429, "rate_limited", {"Retry-After": "1"}),
        (503, "database_unavailable", {"Retry-After": "1"}),
        (500, "error", {}),
        (409, "busy", {}),
    ],
)
def test_bursts_of_errors_are_waited_out(
    open_tab: Any, server: Any, status: int, code: str, headers: dict[str, str]
) -> None:
    """The server is busy for a while: nothing is parked, nothing overtakes, all arrives once."""
    item = stock(server, f"busy milk {status}")
    tab = open_tab(patience=20_000)
    tab.until("status.caughtUp")
    sent: list[float] = []
    times = 1 if headers else 4
    tab.page.route(ADJUST, failing(status, times, code, headers, sent))
    answers = tab.run(f"return Promise.all([{take(item)}, {take(item)}].map(p => p.then(w => w)))")
    tab.until("status.pending === 0 && status.parked === 0")
    assert quantity(server, item) == 8
    assert len(answers) == 2
    if headers:
        assert sent[1] - sent[0] >= 0.99, "not before the server wanted"


def test_what_a_guest_network_answers_is_not_an_answer(open_tab: Any, server: Any) -> None:
    """A sign-in page with 200, a proxy's 404 or 403: the write stays."""
    tab = open_tab(patience=10)
    tab.until("status.caughtUp")
    pages = iter([(200, "text/html"), (404, "text/html"), (403, "text/plain")])

    def portal(route: Route) -> None:
        status, kind = next(pages, (0, ""))
        if status:
            route.fulfill(status=status, body="<h1>Welcome</h1>", content_type=kind)
        else:
            route.continue_()

    tab.page.route(UPDATES, portal)
    assert tab.run("return service.updateSetting('guest', 1)")["pending"] is True
    tab.until("status.pending === 0")
    assert tab.status()["parked"] == 0
    assert server.get("/api/inventory/settings")["guest"] == 1


def test_a_refused_write_is_parked_and_holds_up_no_other(open_tab: Any, server: Any) -> None:
    """Refused writes are listed with the reason; the rest goes on; reads do not show them."""
    item = stock(server, "parked milk")
    tab = open_tab()
    tab.until("status.caughtUp")
    refused = tab.run("return service.adjust({item: 'no such milk', category: 'milk', delta: -1})")
    assert refused["error"] == "not_found"
    assert tab.run(f"return {take(item)}")["revision"] > 0
    (parked,) = tab.run("return service.parked()")
    assert parked["id"] == refused["parked"]
    assert parked["path"] == "/api/inventory/adjust"
    assert parked["body"] == {"category": "milk", "delta": -1, "item": "no such milk"}
    assert parked["error"]["status"] == 404
    assert (tab.status()["parked"], tab.status()["pending"]) == (1, 0)
    tab.open()
    tab.until("status.caughtUp")
    assert len(tab.run("return service.parked()")) == 1, "it survives a reload"
    again = tab.run("return service.retryParked(argument)", parked["id"])
    assert again["error"] == "not_found"
    edited = {**parked["body"], "item": item}
    assert tab.run("return service.editParked(argument[0], argument[1])", [parked["id"], edited])[
        "revision"
    ]
    assert tab.run("return service.parked()") == []
    assert quantity(server, item) == 8


def test_an_expected_revision_is_kept_and_sent(open_tab: Any, context: Any, server: Any) -> None:
    """Over a reload without a network: who was first wins, the other is refused and sees why."""
    for name in ("expected", "moved on"):
        post(server.url, server.token, SETTING, {"key": name, "value": 0})
    tab = open_tab(patience=10)
    tab.until("status.caughtUp")
    revision = post(server.url, server.token, SETTING, {"key": "expected", "value": 1})["revision"]
    context.route(EVERYTHING, lambda route: route.abort())
    tab.run(
        "const ifMatch = argument; await service.updateSetting('expected', 2, {ifMatch});"
        "await service.updateSetting('moved on', 2, {ifMatch});",
        revision,
    )
    tab.open()
    context.unroute(EVERYTHING)
    tab.until("status.pending === 0 && status.parked === 1 && status.caughtUp")
    (parked,) = tab.run("return service.parked()")
    assert (parked["body"]["key"], parked["error"]["status"]) == ("moved on", 412)
    assert parked["error"]["data"]["value"] == 0
    settings = server.get("/api/inventory/settings")
    assert (settings["expected"], settings["moved on"]) == (2, 0)
    # Another body is another write: what the refused one expected is not asked of it.
    edited = {**parked["body"], "value": 3}
    assert tab.run("return service.editParked(...argument)", [parked["id"], edited])["pending"]
    tab.until("status.pending === 0")
    assert server.get("/api/inventory/settings")["moved on"] == 3


def test_a_parked_write_is_parked_on_the_disk(open_tab: Any, context: Any, server: Any) -> None:
    """The next page shows it and its reason without a network, and does not send it."""
    tab = open_tab()
    tab.until("status.caughtUp")
    refused = tab.run("return service.adjust({item: 'no such milk', category: 'milk', delta: -1})")
    (before,) = tab.run("return service.parked()")
    context.route(EVERYTHING, lambda route: route.abort())
    tab.open()
    assert (tab.status()["parked"], tab.status()["pending"]) == (1, 0)
    assert tab.run("return service.parked()") == [before]
    assert "no such milk" in before["error"]["message"]
    tab.page.close()
    sent: list[str] = []
    context.on("request", lambda request: sent.append(request.url) if request.post_data else None)
    context.unroute(EVERYTHING)
    other = open_tab()
    other.until("status.caughtUp && status.parked === 1")
    other.run("return service.updateSetting('after the parked one', 1)")
    assert [url for url in sent if url.endswith("/adjust")] == []
    other.run("return service.discardParked(argument)", refused["parked"])
    other.open()
    other.until("status.caughtUp && status.parked === 0")


def test_a_parked_write_can_be_let_go_of_in_another_tab(open_tab: Any) -> None:
    """What one tab discards is gone in all of them, also after a reload."""
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.until("status.caughtUp")
    first.run("return service.updateSetting('event_inventory', {})")
    second.until("status.parked === 1")
    (parked,) = second.run("return service.parked()")
    second.run("return service.discardParked(argument)", parked["id"])
    first.until("status.parked === 0")
    first.open()
    assert first.status()["parked"] == 0
    gone = first.run("return service.retryParked(argument)", parked["id"])
    assert gone["error"] == "not_found"


def test_closing_a_page_with_unsent_writes_asks_first(open_tab: Any, context: Any) -> None:
    """And only then."""
    tab = open_tab(patience=10)
    tab.until("status.caughtUp")
    asked: list[str] = []
    tab.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    tab.page.mouse.click(5, 5)  # browsers only ask for pages that somebody used
    tab.page.route(UPDATES, lambda route: route.abort())
    tab.run("return service.updateSetting('unsent', 1)")
    with tab.page.expect_event("dialog"):
        tab.page.close(run_before_unload=True)
    assert asked == ["beforeunload"]
    tab.page.unroute(UPDATES)
    tab.until("status.pending === 0")
    with tab.page.expect_event("close"):
        tab.page.close(run_before_unload=True)
    assert asked == ["beforeunload"]


BROKEN_INDEXEDDB = """
    IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };
"""
BROKEN_STORAGE = """
    Storage.prototype.setItem = () => { throw new DOMException('no', 'QuotaExceededError'); };
"""


def test_without_indexeddb_writes_are_kept_in_localstorage(
    open_tab: Any, context: Any, server: Any
) -> None:
    """It says so, survives a reload, and the migration page does not take them for data."""
    context.add_init_script(BROKEN_INDEXEDDB)
    item = stock(server, "milk in text")
    tab = open_tab()
    tab.until("status.caughtUp")
    context.route(ADJUST, lambda route: route.abort())
    tab.run(f"await {take(item)}; await {take(item)};")
    tab.open()
    status = tab.status()
    assert (status["storage"], status["durable"], status["pending"]) == ("localstorage", True, 2)
    seen = tab.page.evaluate(
        "async (module) => [...(await import(module)).readLocalStorage().keys()]",
        f"{server.url}/static/expresso-persist/browser-data.js",
    )
    assert seen == []
    context.unroute(ADJUST)
    tab.until("status.pending === 0 && status.caughtUp")
    assert quantity(server, item) == 8
    tab.page.wait_for_function(
        "Object.keys(localStorage).every(key => !key.includes('outbox:entry'))"
    )


def test_without_any_storage_writes_are_sent_and_the_status_is_honest(
    open_tab: Any, context: Any, server: Any
) -> None:
    """Memory only: `durable` is false, the write is shown, and it is sent."""
    context.add_init_script(BROKEN_INDEXEDDB + BROKEN_STORAGE)
    first, second = open_tab(patience=10), open_tab(patience=10)
    for tab in (first, second):
        tab.until("status.caughtUp")
    status = second.status()
    assert (status["storage"], status["durable"]) == ("memory", False)
    context.route(UPDATES, lambda route: route.abort())
    second.run("return service.updateSetting('in memory', 1)")
    assert second.settings()["in memory"] == 1
    first.page.close()  # the tab that sent for both
    context.unroute(UPDATES)
    second.until("status.pending === 0")
    assert server.get("/api/inventory/settings")["in memory"] == 1


def test_a_full_storage_keeps_the_write_in_memory_and_says_so(open_tab: Any, server: Any) -> None:
    """The write that cannot be stored is not dropped, and the page can warn."""
    tab = open_tab(patience=10)
    tab.until("status.caughtUp")
    tab.page.route(UPDATES, lambda route: route.abort())
    tab.page.evaluate(
        "() => { IDBObjectStore.prototype.add ="
        "  () => { throw new DOMException('', 'QuotaExceededError'); }; }"
    )
    tab.run("return service.updateSetting('full', 1)")
    assert (tab.status()["durable"], tab.status()["pending"]) == (False, 1)
    tab.page.unroute(UPDATES)
    tab.until("status.pending === 0")
    assert server.get("/api/inventory/settings")["full"] == 1


def test_the_same_tap_twice_is_one_write(open_tab: Any, server: Any) -> None:
    """A key given by the application joins the write that has it; another body is refused."""
    item = stock(server, "tapped milk")
    tab = open_tab()
    tab.until("status.caughtUp")
    tab.page.context.set_offline(True)
    options = "{idempotencyKey: 'tap-1'}"
    call = f"service.adjust({{item: {item!r}, category: 'milk', delta: argument}}, {options})"
    tab.run(f"return {call}", -1)
    tab.run(f"return {call}", -1)
    assert tab.run(f"return {call}", -2)["error"] == "idempotency_mismatch"
    assert tab.status()["pending"] == 1
    tab.page.context.set_offline(False)
    tab.until("status.pending === 0")
    assert quantity(server, item) == 9


def test_people_who_share_a_browser_have_outboxes_of_their_own(open_tab: Any) -> None:
    """What Anna could not send is not sent in Ben's name, and he does not see it."""
    anna = open_tab(user="anna", patience=10)
    # Cut in the page: Chromium's own "offline" ends a moment before the page that it closes, and
    # a retry may slip through.
    anna.run("service.configure({fetch: () => Promise.reject(new TypeError('cut'))})")
    anna.run("return service.updateSetting('of anna', 1)")
    anna.page.close()
    ben = open_tab(user="ben")
    ben.until("status.caughtUp")
    assert (ben.status()["pending"], "of anna" in ben.settings()) == (0, False)
    ben.run("service.configure({user: 'anna'})")
    ben.until("status.pending === 0 && status.caughtUp && 'of anna' in await service.getSettings()")


def test_a_server_that_restarts_loses_nothing(
    make_server: Any, context: Any, tmp_path: Path
) -> None:
    """Reads go on, writes wait, and afterwards everybody has everything."""
    server = make_server("fastapi", f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "log")
    server.start()
    try:
        item = stock(server, "Oat")
        tab = Tab.beside(context, server.url, token=server.token, patience=10)
        tab.until("status.caughtUp")
        server.stop()
        tab.run(f"await {take(item)}; await {take(item)};")
        tab.until("!status.online && !status.caughtUp && status.pending === 2")
        assert tab.run(f"return (await service.getEventStockLevels())[{item!r}].total") == 8
        server.start()
        tab.until("status.pending === 0 && status.caughtUp")
        assert quantity(server, item) == 8
        assert tab.errors == []
    finally:
        server.stop()


def test_a_database_that_was_replaced_gets_back_what_it_lost(
    make_server: Any, context: Any, tmp_path: Path
) -> None:
    """An older copy takes the database's place: the stations offer it what it lacks."""
    database = tmp_path / "a.db"
    server = make_server("fastapi", f"sqlite:///{database}", tmp_path / "log")
    server.start()
    try:
        item = stock(server, "Oat")
        server.stop()
        shutil.copy(database, tmp_path / "older.db")
        server.start()
        tabs = [Tab.beside(context, server.url, token=server.token, patience=10) for _ in "ab"]
        tab = tabs[0]
        for _ in range(3):
            tab.run(f"await {take(item)}")
        for one in tabs:
            # Shown at once, but sent a little later.
            one.until("status.pending === 0 && status.caughtUp")
            one.until(f"(await service.getEventStockLevels())[{item!r}].total === 7")
        server.stop()
        tab.run(f"await {take(item, -5)}")
        for leftover in tmp_path.glob("a.db*"):
            leftover.unlink()
        shutil.copy(tmp_path / "older.db", database)
        server.start()
        for one in tabs:
            one.until("status.pending === 0 && status.caughtUp")
            one.until(f"(await service.getEventStockLevels())[{item!r}].total === 2")
        assert quantity(server, item) == 2, "what was lost, and what was not sent yet"
        assert "reset" in [change["reason"] for change in tab.run("return changes")]
        assert [error for one in tabs for error in one.errors] == []
    finally:
        server.stop()
