"""The table of endpoints: the one source of routes, permissions and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from expresso_persist.http import handlers, stock
from expresso_persist.http.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.limits import Rate
from expresso_persist.http.messages import Response
from expresso_persist.movements import MOVEMENT_TYPES, AdjustMovement
from expresso_persist.updates import UPDATE_TYPES, AdjustRequest

__all__ = ["ENDPOINTS", "Endpoint"]

Handler: TypeAlias = Callable[[Call], Response]
ARCHIVE_TYPES = ("application/zstd", "application/octet-stream")


@attrs.frozen
class Endpoint:
    """One endpoint.

    Attributes:
        name: Its name in the OpenAPI document and for adapters.
        method: ``GET`` or ``POST``.
        path: Its path without the prefix; placeholders in braces.
        permission: What the actor needs.
        handler: What answers.
        summary: A sentence for people.
        query: Query parameters and what they mean.
        body: JSON Schema of the request's body, an attrs class, or a tuple of the classes it
            may be; None without a body.
        size: Which of :class:`Limits` its body has, unless it streams.
        heavy: Whether it is counted among imports and restores.
        body_required: Whether an empty body is refused.
        takes: Media types of the body.
        streams: The body is a file that the handler reads as it arrives, so that nobody is
            let in with more than the permission to ask.
        gives: Media type of the answer.
        stays: The answer may take as long as the client is willing to wait.
    """

    name: str
    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None
    size: str = "update_bytes"
    heavy: bool = False
    body_required: bool = True
    takes: tuple[str, ...] = ("application/json",)
    streams: bool = False
    gives: str = "application/json"
    stays: bool = False

    @property
    def rate(self) -> Rate:
        """As what it is counted."""
        if self.heavy:
            return Rate.HEAVY
        return Rate.READ if self.method == "GET" else Rate.WRITE

    @property
    def reads_body(self) -> bool:
        """Whether an adapter reads the body before the handler runs."""
        return self.body is not None and not self.streams


_OBJECT = {"type": "object"}
_READ, _WRITE, _ADMIN = Permission.READ, Permission.WRITE, Permission.ADMIN

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "health", "GET", "/api/migration/health", Permission.NONE, handlers.health,
        "Whether the server and its database answer, and backups are made.",
        query={"deep": "true: what the doctor finds, for who may read"},
    ),
    Endpoint(
        "openapi", "GET", "/api/migration/openapi.json", Permission.NONE, handlers.openapi,
        "This description.",
    ),
    Endpoint(
        "session", "POST", "/api/migration/session", Permission.NONE, handlers.session,
        "Exchange the token of a one-time link for a session.",
        body={
            "type": "object",
            "properties": {"one_time_token": {"type": "string"}},
            "required": ["one_time_token"],
        },
    ),
    Endpoint(
        "import_local_storage", "POST", "/api/migration/export-localStorage", _ADMIN,
        handlers.import_local_storage, "Import a dump of localStorage.",
        query={
            "dry_run": "true: only say what would be done",
            "mode": "merge (default) or replace",
            "on_conflict": "incoming (default), existing or fail",
            "include": "caches: also take caches and interface state",
        },
        body=_OBJECT, size="import_bytes", heavy=True,
    ),
    Endpoint(
        "get_inventory", "GET", "/api/migration/get-inventory", _READ, handlers.inventory,
        "All inventory, each document in the shape it came in.",
    ),
    Endpoint(
        "get_documents", "GET", "/api/migration/documents", _READ, handlers.documents,
        "Every stored localStorage key with its raw string.",
        query={"device_id": "whose preferences to include"},
    ),
    Endpoint(
        "backup_status", "GET", "/api/migration/backup-status", _READ, handlers.backup_status,
        "How the backups are doing.",
    ),
    Endpoint(
        "metrics", "GET", "/api/migration/metrics", _READ, handlers.metrics,
        "Figures of the backups for Prometheus.", gives="text/plain",
    ),
    Endpoint(
        "create_backup", "POST", "/api/migration/create-backup", _ADMIN, handlers.create_backup,
        "Make a backup now.", body=_OBJECT, body_required=False,
    ),
    Endpoint(
        "list_backups", "GET", "/api/migration/backups", _READ, handlers.list_backups,
        "The backups, newest first.",
    ),
    Endpoint(
        "get_backup", "GET", "/api/migration/backups/{backup_id}", _READ, handlers.get_backup,
        "One backup, without its contents.",
    ),
    Endpoint(
        "verify_backup", "POST", "/api/migration/backups/{backup_id}/verify", _ADMIN,
        handlers.verify_backup, "Read a backup back and rebuild it in a scratch database.",
        body=_OBJECT, body_required=False,
    ),
    Endpoint(
        "export_backup", "GET", "/api/migration/backups/{backup_id}/archive", _ADMIN,
        handlers.export_backup, "A backup as an archive, a file of its own.",
        query={"recipient": "public keys of age, separated by commas, to encrypt it for"},
        gives=ARCHIVE_TYPES[0],
    ),
    Endpoint(
        "import_archive", "POST", "/api/migration/import-archive", _ADMIN,
        handlers.import_archive, "Store an archive as a backup; nothing is restored by this.",
        query={"from_tenant": "the tenant it was written for, if that is another one"},
        body={"type": "string", "format": "binary"},
        takes=ARCHIVE_TYPES, streams=True, heavy=True,
    ),
    Endpoint(
        "restore_backup", "POST", "/api/migration/backups/{backup_id}/restore", _ADMIN,
        handlers.restore_backup, "Restore a backup as one commit.",
        query={"dry_run": "true: only say what would be done"},
        body=_OBJECT, body_required=False, heavy=True,
    ),
    Endpoint(
        "get_all", "GET", "/api/inventory/get-all", _READ, handlers.inventory,
        "All inventory, each document in the shape it came in.",
        query={"as_of": "a revision, or an ISO 8601 time with its offset: as it was then"},
    ),
    Endpoint(
        "stats", "GET", "/api/inventory/stats", _READ, handlers.stats, "Counts per kind.",
    ),
    Endpoint(
        "changes", "GET", "/api/inventory/changes", _READ, handlers.changes,
        "Commits after a cursor, oldest first.",
        query={
            "since": "a revision, the cursor of an earlier answer, or now",
            "limit": "1 to 1000",
            "wait": "seconds to wait for something after the cursor, 0 to 55",
        },
        stays=True,
    ),
    Endpoint(
        "stream", "GET", "/api/inventory/stream", _READ, handlers.stream,
        "Commits after a cursor as they come, as server-sent events.",
        query={"since": "a revision, a cursor, or now; Last-Event-ID goes before it"},
        gives="text/event-stream", stays=True,
    ),
    Endpoint(
        "ws", "GET", "/api/inventory/ws", _READ, handlers.socket,
        "The same over a WebSocket.", stays=True,
    ),
    Endpoint(
        "get_settings", "GET", "/api/inventory/settings", _READ, handlers.settings,
        "The settings by key.",
    ),
    *(
        Endpoint(
            f"update_{kind}", "POST", path, _WRITE, handlers.updater(kind), summary,
            body=UPDATE_TYPES[kind],
        )
        for kind, path, summary in (
            ("event_inventory", "/api/inventory/event-inventory/update", "Update an item."),
            ("event_stock", "/api/inventory/event-stock/update", "Update a stock level."),
            ("station_config", "/api/inventory/station-config/update", "Configure a station."),
            ("station_quantity", "/api/inventory/station-quantity/update", "Allot a quantity."),
            ("setting", "/api/inventory/settings/update", "Update a setting."),
        )
    ),
    Endpoint(
        "batch_update", "POST", "/api/inventory/batch-update", _WRITE, handlers.batch_update,
        "Several updates as one commit: all or none.",
        body={
            "type": "object",
            "properties": {
                "updates": {
                    "type": "array",
                    "maxItems": 1000,
                    "items": {
                        "type": "object",
                        "properties": {
                            "type": {"enum": list(UPDATE_TYPES)},
                            "data": {"type": "object"},
                        },
                        "required": ["type", "data"],
                    },
                }
            },
            "required": ["updates"],
        },
    ),
    Endpoint(
        "update_adjust", "POST", "/api/inventory/adjust", _WRITE, stock.adjust,
        "Add to a stock or to any other number, whatever it is by then.",
        body=(AdjustMovement, AdjustRequest),
    ),
    *(
        Endpoint(
            kind, "POST", f"/api/inventory/{kind}", _WRITE, stock.mover(kind), summary,
            body=MOVEMENT_TYPES[kind],
        )
        for kind, summary in (
            ("count", "Set a stock to what was counted; the difference is kept."),
            ("transfer", "Carry stock from one place to another."),
            ("waste", "Take stock off that is gone, with the reason."),
        )
    ),
    Endpoint(
        "history", "GET", "/api/inventory/history", _READ, stock.history,
        "Who did what to a record or a station, newest first.",
        query={
            "kind": "kind of the record",
            "key": "key of the record, a JSON list of texts",
            "station_id": "a station, instead of a record",
            "before": "only commits before this revision",
            "limit": "1 to 1000",
        },
    ),
    Endpoint(
        "undo", "POST", "/api/inventory/undo", _WRITE, stock.undo,
        "Take a commit back; one of an import or a restore needs an administrator.",
        body=stock.UndoRequest,
    ),
)  # fmt: skip
