"""Streams, waiting requests and their limits, over real servers of both adapters.

More reconnects with ``EXPRESSO_FEED_RECONNECTS=5000``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ci import missing
from expresso_persist import Store
from expresso_persist.db.tables import changes, commits, tenants
from expresso_persist.http import (
    Actor,
    BearerTokens,
    LiveSettings,
    Permission,
    Request,
)
from expresso_persist.http.live import event_loop
from expresso_persist.model.records import Put, Setting
from expresso_persist.testing import TOKENS
from live import WAIT, Frame, Stream, ask, eventually, running_waitress, served

RECONNECTS = int(os.environ.get("EXPRESSO_FEED_RECONNECTS", "60"))
STREAM, CHANGES = "/api/inventory/stream", "/api/inventory/changes"

pytestmark = pytest.mark.timeout(max(120, RECONNECTS))


@pytest.fixture(params=["fastapi", "flask"])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def port(adapter: str, store: Store) -> Iterator[int]:
    with served(
        adapter, store, authorize=BearerTokens(TOKENS), live=LiveSettings(connections=30)
    ) as number:
        yield number


def commit(store: Store, value: Any = None) -> int:
    value = random.random() if value is None else value
    return store.inventory.commit([Put(Setting.of("x", data=value))], actor="test").revision


def taken(store: Store) -> int:
    """How many want to know of commits."""
    return len(store.feed.hub.channel(store.tenant).interests)


def test_nothing_is_missed_over_random_cuts(port: int, store: Store) -> None:
    """Each reconnect goes on by Last-Event-ID; commits go on meanwhile."""
    total, done = RECONNECTS * 3, threading.Event()

    def write() -> None:
        for _ in range(total):
            commit(store)
            if done.wait(random.random() * 0.01):
                return

    writing = threading.Thread(target=write)
    writing.start()
    seen: list[int] = []
    reconnects, last = 0, ""
    try:
        while len(seen) < total or reconnects < RECONNECTS:
            stream = Stream(port, STREAM, **({"Last_Event_ID": last} if last else {}))
            assert stream.status == 200
            patience = random.randint(1, 5)
            left = total - len(seen)
            for frame in stream.frames() if left else ():
                assert frame.event == "commit"
                seen.append(frame.data["revision"])
                assert frame.id is not None
                last = frame.id
                patience -= 1
                if not patience or len(seen) == total:
                    break
            stream.cut()
            reconnects += 1
    finally:
        done.set()
        writing.join()
    assert seen == list(range(1, total + 1))
    assert reconnects >= RECONNECTS


def test_a_stream_says_how_to_come_back(port: int, store: Store) -> None:
    commit(store)
    stream = Stream(port, STREAM + "?since=now")
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["cache-control"] == "no-store, no-transform"
    assert stream.answer.readline() == b"retry: 2000\n"
    assert stream.answer.readline() == b"\n"
    frames = stream.frames()
    assert next(frames) == Frame("", store.inventory.head().cursor, None)
    commit(store, "new")
    frame = next(frames)
    assert frame.data["changes"] == [
        {
            "kind": "setting",
            "key": ["x"],
            "before": frame.data["changes"][0]["before"],
            "after": "new",
        }
    ]
    assert frame.id == store.inventory.head().cursor
    stream.cut()
    # The header is newer than the address, which EventSource never changes.
    again = Stream(port, STREAM + "?since=0", Last_Event_ID=frame.id)
    commit(store)
    assert next(again.frames()).data["revision"] == 3
    again.cut()


def test_a_cursor_that_cannot_be_read_is_refused(port: int) -> None:
    for path in (
        f"{STREAM}?since=x",
        f"{STREAM}?since=1",
        f"{CHANGES}?since=x&wait=1",
        f"{CHANGES}?since=1",
        f"{CHANGES}?wait=56",
    ):
        status, _, answer = ask(port, path)
        assert (status, answer["code"]) == (422, "invalid_input")


def test_an_older_copy_resets_streams_and_waits(port: int, store: Store) -> None:
    for _ in range(3):
        commit(store)
    cursor = store.inventory.head().cursor
    stream = Stream(port, f"{STREAM}?since={cursor}")
    waited: list[Any] = []
    waiting = threading.Thread(
        target=lambda: waited.append(ask(port, f"{CHANGES}?since={cursor}&wait=50"))
    )
    waiting.start()
    eventually(lambda: taken(store) == 2, "both wait")
    with store.database.write() as connection:
        head = connection.scalar(sa.select(commits.c.hash).where(commits.c.revision == 1))
        connection.execute(sa.delete(changes).where(changes.c.revision > 1))
        connection.execute(sa.delete(commits).where(commits.c.revision > 1))
        connection.execute(sa.update(tenants).values(revision=1, head_hash=head))
    frames = stream.frames()
    assert next(frames) == Frame("reset", None, {"cursor": store.inventory.head().cursor})
    waiting.join()
    assert waited[0][2]["data"]["reset"] is True
    commit(store, "goes on")
    assert next(frames).data["revision"] == 2
    stream.cut()


def test_a_wait_ends_with_news_or_with_its_time(port: int, store: Store) -> None:
    answers: list[Any] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(ask(port, f"{CHANGES}?since=now&wait=50")))
        for _ in range(5)
    ]
    for thread in waiting:
        thread.start()
    eventually(lambda: taken(store) == 5, "all wait")
    commit(store)
    for thread in waiting:
        thread.join()
    for status, _, answer in answers:
        assert status == 200
        assert [found["revision"] for found in answer["data"]["commits"]] == [1]
    cursor = store.inventory.head().cursor
    data = ask(port, f"{CHANGES}?since={cursor}&wait=0.2")[2]["data"]
    assert (data["commits"], data["reset"], data["waited"]) == ([], False, True)
    assert "waited" not in ask(port, CHANGES)[2]["data"]
    assert taken(store) == 0


def test_heartbeats_come_and_a_revoked_token_ends_it(adapter: str, store: Store) -> None:
    valid = {"authorised": True}

    def authorize(request: Request) -> Actor | None:
        known = valid["authorised"] and "read" in request.headers.get("authorization", "")
        return Actor("display", Permission.READ) if known else None

    with served(
        adapter, store, authorize=authorize, live=LiveSettings(connections=4, heartbeat=0.1)
    ) as port:
        stream = Stream(port, STREAM)
        commit(store)
        frames = stream.frames()
        assert next(frames).event == "commit"
        valid["authorised"] = False
        assert list(frames) == [Frame("end", None, {"code": "unauthorized"})]
        assert ask(port, STREAM)[0] == 401
        eventually(lambda: not taken(store), "its place is free")
        stream.cut()


def test_the_hosts_hooks_decide_at_each_heartbeat(store: Store) -> None:
    """A Flask host that tells who asks in before_request is asked the same way again."""
    import flask

    import expresso_persist_flask

    app, opened, open_now = flask.Flask("host"), [0], [0]

    @app.before_request
    def enter() -> None:
        flask.g.user = flask.request.headers.get("X-User")
        opened[0] += 1
        open_now[0] += 1

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        open_now[0] -= 1

    def authorize(request: Request) -> Actor | None:
        assert request.native.path == STREAM
        return Actor(flask.g.user, Permission.READ) if opened[0] < 4 else None

    expresso_persist_flask.register_routes(
        app, store, authorize=authorize, live=LiveSettings(connections=2, heartbeat=0.1)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    with running_waitress(app, listener, threads=4):
        stream = Stream(listener.getsockname()[1], STREAM, X_User="ada")
        # The host's request is over, whatever it opened is closed; only the stream goes on.
        eventually(lambda: open_now[0] == 0, "the request ended")
        assert [frame.event for frame in stream.frames()] == ["end"]
        assert opened[0] == 4
        assert stream.comments == 2
        stream.cut()


def test_tenants_do_not_hear_each_other(adapter: str, store: Store) -> None:
    belongs = {"read-token": "north", "write-token": "south"}
    for name in belongs.values():
        store.for_tenant(name).inventory.head()  # a name in a request makes no tenant

    def authorize(request: Request) -> Actor | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return Actor(token, Permission.READ, belongs[token]) if token in belongs else None

    with served(
        adapter, store, authorize=authorize, live=LiveSettings(connections=4, heartbeat=0.2)
    ) as port:
        north, south = Stream(port, STREAM), Stream(port, STREAM, token="write-token")
        for n in range(3):
            for name in ("north", "south"):
                commit(store.for_tenant(name), f"{name} {n}")
        for name, stream in (("north", north), ("south", south)):
            frames = stream.frames()
            found = [next(frames).data["changes"][0]["after"] for _ in range(3)]
            assert found == [f"{name} {n}" for n in range(3)]
        belongs["read-token"] = "south"  # moved to another one: not this connection's any more
        assert [frame.event for frame in north.frames()] == ["end"]
        north.cut()
        south.cut()


def test_beyond_the_limit_it_says_so_and_waits_for_nobody(adapter: str, store: Store) -> None:
    with served(
        adapter,
        store,
        authorize=BearerTokens(TOKENS),
        live=LiveSettings(connections=2, heartbeat=0.1),
    ) as port:
        streams = [Stream(port, STREAM) for _ in range(2)]
        status, headers, answer = ask(port, STREAM)
        assert (status, answer["code"], headers["retry-after"]) == (503, "too_many_streams", "5")
        started = time.monotonic()
        data = ask(port, f"{CHANGES}?since=now&wait=50")[2]["data"]
        assert (data["commits"], data["waited"]) == ([], False)
        assert time.monotonic() - started < 40  # it did not wait; nothing finer is claimed
        assert ask(port, "/api/inventory/stats")[0] == 200
        streams[0].cut()
        eventually(lambda: taken(store) == 1, "the place is free again")
        again = Stream(port, STREAM)
        assert again.status == 200
        for stream in (streams[1], again):
            stream.cut()


def test_a_server_with_one_thread_keeps_nobody(store: Store) -> None:
    """gunicorn's sync worker: a request that waits there would stop it for everybody."""
    import flask

    import expresso_persist_flask

    app = flask.Flask("host")
    expresso_persist_flask.register_routes(app, store, authorize=BearerTokens(TOKENS))
    client, known = app.test_client(), {"Authorization": "Bearer read-token"}
    single = {"wsgi.multithread": False}
    answer = client.get(STREAM, headers=known, environ_overrides=single)
    assert (answer.status_code, answer.text) == (200, "retry: 2000\n\n"), "and it ended"
    answer = client.get(f"{CHANGES}?wait=50", headers=known, environ_overrides=single)
    assert answer.json["data"]["waited"] is False  # type: ignore[index]


