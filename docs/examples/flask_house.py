"""Flask: a host with its own static folder, CORS and hooks, all of which stay as they are.

flask --app flask_house run
"""

from pathlib import Path

from flask import Flask, g, jsonify
from flask_cors import CORS

from expresso_persist_flask import register_routes

app = Flask(__name__, static_folder=Path(__file__).parent / "static", static_url_path="/static")
CORS(app, origins=["https://display.example"])


@app.before_request
def greet():
    g.host = "the host was here"


@app.after_request
def sign(response):
    response.headers["X-Host"] = g.host
    return response


@app.errorhandler(404)
def not_found(_error):
    return jsonify(error="The host knows no such page."), 404


# What the browser keeps for this origin may be used by the display's page as well.
register_routes(app, origins=["https://display.example"])
