"""The endpoint that gives the stored documents back."""

from __future__ import annotations

from expresso_persist.http.access.auth import Permission
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import Endpoint, Query
from expresso_persist.http.messages import Response, success

__all__ = ["ENDPOINTS"]


def documents(call: Call) -> Response:
    """Give every stored document as a dump."""
    dump = call.store.inventory.dump(call.request.query.get("device_id"))
    return success("Every stored document.", dump, dump["revision"])


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "get_documents", "GET", "/api/migration/documents", Permission.READ, documents,
        "Every stored localStorage key with its raw string.",
        query={"device_id": Query("whose preferences to include")},
        error_statuses=(304,),
    ),
)  # fmt: skip