def test_hundreds_wait_without_a_thread(store: Store) -> None:
    """FastAPI's pool has forty threads; two hundred waiting requests leave all of them free."""
    live = LiveSettings(per_actor=200)
    with served("fastapi", store, authorize=BearerTokens(TOKENS), live=live) as port:
        request = (
            f"GET {CHANGES}?since=0&wait=55 HTTP/1.1\r\nHost: x\r\n"
            "Authorization: Bearer read-token\r\n\r\n"
        ).encode()
        with contextlib.ExitStack() as stack:
            lines = []
            for _ in range(200):
                line = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                line.sendall(request)
                lines.append(line)
            eventually(lambda: taken(store) == 200, "all wait")
            assert ask(port, "/api/inventory/stats")[0] == 200
            for line in lines[:50]:
                line.close()
            eventually(lambda: taken(store) == 150, "who went gave the place back")
            commit(store)
            for line in lines[50:]:
                answer = b""
                while b'"revision":1' not in answer:
                    piece = line.recv(65536)
                    assert piece
                    answer += piece
            eventually(lambda: not taken(store), "nobody waits")


def test_who_reads_nothing_is_let_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "PATIENCE", 0.3)
    with served("fastapi", store, authorize=BearerTokens(TOKENS)) as port:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", port))
        line.sendall(
            f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer read-token\r\n\r\n".encode()
        )
        eventually(lambda: taken(store) == 1, "it listens")
        for n in range(20):
            commit(store, "x" * 500_000 + str(n))
            if not taken(store):
                break
        eventually(lambda: not taken(store), "it was let go")
        line.close()


