"""Flask-SocketIO on eventlet, gevent and threads: no request stops the others."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from expresso_persist import Store
from expresso_persist.model.records import Put, Setting
from live import Frame, Stream, eventually

TOKEN = "a-token-of-the-cooperative-servers"
KNOWN = {"Authorization": f"Bearer {TOKEN}"}
STREAM = "/api/inventory/stream"
CHANGES = "/api/inventory/changes"
HOST = Path(__file__).with_name("cooperative_host.py")
KEEPS = {
    ("eventlet", "unpatched"): False,
    ("eventlet", "patched"): True,
    ("eventlet", "late"): True,
    ("gevent", "unpatched"): False,
    ("gevent", "patched"): True,
    ("threading", "unpatched"): True,
}
"""Which servers can keep a connection open."""


@contextlib.contextmanager
def cooperative(mode: str, patched: str, url: str, **environment: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", HOST, mode, patched, url],
        env={**os.environ, "EXPRESSO_PERSIST_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        eventually(lambda: answers(address), "the server answers")
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def answers(address: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{address}/ping", timeout=2).text == "pong"
    return False


@pytest.fixture(params=KEEPS, ids="-".join)
def server(request: pytest.FixtureRequest, database_url: str) -> Iterator[tuple[str, bool]]:
    """The address of each kind of server, and whether it can keep a connection."""
    Store(database_url, migrate=True).close()
    with cooperative(*request.param, database_url) as address:
        yield address, KEEPS[request.param]


def set_hall(address: str, value: str) -> None:
    answer = httpx.post(
        f"{address}/api/inventory/settings/update",
        headers=KNOWN,
        json={"key": "hall", "value": value},
        timeout=10,
    )
    assert answer.status_code == 200


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_no_request_stops_the_others(server: tuple[str, bool]) -> None:
    """While clients wait or listen, the host answers, and writes are taken."""
    address, keeps = server
    wait = {"since": "now", "wait": "6"}
    with ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as stack:
        waiting = [
            pool.submit(httpx.get, address + CHANGES, headers=KNOWN, params=wait, timeout=20)
            for _ in range(3)
        ]
        for _ in range(3):
            stream = Stream(port_of(address), f"{STREAM}?since=now", token=TOKEN)
            stack.callback(stream.cut)
            assert stream.status == 200
        upgrade = {
            **KNOWN,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        socket = pool.submit(httpx.get, f"{address}/api/inventory/ws", headers=upgrade, timeout=3)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            began = time.monotonic()
            assert answers(address)
            assert time.monotonic() - began < 4, "a wait of 6 s stopped the others"
            time.sleep(0.1)
        set_hall(address, "north")
        found = [each.result() for each in waiting]
        assert {answer.status_code for answer in found} == {200}
        assert {answer.json()["data"]["waited"] for answer in found} == {keeps}
        if not keeps:
            assert {answer.headers["retry-after"] for answer in found} == {"2"}
        else:
            assert {len(answer.json()["data"]["commits"]) for answer in found} == {1}
        with contextlib.suppress(httpx.HTTPError):  # where it is opened, httpx cannot read it
            assert socket.result().status_code in (101, 426)


def test_a_stream_delivers(server: tuple[str, bool], database_url: str) -> None:
    """At once, commits of this process and of others; or it ends, and the browser comes back."""
    address, keeps = server
    port = port_of(address)
    last: str | None = None

    def frames() -> Iterator[Frame]:
        """As EventSource reads them: again and again, with the last id."""
        nonlocal last
        while True:
            came_back = {"Last_Event_ID": last} if last else {}
            stream = Stream(port, f"{STREAM}?since=now", token=TOKEN, **came_back)
            try:
                for frame in stream.frames():
                    last = frame.id or last
                    if frame.event:
                        yield frame
                assert not keeps, "it ended"
            finally:
                stream.cut()
            time.sleep(0.3)

    following = frames()
    with ThreadPoolExecutor(1) as pool, Store(database_url) as elsewhere:
        first = pool.submit(next, following)
        eventually(lambda: last, "the first block")
        began = time.monotonic()
        set_hall(address, "north")
        assert first.result(20).data["revision"] == 1
        second = pool.submit(next, following)
        elsewhere.inventory.commit([Put(Setting.of("x", data=1))], actor="another process")
        assert second.result(20).data["revision"] == 2
        assert time.monotonic() - began < 13, "it came with the next heartbeat only"
        following.close()


def test_a_long_backlog_comes_page_by_page(sqlite_url: str) -> None:
    """Nothing else runs while one is read; a reset moves the browser on as well."""
    with Store(sqlite_url, migrate=True) as store:
        for number in range(120):
            store.inventory.commit([Put(Setting.of("x", data=number))], actor="t")
    with cooperative("eventlet", "unpatched", sqlite_url) as address:
        since, found, retries = "0", [], []
        while not retries or retries[-1] == "retry: 100":
            text = httpx.get(
                address + STREAM, headers={**KNOWN, "Last-Event-ID": since}, timeout=10
            ).text
            retries.append(text.partition("\n")[0])
            lines = text.splitlines()
            found += [json.loads(line[6:])["revision"] for line in lines if line[:6] == "data: "]
            since = [line[4:] for line in lines if line[:4] == "id: "][-1]
        assert found == list(range(1, 121))
        assert retries == ["retry: 100", "retry: 100", "retry: 2000"]
        text = httpx.get(
            address + STREAM, headers={**KNOWN, "Last-Event-ID": "0" * 16 + ".5.0"}, timeout=10
        ).text
        assert (
            text == f'retry: 2000\n\nevent: reset\ndata: {{"cursor":"{since}"}}\n\nid: {since}\n\n'
        )


@pytest.mark.browser
@pytest.mark.parametrize("patched", ["unpatched", "patched"])
def test_the_client_follows(sqlite_url: str, page: Any, patched: str) -> None:
    """`initialize()` freezes no server; what others change arrives."""
    Store(sqlite_url, migrate=True).close()
    with cooperative("eventlet", patched, sqlite_url) as address:
        page.goto(f"{address}/api/migration/health")
        page.evaluate(
            """async (token) => {
                const { DatabaseInventoryService } = await import(
                    '/static/expresso-persist/DatabaseInventoryService.js');
                window.service = new DatabaseInventoryService({ getToken: () => token });
                await service.initialize({ pollInterval: 500 });
            }""",
            TOKEN,
        )
        began = time.monotonic()
        while time.monotonic() - began < 4:
            assert answers(address)
            time.sleep(0.2)
        set_hall(address, "north")
        page.wait_for_function("async () => (await service.getSettings()).hall === 'north'")


@pytest.mark.postgresql
@pytest.mark.parametrize("mode", ["eventlet", "gevent"])
def test_a_table_that_is_locked_stops_no_other_request(mode: str, postgresql_url: str) -> None:
    """With the setting of the manual that eventlet needs for what runs without a request."""
    Store(postgresql_url, migrate=True).close()
    environment = {"LOOK_UP": "0.5", "PSYCOPG_WAIT_FUNC": "wait_select"}
    with (
        cooperative(mode, "patched", postgresql_url, **environment) as address,
        psycopg.connect(postgresql_url) as other,
        ThreadPoolExecutor(20) as pool,
    ):

        def get(path: str) -> int:
            return httpx.get(address + path, headers=KNOWN, timeout=30).status_code

        assert get("/api/inventory/get-all") == 200
        other.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
        waiting = [pool.submit(get, "/api/inventory/get-all") for _ in range(20)]
        began = time.monotonic()
        assert [get("/ping"), get("/api/migration/health")] == [200, 503]
        assert {each.result() for each in waiting} == {503}
        assert time.monotonic() - began < 15
        other.rollback()
        eventually(lambda: get("/api/inventory/get-all") == 200, "the server goes on")
