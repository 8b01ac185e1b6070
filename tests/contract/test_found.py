"""What generated requests found, said by hand."""

from __future__ import annotations

from typing import Any

import pytest

from mounted import Client


@pytest.mark.parametrize("wait", ["1_0", "inf", "nan", "%201", "1%20", "+1", "-0", "٣", "1e9", ""])
def test_a_wait_is_a_number_as_json_writes_it(client: Client, wait: str) -> None:
    answer = client("GET", f"/api/inventory/changes?since=now&wait={wait}")
    assert (answer.status, answer.json["details"][0]["path"]) == (422, "wait")


@pytest.mark.parametrize("wait", ["0.3333333333333333", "1e-10", "0.0000000000000001"])
def test_a_wait_may_be_any_number_of_seconds(client: Client, wait: str) -> None:
    """What a browser computes has sixteen digits; ten characters once were the most."""
    client("POST", "/api/inventory/settings/update", {"key": "a", "value": 1})
    answer = client("GET", f"/api/inventory/changes?since=0&wait={wait}")
    assert answer.status == 200, answer.json


@pytest.mark.parametrize("body", [1, [], "x"])
def test_verifying_takes_an_object_or_nothing(client: Client, body: Any) -> None:
    backup = client("POST", "/api/migration/create-backup").json["data"]["id"]
    path = f"/api/migration/backups/{backup}/verify"
    assert client("POST", path).status == 200
    assert client("POST", path, {}).status == 200
    assert client("POST", path, body).json["code"] == "malformed_json"


def test_the_deep_health_is_told_under_every_adapter(client: Client) -> None:
    """Flask's headers iterate as pairs, not as names."""
    assert client("GET", "/api/migration/health?deep=1").status == 200
