"""PgBouncer in transaction mode before a database: each transaction may get another session."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from ci import missing

_NOBODY = 65534
_CONFIG = """
[databases]
{database} = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
server_round_robin = 1
"""


@contextlib.contextmanager
def pooled(url: str) -> Iterator[str]:
    """The URL of a database through a PgBouncer of its own."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing("no PgBouncer: install the system's package pgbouncer")
    parsed = make_url(url)
    host = parsed.query.get("host") or parsed.host or "127.0.0.1"
    words = {"host": host, "port": parsed.port or 5432, "dbname": parsed.database}
    words |= {"user": parsed.username or os.environ.get("PGUSER", "postgres")}
    if parsed.password or os.environ.get("PGPASSWORD"):
        words["password"] = parsed.password or os.environ["PGPASSWORD"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="expresso-pgbouncer-") as folder:
        Path(folder).chmod(0o755)
        config = Path(folder) / "pgbouncer.ini"
        target = " ".join(f"{name}={value}" for name, value in words.items())
        config.write_text(_CONFIG.format(database=parsed.database, target=target, port=port))
        # It refuses to run as root; the owner of the server's socket may use that.
        owner = Path(str(host)).stat().st_uid if str(host).startswith("/") else _NOBODY
        user = (owner or _NOBODY) if os.geteuid() == 0 else None
        process = subprocess.Popen([program, "-q", str(config)], user=user)
        try:
            _wait(port, process)
            through = parsed.set(
                drivername="postgresql", username=str(words["user"]), host="127.0.0.1", port=port,
                query={},
            )  # fmt: skip
            yield through.render_as_string(hide_password=False)
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        assert process.poll() is None, "PgBouncer did not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
