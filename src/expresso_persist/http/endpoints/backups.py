"""Endpoints of the backups: make, list, check, restore; and archives."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, cast

import attrs

from expresso_persist.commits import idempotency
from expresso_persist.errors import InvalidInput, Problem
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import (
    DRY_RUN,
    OF_WRITE,
    Data,
    Endpoint,
    Query,
    Schema,
)
from expresso_persist.http.messages import Response, success
from expresso_persist.model.records import RECORD_TYPES

__all__ = ["ENDPOINTS"]

_IN_MEMORY = 8 * 1024 * 1024  # archives up to this size never reach the disk
_NOTES_LENGTH = 1_000
_ARCHIVE_TYPES = ("application/zstd", "application/octet-stream")


def backup_status(call: Call) -> Response:
    """Say how the backups are doing."""
    return success("Backup status.", call.store.backups.status())


def create_backup(call: Call) -> Response:
    """Make a backup now."""
    notes = call.body().get("notes", "")
    if not isinstance(notes, str) or len(notes) > _NOTES_LENGTH:
        raise InvalidInput("notes is a short text.", problems=[Problem("notes", "a text")])
    made = call.store.backups.create_once(
        "manual",
        notes,
        call.actor.name,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
    )
    backup = made.backup
    return success("Backup made.", backup.to_json(), backup.revision, replayed=made.replayed)


def list_backups(call: Call) -> Response:
    """List the backups."""
    found = call.store.backups.list()
    return success("Backups.", {"backups": [backup.to_json() for backup in found]})


def get_backup(call: Call) -> Response:
    """Give one backup."""
    return success("Backup.", call.store.backups.get(_id(call)).to_json())


def verify_backup(call: Call) -> Response:
    """Check a backup."""
    call.body()  # nothing of it is used, but a body that is no object is refused
    request, database = call.keyed, call.store.database
    if request is not None:
        with database.read() as connection:
            earlier = idempotency.find(connection, request)
        if earlier is not None and earlier.answer is not None:
            return _again(earlier.answer)
    result = call.store.backups.verify(_id(call))
    message = "The backup restores." if result.ok else "The backup does not restore."
    response = success(message, attrs.asdict(result))
    if request is not None:
        text = response.body.decode()
        answer, first = idempotency.answered(database, request, _id(call), text)
        if not first:
            return _again(answer)
    return response


def export_backup(call: Call) -> Response:
    """Give an archive."""
    recipients = [key for key in call.request.query.get("recipient", "").split(",") if key]
    # Written before it is sent: a slow client holds no view of the database open, and damage
    # is reported by the status instead of a connection that breaks off.
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
        backup = call.store.backups.export(
            _id(call), cast("IO[bytes]", file), recipients=recipients
        )
        size = file.tell()
        file.seek(0)
        content = _Pieces(file)
        stack.pop_all()
    name = f"{backup.created_at:%Y%m%dT%H%M%SZ}-{backup.id[:8]}.expresso.zst"
    headers = {
        "Content-Type": _ARCHIVE_TYPES[bool(recipients)],
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}{".age" * bool(recipients)}"',
    }
    return Response(200, b"", headers, content)


def import_archive(call: Call) -> Response:
    """Store an archive."""
    assert call.request.stream is not None
    made = call.store.backups.import_once(
        call.request.stream,
        actor=call.actor.name,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint.decode(),
        from_tenant=call.request.query.get("from_tenant"),
    )
    message = (
        "It was here already, as this backup, so nothing was stored; restore it to use it."
        if made.already
        else "Stored as a backup; restore it to use it."
    )
    return success(message, made.backup.to_json(), replayed=made.replayed)


def restore_backup(call: Call) -> Response:
    """Restore a backup, or say what that would do."""
    dry_run = call.flag("dry_run")
    plan = call.store.backups.restore(
        _id(call),
        actor=call.actor.name,
        dry_run=dry_run,
        kinds=_texts(call, "kinds"),
        stations=_texts(call, "stations"),
        keys=_texts(call, "keys"),
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
    )
    message = "This is what a restore would do." if dry_run else "Restored."
    return success(message, plan.to_json(), plan.revision, replayed=plan.replayed)


def _id(call: Call) -> str:
    return call.request.path_params["backup_id"]


def _again(answer: str) -> Response:
    """An answer that was given before, under the same Idempotency-Key."""
    return Response(200, answer.encode(), {"Idempotency-Replayed": "true"})


def _texts(call: Call, name: str) -> list[str] | None:
    value = call.body().get(name)
    if value is None:
        return None
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    if texts != value:
        raise InvalidInput(f"{name} is a list of texts.", problems=[Problem(name, "a list")])
    return texts


class _Pieces(Iterator[bytes]):
    """A temporary file as the pieces of an answer; closed at its end or when it is dropped."""

    def __init__(self, file: tempfile.SpooledTemporaryFile[bytes]) -> None:
        self._file = file

    def __next__(self) -> bytes:
        piece = self._file.read(256 * 1024)
        if not piece:
            self._file.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        self._file.close()


_BACKUP = Data(
    "Backup",
    {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "revision": {"type": "integer"},
            "backup_type": {"type": "string"},
            "backup_status": {"type": "string"},
        },
        "required": ["id", "revision", "backup_type", "backup_status"],
    },
)
_BACKUPS = Data(
    "Backups",
    {
        "type": "object",
        "properties": {
            "backups": {"type": "array", "items": {"$ref": "#/components/schemas/Backup"}}
        },
        "required": ["backups"],
    },
)


def _link(operation: str, place: str) -> Schema:
    return {"operationId": operation, "parameters": {"backup_id": f"$response.body#/data/{place}"}}


_OF_BACKUP: Mapping[str, Schema] = {
    "look": _link("get_backup", "id"),
    "verify": _link("verify_backup", "id"),
    "export": _link("export_backup", "id"),
    "restore": _link("restore_backup", "id"),
}
_OF_NEWEST: Mapping[str, Schema] = {
    "look_at_newest": _link("get_backup", "backups/0/id"),
    "verify_newest": _link("verify_backup", "backups/0/id"),
    "restore_newest": _link("restore_backup", "backups/0/id"),
}
_TEXTS: Schema = {"type": ["array", "null"], "minItems": 1, "items": {"type": "string"}}
_KINDS = sorted(RECORD_TYPES)
_RESTORE: Schema = {
    "type": "object",
    "properties": {
        "kinds": {**_TEXTS, "items": {"enum": _KINDS}},
        "stations": _TEXTS,
        "keys": {**_TEXTS, "items": {"type": "string", "pattern": rf"^({'|'.join(_KINDS)}):."}},
    },
}
_READ, _ADMIN = Permission.READ, Permission.ADMIN

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "backup_status", "GET", "/api/migration/backup-status", _READ, backup_status,
        "How the backups are doing.",
    ),
    Endpoint(
        "create_backup", "POST", "/api/migration/create-backup", _ADMIN, create_backup,
        "Make a backup now.",
        body={
            "type": "object",
            "properties": {"notes": {"type": "string", "maxLength": _NOTES_LENGTH}},
        },
        body_required=False, data=_BACKUP, links=_OF_BACKUP,
    ),
    Endpoint(
        "list_backups", "GET", "/api/migration/backups", _READ, list_backups,
        "The backups, newest first.", data=_BACKUPS, links=_OF_NEWEST,
    ),
    Endpoint(
        "get_backup", "GET", "/api/migration/backups/{backup_id}", _READ, get_backup,
        "One backup, without its contents.", data=_BACKUP, links=_OF_BACKUP,
    ),
    Endpoint(
        "verify_backup", "POST", "/api/migration/backups/{backup_id}/verify", _ADMIN,
        verify_backup, "Read a backup back and rebuild it in a scratch database.",
        body={"type": "object"}, body_required=False,
    ),
    Endpoint(
        "export_backup", "GET", "/api/migration/backups/{backup_id}/archive", _ADMIN,
        export_backup, "A backup as an archive, a file of its own.",
        query={
            "recipient": Query("public keys of age, separated by commas, to encrypt it for")
        },
        produces=_ARCHIVE_TYPES, error_statuses=(409,),
    ),
    Endpoint(
        "import_archive", "POST", "/api/migration/import-archive", _ADMIN,
        import_archive, "Store an archive as a backup; nothing is restored by this.",
        query={"from_tenant": Query("the tenant it was written for, if that is another one")},
        body={"type": "string", "format": "binary"},
        consumes=_ARCHIVE_TYPES, streams=True, heavy=True,
        data=_BACKUP, links=_OF_BACKUP,
    ),
    Endpoint(
        "restore_backup", "POST", "/api/migration/backups/{backup_id}/restore", _ADMIN,
        restore_backup, "Restore a backup as one commit.",
        query={"dry_run": DRY_RUN},
        body=_RESTORE, body_required=False, heavy=True, links=OF_WRITE,
    ),
)  # fmt: skip
