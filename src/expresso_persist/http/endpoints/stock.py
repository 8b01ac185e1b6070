"""Endpoints of stock movements: adjust, count, transfer, waste."""

from __future__ import annotations

from collections.abc import Callable

from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import OF_WRITE, STANDING, Endpoint
from expresso_persist.http.endpoints.inventory import updater
from expresso_persist.http.messages import Response, success
from expresso_persist.stock.movements import MOVEMENT_TYPES, AdjustMovement, read_movement
from expresso_persist.stock.requests import AdjustRequest

__all__ = ["ENDPOINTS"]


def mover(kind: str) -> Callable[[Call], Response]:
    """The handler of one kind of movement."""

    def handle(call: Call) -> Response:
        moved = call.store.inventory.move(
            read_movement(kind, call.body()),
            actor=call.actor.name,
            idempotency_key=call.idempotency_key,
            request=call.fingerprint,
            standing=call.standing(adds=kind != "count"),
        )
        revision, cursor = moved.commit.revision, moved.commit.cursor
        return success("Stored.", moved.to_json(), revision, cursor, replayed=moved.replayed)

    return handle


def adjust(call: Call) -> Response:
    """Adjust a stock (``item``), or any one number of a record (``item_id``, ``item_name``)."""
    if "item" in call.body():
        return _move(call)
    return _adjust_number(call)


_move = mover("adjust")
_adjust_number = updater("adjust")

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "update_adjust", "POST", "/api/inventory/adjust", Permission.WRITE, adjust,
        "Add to a stock or to any other number, whatever it is by then.",
        body=(AdjustMovement, AdjustRequest), headers=STANDING,
        links=OF_WRITE, error_statuses=(412,),
    ),
    *(
        Endpoint(
            kind, "POST", f"/api/inventory/{kind}", Permission.WRITE, mover(kind), summary,
            body=MOVEMENT_TYPES[kind], headers=STANDING, links=OF_WRITE,
        )
        for kind, summary in (
            ("count", "Set a stock to what was counted; the difference is kept."),
            ("transfer", "Carry stock from one place to another."),
            ("waste", "Take stock off that is gone, with the reason."),
        )
    ),
)  # fmt: skip
