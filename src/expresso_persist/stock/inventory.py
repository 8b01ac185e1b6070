"""Inventory: the repository, and what people do with stock and with the past."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.commits.decision import Decision
from expresso_persist.commits.history import (
    HistoryPage,
    UndoPlan,
    plan_undo,
    read_history,
    read_undo,
)
from expresso_persist.commits.offers import Standing
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.retention import Forgotten, forget, horizon, receipt
from expresso_persist.commits.state import State
from expresso_persist.errors import IdempotencyMismatch, InvalidInput, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Commit, RecordKey, checked_key
from expresso_persist.stock.movements import decide
from expresso_persist.stock.requests import Movement, read_movement

__all__ = ["Inventory", "Moved", "Undone"]


@attrs.frozen
class Moved:
    """A movement that was carried out.

    Attributes:
        commit: Its commit.
        movement: What was asked, and for a count the ``difference`` that it found.
        stock: The places it touched as they were right after it, see
            :class:`~expresso_persist.stock.movements.Stock`.
        replayed: An earlier movement with the same idempotency key is repeated.
    """

    commit: Commit
    movement: Mapping[str, Json]
    stock: tuple[Mapping[str, Json], ...]
    replayed: bool = False

    @classmethod
    def of(cls, commit: Commit) -> Moved:
        """What a movement did, from its commit.

        Raises:
            IdempotencyMismatch: It is the commit of another kind of request.
        """
        content: Any = json_text.loads(commit.receipt or "null")
        if not isinstance(content, dict) or "movement" not in content:
            raise IdempotencyMismatch
        return cls(commit, content["movement"], tuple(content["stock"]), commit.replayed)

    def to_json(self) -> dict[str, Any]:
        """The movement as a JSON object."""
        return {
            "movement": dict(self.movement),
            "stock": [dict(stock) for stock in self.stock],
            "replayed": self.replayed,
        }


@attrs.frozen
class Undone:
    """An undo that was carried out, or would be.

    Attributes:
        plan: What it changes, and the conflicts that it found.
        commit: Its commit; None for a dry run.
    """

    plan: UndoPlan
    commit: Commit | None

    @property
    def replayed(self) -> bool:
        """Whether an earlier undo with the same idempotency key is repeated."""
        return self.commit is not None and self.commit.replayed

    def to_json(self) -> dict[str, Any]:
        """The undo as a JSON object."""
        dry_run = self.commit is None
        return {**self.plan.to_json(), "dry_run": dry_run, "replayed": self.replayed}


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
        request = json_text.dumps(movement.to_json())
        return self.move(movement, actor=actor, idempotency_key=idempotency_key, request=request)

    def move(
        self,
        movement: Movement,
        *,
        actor: str,
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
        standing: Standing | None = None,
    ) -> Moved:
        """Carry a movement out as one commit, decided under the tenant's lock.

        Args:
            movement: What :func:`~expresso_persist.stock.requests.read_movement` made.
            actor: Who does it.
            idempotency_key: A name for it; the same again gives the first answer.
            request: What was asked, to tell a repetition from another request.
            standing: What the client knows of the timeline.

        Raises:
            NotFound: There is no stock of the item where the movement takes from.
            InvalidInput: It does not fit what is stored.
            IdempotencyMismatch: The key was used for another request.
        """
        if not isinstance(movement, Movement):
            raise InvalidInput("A movement is what read_movement makes of a request.")
        commit = self.commit(
            lambda state: _moving(state, movement),
            actor=actor,
            source="movement",
            note=movement.note,
            idempotency_key=idempotency_key,
            request=request,
            standing=standing,
        )
        return Moved.of(commit)

    # -- history and undo -----------------------------------------------------------------

    def history(
        self,
        *,
        key: RecordKey | tuple[str, Sequence[str]] | None = None,
        station_id: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> HistoryPage:
        """The commits that touched a record or a station, newest first; or all commits.

        Args:
            key: A record: its kind and the parts of its key.
            station_id: A station: its configuration, allotments and live stock.
            before: Only commits before this revision, to go on with the next page.
            limit: 1 to 1,000 entries.

        Raises:
            InvalidInput: Both a record and a station, an unknown kind, or a wrong limit.
        """
        if key is not None and station_id is not None:
            raise InvalidInput("Ask for the history of a record or of a station, not of both.")
        json_text.check_storable(station_id=station_id)
        json_text.check_whole(limit=limit, before=0 if before is None else before)
        if not 1 <= limit <= 1000:
            raise InvalidInput("limit is 1 to 1000.", problems=[Problem("limit", "1 to 1000")])
        given: object = key
        if given is not None and (not isinstance(given, tuple) or len(given) != 2):
            raise InvalidInput("key is a kind and the parts of a key, such as a RecordKey.")
        record = None if key is None else checked_key(*key)
        self.head()
        with self.database.read() as connection:
            return read_history(
                connection,
                self.tenant,
                key=record,
                station_id=station_id,
                before=before,
                limit=limit,
            )

    def undo(
        self,
        revision: int,
        *,
        actor: str,
        force: bool = False,
        dry_run: bool = False,
        note: str = "",
        idempotency_key: str | None = None,
        request: str | bytes | None = None,
        allowed: Callable[[UndoPlan], object] = lambda _: None,
    ) -> Undone:
        """Take a commit back: every record of it becomes what it was before.

        An undo is a commit too; undoing it restores what it took back.

        Args:
            revision: The commit.
            actor: Who does it.
            force: Also when later commits touched the same records; what they wrote there
                is overwritten.
            dry_run: Only plan it, and list the conflicts.
            note: Free text for people.
            idempotency_key: A name for it; the same again does nothing.
            request: What was asked, to tell a repetition from another request.
            allowed: Called with the plan before anything is done; raises to refuse.

        Raises:
            UndoConflict: Later commits touched the same records; the problems name them.
            HistoryForgotten: What the commit changed was forgotten.
            NotFound: There is no such commit.
            InvalidInput: The commit changed nothing.
        """
        json_text.check_whole(revision=revision)

        def decide(state: State) -> Decision:
            plan = plan_undo(state, revision)
            allowed(plan)
            if not force and not dry_run:
                plan.refuse_conflicts()
            return Decision(plan.operations(), plan.receipt(), value=plan)

        request = request or f"undo {revision} {bool(force)}"
        if dry_run:
            # It is not remembered; a key that was used is another request's.
            self.replay(actor, idempotency_key, request)
            self.head()
            with self.database.read() as connection:
                return Undone(decide(State(connection, self.tenant)).value, None)
        commit = self.commit(
            decide,
            actor=actor,
            source="undo",
            note=note or f"Undo of revision {revision}",
            idempotency_key=idempotency_key,
            request=request,
            scanned=True,
        )
        unchanged = not commit.stored and not commit.replayed
        return Undone(commit.value if unchanged else read_undo(revision, commit), commit)

    def forget_history(
        self, before: int | dt.datetime, *, actor: str, dry_run: bool = False, note: str = ""
    ) -> Forgotten:
        """Drop the changes before a revision or a time for good; never done by itself.

        Who did what and when stays, and so does the data. The trail goes on to verify.
        What lies before cannot be undone or shown (``as_of``) any more, and a client whose
        cursor is older reads everything again.

        Args:
            before: A revision, or a time with its offset.
            actor: Who does it.
            dry_run: Only count.
            note: Free text for people.

        Raises:
            ConflictRefused: The audit trail has problems.
        """

        def drop(connection: Connection) -> Forgotten:
            through = horizon(connection, self.tenant, before)
            return forget(connection, self.tenant, through, dry_run=dry_run)

        def decide(state: State) -> Decision:
            result = drop(state.connection)
            if not result.commits:
                return Decision(value=result)
            text = receipt(state.connection, self.tenant, result)
            return Decision((), text, keep_empty=True, value=result)

        self.head()
        if dry_run:
            with self.database.read() as connection:
                return drop(connection)
        note = note or "Forgot old changes"
        forgotten: Forgotten = self.commit(decide, actor=actor, source="forget", note=note).value
        return forgotten


def _moving(state: State, movement: Movement) -> Decision:
    """The commit of a movement; its receipt is the answer."""
    effect = decide(state, movement)
    content = movement.to_json()
    if effect.difference is not None:
        content["difference"] = effect.difference
    stock: list[Json] = [stock.to_json() for stock in effect.stock]
    receipt = json_text.dumps({"movement": content, "stock": stock})
    return Decision(effect.operations, receipt, keep_empty=True)
