"""Every error the library raises on purpose: one root, a stable code, a sentence to act on.

The HTTP contract turns these into responses with :attr:`ExpressoPersistError.status` and
:attr:`ExpressoPersistError.code`; nothing else in the library decides a status code.
Messages never hold SQL, parameters, file contents or secret values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Self

import attrs

__all__ = [
    "ArchiveRefused",
    "BackupCorrupted",
    "BackupNotFound",
    "Busy",
    "ConflictRefused",
    "DatabaseAccessDenied",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "ExpressoPersistError",
    "Forbidden",
    "HistoryForgotten",
    "IdempotencyMismatch",
    "InvalidConfiguration",
    "InvalidInput",
    "MalformedJson",
    "MirrorUnavailable",
    "NotFound",
    "OfferConflict",
    "PayloadTooLarge",
    "Problem",
    "RequestTimeout",
    "RevisionConflict",
    "SchemaMismatch",
    "StorageFull",
    "TablesDropped",
    "TablesMissing",
    "TimelineLost",
    "TooManyRequests",
    "TooManyStreams",
    "TenantRenamed",
    "Unauthorized",
    "UndoConflict",
    "UnsupportedMediaType",
    "UpgradeRequired",
]


@attrs.frozen
class Problem:
    """One fault inside an input: where it is and what is wrong with it.

    Attributes:
        path: Place of the fault, such as ``updates[3].data.quantity``.
        message: A sentence that says what was expected.
    """

    path: str
    message: str


class ExpressoPersistError(Exception):
    """expresso-persist could not do what was asked."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        problems: Sequence[Problem] = (),
        retry_after: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the message and the data a caller may want to act on.

        Args:
            message: What is wrong, where, and what to do. The first line of the class
                docstring when left out.
            problems: The single faults, for inputs that have several.
            retry_after: Seconds after which trying again may help.
            context: JSON values for a program, such as the current value after a conflict.
        """
        text = message or (type(self).__doc__ or "").strip().split("\n", 1)[0]
        super().__init__(text)
        self.message = text
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.retry_after = retry_after
        self.context: Mapping[str, Any] = dict(context or {})

    def rephrased(self, message: str, problems: Sequence[Problem] | None = None) -> Self:
        """The same error with another message, and with other problems if there are any."""
        return type(self)(
            message,
            problems=self.problems if problems is None else problems,
            retry_after=self.retry_after,
            context=self.context,
        )


class InvalidInput(ExpressoPersistError):
    """The input does not have the expected form."""

    code = "invalid_input"
    status = 422


class MalformedJson(InvalidInput):
    """The body is not valid JSON."""

    code = "malformed_json"
    status = 400


class PayloadTooLarge(ExpressoPersistError):
    """The input is larger than the configured limit."""

    code = "payload_too_large"
    status = 413


class UnsupportedMediaType(ExpressoPersistError):
    """Send the body as application/json."""

    code = "unsupported_media_type"
    status = 415


class UpgradeRequired(ExpressoPersistError):
    """This address is for WebSockets; use the stream or the changes without one."""

    code = "upgrade_required"
    status = 426


class TooManyStreams(ExpressoPersistError):
    """This server has as many open connections as it can afford; ask for changes with wait."""

    code = "too_many_streams"
    status = 503


class TooManyRequests(ExpressoPersistError):
    """There were too many requests in a short time; try again a little later."""

    code = "too_many_requests"
    status = 429


class RequestTimeout(ExpressoPersistError):
    """The body came too slowly; send it again over a better connection."""

    code = "request_timeout"
    status = 408


class Unauthorized(ExpressoPersistError):
    """Sign in, or send a valid token, to use this endpoint."""

    code = "unauthorized"
    status = 401


class TenantRenamed(Unauthorized):
    """The name that this request goes by was given up; sign in again under the new one."""


class Forbidden(ExpressoPersistError):
    """This token does not have the permission that the endpoint needs."""

    code = "forbidden"
    status = 403


class NotFound(ExpressoPersistError):
    """There is no such thing here."""

    code = "not_found"
    status = 404


class RevisionConflict(ExpressoPersistError):
    """The data moved on since it was read; read it again and repeat the change."""

    code = "revision_conflict"
    status = 412


class ConflictRefused(ExpressoPersistError):
    """The change conflicts with what is stored, and conflicts were asked to fail."""

    code = "conflict"
    status = 409


class UndoConflict(ConflictRefused):
    """Later commits touched the same records; undo those first, or force it."""

    code = "undo_conflict"


class OfferConflict(ConflictRefused):
    """The database lost this write, and what it sets was changed since."""

    code = "offer_conflict"


class TimelineLost(ExpressoPersistError):
    """The database lost the commit that this builds on; offer again what it lost, then this."""

    code = "timeline_lost"
    status = 409


class HistoryForgotten(ExpressoPersistError):
    """The history of that time was forgotten by the retention policy."""

    code = "history_forgotten"
    status = 410

    @classmethod
    def before(cls, horizon: int) -> HistoryForgotten:
        """The error for anything that needs the changes up to revision ``horizon``."""
        return cls(
            f"The changes up to revision {horizon} were forgotten on purpose (`history "
            f"forget`); what can be read and undone begins after it. A backup of that time "
            "still has the data.",
            context={"forgotten_through": horizon},
        )


class Busy(ExpressoPersistError):
    """Another import, restore or backup is running; try again in a moment."""

    code = "busy"
    status = 409


class IdempotencyMismatch(ExpressoPersistError):
    """This Idempotency-Key was already used with another request; use a new key."""

    code = "idempotency_mismatch"
    status = 422


class BackupNotFound(NotFound):
    """There is no backup with this id."""

    code = "backup_not_found"


class BackupCorrupted(ExpressoPersistError):
    """The backup does not match its checksum and was not used; choose another one."""

    code = "backup_corrupted"
    status = 409


class ArchiveRefused(ExpressoPersistError):
    """The archive cannot be used; nothing was stored."""

    code = "archive_refused"
    status = 422


class MirrorUnavailable(ExpressoPersistError):
    """A mirror of the backups cannot be reached, read or written."""

    code = "mirror_unavailable"
    status = 503


class DatabaseUnavailable(ExpressoPersistError):
    """The database does not answer at the moment; try again shortly."""

    code = "database_unavailable"
    status = 503


class StorageFull(ExpressoPersistError):
    """The database has no room left; free some space and try again."""

    code = "storage_full"
    status = 507


class DatabaseReadOnly(ExpressoPersistError):
    """The database is read-only; give the server the right to write to it."""

    code = "database_read_only"
    status = 500


class DatabaseAccessDenied(ExpressoPersistError):
    """The database role lacks rights on the tables; grant it SELECT, INSERT, UPDATE and DELETE."""

    code = "database_access_denied"
    status = 500


class SchemaMismatch(ExpressoPersistError):
    """The database schema does not fit this version; run `expresso-persist init`."""

    code = "schema_mismatch"
    status = 503


class TablesMissing(SchemaMismatch):
    """There are no tables of this library here, and never were."""


class TablesDropped(SchemaMismatch):
    """Tables of expresso-persist were dropped by something else; nothing was made instead."""

    code = "tables_dropped"

    @classmethod
    def of(cls, missing: Collection[str], *, whole: bool) -> TablesDropped:
        """The error for tables that were there and are not.

        Args:
            missing: Their names; none where only the version table is gone or empty.
            whole: All of them are missing.
        """
        if whole:
            what = "All tables of expresso-persist were dropped from this database"
        elif missing:
            what = f"These tables of expresso-persist were dropped: {', '.join(sorted(missing))}"
        else:
            what = (
                "The tables of expresso-persist were dropped, or made again without their rows: "
                "expresso_persist_version is gone or empty"
            )
        return cls(
            f"{what}. Nothing was put in their place. The usual cause is a migration of the host's "
            "own that was made by `alembic revision --autogenerate`; `expresso_persist."
            "alembic_include_object` keeps it from happening. To go on: bring the database back "
            "from its own backup; or make empty tables with `expresso-persist init --fresh` and "
            "restore a backup."
        )


class InvalidConfiguration(ExpressoPersistError, ValueError):
    """A setting has a value that cannot work."""

    code = "invalid_configuration"
