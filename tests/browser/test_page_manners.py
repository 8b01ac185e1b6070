"""How the page behaves: text stays text, keyboards and phones work, nothing leaks."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from web_tools import installed

Read = Callable[[str], dict[str, str]]

HOSTILE = {
    "<img src=x onerror=alert('key')>": "<script>alert('value')</script>",
    "event_inventory": json.dumps(
        {"<b>milk</b>": [{"id": "<svg/onload=alert(1)>", "name": "<script>alert(2)</script>"}]}
    ),
    "system_settings": json.dumps({"name": "<iframe src=javascript:alert(3)>"}),
}
PROTOTYPE = {
    "__proto__": '{"polluted":true}',
    "constructor": "plain text",
    "event_inventory": '{"__proto__":{"polluted":{"enabled":true}},"milk":{"constructor":1}}',
    "station_inventory_configs": '{"__proto__":{"toString":{"x":true}}}',
    "coffee_stock_station___proto__": '{"milk":[]}',
    "system_settings": '{"__proto__":{"polluted":1},"prototype":null}',
}


def test_markup_in_keys_and_values_is_text(one_migration: Any) -> None:
    """HTML from localStorage is shown as it is written and never run."""
    one_migration.fill_storage(HOSTILE)
    one_migration.open()
    one_migration.analyze()
    shown = one_migration.page.locator("#plan").text_content()
    for key in HOSTILE:
        assert key in shown
    assert "<script>alert('value')</script>" in shown
    one_migration.migrate()
    assert one_migration.verify().startswith("Verified")
    assert one_migration.page.locator("main :is(img, script, svg, iframe, b)").count() == 0
    one_migration.clear()
    assert one_migration.storage() == {}


def test_prototype_names_are_plain_data(one_migration: Any) -> None:
    """`__proto__` as a key, a station or a member comes back as data, and pollutes nothing."""
    one_migration.fill_storage(PROTOTYPE)
    one_migration.open()
    one_migration.analyze()
    receipt = one_migration.migrate()
    assert sorted(line["key"] for line in receipt["keys"]) == sorted(PROTOTYPE)
    assert one_migration.verify().startswith("Verified")
    answers = one_migration.with_client(
        """return {
          inventory: JSON.stringify(await service.getEventInventory()),
          configs: JSON.stringify(await service.getStationInventoryConfigs()),
          stock: JSON.stringify(await service.getStationStock('__proto__')),
          none: JSON.stringify(await service.getStationStock('constructor')),
          raw: await service.getRaw('__proto__'),
          missing: await service.getRaw('hasOwnProperty'),
          settings: JSON.stringify((await service.getSettings()).system_settings),
          polluted: ({}).polluted === undefined,
        }"""
    )
    assert answers == {
        "inventory": PROTOTYPE["event_inventory"],
        "configs": PROTOTYPE["station_inventory_configs"],
        "stock": PROTOTYPE["coffee_stock_station___proto__"],
        "none": "{}",
        "raw": PROTOTYPE["__proto__"],
        "missing": None,
        "settings": PROTOTYPE["system_settings"],
        "polluted": True,
    }


def test_damaged_values_are_kept_as_they_are(one_migration: Any) -> None:
    """Broken JSON, NUL and half of a surrogate pair come back as the same strings."""
    one_migration.fill_storage({"event_schedules": '{"a":', "event_sessions": "[1]"})
    one_migration.page.evaluate(
        r"""() => {
          localStorage.setItem('half', 'x\ud800y');
          localStorage.setItem('nul', '["a\u0000"]');
          localStorage.setItem('key \u0000', 'a key with NUL');
          localStorage.setItem('key \udc00', 'a key with half of a pair');
        }"""
    )
    before = one_migration.storage()
    one_migration.open()
    one_migration.analyze()
    receipt = one_migration.migrate()
    assert receipt["totals"]["quarantined"] == 5
    assert receipt["totals"]["stored"] == 1
    assert one_migration.verify().startswith("Verified: 6 keys")
    one_migration.clear()
    assert one_migration.storage() == {
        key: raw for key, raw in before.items() if key != "event_sessions"
    }


def test_everything_works_with_the_keyboard_alone(one_migration: Any, fixture_dump: Read) -> None:
    """From signing in to clearing, without a pointer; the focus is where the work goes on."""
    page = one_migration.page
    one_migration.fill_storage(fixture_dump("configured-event"))
    page.goto(one_migration.server.page_url)
    one_migration.sees("Not signed in.")

    def tab_to(selector: str) -> None:
        for _ in range(80):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"the keyboard does not reach {selector}")

    tab_to("#token")
    page.keyboard.type(one_migration.server.token)
    page.keyboard.press("Enter")
    one_migration.sees("Signed in.")
    assert page.evaluate("document.activeElement.id") == "analyze"
    page.keyboard.press("Enter")
    one_migration.sees("Analyzed")
    assert page.evaluate("document.activeElement.id") == "preview-heading"
    tab_to("#migrate-button")
    page.keyboard.press("Space")
    one_migration.verdict()
    assert page.evaluate("document.activeElement.id") == "verify-heading"
    tab_to("#verify-button")
    page.keyboard.press("Enter")
    page.locator("#verdict").wait_for()
    tab_to("#clear-button")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    assert "event_inventory" in one_migration.storage()
    assert page.evaluate("document.activeElement.id") == "clear-button"
    page.keyboard.press("Enter")
    tab_to("#confirm-clear-button")
    page.keyboard.press("Enter")
    one_migration.sees("Cleared")
    assert "event_inventory" not in one_migration.storage()


def walk(migration: Any, visit: Callable[[str], None]) -> None:
    """Go through all steps and look at the page in each."""
    migration.page.goto(migration.server.page_url)
    migration.sees("Not signed in.")
    visit("sign in")
    migration.open()
    migration.analyze()
    for details in migration.page.locator("details:not([open]) summary").all():
        details.click()
    visit("preview")
    migration.migrate()
    visit("migrated")
    migration.verify()
    migration.press("Backup Status")
    migration.sees("This is the state")
    visit("verified")
    migration.press("Clear migrated data from this browser")
    visit("dialog")


@pytest.fixture
def axe() -> str:
    """The accessibility rules of axe-core, as a script."""
    script: str = (installed("axe-core") / "axe.min.js").read_text()
    return script


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(
    one_migration: Any, fixture_dump: Read, axe: str, scheme: str
) -> None:
    """axe finds no violation in any step, in either colour scheme."""
    one_migration.page.emulate_media(color_scheme=scheme)
    one_migration.fill_storage({**fixture_dump("configured-event"), "broken": '{"a":'})
    found: list[str] = []

    def visit(step: str) -> None:
        one_migration.page.evaluate(axe)
        violations = one_migration.page.evaluate(
            "async () => (await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa',"
            " 'wcag22aa', 'best-practice']})).violations"
        )
        for violation in violations:
            nodes = [node["html"][:200] for node in violation["nodes"][:3]]
            found.append(f"{step}: {violation['id']} ({violation['impact']}): {nodes}")

    walk(one_migration, visit)
    assert found == []


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_needs_no_sideways_scrolling(
    one_migration: Any, fixture_dump: Read, width: int
) -> None:
    """At the width of a phone, every step fits."""
    one_migration.page.set_viewport_size({"width": width, "height": 667})
    long_name = "station_note_" + "x" * 200
    one_migration.fill_storage({**fixture_dump("configured-event"), long_name: "y" * 500})
    widths: dict[str, int] = {}

    def visit(step: str) -> None:
        widths[step] = one_migration.page.evaluate("document.documentElement.scrollWidth")

    walk(one_migration, visit)
    assert widths == dict.fromkeys(widths, width)


def test_only_its_own_server_is_contacted(one_migration: Any, fixture_dump: Read) -> None:
    """No font, no CDN, no inline code: the policy allows none, and nothing is tried."""
    policy_breaks: list[str] = []
    one_migration.page.on(
        "console",
        lambda message: (
            policy_breaks.append(message.text) if "Content Security" in message.text else None
        ),
    )
    one_migration.fill_storage(fixture_dump("configured-event"))
    walk(one_migration, lambda step: None)
    foreign = [
        request.url
        for request in one_migration.requests
        if not request.url.startswith((one_migration.server.url, "data:", "blob:"))
    ]
    assert foreign == []
    assert policy_breaks == []
    page = urllib.request.urlopen(one_migration.server.page_url).read().decode()
    assert "<style" not in page
    assert " style=" not in page
    assert "onclick" not in page
    assert page.count("<script") == 1


def test_a_dump_file_of_another_device_is_migrated(
    one_migration: Any, fixture_dump: Read, tmp_path: Any
) -> None:
    """An iPad's file goes the same way; nothing of this browser is offered for clearing."""
    file = tmp_path / "ipad.json"
    storage = fixture_dump("configured-event")
    file.write_text(json.dumps({"localStorage": storage, "origin": "http://ipad"}))
    one_migration.open()
    one_migration.page.get_by_label("Or analyze a dump file").set_input_files(file)
    one_migration.sees("Analyzed")
    receipt = one_migration.migrate()
    assert receipt["device_id"] == "file:ipad.json"
    assert receipt["origin"] == "http://ipad"
    assert one_migration.verify().startswith("Verified")
    assert not one_migration.page.locator("#clear").is_visible()
    for key in ("token", "coffee_system_refresh_token"):
        assert storage[key] not in one_migration.sent()

    file.write_text("not a dump")
    one_migration.page.get_by_label("Or analyze a dump file").set_input_files([])
    one_migration.page.get_by_label("Or analyze a dump file").set_input_files(file)
    one_migration.page.get_by_role("alert").filter(has_text="is not a JSON file").wait_for()


