"""A real server in a process of its own, and the migration page in a real browser."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import expresso_persist

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request, Response

TESTS = Path(__file__).resolve().parents[1]
WEB = Path(expresso_persist.__file__).parent / "web"
PAGE = "/static/localStorage-to-database-migration.html"
TOKEN = "a-token-of-the-browser-tests"
_START_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"page", "context", "browser"} & {
            *getattr(item, "fixturenames", ())
        }:
            item.add_marker(pytest.mark.browser)


class LiveServer:
    """``expresso-persist serve`` in a process of its own."""

    def __init__(self, adapter: str, database_url: str, log: Path) -> None:
        self.token = TOKEN
        self.log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.page_url = self.url + PAGE
        self._command = [
            *(sys.executable, "-m", "expresso_persist", "serve"),
            *("--adapter", adapter, "--database", database_url, "--port", str(port)),
            "--no-rate-limits",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "EXPRESSO_PERSIST_TOKEN": self.token, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/migration/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.stop()
        pytest.fail(f"the server did not get ready:\n{self.output()[-4000:]}", pytrace=False)

    def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def output(self) -> str:
        """What it wrote to its terminal."""
        return self.log.read_text(errors="replace")

    def link(self) -> str:
        """The address with the one-time token that it printed."""
        wanted = re.escape(PAGE) + r"#token=[\w.~-]+"
        found = re.search(wanted, self.output())
        assert found, self.output()
        return self.url + found.group()

    def get(self, path: str) -> Any:
        """The data that an endpoint answers, asked for outside the browser."""
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["data"]


class MigrationPage:
    """What a person does on the page, and what they see."""

    def __init__(self, page: Page, server: LiveServer) -> None:
        self.page = page
        self.server = server
        self.requests: list[Request] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def fill_storage(self, storage: dict[str, str]) -> None:
        """Put a localStorage into the browser, under the server's origin."""
        self.page.goto(f"{self.server.url}/api/migration/health")
        self.page.evaluate(
            "entries => { for (const [key, raw] of entries) localStorage.setItem(key, raw); }",
            list(storage.items()),
        )

    def storage(self) -> dict[str, str]:
        """The browser's localStorage as it is now."""
        entries: list[tuple[str, str]] = self.page.evaluate(
            "Object.keys(localStorage).map(key => [key, localStorage.getItem(key)])"
        )
        return {key: raw for key, raw in entries if key != "expresso_persist_device_id"}

    def open(self, *, signed_in: bool = True) -> None:
        """Open the page, and sign in with the token unless told otherwise."""
        self.page.goto(self.server.page_url)
        if signed_in:
            self.page.get_by_label("Access token").fill(self.server.token)
            self.page.get_by_role("button", name="Sign in", exact=True).click()
            self.sees("Signed in.")

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def sees(self, text: str) -> None:
        """Wait until the page tells something in its status line."""
        self.page.get_by_role("status").filter(has_text=text).wait_for()

    def reads(self) -> str:
        """The status line."""
        return self.page.get_by_role("status").inner_text()

    def analyze(self) -> None:
        self.press("Analyze localStorage Data")
        self.sees("Analyzed")

    def migrate(self) -> dict[str, Any]:
        """Migrate, and return the receipt that the server sent."""

        def is_import(response: Response) -> bool:
            return "export-localStorage" in response.url and "dry_run=false" in response.url

        with self.page.expect_response(is_import) as answer:
            self.press("Migrate to Database")
        self.page.locator("#verdict").wait_for()  # it verifies by itself
        receipt: dict[str, Any] = answer.value.json()["data"]
        return receipt

    def verify(self) -> str:
        """Verify once more, and return the verdict."""
        self.page.evaluate("document.querySelector('#verdict')?.remove()")
        self.press("Verify Migration")
        return self.verdict()

    def verdict(self) -> str:
        """What the verification said."""
        verdict = self.page.locator("#verdict")
        verdict.wait_for()
        return verdict.inner_text()

    def clear(self) -> None:
        self.press("Clear migrated data from this browser")
        self.page.get_by_role("dialog").get_by_role("button", name="Clear", exact=True).click()
        self.sees("Cleared")

    def sent(self) -> str:
        """Everything that requests carried, besides the credentials in their headers."""
        return "\n".join(f"{r.url}\n{r.post_data or ''}" for r in self.requests)

    def with_client(self, body: str, argument: object = None) -> Any:
        """Run JavaScript with ``service``, the default export of the client's module."""
        # As a function and not as text: the page's policy forbids evaluating text.
        return self.page.evaluate(
            "async ([module, argument]) => {"
            "  const { default: service } = await import(module);\n" + body + "\n}",
            [f"{self.server.url}/static/expresso-persist/DatabaseInventoryService.js", argument],
        )


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own, for tests with several tabs."""
    opened = browser.new_context()
    yield opened
    opened.close()


@pytest.fixture(params=["fastapi", "flask"])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def live_server(adapter: str, database_url: str, tmp_path: Path) -> Iterator[LiveServer]:
    """The real server: both adapters, each on both databases."""
    server = LiveServer(adapter, database_url, tmp_path / "server.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def make_server() -> Callable[[str, str, Path], LiveServer]:
    """A server that the test starts and stops itself."""
    return LiveServer


@pytest.fixture
def one_server(sqlite_url: str, tmp_path: Path) -> Iterator[LiveServer]:
    """The real server, once: for what depends on the page and not on the server."""
    server = LiveServer("fastapi", sqlite_url, tmp_path / "server.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def migration(page: Page, live_server: LiveServer) -> Iterator[MigrationPage]:
    """The page on each server; a script error or an opened dialog fails the test."""
    opened = MigrationPage(page, live_server)
    yield opened
    assert opened.errors == []


@pytest.fixture
def one_migration(page: Page, one_server: LiveServer) -> Iterator[MigrationPage]:
    """The page on one server."""
    opened = MigrationPage(page, one_server)
    yield opened
    assert opened.errors == []


@pytest.fixture
def modules(page: Page) -> Page:
    """A page on which the modules can be imported without any server behind them."""
    types = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}

    def answer(route: Any) -> None:
        name = route.request.url.rsplit("/", 1)[1]
        file = WEB / name
        if file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=types[file.suffix])
        else:
            route.fulfill(body="<title>modules</title>", content_type="text/html")

    page.route("http://expresso.test/**", answer)
    page.goto("http://expresso.test/")
    return page


@pytest.fixture
def fixture_dump() -> Callable[[str], dict[str, str]]:
    """The localStorage that the real front end wrote, by the name of its scenario."""

    def read(name: str) -> dict[str, str]:
        file = TESTS / "fixtures" / f"localstorage-{name}.json"
        storage: dict[str, str] = json.loads(file.read_text())["localStorage"]
        return storage

    return read