def socket_client(port: int, **headers: str) -> Any:
    """A WebSocket client."""
    from websockets.sync.client import connect

    return connect(
        f"ws://127.0.0.1:{port}/api/inventory/ws",
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        open_timeout=WAIT,
    )


def test_a_socket_tells_commits_and_ends(store: Store) -> None:
    if importlib.util.find_spec("websockets") is None:
        missing("websockets is not installed")
    from websockets.exceptions import InvalidStatus

    valid = dict(TOKENS)

    def authorize(request: Request) -> Actor | None:
        return BearerTokens(valid)(request)

    live = LiveSettings(connections=2, heartbeat=0.1)
    origins = ["https://display.example"]
    with served("fastapi", store, authorize=authorize, live=live, origins=origins) as port:

        def gone(count: int) -> None:
            eventually(lambda: taken(store) == count, f"{count} are left")

        check_socket(port, store, gone, valid.clear)
        for origin in (
            "https://evil.example",
            "null",
            f"http://127.0.0.1:{port + 1}",
            f"https://127.0.0.1:{port}",
        ):
            with pytest.raises(InvalidStatus, match="403"):
                socket_client(port, Origin=origin)


def check_socket(
    port: int,
    store: Store,
    gone: Callable[[int], None],
    revoke: Callable[[], None],
    since: str = "0",
) -> None:
    """What a socket does, on any adapter."""
    from websockets.exceptions import ConnectionClosed

    def hello(line: Any, **content: Any) -> None:
        line.send(json.dumps({"type": "hello", **content}))

    def closed(line: Any) -> int | None:
        try:
            while True:
                line.recv(WAIT)
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else None

    def message(line: Any) -> dict[str, Any]:
        while (found := json.loads(line.recv(WAIT)))["type"] == "ping":
            pass
        return dict(found)

    commit(store, "line\u2028separator")
    with socket_client(port) as line:  # a browser's page has no header to put a token in
        hello(line, token="read-token", since=since)
        first = message(line)
        assert first["commit"]["changes"][0]["after"] == "line\u2028separator"
        assert first["cursor"] == store.inventory.head().cursor
        commit(store, 2)
        revision = first["commit"]["revision"] + 1
        assert message(line)["commit"]["revision"] == revision
        assert json.loads(line.recv(WAIT)) == {"type": "ping"}
        with socket_client(port, Authorization="Bearer read-token") as second:
            hello(second, since=first["cursor"])
            assert message(second)["commit"]["revision"] == revision
            with socket_client(port, Origin=f"http://127.0.0.1:{port}") as third:
                hello(third, token="read-token")
                assert message(third) == {"type": "end", "code": "too_many_streams"}
                assert closed(third) == 4429
        gone(1)
        with socket_client(port, Origin="https://display.example") as wrong:
            hello(wrong, token="wrong-token")
            assert message(wrong) == {"type": "end", "code": "unauthorized"}
            assert closed(wrong) == 4401
        alone = json.dumps({"type": "hello", "token": "read-token", "since": "1"})
        for bad in ("no json", '{"type":"other"}', "x" * 5_000, alone):
            with socket_client(port) as other:
                other.send(bad)
                assert closed(other) in (1008, 1009)
        with socket_client(port) as behind:
            hello(behind, token="read-token", since="other.2.abc")
            assert message(behind) == {"type": "reset", "cursor": store.inventory.head().cursor}
        gone(1)
        revoke()
        assert message(line) == {"type": "end", "code": "unauthorized"}
        assert closed(line) == 4401


