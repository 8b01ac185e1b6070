"""serve: one command from nothing to a running server."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

import click

from expresso_persist.cli.base import Target, Terminal, invocation, plain, verb
from expresso_persist.demo import load_demo
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.feed.hub import close_hub
from expresso_persist.store import Store

if TYPE_CHECKING:
    from expresso_persist.http import OneTimeTokens

__all__ = ["serve"]

PAGE = "/static/localStorage-to-database-migration.html"
_THREADS = 40
_FILES = 8192
_SERVERS = {"fastapi": "uvicorn", "flask": "waitress"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5001,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--adapter",
    type=click.Choice(["fastapi", "flask"]),
    help="The web framework; default: fastapi, else flask, whichever is installed.",
)
@click.option("--demo", is_flag=True, help="Load a made-up event into an empty database.")
@click.option(
    "--backups/--no-backups",
    default=True,
    show_default=True,
    help="Make automatic backups while serving.",
)
@click.option(
    "--rate-limits/--no-rate-limits",
    default=True,
    show_default=True,
    help="Refuse what one client asks for too often.",
)
@verb
def serve(
    target: Target,
    terminal: Terminal,
    host: str,
    port: int,
    adapter: str | None,
    demo: bool,
    backups: bool,
    rate_limits: bool,
) -> None:
    """Start a server with the migration page and the API.

    Creates or updates the database first, and prints the page's address with a token that
    works once. EXPRESSO_PERSIST_TOKEN sets a bearer token with every permission.
    """
    # The other verbs do not wait for the whole HTTP contract to load.
    from expresso_persist.http import OneTimeTokens

    framework, module = _adapter(adapter)
    _require_server(framework)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # Taken before the database is opened, and kept: no other process can take the port in between.
    listener = _listen(host, port)
    with listener, target.open(migrate=True) as store:
        address = _address(host, listener.getsockname()[1])

        def link() -> str:
            return f"{address}{PAGE}#token={tokens.issue()}"

        def used() -> None:
            terminal.note(f"The link was used. A fresh one: {link()}")

        tokens = OneTimeTokens(on_used=used)
        app = _application(framework, module, store, tokens, rate_limits=rate_limits)
        content = _demo(store) if demo else None
        if backups:
            store.backups.start()
        data = {
            "url": address,
            "page": link(),
            "database": store.url,
            "adapter": framework,
            "pid": os.getpid(),
            "demo": content,
        }
        terminal.result(data, *_lines(data, host, named=target.database is not None))
        _open_files()
        _RUNNERS[framework](app, listener, lambda: close_hub(store.database))
        terminal.note("Stopped.")


def _adapter(wanted: str | None) -> tuple[str, ModuleType]:
    """The adapter's module; frameworks are imported here and nowhere else in the core."""
    for name in (wanted,) if wanted else ("fastapi", "flask"):
        try:
            return name, importlib.import_module(f"expresso_persist_{name}")
        except ModuleNotFoundError as error:
            if error.name not in (f"expresso_persist_{name}", name):
                raise
    missing = wanted or "fastapi"
    raise InvalidConfiguration(
        f'The server needs the {missing} adapter: pip install "expresso-persist-{missing}[serve]" '
        f"(from a clone: pip install . './adapters/{missing}[serve]')."
    )


def _require_server(framework: str) -> None:
    """See that what runs the adapter is installed, before anything is opened or created.

    Raises:
        InvalidConfiguration: It is not; a host brings a server of its own, and needs none.
    """
    if importlib.util.find_spec(_SERVERS[framework]) is None:
        raise InvalidConfiguration(
            f"`serve` runs the {framework} adapter under {_SERVERS[framework]}, which is not "
            f'installed: pip install "expresso-persist-{framework}[serve]" '
            f"(from a clone: pip install . './adapters/{framework}[serve]')."
        )


def _application(
    framework: str, module: ModuleType, store: Store, tokens: OneTimeTokens, *, rate_limits: bool
) -> Any:
    from expresso_persist.http import NO_RATES, LiveSettings

    package = importlib.import_module(framework)
    app = package.FastAPI() if framework == "fastapi" else package.Flask("expresso_persist")
    # Under waitress each connection that stays keeps a thread, and some are left for the rest.
    live = LiveSettings(connections=_THREADS - 8) if framework == "flask" else None
    limits = None if rate_limits else NO_RATES
    module.register_routes(app, store, one_time_tokens=tokens, live=live, limits=limits)
    return app


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except socket.gaierror:
        raise InvalidConfiguration(f"There is no address {plain(host)} to listen on.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidConfiguration(
                f"Port {port} is taken, perhaps by another `serve`; stop it, or choose "
                f"another one: --port {port + 1 if port < 65535 else 5001}."
            ) from None
        raise InvalidConfiguration(
            f"Cannot listen on {plain(host)} port {port}: {error.strerror}."
        ) from None
    return listener


def _address(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - said, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _demo(store: Store) -> str:
    receipt = load_demo(store)
    if receipt is None:
        return "not loaded: the database has data already"
    return f"loaded {receipt.totals['stored']} documents, {receipt.records.added} records"


def _lines(data: dict[str, Any], host: str, *, named: bool) -> list[str]:
    same = " with the same --database" if named else ""
    lines = [
        f"expresso-persist with {data['adapter']}; Ctrl-C stops it.",
        "",
        f"Migration page  {data['page']}",
        "                (the token in it works once; a fresh link is printed when it was used)",
        f"Database        {data['database']}",
    ]
    if data["demo"]:
        lines.append(f"Demo event      {data['demo']}")
        lines.append(f"                see it with: {invocation()} status{same}")
    if host not in _LOOPBACK:
        lines.append("Warning         plain HTTP beyond this machine; put a TLS proxy in front.")
    return lines


def _uvicorn(app: Any, listener: socket.socket, end_streams: Callable[[], None]) -> None:
    from expresso_persist.http.adapter import HELLO_BYTES  # no other command needs it

    uvicorn = importlib.import_module("uvicorn")
    config = uvicorn.Config(
        app,
        http=importlib.import_module("expresso_persist_fastapi._server").PunctualProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # there is no proxy that says who the client is
        timeout_graceful_shutdown=10,
        ws_max_size=HELLO_BYTES,  # all that a client sends; before it no token is known
    )
    # uvicorn shuts down on SIGTERM and SIGINT, then raises the signal once more for those who
    # started it. That is us, and a stop that was asked for is no failure.
    server = uvicorn.Server(config)
    shut_down = server.shutdown

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        end_streams()  # they would go on until the grace time is over
        await shut_down(sockets=sockets)

    server.shutdown = shutdown

    def stop() -> None:
        server.should_exit = True  # also when it comes before uvicorn listens to signals

    _on_stop_signals(stop)
    server.run(sockets=[listener])


def _waitress(app: Any, listener: socket.socket, end_streams: Callable[[], None]) -> None:
    server_module = importlib.import_module("expresso_persist_flask._server")

    def stop() -> None:
        end_streams()
        raise KeyboardInterrupt  # waitress finishes its requests, then returns

    server = server_module.create_server(
        app, listener, threads=_THREADS, connections=max(100, _open_files() - 200)
    )
    _on_stop_signals(stop)
    server.run()


_RUNNERS: dict[str, Callable[[Any, socket.socket, Callable[[], None]], None]] = {
    "fastapi": _uvicorn,
    "flask": _waitress,
}


def _open_files() -> int:
    """How many files and connections this process may have open, as many as it may ask for."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _on_stop_signals(action: Callable[[], None]) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        action()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
