"""Endpoints of stock movements: adjust, count, transfer, waste."""

from __future__ import annotations

from collections.abc import Callable

from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import OF_WRITE, STANDING, Endpoint
from expresso_persist.http.messages import Response, success
from expresso_persist.stock.requests import MOVEMENT_TYPES, read_movement

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
        commit = moved.commit
        place = commit.revision, commit.cursor, commit.before
        return success("Stored.", moved.to_json(), *place, replayed=moved.replayed)

    return handle


ENDPOINTS: tuple[Endpoint, ...] = tuple(
    Endpoint(
        "update_adjust" if kind == "adjust" else kind,
        "POST", f"/api/inventory/{kind}", Permission.WRITE, mover(kind), summary,
        body=MOVEMENT_TYPES[kind], headers=STANDING, links=OF_WRITE,
    )
    for kind, summary in (
        ("adjust", "Add to a stock, whatever it is by then."),
        ("count", "Set a stock to what was counted; the difference is kept."),
        ("transfer", "Carry stock from one place to another."),
        ("waste", "Take stock off that is gone, with the reason."),
    )
)  # fmt: skip
