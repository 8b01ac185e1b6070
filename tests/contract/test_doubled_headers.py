"""A header that comes twice, over real servers: what it means does not depend on the adapter."""

from __future__ import annotations

import contextlib
import http.client
import json

import pytest

from expresso_persist import Store
from expresso_persist.http import BearerTokens
from expresso_persist.testing import OAT, TOKENS, UPDATE
from live import WAIT, served

ADMIN = ("Authorization", "Bearer admin-token")
JSON = ("Content-Type", "application/json")
CASES = {
    "Authorization": ([JSON], ["Bearer admin-token", "Bearer read-token"], 401),
    "Content-Type": ([ADMIN], ["application/json", "text/plain"], 415),
    "Content-Encoding": ([ADMIN, JSON], ["identity", "gzip"], 415),
    "If-Match": ([ADMIN, JSON], ['"0"', '"9"'], 422),
    "Expresso-Since": ([ADMIN, JSON], ["one", "two"], 422),
}


@pytest.mark.parametrize("adapter", ["fastapi", "flask"])
def test_all_values_of_a_doubled_header_count(adapter: str, store: Store) -> None:
    with served(adapter, store, authorize=BearerTokens(TOKENS)) as port:

        def status(*headers: tuple[str, str]) -> int:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
            with contextlib.closing(line):
                line.putrequest("POST", UPDATE)
                body = json.dumps(OAT).encode()
                for name, value in (("Content-Length", str(len(body))), *headers):
                    line.putheader(name, value)
                line.endheaders(body)
                return line.getresponse().status

        for name, (others, values, expected) in CASES.items():
            for first, second in (values, values[::-1]):
                doubled = [(name, first), (name, second)]
                assert status(*others, *doubled) == expected, doubled
        assert store.inventory.head().revision == 0
        key = "Idempotency-Key"
        for values in (["one", "two"], ["one", "two"], ["two", "one"], ["one"], ["two"]):
            assert status(ADMIN, JSON, *((key, value) for value in values)) == 200
        assert store.inventory.head().revision == 4  # a key of its own for each list of values
