"""Inventory: the repository, and what people do with stock and with the past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from expresso_persist import jsontext
from expresso_persist.errors import IdempotencyMismatch
from expresso_persist.jsontext import Json
from expresso_persist.movements import Decision, Movement, decide, read_movement
from expresso_persist.records import Commit, Operation
from expresso_persist.repository import InventoryRepository
from expresso_persist.state import State

__all__ = ["Inventory", "Moved"]


@attrs.frozen
class Moved:
    """A movement that was carried out.

    Attributes:
        commit: Its commit.
        movement: What was asked, and for a count the ``difference`` that it found.
        stock: The places it touched as they were right after it, see
            :class:`~expresso_persist.movements.Stock`.
        replayed: An earlier movement with the same idempotency key is told again.
    """

    commit: Commit
    movement: Mapping[str, Json]
    stock: tuple[Mapping[str, Json], ...]
    replayed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The movement as a JSON object."""
        return {
            "movement": dict(self.movement),
            "stock": [dict(stock) for stock in self.stock],
            "replayed": self.replayed,
        }


class Inventory(InventoryRepository):
    """The data of one tenant, with stock movements, history and undo."""

    # -- stock movements ------------------------------------------------------------------

    def adjust(
        self,
        category: str,
        item: str,
        delta: float,
        *,
        actor: str,
        station_id: str | None = None,
        floor: float | None = None,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> Moved:
        """Add ``delta`` to a stock, whatever it is by then; below zero is stored.

        Args:
            category: The item's category.
            item: The item's id or name.
            delta: What comes or, below zero, goes; in the item's unit.
            actor: Who does it.
            station_id: The station; None for the event's stock.
            floor: Refuse when less than this would be left.
            note: Free text for people.
            idempotency_key: A name for this movement; the same again does nothing.

        Raises:
            NotFound: The place has no stock of the item.
            InvalidInput: It would fall below ``floor``.
        """
        asked: dict[str, Any] = {"delta": delta, "station_id": station_id, "floor": floor}
        return self._asked("adjust", category, item, note, asked, actor, idempotency_key)

    def count(
        self,
        category: str,
        item: str,
        quantity: float,
        *,
        actor: str,
        station_id: str | None = None,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> Moved:
        """Set a stock to what somebody counted; the difference found goes into the trail.

        The arguments are those of :meth:`adjust`; an item that has no stock yet gets one.
        """
        asked: dict[str, Any] = {"quantity": quantity, "station_id": station_id}
        return self._asked("count", category, item, note, asked, actor, idempotency_key)

    def transfer(
        self,
        category: str,
        item: str,
        quantity: float,
        *,
        actor: str,
        from_station: str | None = None,
        to_station: str | None = None,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> Moved:
        """Carry a quantity from one place to another, as one commit.

        The other arguments are those of :meth:`adjust`.

        Args:
            category: The item's category.
            item: The item's id or name.
            quantity: How much, above zero.
            actor: Who does it.
            from_station: Where it is taken; None for the event's stock.
            to_station: Where it is put; None for the event's stock.
            note: Free text for people.
            idempotency_key: A name for this movement; the same again does nothing.

        Raises:
            NotFound: There is no stock of the item where it is taken.
        """
        asked: dict[str, Any] = {
            "quantity": quantity, "from_station": from_station, "to_station": to_station,
        }  # fmt: skip
        return self._asked("transfer", category, item, note, asked, actor, idempotency_key)

    def waste(
        self,
        category: str,
        item: str,
        quantity: float,
        *,
        reason: str,
        actor: str,
        station_id: str | None = None,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> Moved:
        """Take a quantity off a stock that is gone for a ``reason``.

        The other arguments are those of :meth:`adjust`; ``quantity`` is above zero.
        """
        asked: dict[str, Any] = {"quantity": quantity, "station_id": station_id, "reason": reason}
        return self._asked("waste", category, item, note, asked, actor, idempotency_key)

    def _asked(
        self,
        kind: str,
        category: str,
        item: str,
        note: str,
        asked: Mapping[str, Any],
        actor: str,
        idempotency_key: str | None,
    ) -> Moved:
        movement = read_movement(kind, {"category": category, "item": item, "note": note, **asked})
        request = jsontext.dumps(movement.to_json())
        return self.move(movement, actor=actor, idempotency_key=idempotency_key, request=request)

    def move(
        self,
        movement: Movement,
        *,
        actor: str,
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
    ) -> Moved:
        """Carry a movement out as one commit, decided under the tenant's lock.

        Args:
            movement: What :func:`~expresso_persist.movements.read_movement` made.
            actor: Who does it.
            idempotency_key: A name for it; the same again gives the first answer.
            request: What was asked, to tell a repetition from another request.

        Raises:
            NotFound: There is no stock of the item where the movement takes from.
            InvalidInput: It does not fit what is stored.
            IdempotencyMismatch: The key was used for another request.
        """
        decided: list[Decision] = []

        def operations(state: State) -> list[Operation]:
            decided[:] = [decide(state, movement)]
            return list(decided[0].operations)

        def receipt(_: int) -> str:
            told = movement.to_json()
            if decided[0].difference is not None:
                told["difference"] = decided[0].difference
            stock: list[Json] = [stock.to_json() for stock in decided[0].stock]
            return jsontext.dumps({"movement": told, "stock": stock})

        commit = self.commit(
            operations,
            actor=actor,
            source="movement",
            note=movement.note,
            idempotency_key=idempotency_key,
            request=request,
            receipt=receipt,
            keep_empty=True,
        )
        content: Any = jsontext.loads(commit.receipt or "null")
        if not isinstance(content, dict) or "movement" not in content:
            raise IdempotencyMismatch  # without a fingerprint, another kind of request
        return Moved(commit, content["movement"], tuple(content["stock"]), commit.replayed)
