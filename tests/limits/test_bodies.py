"""Bodies on the wire, against real servers: too large, too slow, packed, lying about themselves."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from expresso_persist import Store
from expresso_persist.http import NO_RATES, BearerTokens, Limits
from expresso_persist.http.access import body_rate
from expresso_persist.testing import TOKENS
from live import WAIT, served

UPDATE = "/api/inventory/settings/update"
SMALL = Limits(update_bytes=1000, read=None, write=None, heavy=None)


@pytest.fixture(params=["fastapi", "flask"])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def line(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), WAIT) as opened:
        yield opened


def head(*headers: str, token: str = "admin-token", path: str = UPDATE) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Authorization: Bearer {token}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


def status(connection: socket.socket) -> int:
    answer = b""
    while b"\r\n" not in answer:
        piece = connection.recv(4096)
        if not piece:
            return 0
        answer += piece
    return int(answer.split(b" ", 2)[1])


JSON = "Content-Type: application/json"


def test_a_body_beyond_the_limit_is_not_read_to_its_end(adapter: str, store: Store) -> None:
    """Told by its length before any of it comes, or found out while it comes."""
    with served(adapter, store, authorize=BearerTokens(TOKENS), limits=SMALL) as port:
        with line(port) as announced:
            announced.sendall(head(JSON, "Content-Length: 1001") + b"x" * 1001)
            assert status(announced) == 413
        with line(port) as chunked:
            chunked.sendall(head(JSON, "Transfer-Encoding: chunked"))
            for _ in range(3):
                chunked.sendall(b"200\r\n" + b" " * 512 + b"\r\n")
            if adapter == "flask":  # waitress reads everything first, onto the disk
                chunked.sendall(b"0\r\n\r\n")
            assert status(chunked) == 413
        with line(port) as fitting:
            body = b'{"key":"a","value":1}'
            fitting.sendall(
                head(JSON, "Transfer-Encoding: chunked")
                + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
                + b"0\r\n\r\n"
            )
            assert status(fitting) == 200
    assert store.inventory.settings() == {"a": 1}


def test_who_may_not_write_sends_nothing(store: Store) -> None:
    """Under uvicorn the answer is there before the body is; none of it is waited for."""
    with served("fastapi", store, authorize=BearerTokens(TOKENS), limits=NO_RATES) as port:
        path = "/api/migration/export-localStorage"
        for token, expected in (("wrong-token", 401), ("read-token", 403)):
            with line(port) as refused:
                refused.sendall(head(JSON, "Content-Length: 30000000", token=token, path=path))
                assert status(refused) == expected


@pytest.mark.parametrize("packing", ["gzip", "deflate, gzip", "br", "x"])
def test_a_packed_body_is_refused(adapter: str, store: Store, packing: str) -> None:
    with (
        served(adapter, store, authorize=BearerTokens(TOKENS)) as port,
        line(port) as connection,
    ):
        connection.sendall(head(JSON, f"Content-Encoding: {packing}", "Content-Length: 2") + b"{}")
        assert status(connection) == 415


@pytest.mark.parametrize("length", ["-1", "abc", "9" * 5000, "1e3", "0x10"])
def test_a_length_that_lies_is_refused(adapter: str, store: Store, length: str) -> None:
    with (
        served(adapter, store, authorize=BearerTokens(TOKENS)) as port,
        line(port) as connection,
    ):
        connection.sendall(head(JSON, f"Content-Length: {length}") + b"{}")
        with contextlib.suppress(ConnectionError):
            assert status(connection) in (0, 400, 411, 413)
    assert store.inventory.head().revision == 0


def test_a_body_that_never_comes_is_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no thread, and in the end no connection."""
    monkeypatch.setattr(body_rate, "GRACE", 0.5)
    archive = "/api/migration/import-archive"
    with served("fastapi", store, authorize=BearerTokens(TOKENS)) as port:
        for path, kind in ((UPDATE, JSON), (archive, "Content-Type: application/zstd")):
            with line(port) as slow:
                slow.sendall(head(kind, "Content-Length: 500", path=path) + b"{")
                assert status(slow) == 408
    assert store.inventory.head().revision == 0


def test_slow_bodies_keep_nobody_from_being_answered(adapter: str, store: Store) -> None:
    """More of them than either server has threads."""
    with (
        served(adapter, store, authorize=BearerTokens(TOKENS)) as port,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(60):
            slow = stack.enter_context(line(port))
            slow.sendall(head(JSON, "Content-Length: 500") + b"{")
        with line(port) as quick:
            body = b'{"key":"a","value":1}'
            quick.sendall(head(JSON, f"Content-Length: {len(body)}") + body)
            assert status(quick) == 200
