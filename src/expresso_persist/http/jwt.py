"""JwtTokens: JSON Web Tokens of the host's own login, verified by PyJWT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http.auth import Actor, Permission, bearer
from expresso_persist.http.messages import Request

__all__ = ["JwtTokens"]

_SYMMETRIC = "HS"
_SHORTEST_SECRET = 32  # bytes; RFC 7518, section 3.2: at least as long as the hash


class JwtTokens:
    """Accepts signed tokens, and reads name, permission and tenant from their claims.

    See RFC 8725 for why the algorithms are named here and not taken from the token.
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
    ) -> None:
        """Accept tokens that ``key`` verifies.

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

        Raises:
            InvalidConfiguration: PyJWT is missing, or the key or the algorithms are none
                that protect anything.
        """
        try:
            import jwt
        except ModuleNotFoundError:
            raise InvalidConfiguration(
                'JwtTokens needs one more package: pip install "expresso-persist[jwt]".'
            ) from None
        if not algorithms or any(name.lower() == "none" for name in algorithms):
            raise InvalidConfiguration("Name the algorithms the tokens are signed with.")
        symmetric = [name.startswith(_SYMMETRIC) for name in algorithms]
        if any(symmetric) and not all(symmetric):
            # A public key would do as the secret of whoever knows it: everybody.
            raise InvalidConfiguration("Name either HS… algorithms or those with public keys.")
        if all(symmetric) and not callable(key):
            secret = key.encode() if isinstance(key, str) else key
            if len(secret) < _SHORTEST_SECRET:
                raise InvalidConfiguration("A secret for HS256 has at least 32 bytes.")
        self._jwt = jwt
        self._key = key
        self._options: dict[str, Any] = {
            "algorithms": list(algorithms),
            "audience": audience,
            "issuer": issuer,
            "leeway": leeway,
            "options": {"require": ["exp"], "verify_sub": False},
        }
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
            claims = self._jwt.decode(token, key, **self._options)
        except self._jwt.PyJWTError:
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

    def _permission(self, role: object) -> Permission:
        names = [*role.split(), role] if isinstance(role, str) else role
        if not isinstance(names, list):
            return Permission.NONE
        known = (self._roles.get(name) for name in names if isinstance(name, str))
        return max(filter(None, known), default=Permission.NONE)
