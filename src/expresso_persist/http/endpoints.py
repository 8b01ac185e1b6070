"""The table of endpoints: the one source of routes, permissions and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from expresso_persist.http import handlers, parameters, stock
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.limits import Rate
from expresso_persist.http.call import Call
from expresso_persist.http.messages import Response
from expresso_persist.http.parameters import Query
from expresso_persist.stock.movements import MOVEMENT_TYPES, AdjustMovement
from expresso_persist.stock.requests import UPDATE_TYPES, AdjustRequest

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
        headers: Headers of its own and what they mean.
        body: JSON Schema of the request's body, an attrs class, or a tuple of the classes it
            may be; None without a body.
        size: Which of :class:`Limits` its body has, unless it streams.
        heavy: Whether it is counted among imports and restores.
        body_required: Whether an empty body is refused.
        takes: Media types of the body.
        streams: The body is a file that the handler reads as it arrives, so that nobody is
            let in with more than the permission to ask.
        gives: Media type of the answer.
        or_gives: Other media types that it may have.
        data: Name of the schema of the answer's ``data``, in :mod:`.parameters`.
        links: Names of what the answer leads to, in :mod:`.parameters`.
        fails: Statuses it may have besides those that follow from the rest.
        stays: The answer may take as long as the client is willing to wait.
    """

    name: str
    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    query: Mapping[str, Query] = attrs.field(factory=dict)
    headers: Mapping[str, Query] = attrs.field(factory=dict)
    body: Any = None
    size: str = "update_bytes"
    heavy: bool = False
    body_required: bool = True
    takes: tuple[str, ...] = ("application/json",)
    streams: bool = False
    gives: str = "application/json"
    or_gives: tuple[str, ...] = ()
    data: str = ""
    links: tuple[str, ...] = ()
    fails: tuple[int, ...] = ()
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


