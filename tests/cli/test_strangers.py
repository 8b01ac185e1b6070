"""Strangers at `serve`: slow, silent, and with bodies that nobody asked for."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expresso_persist.http.access.body_rate import HEADERS
from server import TOKEN, Server

BARE = bool(os.environ.get("EXPRESSO_TEST_BARE"))
IMPORT = "/api/migration/export-localStorage"
ARCHIVE = "/api/migration/import-archive"
SESSION = "/api/migration/session"
UPDATE = "/api/inventory/settings/update"
ASSET = b"GET /static/expresso-persist/DatabaseInventoryService.js HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = "import expresso_persist_%s._server as server; server.STALLED = 4"
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"


@pytest.fixture(params=["fastapi", "flask"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    yield from started(request.param, tmp_path)


@pytest.fixture(params=["fastapi", "flask"])
def hasty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server that gives a client four seconds to take something of its answer."""
    yield from started(request.param, tmp_path, SHORT % request.param)


def started(adapter: str, folder: Path, before: str = "") -> Iterator[Server]:
    if BARE:
        pytest.skip("EXPRESSO_TEST_BARE: no framework is installed here, on purpose")
    server = Server("--adapter", adapter, "--no-backups", cwd=folder, before=before)
    with contextlib.closing(server):
        server.wait_until_ready()
        yield server


def until(met: Callable[[], bool]) -> bool:
    """Whether it comes true within half a minute."""
    end = time.monotonic() + 30
    while not met() and time.monotonic() < end:
        time.sleep(0.1)
    return met()


@contextlib.contextmanager
def line(server: Server) -> Iterator[socket.socket]:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30) as opened:
        yield opened


def head(path: str, *headers: str, token: str | None = None) -> bytes:
    known = [f"Authorization: Bearer {token}"] if token else []
    kind = "application/zstd" if path == ARCHIVE else "application/json"
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", *known, *headers]
    return "\r\n".join((*lines, "", "")).encode()


