"""The applications in docs/examples, served as their first lines say, by real servers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from expresso_persist import Store
from live import Stream

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TOKEN = "a-token-of-the-examples"
KNOWN = {"Authorization": f"Bearer {TOKEN}"}
PAGE = "/static/localStorage-to-database-migration.html"
STREAM = "/api/inventory/stream"
UPDATE = "/api/inventory/settings/update"
GUNICORN = ("gunicorn", "--log-level", "error", "--graceful-timeout", "1")


@contextlib.contextmanager
def serving(*command: str, database_url: str, **environment: str) -> Iterator[int]:
    """Run a server; the port that it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        number = listener.fileno()
        bind = {
            "gunicorn": ["--bind", f"fd://{number}"],
            "uvicorn": ["--fd", str(number), "--log-level", "error"],
            "flask": ["run", "--port", "0"],
        }[command[0]]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *bind],
            cwd=EXAMPLES,
            env={
                **os.environ,
                "DATABASE_URL": database_url,
                "EXPRESSO_PERSIST_TOKEN": TOKEN,
                "JWT_SECRET_KEY": "a secret of at least thirty-two characters",
                "WERKZEUG_SERVER_FD": str(number),
                "WERKZEUG_RUN_MAIN": "true",
                **environment,
            },
            pass_fds=[number],
        )
    try:
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/").status_code, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def until(happens: Any, process: subprocess.Popen[bytes] | None = None) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}", pytrace=False)
        with contextlib.suppress(httpx.HTTPError):
            if found := happens():
                return found
        time.sleep(0.05)
    pytest.fail("never", pytrace=False)


def client(port: int, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)


def test_a_flask_factory_with_its_own_jwt(database_url: str) -> None:
    with (
        serving("flask", "--app", "flask_factory", database_url=database_url) as port,
        client(port) as http,
    ):
        statuses = {}
        for name in ("anna", "bert", "carl", None):
            headers = {"Authorization": "Bearer x.y.z"}
            if name is not None:
                token = http.post("/login", json={"name": name}).json()["token"]
                headers = {"Authorization": f"Bearer {token}"}
            statuses[name] = [
                http.get("/api/inventory/get-all", headers=headers).status_code,
                http.post(UPDATE, headers=headers, json={"key": "a", "value": name}).status_code,
                http.post("/api/migration/create-backup", headers=headers).status_code,
            ]
        assert statuses == {
            "anna": [200, 200, 200],
            "bert": [200, 200, 403],
            "carl": [403, 403, 403],
            None: [401, 401, 401],
        }
        assert http.get("/").json() == {"revision": 2}
    with Store(database_url) as store:
        actors = [commit.actor for commit in store.inventory.changes(0).commits]
    assert actors == ["anna", "bert"]


def test_the_factory_can_be_called_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("JWT_SECRET_KEY", "a secret of at least thirty-two characters")
    from flask_factory import create_app, expresso

    apps = [create_app(database_url) for _ in range(2)]
    for app in apps:
        answer = app.test_client().get("/api/inventory/get-all")
        assert answer.status_code == 401
        with app.app_context():
            expresso.store.inventory.head()
    for app in apps:
        with app.app_context():
            expresso.store.close()


@pytest.mark.parametrize(
    ("database", "options"),
    [
        ("sqlite", ("--workers", "4")),
        (
            "postgresql",
            ("--workers", "2", "--worker-class", "gthread", "--threads", "9", "--preload"),
        ),
        ("postgresql", ("--workers", "2", "--worker-class", "gevent", "--preload")),
    ],
    ids=["sync", "gthread", "gevent"],
)
def test_gunicorn(request: pytest.FixtureRequest, database: str, options: tuple[str, ...]) -> None:
    """All workers write; one of them makes the backup; streams where a server affords them."""
    database_url = request.getfixturevalue(f"{database}_url")
    with (
        serving(*GUNICORN, *options, "flask_gunicorn:app", database_url=database_url) as port,
        client(port, **KNOWN) as http,
    ):

        def workers() -> set[str]:
            with client(port) as another:  # each connection may be another worker's
                return {another.get("/worker").text}

        seen: set[str] = set()
        until(lambda: len(seen.update(workers()) or seen) >= 2)  # type: ignore[func-returns-value]
        for number in range(20):
            with client(port, **KNOWN) as another:
                answer = another.post(UPDATE, json={"key": f"n{number}", "value": number})
                assert answer.status_code == 200
        until(lambda: status(http)["total_backups"])
        assert status(http)["total_backups"] == 1, "of all the workers one made it"
        if "--worker-class" in options:
            with Store(database_url) as store:
                cursor = store.inventory.head().cursor
                stream = Stream(port, f"{STREAM}?since={cursor}", token=TOKEN)
                from expresso_persist.model.records import Put, Setting

                store.inventory.commit([Put(Setting.of("x", data=1))], actor="another process")
            frame = next(frame for frame in stream.frames() if frame.event == "commit")
            assert frame.data["revision"] == 21
            stream.cut()
        else:
            changes = "/api/inventory/changes"
            cursor = http.get(f"{changes}?limit=19").json()["data"]["cursor"]
            brief = http.get(f"{STREAM}?since={cursor}").text
            assert brief.startswith("retry: 2000\n\nevent: commit\n")
            assert brief.count("event: ") == 1, "sent, and ended"
            cursor = http.get("/api/inventory/get-all").json()["cursor"]
            page = http.get(f"{changes}?since={cursor}&wait=30").json()["data"]
            assert page["waited"] is False


