"""get-all against a constant of the same size, and one update against its bare transaction.

The constant is served by the same framework in the same process, through the same kind of
view (a plain ``def``), so the ratio is what this library adds to a request: who asks, whose
data, the current revision from the database. Requests come from another process over kept
connections. The bare transaction locks a row, changes it, adds one row to each of two
tables and commits; the update does that and finds the record, checks it and hashes it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from expresso_persist import Store

TOKEN = "a-benchmark-token"
ITEMS = 1_000
SERVER = """
import sys
from expresso_persist import Store
from expresso_persist.http import NO_RATES
from expresso_persist.http.messages import Request
adapter, url, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
body = b"x" * size
if adapter == "fastapi":
    import fastapi, uvicorn
    from expresso_persist_fastapi import register_routes
    app = fastapi.FastAPI()
    @app.get("/constant")
    def constant():
        return fastapi.Response(body, media_type="application/json")
    register_routes(app, url, limits=NO_RATES)
    uvicorn.run(app, port=port, log_level="error")
else:
    import flask, waitress
    from expresso_persist_flask import register_routes
    app = flask.Flask(__name__)
    @app.get("/constant")
    def constant():
        return flask.Response(body, mimetype="application/json")
    register_routes(app, url, limits=NO_RATES)
    waitress.serve(app, port=port, threads=8)
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, request: bytes, seconds: float, counts: object) -> None:
    """Send one request again and again over one connection, and count the answers.

    A server that closes the connection after an answer (waitress does so after a 304) is
    connected to again, which is what a client has to do.
    """
    answered, buffer = 0, bytearray(1 << 20)
    connection: socket.socket | None = None
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        received, end, closes = 0, 0, False
        while not end or received < end:
            count = connection.recv_into(memoryview(buffer)[received:])
            if not count:
                raise SystemExit("The server closed the connection in the middle of an answer.")
            received += count
            if not end and (head := buffer.find(b"\r\n\r\n", 0, received)) >= 0:
                lines = bytes(buffer[:head]).lower().split(b"\r\n")
                lengths = [line for line in lines if line.startswith(b"content-length:")]
                end = head + 4 + (int(lengths[0].split(b":")[1]) if lengths else 0)
                closes = b"connection: close" in lines
        answered += 1
        if closes:
            connection.close()
            connection = None
    counts.put(answered)  # type: ignore[attr-defined]


def rate(port: int, path: str, headers: dict[str, str], seconds: float, clients: int) -> float:
    """Requests a second over some connections."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    counts: multiprocessing.Queue[int] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=ask, args=(port, request, seconds, counts))
        for _ in range(clients)
    ]
    for worker in workers:
        worker.start()
    total = sum(counts.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total / seconds


def fill(url: str) -> int:
    """Store an inventory; the size of its answer in bytes."""
    with Store(url, migrate=True) as store:
        inventory = {
            "milk": [
                {"id": f"m{n}", "name": f"Milk number {n}", "enabled": True, "category": "milk"}
                for n in range(ITEMS)
            ]
        }
        store.importer.import_({"event_inventory": inventory}, actor="benchmark")
        return len(store.inventory.inventory_json()[1])


def read_ratio(adapter: str, url: str, seconds: float) -> list[str]:
    """A row of the table of reads."""
    size, port = fill(url), free_port()
    environment = {**os.environ, "EXPRESSO_PERSIST_TOKEN": TOKEN}
    command = [sys.executable, "-c", SERVER, adapter, url, str(port), str(size)]
    server = subprocess.Popen(command, env=environment)
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{base}/constant").close()
                break
            except OSError:
                time.sleep(0.1)
        known = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{base}/api/inventory/get-all", headers=known)
        with urllib.request.urlopen(request) as answer:
            etag = answer.headers["ETag"]
        path = "/api/inventory/get-all"
        constant, whole, unchanged = [], [], []
        for _ in range(3):  # in turns: the machine's speed drifts
            constant.append(rate(port, "/constant", {}, seconds, 4))
            whole.append(rate(port, path, known, seconds, 4))
            unchanged.append(rate(port, path, {**known, "If-None-Match": etag}, seconds, 4))
        best = max(constant)
        return [
            f"{size / 1024:.0f} KiB",
            f"{best:.0f}/s",
            f"{max(whole) / best:.2f}",
            f"{max(unchanged) / best:.2f}",
        ]
    finally:
        server.terminate()
        server.wait()


def update_ratio(url: str, times: int) -> list[str]:
    """A row of the table of updates."""
    with Store(url, migrate=True) as store:
        target = store.for_tenant(uuid.uuid4().hex)
        inventory = [{"id": f"m{n}", "name": f"Milk {n}", "enabled": True} for n in range(ITEMS)]
        target.importer.import_({"event_inventory": {"milk": inventory}}, actor="benchmark")
        with store.database.engine.begin() as connection:
            for name in ("head", "record", "log", "trail"):
                connection.execute(sa.text(f"DROP TABLE IF EXISTS benchmark_{name}"))
                connection.execute(
                    sa.text(f"CREATE TABLE benchmark_{name} (id INTEGER PRIMARY KEY, data TEXT)")
                )
            connection.execute(sa.text("INSERT INTO benchmark_head VALUES (1, '0')"))
            connection.execute(sa.text("INSERT INTO benchmark_record VALUES (1, '{}')"))
        lock = store.database.lock_rows(
            sa.select(sa.column("data")).select_from(sa.table("benchmark_head"))
        )
        text = json.dumps(inventory[0])

        def bare(number: int) -> None:
            with store.database.write() as connection:
                connection.execute(lock)
                connection.execute(sa.text("UPDATE benchmark_record SET data = :d"), {"d": text})
                for name in ("log", "trail"):
                    connection.execute(
                        sa.text(f"INSERT INTO benchmark_{name} VALUES (:n, :d)"),
                        {"n": number, "d": text},
                    )
                connection.execute(sa.text("UPDATE benchmark_head SET data = :n"), {"n": "1"})

        from expresso_persist.stock.movements import update_operations
        from expresso_persist.stock.requests import EventInventoryUpdate

        def update(number: int) -> None:
            change = EventInventoryUpdate(category="milk", item_id="m7", enabled=bool(number % 2))
            target.inventory.commit(update_operations([change]), actor="benchmark")

        def median(action: object) -> float:
            durations = []
            for number in range(1, times):
                started = time.perf_counter()
                action(number)  # type: ignore[operator]
                durations.append(time.perf_counter() - started)
            return sorted(durations)[len(durations) // 2]

        update(0)
        floor, ours = median(bare), median(update)
        return [f"{floor * 1e3:.2f} ms", f"{ours * 1e3:.2f} ms", f"{ours / floor:.1f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", help="URL of an empty PostgreSQL database")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    arguments = parser.parse_args()
    urls = {"SQLite": f"sqlite:///{Path(tempfile.mkdtemp()) / 'benchmark.db'}"}
    if arguments.postgresql:
        urls["PostgreSQL"] = arguments.postgresql
    reads = Table("adapter", "database", "answer", "constant", "get-all", "get-all, 304")
    updates = Table("database", "bare transaction", "one update", "times")
    for name, url in urls.items():
        for adapter in ("fastapi", "flask"):
            reads.add_row(adapter, name, *read_ratio(adapter, url, arguments.seconds))
        updates.add_row(name, *update_ratio(url, 400))
    console = Console(width=100)
    console.print(reads, updates)


if __name__ == "__main__":
    main()
