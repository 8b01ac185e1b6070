"""Endpoints of the inventory: read it, and update it one by one or in a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import msgspec

from expresso_persist.commits.as_of import AsOf, read_as_of
from expresso_persist.commits.state import State
from expresso_persist.errors import InvalidInput, PayloadTooLarge, Problem
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import (
    OF_WRITE,
    STANDING,
    Endpoint,
    Query,
    Schema,
)
from expresso_persist.http.messages import Response, success
from expresso_persist.model.records import Operation
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import (
    BATCH_TYPES,
    UPDATE_TYPES,
    AdjustMovement,
    Update,
    read_update,
)

__all__ = ["ENDPOINTS"]


def inventory(call: Call) -> Response:
    """Give all inventory."""
    as_of = call.request.query.get("as_of")
    if as_of is not None:
        return Response(200, _inventory(call, read_as_of(as_of))[1])
    cache = call.services.cache
    return cache.respond(call.request, call.store, "inventory", lambda: _inventory(call))


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


def stats(call: Call) -> Response:
    """Count what is stored."""
    data = call.store.inventory.stats()
    return success("Counts per kind.", data, data["revision"])


def settings(call: Call) -> Response:
    """Give the settings."""
    inventory = call.store.inventory
    return success("The settings.", inventory.settings(), inventory.head().revision)


def updater(kind: str) -> Callable[[Call], Response]:
    """The handler of one kind of update."""

    def handle(call: Call) -> Response:
        return _commit(call, [read_update(kind, call.body())])

    return handle


def batch_update(call: Call) -> Response:
    """Carry out several updates as one commit."""
    items = call.body().get("updates")
    if not isinstance(items, list):
        raise InvalidInput(
            "updates is a list of {type, data}.", problems=[Problem("updates", "a list")]
        )
    most = call.services.limits.batch
    if len(items) > most:
        raise PayloadTooLarge(f"A batch has at most {most} updates; send several.")
    updates: list[Update] = []
    for index, item in enumerate(items):
        path = f"updates[{index}]"
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            raise InvalidInput(
                f"{path} is not {{type, data}}.", problems=[Problem(path, "{type, data}")]
            )
        updates.append(read_update(item["type"], item.get("data"), f"{path}.data", BATCH_TYPES))
    return _commit(call, updates, "updates")


def _commit(call: Call, updates: Sequence[Update], path: str = "") -> Response:
    decide, expected = update_operations(updates, path), call.expected_revision

    def operations(state: State) -> list[Operation]:
        decided = decide(state)
        if expected is None:
            return decided
        return [attrs.evolve(op, expected_revision=expected) for op in decided]

    commit = call.store.inventory.commit(
        operations,
        actor=call.actor.name,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
        standing=call.standing(adds=all(isinstance(update, AdjustMovement) for update in updates)),
    )
    message = f"{len(updates)} update{'s' if len(updates) != 1 else ''} stored."
    place = commit.revision, commit.cursor, commit.before
    return success(message, None, *place, replayed=commit.replayed)


def _batch_schema(limits: Limits) -> Schema:
    elements = [
        {
            "type": "object",
            "properties": {
                "type": {"const": kind},
                "data": {"$ref": f"#/components/schemas/{cls.__name__}"},
            },
            "required": ["type", "data"],
        }
        for kind, cls in BATCH_TYPES.items()
    ]
    updates = {"type": "array", "maxItems": limits.batch, "items": {"oneOf": elements}}
    return {"type": "object", "properties": {"updates": updates}, "required": ["updates"]}


# It accepts more than the pattern says: every time of ISO 8601.
_AS_OF = Query(
    "a revision, or an ISO 8601 time with its offset: as it was then",
    {
        "type": "string",
        "pattern": r"^([0-9]{1,18}"
        r"|[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
        r"(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9]))$",
    },
)
_SUMMARY = "All inventory, each document in the shape it came in."
_READ, _WRITE = Permission.READ, Permission.WRITE

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "get_inventory", "GET", "/api/migration/get-inventory", _READ, inventory, _SUMMARY,
        error_statuses=(304,),
    ),
    Endpoint(
        "get_all", "GET", "/api/inventory/get-all", _READ, inventory, _SUMMARY,
        query={"as_of": _AS_OF}, error_statuses=(304, 410),
    ),
    Endpoint(
        "stats", "GET", "/api/inventory/stats", _READ, stats, "Counts per kind.",
    ),
    Endpoint(
        "get_settings", "GET", "/api/inventory/settings", _READ, settings,
        "The settings by key.", error_statuses=(304,),
    ),
    *(
        Endpoint(
            f"update_{kind}", "POST", path, _WRITE, updater(kind), summary,
            body=UPDATE_TYPES[kind], headers=STANDING, links=OF_WRITE, error_statuses=(412,),
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
        "batch_update", "POST", "/api/inventory/batch-update", _WRITE, batch_update,
        "Several updates as one commit: all or none.",
        body=_batch_schema, headers=STANDING, links=OF_WRITE, error_statuses=(412,),
    ),
)  # fmt: skip
