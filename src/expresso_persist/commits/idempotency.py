"""Requests that carry an Idempotency-Key: sent again they have no second effect.

A commit keeps its key itself. A request that is no commit (a backup, the check of one, an
archive taken in) keeps its key in a table, written in the transaction of its effect, and the
answer beside it as soon as there is one. A key names one request of an actor in a tenant,
whichever of the two keeps it, for as long as the tenant exists.
"""

from __future__ import annotations

import datetime as dt
import hashlib

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.db.database import Database
from expresso_persist.db.tables import commits, idempotency_keys, tenants
from expresso_persist.errors import IdempotencyMismatch, InvalidInput
from expresso_persist.model import json_text

__all__ = [
    "KeyedRequest",
    "Remembered",
    "answered",
    "claim",
    "find",
    "fingerprint_of",
    "is_taken",
    "made",
    "remember",
]

_keys = idempotency_keys.c


def fingerprint_of(request: str | bytes | None) -> str | None:
    """Digest of what was asked, to tell a repetition from another request.

    Raises:
        InvalidInput: It is neither text nor bytes.
    """
    if request is None:
        return None
    if isinstance(request, str):
        request = request.encode("utf-8", "surrogatepass")
    if not isinstance(request, bytes):
        raise InvalidInput("request is the text or the bytes of what was asked.")
    return hashlib.sha256(request).hexdigest()


@attrs.frozen
class KeyedRequest:
    """A request under the name that its client gave it.

    Attributes:
        tenant: Whose data it is about.
        actor: Who asks; the keys of others are other keys.
        key: The client's name for it.
        fingerprint: Digest of what is asked.
    """

    tenant: str
    actor: str
    key: str
    fingerprint: str | None

    @classmethod
    def of(
        cls, tenant: str, actor: str, key: str | None, request: str | bytes | None
    ) -> KeyedRequest | None:
        """The request, or None without a key.

        Raises:
            InvalidInput: No database can store the actor or the key.
        """
        if key is None:
            return None
        json_text.check_storable(actor=actor, idempotency_key=key)
        return cls(tenant, actor, key, fingerprint_of(request))

    @property
    def row(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Where its row is."""
        return (
            _keys.tenant_id == self.tenant,
            _keys.actor == self.actor,
            _keys.idempotency_key == self.key,
        )


@attrs.frozen
class Remembered:
    """What an earlier request under the same key did.

    Attributes:
        subject: What it made or was about, such as the id of a backup.
        answer: Its answer; None if its process died before there was one.
    """

    subject: str
    answer: str | None


def find(connection: Connection, request: KeyedRequest) -> Remembered | None:
    """What an earlier request under the same key did; None if there was none.

    Raises:
        IdempotencyMismatch: The key was used for another request.
    """
    row = connection.execute(
        sa.select(_keys.request_fingerprint, _keys.subject, _keys.answer).where(*request.row)
    ).one_or_none()
    if row is not None:
        if row.request_fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        return Remembered(row.subject, row.answer)
    of_commit = sa.select(commits.c.revision).where(
        commits.c.tenant_id == request.tenant,
        commits.c.actor == request.actor,
        commits.c.idempotency_key == request.key,
    )
    if connection.scalar(of_commit) is not None:
        raise IdempotencyMismatch
    return None


def is_taken(connection: Connection, tenant: str, actor: str, key: str) -> bool:
    """Whether a request that is no commit has this key."""
    row = KeyedRequest(tenant, actor, key, None).row
    return connection.scalar(sa.select(_keys.subject).where(*row)) is not None


def claim(
    database: Database, connection: Connection, request: KeyedRequest, subject: str = ""
) -> Remembered | None:
    """Take the key in the transaction of the request's effect.

    A request that is sent twice at a time waits here until the other transaction has ended.

    Args:
        database: Where the keys are.
        connection: The transaction; taking a key that is taken leaves it as it is.
        request: The request.
        subject: What it makes or is about; :func:`made` names what is not known yet.

    Returns:
        None if the key is taken by this; else what the earlier request did.

    Raises:
        IdempotencyMismatch: The key was used for another request.
    """
    # The tenant's lock, as a commit has it: whichever of the two keeps it, the key is one.
    lock = sa.select(tenants.c.tenant_id).where(tenants.c.tenant_id == request.tenant)
    connection.execute(database.lock_rows(lock))
    known = find(connection, request)
    if known is not None:
        return known
    taken = database.insert_if_absent(connection, idempotency_keys, _row(request, subject, None))
    return None if taken else find(connection, request)


def remember(
    database: Database,
    connection: Connection,
    request: KeyedRequest,
    subject: str,
    answer: str | None,
) -> None:
    """Keep the key of a request that turned out to change nothing, with its answer.

    Raises:
        IdempotencyMismatch: Another request took the key at the same time.
    """
    if not database.insert_if_absent(connection, idempotency_keys, _row(request, subject, answer)):
        raise IdempotencyMismatch


def made(connection: Connection, request: KeyedRequest, subject: str) -> None:
    """Name what a request made, in the transaction that took its key."""
    connection.execute(sa.update(idempotency_keys).where(*request.row).values(subject=subject))


def answered(
    database: Database, request: KeyedRequest, subject: str, answer: str
) -> tuple[str, bool]:
    """Keep a request's answer, unless it has one already.

    Returns:
        The answer that is kept, and whether it is this one.

    Raises:
        IdempotencyMismatch: The key was used for another request meanwhile.
    """

    def keep(connection: Connection) -> tuple[str, bool]:
        claim(database, connection, request, subject)
        kept = connection.execute(
            sa.update(idempotency_keys)
            .where(*request.row, _keys.answer.is_(None))
            .values(answer=answer)
        )
        if kept.rowcount:
            return answer, True
        # The same request came at the same time and was answered first.
        known = find(connection, request)
        return known.answer if known is not None and known.answer is not None else answer, False

    return database.transact(keep)


def _row(request: KeyedRequest, subject: str, answer: str | None) -> dict[str, object]:
    return {
        "tenant_id": request.tenant,
        "actor": request.actor,
        "idempotency_key": request.key,
        "request_fingerprint": request.fingerprint,
        "subject": subject,
        "answer": answer,
        "created_at": dt.datetime.now(dt.UTC),
    }
