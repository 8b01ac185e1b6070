"""How long adjusts of many connections take at one SQLite file: the slowest against the middle.

Connections that are kept each send one adjust after the other to a real server, from another
process. Where the writers stand in a queue, 99 of 100 answers come within a small multiple of
the median; where each of them tries again and again by itself, some wait for very long.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.table import Table

from expresso_persist import Store
from expresso_persist.model.records import Put, StationQuantity

TOKEN = "benchmark-token-of-the-queue"
BODY = b'{"station_id": "1", "category": "milk", "item": "oat", "delta": 1}'
SERVER = """
import os
import fastapi
from expresso_persist.http import NO_RATES
from expresso_persist_fastapi import register_routes
app = fastapi.FastAPI()
register_routes(app, os.environ["DATABASE_URL"], limits=NO_RATES, backups=False)
"""


async def connection(port: int, until: float) -> list[float]:
    """The seconds that each adjust of one connection took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        b"POST /api/inventory/adjust HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        + BODY
    )
    took = []
    await asyncio.sleep(random.random() * 0.1)
    while time.monotonic() < until:
        begin = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        took.append(time.monotonic() - begin)
    writer.close()
    return took


def load(port: int, connections: int, seconds: float, queue: multiprocessing.Queue) -> None:
    async def run() -> list[float]:
        until = time.monotonic() + seconds
        results = await asyncio.gather(*(connection(port, until) for _ in range(connections)))
        return [took for result in results for took in result]

    queue.put(asyncio.run(run()))


def measure(folder: Path, workers: int, connections: int, seconds: float) -> list[float]:
    file = folder / f"{workers}-{connections}.db"
    with Store(f"sqlite:///{file}", migrate=True) as store:
        first = StationQuantity.of("1", "milk", "oat", data={"quantity": 0})
        store.inventory.commit([Put(first)], actor="benchmark")
    (folder / "served.py").write_text(SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "served:app", "--log-level", "error"),
            *("--port", str(port), "--workers", str(workers)),
        ],
        cwd=folder,
        env={
            **os.environ,
            "DATABASE_URL": f"sqlite:///{file}",
            "EXPRESSO_PERSIST_TOKEN": TOKEN,
        },
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/migration/health").close()
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(1)  # the other workers
        queue: multiprocessing.Queue = multiprocessing.Queue()
        client = multiprocessing.Process(target=load, args=(port, connections, seconds, queue))
        client.start()
        took = queue.get(timeout=seconds + 60)
        client.join()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    with Store(f"sqlite:///{file}") as store:
        [record] = store.inventory.records("station_quantity")
        assert record.data == {"quantity": len(took)}
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    table = Table(
        "workers", "connections", "adjusts/s", "p50, ms", "p99, ms", "p99 / p50", "slowest / p50"
    )
    with tempfile.TemporaryDirectory() as folder:
        for workers in given.workers:
            for connections in given.connections:
                took = measure(Path(folder), workers, connections, given.seconds)
                middle, late, last = took[len(took) // 2], took[len(took) * 99 // 100], took[-1]
                table.add_row(
                    str(workers),
                    str(connections),
                    f"{len(took) / given.seconds:.0f}",
                    f"{middle * 1000:.1f}",
                    f"{late * 1000:.1f}",
                    f"{late / middle:.1f}",
                    f"{last / middle:.1f}",
                )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