def status(http: httpx.Client, prefix: str = "") -> Any:
    return http.get(f"{prefix}/api/migration/backup-status").json()["data"]


def test_a_flask_house_stays_as_it_is(sqlite_url: str) -> None:
    """Static folder, CORS and hooks are the host's; ours are beside them."""
    with (
        serving("flask", "--app", "flask_house", database_url=sqlite_url) as port,
        client(port, **KNOWN) as http,
    ):
        assert http.get("/static/host.txt").text == "The host's own file.\n"
        assert "Analyze localStorage Data" in http.get(PAGE).text
        assert http.get("/nothing").json() == {"error": "The host knows no such page."}
        answer = http.get("/api/inventory/get-all", headers={"Origin": "https://display.example"})
        assert answer.headers["x-host"] == "the host was here"
        assert answer.headers["access-control-allow-origin"] == "https://display.example"
        evil = http.get("/api/inventory/get-all", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in evil.headers
        missing = http.get("/api/migration/backups/none")
        assert (missing.status_code, missing.json()["code"]) == (404, "backup_not_found")


def test_a_fastapi_house_stays_as_it_is(sqlite_url: str) -> None:
    with (
        serving("uvicorn", "fastapi_house:app", database_url=sqlite_url) as port,
        client(port) as http,
    ):
        assert http.get("/static/host.txt").text == "The host's own file.\n"
        assert "Analyze localStorage Data" in http.get(PAGE).text
        form = {"username": "bert", "password": "the password"}
        token = http.post("/token", data=form).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert http.get("/me", headers=headers).json() == "bert"
        assert http.post(UPDATE, headers=headers, json={"key": "a", "value": 1}).status_code == 200
        assert http.post("/api/migration/create-backup", headers=headers).status_code == 403
        assert http.get("/me", headers=KNOWN).status_code == 500, "the host's own mistake"
        assert http.get("/api/inventory/get-all", headers=KNOWN).status_code == 401
        assert "/api/inventory/get-all" in http.get("/openapi.json").json()["paths"]


@contextlib.contextmanager
def reverse_proxy(port: int, prefix: str, *, strip: bool) -> Iterator[int]:
    """What nginx does with `location /prefix/`, with or without a path in `proxy_pass`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path
            if not path.startswith(prefix + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            answer = httpx.request(
                self.command,
                f"http://127.0.0.1:{port}{path.removeprefix(prefix) if strip else path}",
                headers=headers,
                content=body,
                timeout=20,
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("content-length", "transfer-encoding", "connection", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815 - so the standard library calls it

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("strip", [True, False], ids=["stripped", "left"])
def test_a_sub_application_behind_a_proxy(sqlite_url: str, strip: bool) -> None:
    """Page, files and endpoints are found under the path that the browser knows."""
    options, environment = ((), {"ROOT_PATH": "/events"})
    if strip:
        options, environment = (("--root-path", "/events"), {})
    command = ("uvicorn", *options, "fastapi_mounted:app")
    with (
        serving(*command, database_url=sqlite_url, **environment) as port,
        reverse_proxy(port, "/events", strip=strip) as outside,
        client(outside, **KNOWN) as http,
    ):
        base = "/events/coffee"
        page = http.get(base + PAGE)
        assert "Analyze localStorage Data" in page.text
        for found in (
            page.text.split('src="')[1:] + page.text.split('<link rel="stylesheet" href="')[1:]
        ):
            path = urllib.parse.urljoin(base + PAGE, found.partition('"')[0])
            assert http.get(path).status_code == 200, path
        assert http.post(base + UPDATE, json={"key": "a", "value": 1}).json()["revision"] == 1
        assert http.get(base + "/api/inventory/settings").json()["data"] == {"a": 1}
        until(
            lambda: http.get(base + "/api/migration/backup-status").json()["data"]["total_backups"]
        )


@pytest.mark.browser
def test_the_page_works_behind_a_proxy(sqlite_url: str, page: Any) -> None:
    command = ("uvicorn", "--root-path", "/events", "fastapi_mounted:app")
    with (
        serving(*command, database_url=sqlite_url) as port,
        reverse_proxy(port, "/events", strip=True) as outside,
    ):
        base = f"http://127.0.0.1:{outside}/events/coffee"
        page.goto(f"{base}/api/migration/health")
        page.evaluate("localStorage.setItem('coffee_event', JSON.stringify({name: 'Spring'}))")
        page.goto(base + PAGE)
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Signed in").first.wait_for()
        failed: list[str] = []
        page.on("response", lambda answer: answer.status >= 400 and failed.append(answer.url))
        page.get_by_role("button", name="Analyze localStorage Data").click()
        page.get_by_role("button", name="Migrate").first.wait_for()
        assert failed == []


def test_two_stores_and_two_applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("EXPRESSO_PERSIST_TOKEN", TOKEN)
    for name in ("NORTH", "SOUTH"):
        monkeypatch.setenv(f"{name}_URL", f"sqlite:///{tmp_path / name}.db")
    from two_events import create_app

    first, second = create_app(), create_app()
    for name in ("north", "south"):
        answer = first.test_client().post(
            f"/{name}{UPDATE}", headers=KNOWN, json={"key": "hall", "value": name}
        )
        assert answer.status_code == 200
    for app in (first, second):
        for name in ("north", "south"):
            answer = app.test_client().get(f"/{name}/api/inventory/settings", headers=KNOWN)
            assert json.loads(answer.data)["data"] == {"hall": name}
            app.extensions["expresso-persist"][f"/{name}"].store.close()
