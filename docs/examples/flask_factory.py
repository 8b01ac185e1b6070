"""Flask: an application factory, `init_app`, and roles of flask-jwt-extended.

    DATABASE_URL=postgresql://… JWT_SECRET_KEY=… flask --app flask_factory run

`POST /login` stands for the login that the application has.
"""

import os

from flask import Flask, jsonify, request
from flask_jwt_extended import JWTManager, create_access_token, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from expresso_persist.http import Actor, Permission
from expresso_persist_flask import ExpressoPersist

ROLES = {"barista": Permission.WRITE, "organiser": Permission.ADMIN}
USERS = {"anna": "organiser", "bert": "barista", "carl": "guest"}


def authorize(_request):
    """The user whom the application's own JWT names; None without a valid one."""
    try:
        found = verify_jwt_in_request(optional=True)
    except (JWTExtendedException, PyJWTError):
        return None
    if found is None:
        return None
    claims = found[1]
    return Actor(claims["sub"], ROLES.get(claims.get("role"), Permission.NONE))


jwt = JWTManager()
expresso = ExpressoPersist(authorize=authorize)


def create_app(database_url=None):
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = os.environ["JWT_SECRET_KEY"]
    jwt.init_app(app)
    expresso.init_app(app, store=database_url)

    @app.post("/login")
    def login():
        name = request.json["name"]
        return jsonify(token=create_access_token(name, additional_claims={"role": USERS[name]}))

    @app.get("/")
    def revision():
        return jsonify(revision=expresso.store.inventory.head().revision)

    return app
