"""Flask under gunicorn, with several workers and one that makes the backups, whichever it is.

    gunicorn --workers 4 flask_gunicorn:app                                   # sync: no streams
    gunicorn --workers 2 --worker-class gthread --threads 600 flask_gunicorn:app
    gunicorn --workers 2 --worker-class gevent flask_gunicorn:app

`--preload` works with each of them: what was opened before the fork is opened again after it.
Under gevent, PostgreSQL is waited for without keeping others; SQLite is not.
"""

import os

from flask import Flask

from expresso_persist.http import Limits, LiveSettings
from expresso_persist_flask import register_routes

app = Flask(__name__)
register_routes(
    app,
    backups=True,  # in each worker; a lease in the database lets one of them work
    live=LiveSettings(connections=550),
    limits=Limits(storage="database"),  # for all workers together
)


@app.get("/worker")
def worker():
    return str(os.getpid())
