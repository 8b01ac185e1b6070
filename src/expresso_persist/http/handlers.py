"""What answers each endpoint. Nothing here knows a web framework."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, cast

import attrs
import msgspec

from expresso_persist.commits import idempotency
from expresso_persist.commits.as_of import AsOf, read_as_of
from expresso_persist.commits.hash_chain import commit_to_json
from expresso_persist.commits.state import State
from expresso_persist.db import migrations
from expresso_persist.errors import (
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Problem,
    UpgradeRequired,
)
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.guesses import TELLS_NOBODY
from expresso_persist.http.call import Call
from expresso_persist.http.live import FIRST, SSE, Listening, brief_events, sse_mark, waiting
from expresso_persist.http.messages import Response
from expresso_persist.http.streams import EventStream
from expresso_persist.model.records import Commit, Operation
from expresso_persist.ops.doctor import Patient, examine, worst
from expresso_persist.stock.item_resolver import update_operations
from expresso_persist.stock.requests import AdjustRequest, Update, read_update

__all__ = [
    "backup_status",
    "batch_update",
    "changes",
    "create_backup",
    "documents",
    "export_backup",
    "get_backup",
    "health",
    "import_archive",
    "import_local_storage",
    "inventory",
    "list_backups",
    "metrics",
    "openapi",
    "replayed",
    "restore_backup",
    "session",
    "settings",
    "socket",
    "stats",
    "stream",
    "success",
    "updater",
    "verify_backup",
]

MAX_WAIT = 55  # proxies end what is silent for a minute
_IN_MEMORY = 8 * 1024 * 1024  # archives up to this size never reach the disk


def encode(content: Any) -> bytes:
    """JSON, also of strings with half a surrogate pair, which UTF-8 has no bytes for."""
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def success(
    message: str,
    data: Any = None,
    revision: int | None = None,
    cursor: str | None = None,
    before: str | None = None,
    **headers: str,
) -> Response:
    """The seed's envelope for an answer; a write's also says where its commit stands."""
    content: dict[str, Any] = {"success": True, "message": message}
    if data is not None:
        content["data"] = data
    if revision is not None:
        content["revision"] = revision
    if cursor is not None:
        content["cursor"] = cursor
    if before is not None:
        content["before"] = before
    return Response(
        200,
        encode(content),
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def health(call: Call) -> Response:
    """Tell that the database answers, and whether backups are made; late ones are no 503."""
    deep = _examined(call) if call.flag("deep") else {}
    migrations.check(call.store.database)
    call.store.inventory.head()
    return success(
        "Ready.",
        {
            "status": "ok",
            "version": importlib.metadata.version("expresso-persist"),
            "database": call.store.database.dialect,
            "backups": call.store.backups.health(),
            **deep,
        },
    )


def _examined(call: Call) -> dict[str, Any]:
    """What the doctor finds; it tells more than strangers should know."""
    request = call.request
    known = call.api.let_in(attrs.evolve(call.endpoint, permission=Permission.READ), request)
    # Whoever sent nothing that could tell who they are should not have got here.
    names = request.headers.keys()  # iterating over a framework's own may give pairs
    bare = all(TELLS_NOBODY.fullmatch(name.lower()) for name in names)
    patient = Patient(known.store, open_to=known.actor.name if bare else None)
    findings = [
        finding
        for finding in examine(patient)
        # That a token can be guessed is for those to know who can change it.
        if finding.check != "access" or bare or known.actor.permission >= Permission.ADMIN
    ]
    return {"state": worst(findings), "checks": [attrs.asdict(finding) for finding in findings]}


def openapi(call: Call) -> Response:
    """Give the OpenAPI document."""
    return Response(200, msgspec.json.encode(call.api.openapi()))


def session(call: Call) -> Response:
    """Exchange a one-time link for a session."""
    token = call.body().get("one_time_token")
    tokens = call.api.one_time_tokens
    if not isinstance(token, str) or len(token) > 256:
        raise InvalidInput(
            "one_time_token is the token of a link.", problems=[Problem("one_time_token", "text")]
        )
    if tokens is None:
        raise NotFound("This server hands out no one-time links; sign in with a token.")
    with call.api.guesses(call.request, token):
        found = tokens.exchange(token, call.idempotency_key)
    return success(
        "Signed in.",
        {
            "token": found.token,
            "expires_at": found.until.isoformat().replace("+00:00", "Z"),
            "permissions": ["read", "write", "admin"],
        },
        None,
        **replayed(found.replayed),
    )


def replayed(was: bool) -> dict[str, str]:
    """The header of an answer that was given before, under the same Idempotency-Key."""
    return {"Idempotency_Replayed": "true"} if was else {}


def import_local_storage(call: Call) -> Response:
    """Import a dump, or say what that would do."""
    query = call.request.query
    options: dict[str, Any] = {
        "mode": query.get("mode", "merge"),
        "on_conflict": query.get("on_conflict", "incoming"),
        "include": [name for name in query.get("include", "").split(",") if name],
    }
    importer = call.store.importer
    if call.flag("dry_run"):
        # It has no effect and is not remembered; a key that was used is another request's.
        call.store.inventory.replay(call.actor.name, call.idempotency_key, call.fingerprint)
        receipt = importer.plan(call.request.body, **options)
        message = "This is what an import would do; nothing was stored."
    else:
        receipt = importer.import_(
            call.request.body,
            actor=call.actor.name,
            idempotency_key=call.idempotency_key,
            **options,
        )
        message = "Imported." if receipt.committed else "Nothing had to change."
    headers = replayed(receipt.replayed)
    return success(message, receipt.to_json(), receipt.revision, **headers)


def inventory(call: Call) -> Response:
    """Give all inventory."""
    as_of = call.request.query.get("as_of")
    if as_of is not None:
        return Response(200, _inventory(call, read_as_of(as_of))[1])
    return call.api.cached(call, "inventory", _inventory)


def _inventory(call: Call, as_of: AsOf | None = None) -> tuple[str, bytes]:
    head, content = call.store.inventory.inventory_json(as_of=as_of)
    body = {
        "success": True,
        "message": "All inventory.",
        "data": msgspec.Raw(content),
        "revision": head.revision,
        "cursor": head.cursor,
    }
    return head.etag, msgspec.json.encode(body)


def documents(call: Call) -> Response:
    """Give every stored document as a dump."""
    dump = call.store.inventory.dump(call.request.query.get("device_id"))
    return success("Every stored document.", dump, dump["revision"])


def stats(call: Call) -> Response:
    """Count what is stored."""
    data = call.store.inventory.stats()
    return success("Counts per kind.", data, data["revision"])


def settings(call: Call) -> Response:
    """Give the settings."""
    inventory = call.store.inventory
    return success("The settings.", inventory.settings(), inventory.head().revision)


RETRY_AFTER = "2"
"""Seconds between two looks of a client that this server cannot let wait."""


def changes(call: Call) -> Response:
    """Give a page of the change feed, as soon as there is one."""
    query = call.request.query
    limit = query.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= 1000):
        raise InvalidInput("limit is 1 to 1000.", problems=[Problem("limit", "1 to 1000")])
    feed, wait = call.store.feed, _seconds(query.get("wait"))
    cursor = feed.start(query.get("since", "0"))
    # Before the look, so that what comes after it is noticed.
    later = waiting(call, cursor, wait) if wait else None
    try:
        page = call.store.inventory.changes(cursor, int(limit))
        data = {
            "commits": [commit_to_json(commit) for commit in page.commits],
            "cursor": page.cursor,
            "reset": page.reset,
            "has_more": page.has_more,
        }
        if wait is not None:
            data["waited"] = wait == 0 or later is not None
        keep = later if not (page.commits or page.reset) else None
        response = attrs.evolve(success("Changes.", data), later=keep)
        if data.get("waited") is False:
            response = attrs.evolve(response, headers={"Retry-After": RETRY_AFTER})
    except BaseException:
        if later is not None:
            later.close()
        raise
    if later is not None and keep is None:
        later.close()
    return response


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text) if text.isascii() and len(text) <= 32 else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(
            f"wait is 0 to {MAX_WAIT} seconds.", problems=[Problem("wait", f"0 to {MAX_WAIT}")]
        )
    return seconds


def stream(call: Call) -> Response:
    """Stream the change feed as server-sent events."""
    headers = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store, no-transform",  # what compresses would hold it back
        "X-Accel-Buffering": "no",
    }
    since = call.request.headers.get("last-event-id") or call.request.query.get("since", "0")
    if call.request.method == "HEAD":
        return Response(200, b"", headers)
    if not call.may_wait:
        return Response(200, brief_events(call, since), headers)
    listening = Listening(call, since, SSE)
    # A client that begins now has nothing to come back with before the first commit.
    mark = sse_mark(listening.cursor) if since == "now" else b""
    return Response(200, b"", headers, EventStream(listening, FIRST + mark))


def socket(call: Call) -> Response:
    """Say that this is for WebSockets, where the server opened none."""
    raise UpgradeRequired(call.api.no_socket)


def backup_status(call: Call) -> Response:
    """Tell how the backups are doing."""
    return success("Backup status.", call.store.backups.status())


def metrics(call: Call) -> Response:
    """Give the figures of the backups as Prometheus reads them."""
    try:
        from expresso_persist.ops.metrics import render
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("prometheus_client"):
            raise
        raise NotFound(
            'Metrics need one more package on the server: pip install "expresso-persist[metrics]".'
        ) from None
    body, media_type = render(call.store)
    return Response(200, body, {"Content-Type": media_type})


def create_backup(call: Call) -> Response:
    """Make a backup now."""
    notes = call.body().get("notes", "")
    if not isinstance(notes, str) or len(notes) > 1_000:
        raise InvalidInput("notes is a short text.", problems=[Problem("notes", "a text")])
    made = call.store.backups.create_once(
        "manual",
        notes,
        call.actor.name,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
    )
    headers = replayed(made.replayed)
    return success("Backup made.", made.backup.to_json(), made.backup.revision, **headers)


def list_backups(call: Call) -> Response:
    """List the backups."""
    found = call.store.backups.list()
    return success("Backups.", {"backups": [backup.to_json() for backup in found]})


def get_backup(call: Call) -> Response:
    """Give one backup."""
    return success(
        "Backup.", call.store.backups.get(call.request.path_params["backup_id"]).to_json()
    )


def verify_backup(call: Call) -> Response:
    """Check a backup."""
    call.body()  # nothing of it is used, but what is no object was not meant for this
    request, database = call.keyed, call.store.database
    backup_id = call.request.path_params["backup_id"]
    if request is not None:
        with database.read() as connection:
            earlier = idempotency.look_up(connection, request)
        if earlier is not None and earlier.answer is not None:
            return Response(200, earlier.answer.encode(), {"Idempotency-Replayed": "true"})
    result = call.store.backups.verify(backup_id)
    message = "The backup restores." if result.ok else "The backup does not restore."
    response = success(message, attrs.asdict(result))
    if request is not None:
        text = response.body.decode()
        answer, first = idempotency.answered(database, request, backup_id, text)
        if not first:
            return Response(200, answer.encode(), {"Idempotency-Replayed": "true"})
    return response


def export_backup(call: Call) -> Response:
    """Give an archive."""
    recipients = [key for key in call.request.query.get("recipient", "").split(",") if key]
    # Written before it is sent: a slow client holds no view of the database open, and what
    # is damaged is told by the status instead of a connection that breaks off.
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
        backup = call.store.backups.export(
            call.request.path_params["backup_id"], cast("IO[bytes]", file), recipients=recipients
        )
        size = file.tell()
        file.seek(0)
        content = _Pieces(file)
        stack.pop_all()
    name = f"{backup.created_at:%Y%m%dT%H%M%SZ}-{backup.id[:8]}.expresso.zst"
    headers = {
        "Content-Type": "application/octet-stream" if recipients else "application/zstd",
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}{".age" * bool(recipients)}"',
    }
    return Response(200, b"", headers, content)


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
    headers = replayed(made.replayed)
    return success(message, made.backup.to_json(), None, **headers)


def restore_backup(call: Call) -> Response:
    """Restore a backup, or say what that would do."""
    backup_id = call.request.path_params["backup_id"]
    dry_run = call.flag("dry_run")
    plan = call.store.backups.restore(
        backup_id,
        actor=call.actor.name,
        dry_run=dry_run,
        kinds=_texts(call, "kinds"),
        stations=_texts(call, "stations"),
        keys=_texts(call, "keys"),
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
    )
    message = "This is what a restore would do." if dry_run else "Restored."
    return success(message, plan.to_json(), plan.revision, **replayed(plan.replayed))


def _texts(call: Call, name: str) -> list[str] | None:
    value = call.body().get(name)
    if value is None:
        return None
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    if texts != value:
        raise InvalidInput(f"{name} is a list of texts.", problems=[Problem(name, "a list")])
    return texts


def updater(kind: str) -> Callable[[Call], Response]:
    """The handler of one kind of update."""

    def handle(call: Call) -> Response:
        return _commit(call, [read_update(kind, call.body())], adjust=kind == "adjust")

    return handle


def batch_update(call: Call) -> Response:
    """Carry out several updates as one commit."""
    items = call.body().get("updates")
    if not isinstance(items, list):
        raise InvalidInput(
            "updates is a list of {type, data}.", problems=[Problem("updates", "a list")]
        )
    most = call.api.limits.batch
    if len(items) > most:
        raise PayloadTooLarge(f"A batch has at most {most} updates; send several.")
    updates: list[Update] = []
    for index, item in enumerate(items):
        path = f"updates[{index}]"
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            raise InvalidInput(
                f"{path} is not {{type, data}}.", problems=[Problem(path, "{type, data}")]
            )
        updates.append(read_update(item["type"], item.get("data"), f"{path}.data"))
    return _commit(call, updates)


def _commit(call: Call, updates: Sequence[Update], *, adjust: bool = False) -> Response:
    decide = update_operations(updates)
    expected = call.expected_revision
    touched: list[Operation] = []

    def operations(state: State) -> list[Operation]:
        decided = decide(state)
        if expected is not None:
            decided = [attrs.evolve(op, expected_revision=expected) for op in decided]
        touched[:] = decided
        return decided

    commit = call.store.inventory.commit(
        operations,
        actor=call.actor.name,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
        standing=call.standing(adds=all(isinstance(update, AdjustRequest) for update in updates)),
    )
    data = _adjusted(call, commit, touched, updates[0]) if adjust else None
    headers = replayed(commit.replayed)
    message = f"{len(updates)} update{'s' if len(updates) != 1 else ''} stored."
    return success(message, data, commit.revision, commit.cursor, commit.before, **headers)


def _adjusted(
    call: Call, commit: Commit, touched: Sequence[Operation], update: Update
) -> dict[str, Any]:
    """The number after an adjustment."""
    if commit.changes:
        change = commit.changes[0]
        key, record = change.key, change.after
    elif touched:
        key = touched[0].key
        record = call.store.inventory.get(key.kind, *key.parts)
    else:
        return {}
    field = getattr(touched[0], "field", None) if touched else None
    if commit.changes and field is None:  # a repetition: what did the first one change?
        change = commit.changes[0]
        before = change.before.data if change.before is not None else None
        after = change.after.data if change.after is not None else None
        field = getattr(update, "field", None) or "quantity"
        if isinstance(before, dict) and isinstance(after, dict):
            field = next(name for name in after if after[name] != before.get(name))
    data = record.data if record is not None else None
    value = data.get(field) if isinstance(data, dict) and field is not None else data
    below = isinstance(value, (int, float)) and value < 0
    return {
        "kind": key.kind, "key": list(key.parts), "field": field, "value": value,
        "below_zero": below,
    }  # fmt: skip
