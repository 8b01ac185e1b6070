"""Two stores in one application, and two applications in one process.

NORTH_URL=sqlite:///north.db SOUTH_URL=sqlite:///south.db flask --app two_events run
"""

import os

from flask import Flask

from expresso_persist_flask import register_routes


def create_app():
    """Can be called again: each application opens its own connections."""
    app = Flask(__name__)
    register_routes(app, os.environ["NORTH_URL"], prefix="/north")
    register_routes(app, os.environ["SOUTH_URL"], prefix="/south")
    return app
