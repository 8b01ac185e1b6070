"""The OpenAPI document against the server that serves it, by generated requests.

Whatever is sent, valid or not: every check that schemathesis has, one request after another
and in chains that follow the document's links, destructive ones included. A few hundred
requests every day; ``EXPRESSO_SCHEMATHESIS_REQUESTS=20000`` for as many in all as it says,
over both adapters and both databases.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    RejectedPositiveData,
    positive_data_acceptance,
)

from expresso_persist import Store
from expresso_persist.http import NO_RATES, BearerTokens
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.testing import TOKENS

DOCUMENT = "/api/migration/openapi.json"
TOKEN = {"Authorization": "Bearer admin-token"}
WANTED = int(os.environ.get("EXPRESSO_SCHEMATHESIS_REQUESTS", "0"))
# The stream has no end to check; tests/feed reads it. The document does not describe itself.
OPERATIONS = len(ENDPOINTS) - 2
SHARE = WANTED // 4  # two adapters, two databases
# Most of them one by one, as valid and as invalid ones. Some more than wanted: an operation
# without parameters is asked once, and chains end early.
EXAMPLES = max(2, -(-SHARE // (2 * OPERATIONS)))
STEPS = 8
CHAINS = 4 if not WANTED else 25  # of one batch

load_all_checks()

# Rules that JSON Schema cannot say: the document cannot forbid these requests, the server
# must. Anything else that the document allows and the server refuses is a failure.
ONLY_IN_WORDS = (
    r"NUL character or half of a surrogate",  # at any depth of members nobody knows
    r"looks like a secret",
    r"^as_of is a revision",  # 29 February, and the ends of the calendar
    r"are the same place",  # two members compared
    r"are one number and have different values",
    r"^A record is named by kind and by key",  # both or neither, and JSON within a text
    r"is malformed at offset|is not valid JSON|is no JSON",  # of key: JSON within a text
    r"mode=replace would remove everything",
    r"^The dump |^(origin|device_id) is a text",  # a member of the dump, or a key of it
    r"^A device's name has at most",
    r"^A key is written kind:part/part",  # as many parts as the kind has
    r"^Neither the backup nor the database has anything of",  # what is stored
    r"^The file is no archive|^The archive ",  # bytes are bytes
    r"is no public key of age",
    r"so there is nothing to undo|is not a setting but a document",  # what is stored
    r"would fall to|would leave the range of",  # what is stored, and what is asked for
    r"^This address is for WebSockets",  # which OpenAPI cannot describe
)


def accepted_or_told_why(ctx: Any, response: Any, case: Any) -> None:
    """``positive_data_acceptance``, but for the rules above, by the words of the refusal."""
    try:
        positive_data_acceptance(ctx, response, case)
    except RejectedPositiveData as failure:
        try:
            told = json.loads(response.content)["error"]
        except (ValueError, KeyError):
            raise failure from None
        if not any(re.search(rule, told) for rule in ONLY_IN_WORDS):
            failure.message += f"\n{told}"
            raise


ALL = [*(c for c in CHECKS.get_all() if c is not positive_data_acceptance), accepted_or_told_why]


@pytest.fixture(params=["fastapi", "flask"])
def served(request: pytest.FixtureRequest, store: Store) -> Any:
    """The description as each adapter serves it."""
    if request.param == "fastapi":
        import fastapi

        import expresso_persist_fastapi

        app: Any = fastapi.FastAPI()
        expresso_persist_fastapi.register_routes(
            app, store, authorize=BearerTokens(TOKENS), limits=NO_RATES
        )
        schema = schemathesis.openapi.from_asgi(DOCUMENT, app)
    else:
        import flask

        import expresso_persist_flask

        app = flask.Flask("test")
        expresso_persist_flask.register_routes(
            app, store, authorize=BearerTokens(TOKENS), limits=NO_RATES
        )
        schema = schemathesis.openapi.from_wsgi(DOCUMENT, app)
    # Every request carries a token that is let in; what is not let in, ignored_auth asks.
    schema.config.generation.update(with_security_parameters=False)
    # A batch of too many updates is refused as too large, which is a refusal too.
    refusals = schema.config.checks.negative_data_rejection
    refusals.expected_statuses = [*refusals.expected_statuses, "413"]
    return schema.exclude(operation_id="stream")


class Tally:
    """Asks, counts, and does not wait: what waits for a commit here waits for nothing."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()

    def ask(self, case: Any) -> Any:
        query = case.query or {}
        try:
            if float(query.get("wait", 0)) > 0.01:
                query["wait"] = 0.01
        except (TypeError, ValueError):
            pass
        response = case.call(headers=TOKEN)
        self.statuses[response.status_code] += 1
        return response


def settings(examples: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=not WANTED,
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        **more,
    )


@pytest.mark.timeout(0 if WANTED else 300)
def test_the_description_is_true(served: Any) -> None:
    """Every operation of it, with valid and with invalid parameters and bodies."""
    operations = [result.ok() for result in served.get_all_operations()]
    assert len(operations) == OPERATIONS
    tally = Tally()
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @settings(EXAMPLES)
            def ask(case: Any) -> None:
                response = tally.ask(case)
                case.validate_response(response, checks=ALL, headers=TOKEN)

            try:
                ask()
            except hypothesis.errors.Unsatisfiable:
                # Without parameters and body there is nothing to be wrong with.
                assert mode is GenerationMode.NEGATIVE, operation.label
                assert operation.definition.raw.get("requestBody") is None, operation.label
    print(f"{tally.statuses.total()} requests: {dict(sorted(tally.statuses.items()))}")
    assert {200, 400, 404, 422} <= set(tally.statuses)


@pytest.mark.timeout(0 if WANTED else 300)
def test_one_request_leads_to_the_next(served: Any) -> None:
    """Chains along the links: make, look, verify, restore, undo, go on."""
    tally = Tally()
    followed: collections.Counter[str] = collections.Counter()

    class Chain(served.as_state_machine()):  # type: ignore[misc]
        def call(self, case: Any, **kwargs: Any) -> Any:
            followed[case.operation.definition.raw.get("operationId", "")] += 1
            return tally.ask(case)

        def validate_response(self, response: Any, case: Any, *args: Any, **kwargs: Any) -> None:
            recorder = getattr(self, "recorder", None)
            more = {"recorder": recorder} if recorder is not None else {}
            case.validate_response(response, checks=ALL, headers=TOKEN, **more)

    while True:
        # The database remembers, so a link may lead elsewhere when a chain is tried again:
        # of that alone Hypothesis complains as inconsistent, and the next batch begins.
        with contextlib.suppress(hypothesis.errors.FlakyStrategyDefinition):
            Chain.run(settings=settings(CHAINS, stateful_step_count=STEPS))
        if tally.statuses.total() >= SHARE // 3:
            break
    print(f"{tally.statuses.total()} requests: {dict(sorted(tally.statuses.items()))}")
    print(f"of which {dict(followed)}")
    assert 200 in tally.statuses