_READ, _WRITE, _ADMIN = Permission.READ, Permission.WRITE, Permission.ADMIN

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "health", "GET", "/api/migration/health", Permission.NONE, handlers.health,
        "Whether the server and its database answer, and backups are made.",
        query={"deep": parameters.DEEP}, fails=(401, 403, 404),
    ),
    Endpoint(
        "openapi", "GET", "/api/migration/openapi.json", Permission.NONE, handlers.openapi,
        "This description.",
    ),
    Endpoint(
        "session", "POST", "/api/migration/session", Permission.NONE, handlers.session,
        "Exchange the token of a one-time link for a session.",
        body=parameters.SESSION,
        fails=(404,),
    ),
    Endpoint(
        "import_local_storage", "POST", "/api/migration/export-localStorage", _ADMIN,
        handlers.import_local_storage, "Import a dump of localStorage.",
        query={
            "dry_run": parameters.DRY_RUN,
            "mode": parameters.MODE,
            "on_conflict": parameters.ON_CONFLICT,
            "include": parameters.INCLUDE,
        },
        body=parameters.DUMP, size="import_bytes", heavy=True,
        data="ImportReceipt", links=parameters.OF_WRITE,
    ),
    Endpoint(
        "get_inventory", "GET", "/api/migration/get-inventory", _READ, handlers.inventory,
        "All inventory, each document in the shape it came in.",
        fails=(304,),
    ),
    Endpoint(
        "get_documents", "GET", "/api/migration/documents", _READ, handlers.documents,
        "Every stored localStorage key with its raw string.",
        query={"device_id": parameters.DEVICE},
        fails=(304,),
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
        "Make a backup now.", body=parameters.NEW_BACKUP, body_required=False,
        data="Backup", links=parameters.OF_BACKUP,
    ),
    Endpoint(
        "list_backups", "GET", "/api/migration/backups", _READ, handlers.list_backups,
        "The backups, newest first.",
        data="Backups", links=parameters.OF_NEWEST,
    ),
    Endpoint(
        "get_backup", "GET", "/api/migration/backups/{backup_id}", _READ, handlers.get_backup,
        "One backup, without its contents.",
        data="Backup", links=parameters.OF_BACKUP,
    ),
    Endpoint(
        "verify_backup", "POST", "/api/migration/backups/{backup_id}/verify", _ADMIN,
        handlers.verify_backup, "Read a backup back and rebuild it in a scratch database.",
        body=parameters.OBJECT, body_required=False,
    ),
    Endpoint(
        "export_backup", "GET", "/api/migration/backups/{backup_id}/archive", _ADMIN,
        handlers.export_backup, "A backup as an archive, a file of its own.",
        query={"recipient": parameters.RECIPIENT},
        gives=ARCHIVE_TYPES[0],
        or_gives=(ARCHIVE_TYPES[1],), fails=(409,),
    ),
    Endpoint(
        "import_archive", "POST", "/api/migration/import-archive", _ADMIN,
        handlers.import_archive, "Store an archive as a backup; nothing is restored by this.",
        query={"from_tenant": parameters.FROM_TENANT},
        body={"type": "string", "format": "binary"},
        takes=ARCHIVE_TYPES, streams=True, heavy=True,
        data="Backup", links=parameters.OF_BACKUP,
    ),
    Endpoint(
        "restore_backup", "POST", "/api/migration/backups/{backup_id}/restore", _ADMIN,
        handlers.restore_backup, "Restore a backup as one commit.",
        query={"dry_run": parameters.DRY_RUN},
        body=parameters.RESTORE, body_required=False, heavy=True,
        links=parameters.OF_WRITE,
    ),
    Endpoint(
        "get_all", "GET", "/api/inventory/get-all", _READ, handlers.inventory,
        "All inventory, each document in the shape it came in.",
        query={"as_of": parameters.AS_OF},
        fails=(304, 410),
    ),
    Endpoint(
        "stats", "GET", "/api/inventory/stats", _READ, handlers.stats, "Counts per kind.",
    ),
    Endpoint(
        "changes", "GET", "/api/inventory/changes", _READ, handlers.changes,
        "Commits after a cursor, oldest first.",
        query={
            "since": parameters.SINCE,
            "limit": parameters.LIMIT,
            "wait": parameters.WAIT,
        },
        stays=True,
        data="Changes", links=("go_on",),
    ),
    Endpoint(
        "stream", "GET", "/api/inventory/stream", _READ, handlers.stream,
        "Commits after a cursor as they come, as server-sent events.",
        query={"since": parameters.STREAM_SINCE},
        gives="text/event-stream", stays=True,
    ),
    Endpoint(
        "ws", "GET", "/api/inventory/ws", _READ, handlers.socket,
        "The same over a WebSocket.", stays=True,
        fails=(426,),
    ),
    Endpoint(
        "get_settings", "GET", "/api/inventory/settings", _READ, handlers.settings,
        "The settings by key.",
        fails=(304,),
    ),
    *(
        Endpoint(
            f"update_{kind}", "POST", path, _WRITE, handlers.updater(kind), summary,
            body=UPDATE_TYPES[kind], links=parameters.OF_WRITE, fails=(412,),
            headers=parameters.STANDING,
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
        body=parameters.BATCH, headers=parameters.STANDING,
        links=parameters.OF_WRITE, fails=(412,),
    ),
    Endpoint(
        "update_adjust", "POST", "/api/inventory/adjust", _WRITE, stock.adjust,
        "Add to a stock or to any other number, whatever it is by then.",
        body=(AdjustMovement, AdjustRequest), headers=parameters.STANDING,
        links=parameters.OF_WRITE, fails=(412,),
    ),
    *(
        Endpoint(
            kind, "POST", f"/api/inventory/{kind}", _WRITE, stock.mover(kind), summary,
            body=MOVEMENT_TYPES[kind], links=parameters.OF_WRITE, headers=parameters.STANDING,
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
            "kind": parameters.KIND,
            "key": parameters.KEY,
            "station_id": parameters.STATION,
            "before": parameters.BEFORE,
            "limit": parameters.LIMIT,
        },
        fails=(400, 410),
    ),
    Endpoint(
        "undo", "POST", "/api/inventory/undo", _WRITE, stock.undo,
        "Take a commit back; one of an import or a restore needs an administrator.",
        body=stock.UndoRequest,
        fails=(410, 412),
    ),
)  # fmt: skip
