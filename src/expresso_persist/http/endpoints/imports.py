"""The endpoint that imports a localStorage dump."""

from __future__ import annotations

from typing import Any

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
from expresso_persist.importing.receipt import OUTCOMES

__all__ = ["ENDPOINTS"]


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
    return success(message, receipt.to_json(), receipt.revision, replayed=receipt.replayed)


_COUNT: Schema = {"type": "integer", "minimum": 0}
_KEY: Schema = {
    "type": "object",
    "properties": {"key": {"type": "string"}, "class": {"enum": [*OUTCOMES]}, "kept": _COUNT},
    "required": ["key", "class", "kept"],
}
_CONFLICT: Schema = {
    "type": "object",
    "properties": {
        "cause": {"enum": ["different", "empty", "text", "shape", "ambiguous"]},
        "resolution": {"enum": ["incoming", "existing", "both"]},
    },
    "required": ["document", "key", "path", "cause", "resolution"],
}
_ALIKE: Schema = {
    "type": "object",
    "properties": {
        "cause": {"enum": ["same_name", "other_category", "same_id"]},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"side": {"enum": ["stored", "dump", "both"]}},
                "required": ["key", "name", "side", "holdings"],
            },
        },
    },
    "required": ["document", "cause", "items"],
}
_MEMBERS: Schema = {
    "committed": {"type": "boolean"},
    "revision": {"type": "integer"},
    "totals": {
        "type": "object",
        "properties": dict.fromkeys(("keys", *OUTCOMES), _COUNT),
        "required": ["keys", *OUTCOMES],
    },
    "keys": {"type": "array", "items": _KEY},
    "conflicts": {"type": "array", "items": _CONFLICT},
    "matched": {
        "type": "array",
        "items": {"type": "object", "required": ["document", "incoming", "stored"]},
    },
    "alike": {"type": "array", "items": _ALIKE},
    "safety_backup_id": {"type": ["string", "null"]},
}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "import_local_storage", "POST", "/api/migration/export-localStorage", Permission.ADMIN,
        import_local_storage, "Import a dump of localStorage.",
        query={
            "dry_run": DRY_RUN,
            "mode": Query(
                "merge (default): nothing stored is removed, nothing empty takes the place of "
                "something full; replace: the business data becomes the dump's",
                {"enum": ["merge", "replace"]},
            ),
            "on_conflict": Query(
                "whose value stands where both have one: incoming (default), existing (class "
                "kept); or fail",
                {"enum": ["incoming", "existing", "fail"]},
            ),
            "include": Query(
                "caches: also take caches and interface state", {"enum": ["caches", ""]}
            ),
        },
        body={
            "type": "object",
            "description": (
                '{"localStorage": {key: raw string}, "origin", "device_id"}, with texts of at '
                "most 256 characters; or an object of the keys themselves."
            ),
        },
        size="import_bytes", heavy=True,
        data=Data(
            "ImportReceipt",
            {"type": "object", "properties": _MEMBERS, "required": [*_MEMBERS]},
        ),
        links=OF_WRITE,
    ),
)  # fmt: skip