def answered(connection: socket.socket) -> int:
    """The status; 0 where the connection was broken off before it could be read."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n" not in answer:
            piece = connection.recv(4096)
            if not piece:
                return 0
            answer += piece
    return int(answer.split(b" ", 2)[1]) if answer else 0


def ended(connection: socket.socket) -> bool:
    """Whether the server closed it."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_slow_strangers_keep_nobody_out(server: Server) -> None:
    """Three hundred of them, and each request of somebody known is answered soon."""
    begun = {
        "silent": b"",
        "headers": b"GET /api/inventory/get-all HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "body": head(IMPORT, "Content-Length: 30000000") + b"{",
    }
    with contextlib.ExitStack() as stack:
        strangers: dict[str, list[socket.socket]] = {}
        for name, first in begun.items():
            strangers[name] = [stack.enter_context(line(server)) for _ in range(100)]
            for each in strangers[name]:
                each.sendall(first)
        over = threading.Event()

        def dribble() -> None:
            while not over.wait(1):
                for each in (*strangers["headers"], *strangers["body"]):
                    with contextlib.suppress(OSError):
                        each.send(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        give_up = time.monotonic() + HEADERS + 25
        number, longest = 0, 0.0
        while True:
            began = time.monotonic()
            assert server.request("/api/inventory/get-all")[0] == 200
            assert server.request(UPDATE, {"key": "n", "value": number})[0] == 200
            longest, number = max(longest, time.monotonic() - began), number + 1
            left = {name: sum(not ended(each) for each in strangers[name]) for name in begun}
            if not any(left.values()):
                break
            assert time.monotonic() < give_up, f"still connected: {left}"
            time.sleep(0.2)
        assert longest < HEADERS, "requests waited until strangers were gone"


def unlinked(server: Server) -> int:
    """Bytes in files that the process has open and that have no name any more."""
    found = 0
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if "(deleted)" in str(entry.readlink()):
                found += entry.stat().st_size
    return found


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_bodies_of_strangers_are_not_received(server: Server, framing: str) -> None:
    """Not on the disk, and not in memory; those who may send one get 100 Continue."""
    headers = {
        "length": ["Content-Length: 30000000"],
        "chunked": ["Transfer-Encoding: chunked"],
        "expect": ["Content-Length: 30000000", "Expect: 100-continue"],
    }[framing]
    piece = CHUNK if framing == "chunked" else b" " * 0x10000
    with contextlib.ExitStack() as stack:
        sent = []
        for path in (IMPORT, ARCHIVE, SESSION, UPDATE, "/api/inventory/nothing"):
            for token in (None, "a-token-that-is-wrong"):
                each = stack.enter_context(line(server))
                each.sendall(head(path, *headers, token=token))
                sent.append(each)
        most = 0
        for each in sent if framing != "expect" else ():
            each.settimeout(1)
            with contextlib.suppress(OSError):
                for _ in range(40):
                    each.sendall(piece)
            most = max(most, unlinked(server))
        assert most < 1024 * 1024
        for each in sent:
            each.settimeout(20)
            assert answered(each) in (0, 400, 401, 404, 413)
    assert server.request("/api/inventory/get-all")[0] == 200


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_bodies_of_others_are_received(server: Server, framing: str) -> None:
    """In pieces, after a pause, larger than what is kept in memory."""
    dump = {f"key_{n}": list(range(2000)) for n in range(200)}
    body = json.dumps(dump).encode()
    headers = [f"Content-Length: {len(body)}"]
    if framing == "chunked":
        headers = ["Transfer-Encoding: chunked"]
    elif framing == "expect":
        headers.append("Expect: 100-continue")
    with line(server) as known:
        known.sendall(head(IMPORT, *headers, token=TOKEN))
        if framing == "expect":
            assert known.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        time.sleep(0.3)
        for start in range(0, len(body), 100_000):
            piece = body[start : start + 100_000]
            known.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            known.sendall(b"0\r\n\r\n")
        assert answered(known) == 200
    status, answer = server.request("/api/migration/documents")
    assert status == 200
    assert len(answer["data"]["localStorage"]) == 200


def test_a_link_is_exchanged_however_it_comes(server: Server) -> None:
    """The one body that strangers may send, headers first."""
    token: Any = server.told["page"].partition("#token=")[2]
    body = json.dumps({"one_time_token": token}).encode()
    with line(server) as stranger:
        stranger.sendall(head(SESSION, f"Content-Length: {len(body)}"))
        time.sleep(0.3)
        stranger.sendall(body)
        assert answered(stranger) == 200


def test_who_reads_no_answer_is_cut_off(hasty: Server) -> None:
    """Forty-five ask again and again and read nothing: others are served, and nothing stays."""
    files = Path(f"/proc/{hasty.process.pid}/fd")
    with contextlib.ExitStack() as stack:
        for _ in range(45):
            stranger = stack.enter_context(line(hasty))
            stranger.sendall(ASSET * 100)
        assert until(lambda: len([*files.iterdir()]) > 45), "they never came"
        assert until(lambda: len([*files.iterdir()]) < 40), "their connections are still open"
        hasty.wait_until_ready()
        assert "Traceback" not in hasty.errors


def test_who_reads_slowly_gets_everything(hasty: Server) -> None:
    """What waits for the client is as much at each look, because more comes after it."""
    with line(hasty) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        reader.sendall(ASSET * 100)
        read, end = 0, time.monotonic() + 8
        while time.monotonic() < end:
            piece = reader.recv(40_000)
            assert piece, f"cut off after {read} bytes"
            read += len(piece)
            time.sleep(0.02)
        assert not ended(reader)


@pytest.mark.parametrize("server", ["fastapi"], indirect=True)
def test_no_large_message_before_the_hello(server: Server) -> None:
    """Its first piece is refused, before the rest is kept in memory."""
    client = pytest.importorskip("websockets.sync.client")
    url = f"{server.url.replace('http', 'ws', 1)}/api/inventory/ws"
    with client.connect(url) as connection:
        connection.send("x" * 100_000)
        with pytest.raises(Exception, match="message too big"):
            connection.recv(10)
