"""AccessTokens: bearer tokens with a name, a permission and an end, kept as hashes.

A token is ``xp.<tenant>.<id>.<secret>``: it says itself whose it is, so that looking it up
reads one row of one tenant.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import secrets

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.database import Database
from expresso_persist.db.tables import access_tokens
from expresso_persist.errors import ConflictRefused, InvalidInput, NotFound, Problem
from expresso_persist.model.json_text import check_storable, find_unstorable
from expresso_persist.model.secrets import refuse_text

__all__ = ["PERMISSIONS", "AccessToken", "AccessTokens", "tenant_of"]

PERMISSIONS = ("read", "write", "admin")
_MARK = "xp"
_ROW = (
    sa.select(access_tokens)
    .where(access_tokens.c.tenant_id == sa.bindparam("tenant"))
    .where(access_tokens.c.id == sa.bindparam("id"))
)


@attrs.frozen
class AccessToken:
    """What is known of a token; not the token.

    Attributes:
        tenant: Whose data it opens.
        id: The part of it that may be shown.
        name: Who uses it; goes into the audit trail.
        permission: One of :data:`PERMISSIONS`.
        created_at: When it was made, UTC.
        expires_at: When it ends, UTC; None for never.
    """

    tenant: str
    id: str
    name: str
    permission: str
    created_at: dt.datetime
    expires_at: dt.datetime | None

    def expired(self, now: dt.datetime) -> bool:
        """Whether it is over."""
        return self.expires_at is not None and self.expires_at <= now


class AccessTokens:
    """The tokens of one tenant."""

    def __init__(self, database: Database, tenant: str) -> None:
        """Keep them in ``database``."""
        self._database = database.of(tenant)
        self._tenant = tenant

    def create(
        self, name: str, permission: str, *, lifetime: dt.timedelta | None = None
    ) -> tuple[str, AccessToken]:
        """Make a token.

        Args:
            name: Who will use it, 1 to 256 characters.
            permission: One of :data:`PERMISSIONS`.
            lifetime: How long it opens anything; None for until it is revoked.

        Returns:
            The token, which is shown this once and kept nowhere, and what is known of it.

        Raises:
            InvalidInput: The name or the permission is none.
            ConflictRefused: There is one of this name.
        """
        _check(name, permission, lifetime)
        secret, id_ = secrets.token_urlsafe(32), secrets.token_hex(6)

        def insert(connection: Connection) -> AccessToken:
            taken = connection.scalar(
                sa.select(access_tokens.c.id).where(
                    access_tokens.c.tenant_id == self._tenant, access_tokens.c.name == name
                )
            )
            if taken is not None:
                raise ConflictRefused(f"There is a token named {name!r}; revoke it first.")
            now = self._database.now(connection)
            made = AccessToken(
                self._tenant, id_, name, permission, now, now + lifetime if lifetime else None
            )
            connection.execute(
                sa.insert(access_tokens).values(
                    tenant_id=self._tenant,
                    id=id_,
                    name=name,
                    permission=permission,
                    secret_sha256=_hash(secret),
                    created_at=now,
                    expires_at=made.expires_at,
                )
            )
            return made

        made = self._database.transact(insert)
        tenant = base64.urlsafe_b64encode(self._tenant.encode()).decode().rstrip("=")
        return f"{_MARK}.{tenant}.{id_}.{secret}", made

    def list(self) -> list[AccessToken]:
        """The tokens by name, those that are over included."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(access_tokens)
                .where(access_tokens.c.tenant_id == self._tenant)
                .order_by(access_tokens.c.name)
            )
            return [_read(row) for row in rows]

    def revoke(self, name: str) -> None:
        """End a token.

        Raises:
            NotFound: There is none of this name.
        """
        check_storable(name=name)

        def delete(connection: Connection) -> None:
            gone = connection.execute(
                sa.delete(access_tokens).where(
                    access_tokens.c.tenant_id == self._tenant, access_tokens.c.name == name
                )
            )
            if not gone.rowcount:
                raise NotFound(f"There is no token named {name!r}.")

        self._database.transact(delete)

    def recognise(self, token: str) -> AccessToken | None:
        """What is known of a token of this tenant; None when it opens nothing."""
        given: object = token
        if not isinstance(given, str):
            return None
        parts = token.split(".")
        if len(parts) != 4 or tenant_of(token) != self._tenant or len(parts[2]) > 64:
            return None
        with self._database.read() as connection:
            row = connection.execute(_ROW, {"tenant": self._tenant, "id": parts[2]}).first()
            # Also without a row: the time it takes gives nothing away.
            known = hmac.compare_digest(row.secret_sha256 if row else "", _hash(parts[3]))
            if row is None or not known:
                return None
            found = _read(row)
            return None if found.expired(self._database.now(connection)) else found


def tenant_of(token: str) -> str | None:
    """The tenant that a token says it belongs to; None for what is none of these tokens."""
    parts = token.split(".")
    if len(parts) != 4 or parts[0] != _MARK or not token.isascii():
        return None
    try:
        name = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), b"-_", validate=True)
        tenant = name.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return None if "\0" in tenant or find_unstorable(parts[2]) else tenant


def _check(name: str, permission: str, lifetime: dt.timedelta | None) -> None:
    called: object = name
    if not isinstance(called, str) or not 0 < len(name) <= 256 or not name.isprintable():
        raise InvalidInput(
            "A token's name has 1 to 256 printable characters.",
            problems=[Problem("name", "1 to 256 printable characters")],
        )
    refuse_text(name=name)
    if permission not in PERMISSIONS:
        raise InvalidInput(
            "A token's permission is read, write or admin.",
            problems=[Problem("permission", "read, write or admin")],
        )
    given: object = lifetime
    if lifetime is not None and (
        not isinstance(given, dt.timedelta) or lifetime <= dt.timedelta(0)
    ):
        raise InvalidInput(
            "A token's lifetime is some time.", problems=[Problem("lifetime", "more than nothing")]
        )


def _hash(secret: str) -> str:
    # 256 random bits: nothing that a slow hash would protect from being guessed.
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(row: sa.Row[tuple[object, ...]]) -> AccessToken:
    return AccessToken(
        row.tenant_id, row.id, row.name, row.permission, row.created_at, row.expires_at
    )
