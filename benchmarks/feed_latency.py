"""Commit to client over the feed, beside a bare broadcast of server-sent events.

Both run on the same server of the same framework, one after the other: 500 listeners, 50
events a second of the same size. The bare one keeps a queue per listener and writes each
event to each as it comes; it knows no database, cursor, authorisation or heartbeat. Another
process writes the commits into the same database, so the feed has to learn of them from there.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from expresso_persist import Store
from expresso_persist.model.records import Put, Setting

TOKEN = "a-benchmark-token"
COMMON = """
import json, os, threading, time
from expresso_persist import Store
from expresso_persist.http import NO_RATES, LiveSettings
from expresso_persist_{adapter} import register_routes
url, rate, padding = os.environ["DATABASE_URL"], float(os.environ["RATE"]), os.environ["PADDING"]
most = int(os.environ["LISTENERS"]) + 8
live = LiveSettings(connections=most, per_actor=most)

def events():
    due = time.monotonic()
    while True:
        due += 1 / rate
        time.sleep(max(0, due - time.monotonic()))
        value = json.dumps([time.time(), padding])
        yield b"event: commit\\nid: 1\\ndata: " + value.encode() + b"\\n\\n"
"""
FASTAPI = """
import asyncio, contextlib, fastapi
from fastapi.responses import StreamingResponse
listeners = []

@contextlib.asynccontextmanager
async def lifespan(app):
    loop = asyncio.get_running_loop()
    def tell(event):
        for queue in listeners:
            queue.put_nowait(event)
    def run():
        for event in events():
            if listeners:
                loop.call_soon_threadsafe(tell, event)
    threading.Thread(target=run, daemon=True).start()
    yield

app = fastapi.FastAPI(lifespan=lifespan)

@app.get("/bare")
async def bare():
    queue = asyncio.Queue()
    async def stream():
        listeners.append(queue)
        try:
            yield b": hello\\n\\n"
            while True:
                yield await queue.get()
        finally:
            listeners.remove(queue)
    return StreamingResponse(stream(), media_type="text/event-stream")

register_routes(app, url, live=live, limits=NO_RATES)
"""
FLASK = """
import queue, flask
app = flask.Flask("benchmark")
listeners, started = [], threading.Event()

def run():
    started.wait()
    for event in events():
        for one in tuple(listeners):
            one.put(event)
threading.Thread(target=run, daemon=True).start()

@app.get("/bare")
def bare():
    one = queue.SimpleQueue()
    def stream():
        listeners.append(one)
        started.set()
        try:
            yield b": hello\\n\\n"
            while True:
                yield one.get()
        finally:
            listeners.remove(one)
    return flask.Response(stream(), mimetype="text/event-stream")

register_routes(app, url, live=live, limits=NO_RATES)
"""
WRITER = """
import os, sys, time
from expresso_persist import Store
from expresso_persist.model.records import Put, Setting
url, rate, seconds, padding = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
with Store(url) as store:
    due = time.monotonic()
    until = due + seconds
    while due < until:
        due += 1 / rate
        time.sleep(max(0, due - time.monotonic()))
        change = Put(Setting.of("clock", data=[time.time(), padding]))
        store.inventory.commit([change], actor="benchmark")