def test_copies_are_saved_on_this_device(
    one_migration: Any, fixture_dump: Read, tmp_path: Any
) -> None:
    """The safety copy is the whole localStorage; the receipt names what was withheld."""
    storage = fixture_dump("configured-event")
    one_migration.fill_storage(storage)
    one_migration.open()
    one_migration.analyze()
    with one_migration.page.expect_download() as copy:
        one_migration.press("Download safety copy")
    saved = json.loads(copy.value.path().read_text())
    assert saved["localStorage"] == storage
    one_migration.migrate()
    with one_migration.page.expect_download() as receipt:
        one_migration.press("Download receipt")
    text = receipt.value.path().read_text()
    withheld = {line["key"] for line in json.loads(text)["withheld_in_browser"]}
    assert withheld == {
        "token",
        "coffee_system_token",
        "coffee_system_refresh_token",
        "refreshToken",
    }
    assert all(storage[key] not in text for key in withheld)


def test_a_value_that_changed_since_is_kept(one_migration: Any) -> None:
    """Clearing spares a key that the app wrote again after the verification."""
    one_migration.fill_storage({"event_sessions": "[1]", "event_schedules": "[2]"})
    one_migration.open()
    one_migration.analyze()
    one_migration.migrate()
    one_migration.verify()
    one_migration.page.evaluate("localStorage.setItem('event_sessions', '[1,9]')")
    one_migration.clear()
    assert one_migration.storage() == {"event_sessions": "[1,9]"}
    assert "Kept, because they changed meanwhile: event_sessions" in one_migration.reads()


