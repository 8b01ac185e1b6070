"""Real servers of both adapters inside this process, and clients that can be cut off."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs

from expresso_persist import Store
from expresso_persist.http import NO_RATES

WAIT = 30.0


def eventually(check: Callable[[], Any], what: str) -> Any:
    """The first true answer; what is awaited is a state, not a duration."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


@contextlib.contextmanager
def served(adapter: str, store: Store, **options: Any) -> Iterator[int]:
    """The port of a server: uvicorn, or waitress with forty threads."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(listener.getsockname()[1])
    options.setdefault("limits", NO_RATES)
    run = _uvicorn if adapter == "fastapi" else _waitress
    with run(store, listener, options):
        try:
            yield port
        finally:
            for stream in tuple(Stream.open):  # a test that failed leaves them behind
                stream.cut()


@contextlib.contextmanager
def _uvicorn(store: Store, listener: socket.socket, options: dict[str, Any]) -> Iterator[None]:
    import fastapi
    import uvicorn

    import expresso_persist_fastapi

    app = fastapi.FastAPI()
    expresso_persist_fastapi.register_routes(app, store, **options)
    config = uvicorn.Config(
        app, log_level="error", timeout_graceful_shutdown=1, ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(WAIT)


@contextlib.contextmanager
def _waitress(store: Store, listener: socket.socket, options: dict[str, Any]) -> Iterator[None]:
    import flask

    import expresso_persist_flask

    app = flask.Flask("live")
    expresso_persist_flask.register_routes(app, store, **options)
    with running_waitress(app, listener, threads=40):
        yield
        store.feed.hub.close()


@contextlib.contextmanager
def running_waitress(app: Any, listener: socket.socket, *, threads: int) -> Iterator[None]:
    """waitress in a thread of this process."""
    import waitress
    from waitress import wasyncore

    server: Any = waitress.create_server(app, sockets=[listener], threads=threads)

    def stop() -> None:
        server.close()
        wasyncore.close_all(server._map)

    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        server.task_dispatcher.shutdown(cancel_pending=True, timeout=5)
        with contextlib.suppress(OSError):  # it has ended by itself
            server.trigger.pull_trigger(stop)
        thread.join(WAIT)


@attrs.frozen
class Frame:
    """One event of a stream."""

    event: str
    id: str | None
    data: Any


class Stream:
    """A client of server-sent events, in as few lines as it can be trusted."""

    open: ClassVar[set[Stream]] = set()

    def __init__(self, port: int, path: str, *, token: str = "read-token", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
        sent = {"Authorization": f"Bearer {token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=sent)
        self._socket: socket.socket = self._connection.sock
        self.answer = self._connection.getresponse()
        self.status = self.answer.status
        self.comments = 0
        self.open.add(self)

    def frames(self) -> Iterator[Frame]:
        """Events until the server ends the stream."""
        event, name, data = "message", None, ""
        while line := self.answer.readline():
            text = line.decode().rstrip("\n")
            field, _, value = text.partition(": ")
            if not text:
                if data:
                    yield Frame(event, name, json.loads(data))
                elif name is not None:
                    yield Frame("", name, None)
                event, name, data = "message", None, ""
            elif text.startswith(":"):
                self.comments += 1
            elif field == "event":
                event = value
            elif field == "id":
                name = value
            elif field == "data":
                data += value

    def cut(self) -> None:
        """Break the connection off, as a bad network does."""
        self.open.discard(self)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.answer.close()
        self._connection.close()
        self._socket.close()


def ask(port: int, path: str, *, token: str = "read-token", **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT + 30)
    sent = {"Authorization": f"Bearer {token}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request("GET", path, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
