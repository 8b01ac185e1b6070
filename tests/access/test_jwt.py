"""JSON Web Tokens: what is accepted, and the forgeries that are not."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from expresso_persist import Store
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http import (
    Actor,
    Api,
    BearerTokens,
    JwtTokens,
    Permission,
    Request,
    first_of,
    tenant_from_header,
    tenant_from_path,
    tenant_from_subdomain,
)

SECRET = "a secret that is long enough for every one of the three algorithms"
ROLES = {"barista": Permission.WRITE, "organiser": Permission.ADMIN}


def signed(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    content = {"sub": "anna", "role": "barista", "exp": time.time() + 60, **claims}
    return jwt.encode({k: v for k, v in content.items() if v is not None}, key, algorithm)


def actor(way: JwtTokens, token: str) -> Actor | None:
    return way(Request("GET", "/", headers={"authorization": f"Bearer {token}"}))


def hs256(**options: Any) -> JwtTokens:
    return JwtTokens(SECRET, algorithms=["HS256"], roles=ROLES, **options)


@pytest.mark.parametrize(
    ("role", "permission"),
    [
        ("barista", Permission.WRITE),
        ("organiser", Permission.ADMIN),
        (["guest", "barista"], Permission.WRITE),
        (["barista", "organiser"], Permission.ADMIN),
        ("guest barista", Permission.WRITE),
        ("Barista", Permission.NONE),
        (None, Permission.NONE),
        (["organiser", 7, None], Permission.ADMIN),
        ({"organiser": True}, Permission.NONE),
    ],
)
def test_roles(role: Any, permission: Permission) -> None:
    assert actor(hs256(), signed(role=role)) == Actor("anna", permission)


def test_claims_are_named_by_the_host() -> None:
    way = hs256(role_claim="scope", name_claim="email", tenant_claim="event")
    token = signed(scope="organiser", email="a@example.org", event="spring")
    assert actor(way, token) == Actor("a@example.org", Permission.ADMIN, "spring")
    assert actor(way, signed(email="a@example.org")) is None, "no event"
    assert actor(way, signed(event="spring")) is None, "no name"
    assert actor(hs256(), signed(sub=7)) == Actor("7", Permission.WRITE)


def test_what_is_not_signed_by_the_host_is_nobody() -> None:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": "anna", "role": "organiser", "exp": time.time() + 60}
    good = signed()
    head, body, signature = good.split(".")
    for token in (
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
        f"{part({'alg': 'None', 'typ': 'JWT'})}.{part(claims)}.{signature}",
        f"{head}.{part(claims)}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        signed("another secret of thirty-two characters"),
        signed(SECRET, "HS512"),
        signed(exp=time.time() - 1),
        signed(exp=None),
        signed(nbf=time.time() + 60),
        signed(aud="somebody else"),
        "",
        "x" * 100_000,
        good + "\udce9",
    ):
        assert actor(hs256(), token) is None, token[:80]
    assert actor(hs256(), good) is not None
    assert actor(hs256(audience="us", issuer="login"), signed(aud="us", iss="login")) is not None
    assert actor(hs256(audience="us", issuer="login"), signed(aud="us", iss="other")) is None
    assert actor(hs256(leeway=5), signed(exp=time.time() - 1)) is not None


@pytest.mark.parametrize("claim", ["type", "token_type", "token_use", "typ", "purpose"])
def test_a_token_for_something_else_is_nobody(claim: str) -> None:
    for told in ("refresh", "Refresh", "reset", "id", "", None, True, ["access"], {}):
        claims = {"sub": "anna", "role": "organiser", "exp": time.time() + 60, claim: told}
        token = jwt.encode(claims, SECRET, "HS256")
        assert actor(hs256(), token) is None, told
        assert actor(hs256(token_types=None), token) is not None
    for told in ("access", "Bearer"):
        assert actor(hs256(), signed(**{claim: told})) is not None
    assert actor(hs256(token_types=["login"]), signed(**{claim: "login"})) is not None
    assert actor(hs256(token_types=["login"]), signed(**{claim: "access"})) is None
    assert actor(hs256(), signed(type="access", purpose="reset")) is None, "each of them counts"


def test_the_type_in_the_header() -> None:
    claims = {"sub": "anna", "role": "organiser", "exp": time.time() + 60}
    for typ, known in (
        ("JWT", True), ("at+jwt", True), ("application/at+jwt", True), (None, True),
        ("refresh+jwt", False), ("logout+jwt", False), ("dpop+jwt", False),
    ):  # fmt: skip
        token = jwt.encode(claims, SECRET, "HS256", headers={"typ": typ})
        assert (actor(hs256(), token) is not None) is known, typ


def test_claims_that_must_be_there() -> None:
    way = hs256(required=["jti", "iat"], expected={"app": "expresso", "level": 1})
    good = {"jti": "1", "iat": time.time(), "app": "expresso", "level": 1}
    assert actor(way, signed(**good)) is not None
    for name, value in (
        ("jti", None), ("iat", None), ("app", None), ("app", "other"), ("level", True),
        ("level", "1"),
    ):  # fmt: skip
        assert actor(way, signed(**{**good, name: value})) is None, name


def test_flask_jwt_extended() -> None:
    """A refresh token has the same claims and signature, and lives for a month."""
    import flask
    import flask_jwt_extended as extended

    app = flask.Flask("host")
    app.config["JWT_SECRET_KEY"] = SECRET
    extended.JWTManager(app)
    with app.app_context():
        for sub in ("anna", "7"):
            claims = {"role": "organiser"}
            access = extended.create_access_token(sub, additional_claims=claims)
            refresh = extended.create_refresh_token(sub, additional_claims=claims)
            assert actor(hs256(), access) == Actor(sub, Permission.ADMIN)
            assert actor(hs256(), refresh) is None


@pytest.mark.parametrize("chosen", ["header", "subdomain", "path"])
def test_nobody_names_another_event(store: Store, chosen: str) -> None:
    """Signed in is not yet everywhere: said at the start, not when it is too late."""
    tenant = {
        "header": tenant_from_header("X-Event"),
        "subdomain": tenant_from_subdomain("coffee.example"),
        "path": tenant_from_path("event"),
    }[chosen]
    for authorize in (hs256(), first_of([BearerTokens({}), first_of([hs256()])])):
        with pytest.raises(InvalidConfiguration, match="tenant_claim"):
            Api(store, authorize=authorize, tenant=tenant)
        Api(store, authorize=authorize)
    Api(store, authorize=hs256(tenant_claim="event"), tenant=tenant)
    Api(store, authorize=hs256(all_tenants=True), tenant=tenant)


def test_a_public_key_is_no_secret() -> None:
    """The classic forgery: signed with the public key as if that were an HMAC secret."""
    private = ed25519.Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    way = JwtTokens(public, algorithms=["EdDSA"], roles=ROLES)
    assert actor(way, signed(private, "EdDSA")) == Actor("anna", Permission.WRITE)
    assert actor(way, signed(SECRET)) is None
    looked_up = JwtTokens(lambda _: public, algorithms=["EdDSA"], roles=ROLES)
    assert actor(looked_up, signed(private, "EdDSA")) == Actor("anna", Permission.WRITE)
    with pytest.raises(InvalidConfiguration, match="either"):
        JwtTokens(public, algorithms=["EdDSA", "HS256"], roles=ROLES)


@pytest.mark.parametrize("algorithms", [[], ["none"], ["HS256", "None"]])
def test_algorithms_are_named(algorithms: list[str]) -> None:
    with pytest.raises(InvalidConfiguration, match="algorithms"):
        JwtTokens(SECRET, algorithms=algorithms, roles=ROLES)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="32 bytes") as refused:
        JwtTokens("hunter2", algorithms=["HS256"], roles=ROLES)
    assert "hunter2" not in str(refused.value)
