"""What answers the endpoints of stock movements."""

from __future__ import annotations

from collections.abc import Callable

from expresso_persist.http import handlers
from expresso_persist.http.call import Call
from expresso_persist.http.messages import Response
from expresso_persist.inventory import Moved
from expresso_persist.movements import read_movement

__all__ = ["adjust", "mover"]


def mover(kind: str) -> Callable[[Call], Response]:
    """The handler of one kind of movement."""

    def handle(call: Call) -> Response:
        moved = call.store.inventory.move(
            read_movement(kind, call.body()),
            actor=call.actor.name,
            idempotency_key=call.idempotency_key,
            request=call.fingerprint,
        )
        return _answer(moved)

    return handle


def adjust(call: Call) -> Response:
    """Adjust a stock (``item``), or any one number of a record (``item_id``, ``item_name``)."""
    if "item" in call.body():
        return _move(call)
    return _adjust_number(call)


_move = mover("adjust")
_adjust_number = handlers.updater("adjust")


def _answer(moved: Moved) -> Response:
    headers = {"Idempotency_Replayed": "true"} if moved.replayed else {}
    return handlers.success("Stored.", moved.to_json(), moved.commit.revision, **headers)
