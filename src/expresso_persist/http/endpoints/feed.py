"""Endpoints of the change feed: pages and long polls, server-sent events, the WebSocket."""

from __future__ import annotations

import re

import attrs

from expresso_persist.commits.hash_chain import commit_to_json
from expresso_persist.errors import InvalidInput, Problem, UpgradeRequired
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import (
    LIMIT,
    MAX_LIMIT,
    Data,
    Endpoint,
    Query,
    Schema,
    whole_number,
)
from expresso_persist.http.live.greenlets import may_wait
from expresso_persist.http.live.long_poll import LongPoll, PendingResponse, begin_long_poll
from expresso_persist.http.live.sse import FIRST, SSE, EventStream, brief_events, sse_mark
from expresso_persist.http.live.subscription import Subscription
from expresso_persist.http.messages import Response, success

__all__ = ["ENDPOINTS"]

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?", re.ASCII)  # of JSON
MAX_WAIT = 55  # proxies end what is silent for a minute
RETRY_AFTER = "2"
"""Seconds between two polls of a client that this server cannot keep waiting."""


def changes(call: Call) -> Response:
    """Give a page of the change feed, as soon as there is one."""
    query = call.request.query
    limit = whole_number(query.get("limit", "100"), "limit", MAX_LIMIT)
    wait = _seconds(query.get("wait"))
    cursor = call.store.feed.start(query.get("since", "0"))
    # Before the database is asked, so that what comes after it is noticed.
    poll = begin_long_poll(call, cursor, wait) if wait else None
    response = None
    try:
        response = _page(call, cursor, limit, wait, poll)
    finally:
        if poll is not None and not isinstance(response, PendingResponse):
            poll.close()
    return response


def _page(
    call: Call, cursor: str, limit: int, wait: float | None, poll: LongPoll | None
) -> Response:
    page = call.store.inventory.changes(cursor, limit)
    data = {
        "commits": [commit_to_json(commit) for commit in page.commits],
        "cursor": page.cursor,
        "reset": page.reset,
        "has_more": page.has_more,
    }
    if wait is not None:
        data["waited"] = wait == 0 or poll is not None
    response = success("Changes.", data)
    if data.get("waited") is False:
        return attrs.evolve(response, headers={"Retry-After": RETRY_AFTER})
    if poll is None or page.commits or page.reset:
        return response
    return PendingResponse(response.status, response.body, long_poll=poll)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    # Python's float() takes "1_0", " 1", "inf" and "nan", which are numbers nowhere else.
    seconds = float(text) if _SECONDS.fullmatch(text) else -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(
            f"wait is 0 to {MAX_WAIT} seconds.", problems=[Problem("wait", f"0 to {MAX_WAIT}")]
        )
    return seconds


def stream(call: Call) -> Response:
    """Stream the change feed as server-sent events."""
    headers = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store, no-transform",  # what compresses would hold it back
        "X-Accel-Buffering": "no",
    }
    since = call.request.headers.get("last-event-id") or call.request.query.get("since", "0")
    if call.request.method == "HEAD":
        return Response(200, b"", headers)
    if not may_wait(call.request):
        return Response(200, brief_events(call, since), headers)
    subscription = Subscription(call, since, SSE)
    # A client that begins now has no id to come back with before the first commit.
    mark = sse_mark(subscription.cursor) if since == "now" else b""
    return Response(200, b"", headers, EventStream(subscription, FIRST + mark))


def socket(call: Call) -> Response:
    """Say that this is for WebSockets, where the server opened none."""
    raise UpgradeRequired(call.services.no_socket)


# It accepts more than the pattern says: a cursor is opaque.
_CURSOR: Schema = {"type": "string", "pattern": r"^(0|[^.]+\.[0-9]{1,18}\..+|now)$"}
_CHANGES = Data(
    "Changes",
    {
        "type": "object",
        "properties": {
            "commits": {"type": "array", "items": {"type": "object"}},
            "cursor": {"type": "string"},
            "reset": {"type": "boolean"},
            "has_more": {"type": "boolean"},
            "waited": {"type": "boolean"},
        },
        "required": ["commits", "cursor", "reset", "has_more"],
    },
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "changes", "GET", "/api/inventory/changes", Permission.READ, changes,
        "Commits after a cursor, oldest first.",
        query={
            "since": Query("the cursor of an earlier answer, 0 for everything, or now", _CURSOR),
            "limit": LIMIT,
            "wait": Query(
                f"seconds to wait for something after the cursor, 0 to {MAX_WAIT}",
                {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
            ),
        },
        long_lived=True, data=_CHANGES,
        links={
            "go_on": {
                "operationId": "changes",
                "parameters": {"since": "$response.body#/data/cursor"},
            }
        },
    ),
    Endpoint(
        "stream", "GET", "/api/inventory/stream", Permission.READ, stream,
        "Commits after a cursor as they come, as server-sent events.",
        query={
            "since": Query(
                "a cursor, 0 for everything, or now; Last-Event-ID goes before it", _CURSOR
            )
        },
        produces=("text/event-stream",), long_lived=True,
    ),
    Endpoint(
        "ws", "GET", "/api/inventory/ws", Permission.READ, socket,
        "The same over a WebSocket.", long_lived=True, error_statuses=(426,),
    ),
)  # fmt: skip