"""


def serve(adapter: str, url: str, listeners: int, rate: float, padding: str) -> tuple[int, object]:
    """Start the recommended server of an adapter with one process."""
    folder = Path(tempfile.mkdtemp())
    source = COMMON.replace("{adapter}", adapter) + (FASTAPI if adapter == "fastapi" else FLASK)
    (folder / "hosted.py").write_text(source)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    threads = str(listeners + 100)
    command = {
        "fastapi": ["uvicorn", "hosted:app", "--port", str(port), "--log-level", "error",
                    "--app-dir", str(folder), "--timeout-graceful-shutdown", "1"],
        "flask": ["gunicorn", "hosted:app", "-k", "gthread", "--threads", threads,
                  "--worker-connections", "2000", "-b", f"127.0.0.1:{port}", "--chdir", str(folder),
                  "--log-level", "error", "--graceful-timeout", "1"],
    }[adapter]  # fmt: skip
    environment = {
        **os.environ, "DATABASE_URL": url, "EXPRESSO_PERSIST_TOKEN": TOKEN, "RATE": str(rate),
        "PADDING": padding, "LISTENERS": str(listeners),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", *command], env=environment)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/migration/health").close()
            break
        except OSError:
            time.sleep(0.1)
    return port, process


def busy(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of a server and its workers."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    return sum(sum(one.cpu_times()[:2]) for one in family)


def listen(port: int, path: str, count: int, warm: float, seconds: float, process: object) -> tuple:
    """Latencies in milliseconds of all events at all listeners, and CPU seconds of the server."""
    selector, latencies = selectors.DefaultSelector(), []
    lines = []
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    for _ in range(count):
        line = socket.create_connection(("127.0.0.1", port))
        line.sendall(request)
        line.setblocking(False)
        selector.register(line, selectors.EVENT_READ, [b""])
        lines.append(line)
    began = time.monotonic()
    measuring, before, until = False, 0.0, began + warm + seconds
    while (now := time.monotonic()) < until:
        if not measuring and now >= began + warm:
            measuring, before = True, busy(process)
        for key, _ in selector.select(0.1):
            try:
                data = key.fileobj.recv(1 << 18)
            except BlockingIOError:
                continue
            if not data:
                raise SystemExit("The server ended a stream.")
            arrived = time.time()
            held = key.data[0] + data
            *whole, rest = held.split(b"\n\n")
            key.data[0] = rest
            if measuring:
                for event in whole:
                    place = event.rfind(b"[")
                    if place >= 0 and (end := event.find(b",", place)) > 0:
                        latencies.append((arrived - float(event[place + 1 : end])) * 1e3)
    used = busy(process) - before
    for line in lines:
        line.close()
    if len(latencies) < count:
        raise SystemExit("Not every listener heard something.")
    return sorted(latencies), used


def row(kind: str, latencies: list[float], used: float, count: int, seconds: float) -> list[str]:
    def at(share: float) -> str:
        return f"{latencies[int(len(latencies) * share)]:.0f} ms"

    events = len(latencies) / count / seconds
    cpu = f"{used / seconds / count * 1e3:.2f} ms/s"
    return [kind, f"{events:.1f}/s", at(0.5), at(0.99), cpu]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", help="URL of an empty PostgreSQL database")
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50, help="commits a second")
    parser.add_argument("--seconds", type=float, default=10, help="length of each run")
    parser.add_argument("--adapters", default="fastapi,flask")
    arguments = parser.parse_args()
    urls = {"SQLite": f"sqlite:///{Path(tempfile.mkdtemp()) / 'benchmark.db'}"}
    if arguments.postgresql:
        urls["PostgreSQL"] = arguments.postgresql
    count, rate, seconds = arguments.listeners, arguments.rate, arguments.seconds
    table = Table("server", "stream", "events per listener", "p50", "p99", "CPU per listener")
    table.add_column("times the bare CPU")
    for adapter in arguments.adapters.split(","):
        for name, url in urls.items():
            with Store(url, migrate=True) as store:
                change = Put(Setting.of("clock", data=[time.time(), uuid.uuid4().hex]))
                found = store.inventory.commit([change], actor="benchmark")
                from expresso_persist.commits.hash_chain import commit_to_json

                # The bare event is as long as a commit is.
                size = len(json.dumps(commit_to_json(found)))
            port, process = serve(adapter, url, count, rate, "x" * (size - 40))
            try:
                warm = 4.0
                bare, bare_used = listen(port, "/bare", count, warm, seconds, process)
                command = [sys.executable, "-c", WRITER, url, str(rate), str(warm + seconds + 8)]
                writer = subprocess.Popen([*command, uuid.uuid4().hex])
                path = "/api/inventory/stream?since=now"
                feed, feed_used = listen(port, path, count, warm, seconds, process)
                writer.terminate()
                writer.wait()
            finally:
                process.terminate()
                process.wait()
            table.add_row(adapter, *row("bare", bare, bare_used, count, seconds), "1")
            times = f"{feed_used / bare_used:.2f}"
            table.add_row("", *row(f"feed, {name}", feed, feed_used, count, seconds), times)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
