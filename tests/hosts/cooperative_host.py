"""A host on Flask-SocketIO: cooperative_host.py MODE WHEN URL, with the port's number on stdout."""

import os
import socket
import sys

mode, patched, url = sys.argv[1:]


def patch() -> None:
    if mode == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    elif mode == "gevent":
        from gevent import monkey

        monkey.patch_all()


if patched == "patched":
    patch()

import flask  # noqa: E402
from flask_socketio import SocketIO  # noqa: E402

from expresso_persist.db import timeouts  # noqa: E402
from expresso_persist.http import NO_RATES, LiveSettings  # noqa: E402
from expresso_persist_flask import register_routes  # noqa: E402

timeouts.LOOK_UP = float(os.environ.get("LOOK_UP", timeouts.LOOK_UP))
if patched == "late":
    patch()
app = flask.Flask("host")
socketio = SocketIO(app, async_mode=mode)
app.add_url_rule("/ping", view_func=lambda: "pong")
register_routes(app, url, live=LiveSettings(connections=20), limits=NO_RATES, backups=True)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
print(port, flush=True)
options = {"allow_unsafe_werkzeug": True} if mode == "threading" else {}
socketio.run(app, host="127.0.0.1", port=port, **options)
