"""No name in a path or a query, whatever it holds, is a failure of the server."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.http import NO_RATES, BearerTokens
from expresso_persist.http.access.tenants import tenant_from_path
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.testing import TOKENS

LONG = "x" * 10_000
NUL = ["%00", "a%00b", "%00" * 100]
HOSTILE = [
    *NUL,
    LONG,
    "%C3%A9" * 10_000,
    *(f"%{number:02x}" for number in (1, 8, 9, 10, 13, 27, 31, 127)),
    "%0d%0aSet-Cookie:%20a=b",
    "%80",
    "%ff%fe",
    "%c0%80",  # NUL, encoded too long
    "%ed%a0%80",  # half a surrogate pair
    "%ef%bf%bf",
    "%u0000",
    "%",
    "%zz",
    "%2500",
    "%252e%252e",
    "%F0%9F%98%80",
    "%E2%80%AE",
    "'%20OR%201=1--",
    "%5B%22%5Cu0000%22%5D",
    "%5B%22%5Cud800%22%5D",
    "-1",
    "9" * 400,
    "1e400",
    "NaN",
]
PLACES = [
    (endpoint, name, where)
    for endpoint in ENDPOINTS
    for where, names in (
        ("path", re.findall(r"{(\w+)}", endpoint.path)),
        ("query", endpoint.query),
        ("tenant", ["event"] if endpoint.name in ("health", "get_all", "create_backup") else []),
    )
    for name in names
]


def asked(send: Any, endpoint: Endpoint, path: str, query: str) -> Any:
    headers = {"Authorization": "Bearer admin-token", "Content-Type": endpoint.consumes[0]}
    body = b"{}" if endpoint.method == "POST" and not endpoint.streams else b""
    return send(endpoint.method, f"{path}?{query}" if query else path, headers, body)


@pytest.mark.parametrize(
    ("endpoint", "name", "where"), PLACES, ids=lambda value: getattr(value, "name", str(value))
)
def test_hostile_names_are_refused(
    mount: Any, store: Store, endpoint: Endpoint, name: str, where: str
) -> None:
    send = mount(
        store,
        prefix="/events/{event}",
        tenant=tenant_from_path("event"),
        authorize=BearerTokens(TOKENS),
        limits=NO_RATES,
    )
    store.inventory.head()
    for value in HOSTILE:
        known = re.sub(r"{(\w+)}", "none", endpoint.path)
        tenant, path, query = store.tenant, known, ""
        if where == "path":
            path = re.sub(r"{(\w+)}", lambda _: value, endpoint.path)  # noqa: B023
        elif where == "tenant":
            tenant = value
        else:
            query = f"{name}={value}"
        answer = asked(send, endpoint, f"/events/{tenant}{path}", query)
        what = f"{where} {name}={value[:40]}: {answer.status}"
        nobody = where == "tenant" and endpoint.permission == 0  # their tenant is not asked for
        assert answer.status < 500, what
        if where != "query" and not nobody:
            assert answer.status >= 400, what
        if (value in NUL or value == LONG) and not nobody:
            assert answer.status >= 400, what
        if answer.status >= 400:
            envelope = json.loads(answer.body)
            assert envelope["success"] is False, what
            assert envelope["error"], what
            assert envelope["code"], what


def test_the_name_at_fault_is_told(client: Any) -> None:
    answer = client("GET", "/api/migration/backups/a%00b")
    assert (answer.status, answer.json["code"]) == (422, "invalid_input")
    assert answer.json["details"][0]["path"] == "backup_id"
    answer = client("GET", f"/api/inventory/history?station_id={LONG}")
    assert (answer.status, answer.json["details"][0]["path"]) == (422, "station_id")
    assert client("GET", "/api/migration/backups/a%00b", token=None).status == 401