GUNICORN = """
import os
import flask
from expresso_persist import Store
from expresso_persist.http import BearerTokens, LiveSettings
from expresso_persist.testing import TOKENS
from expresso_persist_flask import register_routes

store = Store(os.environ["DATABASE_URL"])
valid = dict(TOKENS)
app = flask.Flask("host")
register_routes(
    app, store, authorize=lambda request: BearerTokens(valid)(request),
    live=LiveSettings(connections=2, heartbeat=0.1), origins=["https://display.example"],
)

@app.post("/forget")
def forget():
    valid.clear()
    return ""

@app.get("/taken")
def taken():
    return {"taken": len(store.feed.hub.channel("default").interests)}

# Before the fork: the thread and its connection are the parent's, and no child may use them.
next(store.feed.subscribe(0, timeout=20))
"""


def test_gunicorn_serves_sockets_and_streams_after_its_fork(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("gunicorn", "flask_sock", "websockets"):
        if importlib.util.find_spec(needed) is None:
            missing(f"{needed} is not installed")
    commit(store, "before the fork")
    (tmp_path / "hosted.py").write_text(GUNICORN)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "hosted:app", "--preload", "--threads", "12"]
        command += ["--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread"]
        command += ["--log-level", "error", "--graceful-timeout", "1", "--chdir", str(tmp_path)]
        url = store.database.engine.url.render_as_string(hide_password=False)
        process = subprocess.Popen(
            command, env={**os.environ, "DATABASE_URL": url}, pass_fds=[listener.fileno()]
        )
    try:
        stream = Stream(port, f"{STREAM}?since=now")
        commit(store, "seen by another process")
        frames = stream.frames()
        assert next(frames).event == ""
        assert next(frames).data["changes"][0]["after"] == "seen by another process"
        stream.cut()

        def gone(count: int) -> None:
            eventually(lambda: ask(port, "/taken")[2]["taken"] == count, f"{count} are left")

        gone(0)
        check_socket(
            port, store, gone, lambda: post(port, "/forget"), since=store.inventory.head().cursor
        )
    finally:
        process.terminate()
        process.wait(20)


def post(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
        while line.recv(4096):
            pass


def test_a_hosts_middleware_may_stand_in_between(store: Store) -> None:
    """Starlette's BaseHTTPMiddleware and GZip wrap the request, the answer, and its end."""
    import fastapi
    import uvicorn
    from starlette.middleware.gzip import GZipMiddleware

    import expresso_persist_fastapi

    app = fastapi.FastAPI()
    expresso_persist_fastapi.register_routes(app, store, authorize=BearerTokens(TOKENS))
    app.add_middleware(GZipMiddleware)

    @app.middleware("http")
    async def mark(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["X-Host"] = "yes"
        return answer

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    running = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    running.start()
    try:
        stream = Stream(port, STREAM)
        assert stream.answer.headers["x-host"] == "yes"
        frames = stream.frames()
        for revision in (1, 2):
            commit(store)
            assert next(frames).data["revision"] == revision
        stream.cut()
        eventually(lambda: not taken(store), "it was noticed to be gone")
        assert ask(port, f"{CHANGES}?since=0&wait=5")[2]["data"]["commits"]
        assert ask(port, f"{CHANGES}?since=now&wait=0.1")[2]["data"]["waited"] is True
    finally:
        server.should_exit = True
        running.join(WAIT)
