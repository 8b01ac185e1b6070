"""`expresso-persist serve`: a real process, over real sockets, stopped and killed for real."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.db.leases import EXCLUSIVE
from expresso_persist.demo import demo_dump
from live import Stream
from server import TOKEN, Server

COMMAND = [sys.executable, "-m", "expresso_persist", "serve"]
BARE = bool(os.environ.get("EXPRESSO_TEST_BARE"))


@pytest.fixture(params=["fastapi", "flask"])
def adapter(request: pytest.FixtureRequest) -> str:
    """Both adapters; only the run without frameworks may leave them out."""
    if BARE:
        pytest.skip("EXPRESSO_TEST_BARE: no framework is installed here, on purpose")
    return str(request.param)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Start servers that are gone at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Server:
            server = Server(*arguments, cwd=tmp_path)
            stack.callback(server.close)
            server.wait_until_ready()
            return server

        yield start


def test_one_command_shows_an_event(serve, adapter: str, tmp_path: Path) -> None:
    """--demo on an empty folder: a database, an event, a page, and closed doors."""
    server = serve("--adapter", adapter, "--demo")
    assert (tmp_path / "expresso.db").exists()
    assert "loaded 19 documents" in server.told["demo"]
    status, answer = server.request("/api/migration/documents")
    assert status == 200
    assert answer["data"]["localStorage"] == demo_dump()["localStorage"]
    assert server.request("/api/migration/documents", token=None)[0] == 401
    with urllib.request.urlopen(server.told["page"].partition("#")[0], timeout=30) as page:
        assert b"Analyze localStorage Data" in page.read()


def test_the_link_works_once_and_a_fresh_one_is_printed(serve, adapter: str) -> None:
    """Its token opens a session; the second time it is worth nothing."""
    server = serve("--adapter", adapter)
    token = server.told["page"].partition("#token=")[2]
    status, answer = server.request("/api/migration/session", {"one_time_token": token}, token=None)
    assert status == 200
    session = answer["data"]["token"]
    assert server.request("/api/migration/documents", token=session)[0] == 200
    again = server.request("/api/migration/session", {"one_time_token": token}, token=None)
    assert again[0] == 401
    deadline = time.monotonic() + 10
    while "#token=" not in server.errors and time.monotonic() < deadline:
        time.sleep(0.05)
    fresh = re.search(r"#token=(\S+)", server.errors)
    assert fresh is not None
    assert fresh.group(1) != token


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_was_asked_for_is_no_failure(serve, adapter: str, number: int) -> None:
    """Exit code 0, and no traceback."""
    server = serve("--adapter", adapter)
    assert server.stop(number) == 0
    assert "Traceback" not in server.errors


def test_a_request_in_flight_is_finished_before_the_server_stops(
    serve, adapter: str, tmp_path: Path
) -> None:
    """An import that was accepted is answered, although SIGTERM came in the middle."""
    server = serve("--adapter", adapter)
    dump = {f"key_{n}": {"rows": list(range(200))} for n in range(2000)}
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(server.request("/api/migration/export-localStorage", dump)[0])
    )
    thread.start()
    give_up = time.monotonic() + 30
    with contextlib.closing(sqlite3.connect(tmp_path / "expresso.db")) as database:
        while not database.execute("SELECT 1 FROM leases WHERE name = ?", [EXCLUSIVE]).fetchall():
            assert time.monotonic() < give_up, "the import never began"
            time.sleep(0.01)
    assert server.stop(signal.SIGTERM) == 0
    thread.join(30)
    assert answers == [200]


def test_open_streams_are_ended_before_the_server_stops(serve, adapter: str) -> None:
    server = serve("--adapter", adapter, "--no-backups")
    server.wait_until_ready()
    port = int(server.url.rpartition(":")[2])
    stream = Stream(port, "/api/inventory/stream?since=now", token=TOKEN)
    frames = stream.frames()
    assert next(frames).id
    assert server.stop(signal.SIGTERM) == 0
    assert list(frames) == []  # ended, not broken off
    stream.cut()


def test_a_server_killed_during_an_import_leaves_the_old_state_or_the_new(
    serve, adapter: str, tmp_path: Path
) -> None:
    """Never half of a dump, whenever kill -9 comes; and the trail still verifies."""
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    old = {"a": "one", "b": "one"}
    new = {f"key_{n}": {"rows": list(range(50))} for n in range(500)} | {"a": "two", "b": "two"}
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
        server = serve("--adapter", adapter, "--database", url)
        assert server.request("/api/migration/export-localStorage?mode=replace", old)[0] == 200
        ready = threading.Event()

        def send(server: Server = server, ready: threading.Event = ready) -> None:
            ready.set()
            with contextlib.suppress(OSError, ValueError):
                server.request("/api/migration/export-localStorage?mode=replace", new)

        thread = threading.Thread(target=send)
        thread.start()
        ready.wait()
        time.sleep(delay)
        server.stop(signal.SIGKILL)
        thread.join(30)
        with Store(url) as store:
            stored = store.inventory.dump()["localStorage"]
            assert len(stored) in (len(old), len(new))
            assert stored["a"] == stored["b"] == ("one" if len(stored) == len(old) else "two")
            assert store.inventory.verify().ok
        with contextlib.closing(sqlite3.connect(tmp_path / "killed.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.postgresql
def test_it_serves_a_postgresql_database(serve, adapter: str, postgresql_url: str) -> None:
    """DATABASE_URL may be a unix socket's; the demo is not loaded over somebody's data."""
    with Store(postgresql_url, migrate=True) as store:
        store.importer.import_({"coffee_wait_time": "6"}, actor="test")
    server = serve("--adapter", adapter, "--database", postgresql_url, "--demo")
    assert server.told["demo"].startswith("not loaded")
    assert server.request("/api/migration/documents")[1]["data"]["localStorage"] == {
        "coffee_wait_time": "6"
    }
    assert server.stop(signal.SIGTERM) == 0


def test_backups_run_unless_told_otherwise(serve, adapter: str) -> None:
    """The scheduler makes the first backup soon after the start; --no-backups makes none."""
    server = serve("--adapter", adapter, "--demo")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = server.request("/api/migration/backup-status")[1]["data"]
        if status["latest_backup"] and status["latest_backup"]["verified_at"]:
            break
        time.sleep(0.1)
    assert status["backup_running"] is True
    assert status["latest_backup"]["verified_at"]
    server.stop(signal.SIGTERM)


def test_a_taken_port_is_told_nicely(tmp_path: Path, adapter: str) -> None:
    """Exit code 1, a sentence with what to do, and no database left behind."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = subprocess.run(
            [*COMMAND, "--adapter", adapter, "--port", str(port)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert f"Port {port} is taken" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_flask_expresso_works_on_the_hosts_store(sqlite_url: str) -> None:
    """The same verbs on the store that the application was given, and not on a default one."""
    if BARE:
        pytest.skip("EXPRESSO_TEST_BARE: no framework is installed here, on purpose")
    import flask

    from expresso_persist_flask import register_routes

    with Store(sqlite_url, migrate=True) as store:
        app = flask.Flask("host")
        register_routes(app, store)
        runner = app.test_cli_runner()
        result = runner.invoke(args=["expresso", "import", "-"], input='{"coffee_wait_time": "6"}')
        assert result.exit_code == 0, result.output
        assert store.inventory.head().revision == 1
        told = json.loads(runner.invoke(args=["expresso", "status", "--json"]).stdout)
        assert told["stats"]["revision"] == 1


def test_without_an_adapter_the_pip_line_is_told(tmp_path: Path) -> None:
    """The message names what to install."""
    code = (
        "import sys; sys.modules['expresso_persist_flask'] = None\n"
        "sys.argv[1:] = ['serve', '--adapter', 'flask']\n"
        "from expresso_persist.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert 'pip install "expresso-persist-flask[serve]"' in result.stderr


@pytest.mark.parametrize(("framework", "missing"), [("flask", "waitress"), ("fastapi", "uvicorn")])
def test_without_a_server_the_pip_line_is_told(
    tmp_path: Path, framework: str, missing: str
) -> None:
    """A host needs none, so the adapters bring none; nothing is created before it is said."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"sys.argv[1:] = ['serve', '--adapter', {framework!r}]\n"
        "from expresso_persist.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert f'pip install "expresso-persist-{framework}[serve]"' in result.stderr
    assert [*tmp_path.iterdir()] == []


def test_the_bare_run_really_is_bare() -> None:
    """With EXPRESSO_TEST_BARE no framework may be there; without it both must be."""
    for module in ("flask", "fastapi", "expresso_persist_flask", "expresso_persist_fastapi"):
        assert (importlib.util.find_spec(module) is None) is BARE, module
