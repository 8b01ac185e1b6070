"""A proxy between the library and PostgreSQL that can fail it at a chosen moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from sqlalchemy.engine import make_url


class Proxy:
    """Forwards bytes; after :meth:`cut_after` it loses the answer to one request.

    The server gets the request and does it; the client sees the connection break, or nothing.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._needle: bytes | None = None
        self._silent = False
        self._lines: list[socket.socket] = []
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, needle: bytes) -> None:
        """Cut the connection that sends ``needle`` once the server has answered it."""
        self._needle, self._silent = needle, False

    def swallow_after(self, needle: bytes) -> None:
        """Deliver nothing more on the connection that sends ``needle``, and keep it open."""
        self._needle, self._silent = needle, True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._lines += [client, server]
                marked = threading.Event()
                for source, sink, up in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._forward, args=(source, sink, up, marked), daemon=True
                    ).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, up: bool, marked: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if up and self._needle is not None and self._needle in data:
                    self._needle = None
                    marked.set()
                elif not up and marked.is_set():
                    self.cuts += 1
                    if self._silent:
                        continue
                    break
                sink.sendall(data)
        for line in (source, sink):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every line."""
        for line in (self._listener, *self._lines):
            line.close()


@contextlib.contextmanager
def proxied(url: str) -> Iterator[tuple[str, Proxy]]:
    """The URL of a database through a proxy, and the proxy."""
    parsed = make_url(url)
    folder = parsed.query.get("host")
    if not isinstance(folder, str) or not folder.startswith("/"):
        raise RuntimeError("the proxy is for servers on a Unix socket")
    proxy = Proxy(f"{folder}/.s.PGSQL.{parsed.port or 5432}")
    through = parsed.set(host="127.0.0.1", port=proxy.port, query={})
    try:
        yield through.render_as_string(hide_password=False), proxy
    finally:
        proxy.close()
