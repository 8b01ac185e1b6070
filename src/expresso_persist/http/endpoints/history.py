"""Endpoints of the history: who did what, and taking a commit back."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from msgspec import Meta

from expresso_persist.commits.history import UndoPlan
from expresso_persist.errors import Forbidden, InvalidInput, Problem
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import LIMIT, MAX_LIMIT, Endpoint, Query, whole_number
from expresso_persist.http.messages import Response, success
from expresso_persist.model import json_text
from expresso_persist.stock.requests import Update, read_as

__all__ = ["ENDPOINTS", "UndoRequest"]

_LAST_REVISION = 10**18 - 1


def history(call: Call) -> Response:
    """Give the history of a record, of a station, or of everything."""
    query = call.request.query
    before = query.get("before")
    page = call.store.inventory.history(
        key=_key(query.get("kind"), query.get("key")),
        station_id=query.get("station_id"),
        before=None if before is None else whole_number(before, "before"),
        limit=whole_number(query.get("limit", "100"), "limit", MAX_LIMIT),
    )
    return success("What was done, newest first.", page.to_json())


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

    revision: Annotated[int, Meta(ge=1, le=_LAST_REVISION)]
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
    return success(message, undone.to_json(), revision, replayed=undone.replayed)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "history", "GET", "/api/inventory/history", Permission.READ, history,
        "Who did what to a record or a station, newest first.",
        query={
            "kind": Query("kind of the record; together with key"),
            "key": Query("key of the record, a JSON list of texts; together with kind"),
            "station_id": Query("a station, instead of a record"),
            "before": Query(
                "only commits before this revision",
                {"type": "integer", "minimum": 1, "maximum": _LAST_REVISION},
            ),
            "limit": LIMIT,
        },
        error_statuses=(400, 410),
    ),
    Endpoint(
        "undo", "POST", "/api/inventory/undo", Permission.WRITE, undo,
        "Take a commit back; one of an import or a restore needs an administrator.",
        body=UndoRequest, error_statuses=(410, 412), takes_time=True,
    ),
)  # fmt: skip