def test_a_session_that_ends_is_asked_for_again(one_migration: Any, fixture_dump: Read) -> None:
    """401 in the middle: the page asks to sign in, then goes on with what was asked for."""
    one_migration.fill_storage(fixture_dump("fresh-defaults"))
    one_migration.open()
    one_migration.analyze()
    one_migration.page.evaluate("sessionStorage.setItem('expresso_persist_token', 'expired')")
    one_migration.press("Migrate to Database")
    one_migration.page.get_by_text("Sign in to go on; nothing is lost.").wait_for()
    one_migration.page.get_by_label("Access token").fill("wrong")
    one_migration.press("Sign in")
    one_migration.page.get_by_role("alert").locator("p").wait_for()
    one_migration.page.get_by_label("Access token").fill(one_migration.server.token)
    one_migration.press("Sign in")
    one_migration.verdict()
    assert one_migration.verify().startswith("Verified")


def test_the_app_sign_in_of_this_browser_can_be_used(one_migration: Any) -> None:
    """The token that the old client sent is offered, and never part of the dump."""
    one_migration.fill_storage({"coffee_system_token": one_migration.server.token, "a": "b"})
    one_migration.page.goto(one_migration.server.page_url)
    one_migration.press("Use this browser's Expresso sign-in")
    one_migration.sees("Signed in.")
    one_migration.analyze()
    one_migration.migrate()
    one_migration.verify()
    one_migration.clear()
    assert set(one_migration.storage()) == {"coffee_system_token"}
    assert one_migration.server.token not in one_migration.sent()


@pytest.fixture
def prefixed(one_server: Any) -> Iterator[str]:
    """The server behind a proxy that puts it under /shop/one."""
    upstream = one_server.url

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.path.startswith("/shop/one/"):
                status, content, headers = 404, b"outside", {}
            else:
                request = urllib.request.Request(
                    upstream + self.path.removeprefix("/shop/one"),
                    data=body if self.command == "POST" else None,
                    method=self.command,
                    headers={k: v for k, v in self.headers.items() if k != "Content-Length"},
                )
                try:
                    answer = urllib.request.urlopen(request, timeout=30)
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    status, content, headers = answer.status, answer.read(), dict(answer.headers)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != 304:
                self.wfile.write(content)

        do_GET = do_POST = _pass_on  # noqa: N815 - the names http.server looks for

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_port}/shop/one"
    proxy.shutdown()
    proxy.server_close()
    thread.join()


def test_the_page_works_under_a_prefix(one_migration: Any, prefixed: str) -> None:
    """Assets, API and client find each other relative to where they are served."""
    one_migration.server.url = prefixed
    one_migration.server.page_url = f"{prefixed}/static/localStorage-to-database-migration.html"
    one_migration.fill_storage({"event_sessions": '["day one"]'})
    one_migration.open()
    one_migration.analyze()
    one_migration.migrate()
    assert one_migration.verify().startswith("Verified")
    assert one_migration.with_client("return service.baseUrl") == prefixed
    one_migration.clear()
    assert one_migration.with_client("return service.getDocument('event_sessions')") == ["day one"]
