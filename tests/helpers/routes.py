"""A request for every endpoint of the table that does something, for one tenant."""

from __future__ import annotations

import io
import json
from typing import Any

from expresso_persist.http.adapter import Api, Endpoint, Request, Response

OAT: dict[str, Any] = {"category": "milk", "item": "oat"}
BODIES: dict[str, Any] = {
    "import_local_storage": {"localStorage": {"event_menu": '{"mocha":1}'}},
    "create_backup": {"notes": "ours"},
    "update_event_inventory": {"category": "milk", "item_id": "oat", "enabled": False},
    "update_event_stock": {"category": "milk", "item_id": "oat", "total_quantity": 9},
    "update_station_config": {"station_id": "1", "config_data": {"name": "Bar"}},
    "update_station_quantity": {"station_id": 1, "item_name": "oat", "quantity": 3},
    "update_setting": {"key": "theme", "value": "dark"},
    "batch_update": {
        "updates": [
            {
                "type": "station_quantity",
                "data": {"station_id": 1, "item_name": "oat", "quantity": 4},
            }
        ]
    },
    "update_adjust": {**OAT, "station_id": "1", "delta": -1},
    "count": {**OAT, "station_id": "1", "quantity": 3},
    "transfer": {**OAT, "quantity": 1, "to_station": 1},
    "waste": {**OAT, "station_id": "1", "quantity": 1, "reason": "spilt"},
    "session": {"one_time_token": "none"},
    "undo": {"revision": 2, "force": True},
}
QUERIES = {
    "history": {"station_id": "1"},
    "changes": {"since": "0", "wait": "0"},
    "get_all": {"as_of": "1"},
}
STOCK = {
    "event_stock_levels": {"milk": {"oat": {"quantity": 20, "allocated": 5, "available": 15}}},
    "coffee_stock_station_1": {"milk": [{"id": "oat", "name": "Oat", "amount": 5}]},
}
UNANSWERED = {"ws": 426, "session": 404}
"""What answers otherwise than with 200: there is no socket, and there are no links."""


def ask(
    api: Api, endpoint: Endpoint, *, backup_id: str = "", archive: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    """Ask an endpoint; its status and all of its body (the beginning, of a stream)."""
    body = json.dumps(BODIES.get(endpoint.name, {})).encode() if endpoint.body else b""
    kind = "application/json"
    if endpoint.streams:
        body, kind = archive, "application/zstd"
    request = Request(
        endpoint.method,
        endpoint.path.replace("{backup_id}", backup_id),
        query=QUERIES.get(endpoint.name, {}),
        headers={"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}},
        body=b"" if endpoint.streams else body,
        path_params={"backup_id": backup_id} if "{backup_id}" in endpoint.path else {},
        stream=io.BytesIO(body) if endpoint.streams else None,
    )
    response = api.handle(endpoint, request)
    return response.status, _whole(endpoint, response)


def _whole(endpoint: Endpoint, response: Response) -> bytes:
    if response.stream is None:
        return response.body
    if endpoint.long_lived:
        pieces = [next(response.stream), next(response.stream)]
        response.stream.close()  # type: ignore[attr-defined]
        return b"".join(pieces)
    return b"".join(response.stream)
