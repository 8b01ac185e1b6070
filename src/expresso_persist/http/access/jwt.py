"""JwtTokens: JSON Web Tokens of the host's own login, verified by PyJWT."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http.access.auth import Actor, Permission, bearer
from expresso_persist.http.messages import Request

__all__ = ["TYPE_CLAIMS", "JwtTokens"]

TYPE_CLAIMS = ("type", "token_type", "token_use", "typ", "purpose")
"""Where logins write what a token is for: flask-jwt-extended, Simple JWT, Cognito, Keycloak."""
_HEADER_TYPES = ("jwt", "at+jwt")  # RFC 7519 and RFC 9068; others are no access tokens
_SYMMETRIC = "HS"
_SHORTEST_SECRET = 32  # bytes; RFC 7518, section 3.2: at least as long as the hash


class JwtTokens:
    """Accepts signed tokens, and reads name, permission and tenant from their claims.

    See RFC 8725 for why the algorithms are named here and not taken from the token, and why
    a token's purpose is looked at.

    Args:
        key: The secret or the public key, or a function that gives it for a token, such
            as ``lambda token: jwks.get_signing_key_from_jwt(token).key``.
        algorithms: Those the host signs with, such as ``["HS256"]``; never ``none``.
        roles: What each role may do. A token without any of them is known and may
            nothing (403).
        role_claim: The claim that holds the role, a list of roles, or roles with spaces
            between them, as ``scope`` does.
        name_claim: The claim that names the actor in the audit trail.
        tenant_claim: The claim that names the tenant; a token without it is refused.
        audience: What ``aud`` must be; with None a token that has one is refused.
        issuer: What ``iss`` must be.
        leeway: Seconds that the clocks may differ.
        token_types: What a token may say it is for, in any of :data:`TYPE_CLAIMS`, in any
            case of letters; one that says nothing is accepted. A refresh token, or one
            that resets a password, opens nothing. None to accept them all.
        required: Claims that a token must have, beside ``exp``.
        expected: Claims that must have these very values.
        all_tenants: Without ``tenant_claim``: everyone who signs in may use any tenant
            that the request names.

    Raises:
        InvalidConfiguration: PyJWT is missing, or the key or the algorithms are none
            that protect anything.

    Attributes:
        names_any_tenant: Whether a token says nothing about its tenant, though each is to have
            one.
    """

    def __init__(
        self,
        key: str | bytes | Callable[[str], Any],
        *,
        algorithms: Sequence[str],
        roles: Mapping[str, Permission],
        role_claim: str = "role",
        name_claim: str = "sub",
        tenant_claim: str | None = None,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 0.0,
        token_types: Collection[str] | None = ("access", "bearer"),
        required: Collection[str] = (),
        expected: Mapping[str, object] | None = None,
        all_tenants: bool = False,
    ) -> None:
        """Accept tokens that ``key`` verifies."""
        try:
            import jwt
        except ModuleNotFoundError:
            raise InvalidConfiguration(
                'JwtTokens needs one more package: pip install "expresso-persist[jwt]".'
            ) from None
        _check_key(key, algorithms)
        self._jwt = jwt
        self._key = key
        self._options: dict[str, Any] = {
            "algorithms": list(algorithms),
            "audience": audience,
            "issuer": issuer,
            "leeway": leeway,
            "options": {"require": ["exp", *required], "verify_sub": False},
        }
        self._types = None if token_types is None else {name.lower() for name in token_types}
        self._expected = dict(expected or {})
        self.names_any_tenant: bool = tenant_claim is None and not all_tenants
        self._roles = dict(roles)
        self._role_claim = role_claim
        self._name_claim = name_claim
        self._tenant_claim = tenant_claim

    def __call__(self, request: Request) -> Actor | None:
        """The actor of the request's token, or None."""
        token = bearer(request)
        if token is None or not token.isascii():
            return None
        try:
            key = self._key(token) if callable(self._key) else self._key
            decoded = self._jwt.decode_complete(token, key, **self._options)
        except self._jwt.PyJWTError:
            return None
        claims = decoded["payload"]
        if not (self._is_for_us(decoded["header"], claims) and self._as_expected(claims)):
            return None
        name = claims.get(self._name_claim)
        if not isinstance(name, (str, int)) or isinstance(name, bool) or name == "":
            return None
        tenant = None
        if self._tenant_claim is not None:
            tenant = claims.get(self._tenant_claim)
            if not isinstance(tenant, str) or not tenant:
                return None
        return Actor(str(name)[:256], self._permission(claims.get(self._role_claim)), tenant)

    def _is_for_us(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
        """Whether a token says nothing about its purpose, or the right thing."""
        if self._types is None:
            return True
        kinds = [claims[name] for name in TYPE_CLAIMS if name in claims]
        kind = str(header.get("typ") or "JWT").lower().removeprefix("application/")
        return kind in _HEADER_TYPES and all(str(name).lower() in self._types for name in kinds)

    def _as_expected(self, claims: Mapping[str, Any]) -> bool:
        return all(
            name in claims and type(claims[name]) is type(value) and claims[name] == value
            for name, value in self._expected.items()
        )

    def _permission(self, role: object) -> Permission:
        names = [*role.split(), role] if isinstance(role, str) else role
        if not isinstance(names, list):
            return Permission.NONE
        known = (self._roles.get(name) for name in names if isinstance(name, str))
        return max(filter(None, known), default=Permission.NONE)


def _check_key(key: str | bytes | Callable[[str], Any], algorithms: Sequence[str]) -> None:
    """Refuse a key or algorithms that protect nothing.

    Raises:
        InvalidConfiguration: They do not.
    """
    if not algorithms or any(name.lower() == "none" for name in algorithms):
        raise InvalidConfiguration("Name the algorithms the tokens are signed with.")
    symmetric = [name.startswith(_SYMMETRIC) for name in algorithms]
    if any(symmetric) and not all(symmetric):
        # Everybody knows the public key, and could sign with it as an HS… secret.
        raise InvalidConfiguration("Name either HS… algorithms or those with public keys.")
    if all(symmetric) and not callable(key):
        secret = key.encode() if isinstance(key, str) else key
        if len(secret) < _SHORTEST_SECRET:
            raise InvalidConfiguration("A secret for HS256 has at least 32 bytes.")
