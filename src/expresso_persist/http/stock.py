"""What answers the endpoints of stock movements, of history and of undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import attrs
from msgspec import Meta

from expresso_persist.commits.history import UndoPlan
from expresso_persist.errors import Forbidden, InvalidInput, Problem
from expresso_persist.http import handlers
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.messages import Response
from expresso_persist.model import json_text
from expresso_persist.stock.inventory import Moved
from expresso_persist.stock.movements import read_movement
from expresso_persist.stock.requests import Update, read_as

__all__ = ["UndoRequest", "adjust", "history", "mover", "undo"]


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
    headers = handlers.replayed(moved.replayed)
    commit = moved.commit
    data = moved.to_json()
    return handlers.success(
        "Stored.", data, commit.revision, commit.cursor, commit.before, **headers
    )


def history(call: Call) -> Response:
    """Give the history of a record, of a station, or of everything."""
    query = call.request.query
    before = _number(query.get("before"), "before")
    page = call.store.inventory.history(
        key=_key(query.get("kind"), query.get("key")),
        station_id=query.get("station_id"),
        before=before,
        limit=_number(query.get("limit"), "limit") or 100,
    )
    return handlers.success("What was done, newest first.", page.to_json())


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text)):
        raise InvalidInput(f"{name} is a whole number.", problems=[Problem(name, "1 or more")])
    return int(text)


def _key(kind: str | None, text: str | None) -> tuple[str, list[str]] | None:
    if kind is None and text is None:
        return None
    parts: Any = json_text.loads(text or "null", reject_unstorable=True)
    if kind is None or not isinstance(parts, list) or not all(isinstance(p, str) for p in parts):
        raise InvalidInput(
            'A record is named by kind and by key, a JSON list such as ["1","milk","oat"].',
            problems=[Problem("key", "a JSON list of texts, beside kind")],
        )
    return kind, parts


@attrs.frozen(kw_only=True)
class UndoRequest(Update):
    """Take a commit back; ``force`` also when later commits touched the same records."""

    revision: Annotated[int, Meta(ge=1, lt=10**18)]
    force: bool = False
    dry_run: bool = False


# What only an administrator may do, only an administrator may take back.
_FOR_ADMINS = ("adoption", "forget", "import", "restore")


def undo(call: Call) -> Response:
    """Take a commit back, or say what that would do."""
    request = read_as(UndoRequest, call.body())

    def allowed(plan: UndoPlan) -> None:
        if plan.root in _FOR_ADMINS and call.actor.permission < Permission.ADMIN:
            raise Forbidden(f"Only an administrator may undo this: it comes from {plan.root}.")

    inventory = call.store.inventory
    undone = inventory.undo(
        request.revision,
        actor=call.actor.name,
        force=request.force,
        dry_run=request.dry_run,
        idempotency_key=call.idempotency_key,
        request=call.fingerprint,
        allowed=allowed,
    )
    if undone.commit is None:
        message, revision = "This is what an undo would do.", inventory.head().revision
    else:
        message, revision = "Undone.", undone.commit.revision
    headers = handlers.replayed(undone.replayed)
    return handlers.success(message, undone.to_json(), revision, **headers)
