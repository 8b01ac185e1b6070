"""Endpoints about the server itself: health, its description, its figures, and signing in."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from typing import Any

import attrs
import msgspec

from expresso_persist.db import migrations, timeouts
from expresso_persist.errors import DatabaseUnavailable, InvalidInput, NotFound, Problem
from expresso_persist.http.access.admission import Needs
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.guesses import credentials_in
from expresso_persist.http.access.limits import Rate
from expresso_persist.http.call import Call
from expresso_persist.http.endpoints.endpoint import FLAG, Endpoint, Query
from expresso_persist.http.messages import Response, success
from expresso_persist.ops.doctor import DoctorContext, examine, worst
from expresso_persist.store import Store

__all__ = ["ENDPOINTS"]

_TOKEN_LENGTH = 256


def health(call: Call) -> Response:
    """Say that the database answers, and how the backups are; late ones are no 503."""
    _probe(call.store).check()
    deep = _examined(call) if call.flag("deep") else {}
    return success(
        "Ready.",
        {
            "status": "ok",
            "version": importlib.metadata.version("expresso-persist"),
            "database": call.store.database.dialect,
            "backups": call.store.backups.health(),
            **deep,
        },
    )


class _Probe(threading.Thread):
    """Asks the database whether it answers, and is waited for a short time.

    Health has to say that the database hangs, and not to hang with it.
    """

    PATIENCE = 2.0

    def __init__(self, store: Store) -> None:
        super().__init__(name="expresso-persist-health", daemon=True)
        self._store = store
        self._end = time.monotonic() + self.PATIENCE
        self._error: Exception | None = DatabaseUnavailable(retry_after=2)

    def run(self) -> None:
        try:
            with timeouts.request():
                migrations.check(self._store.database)
                self._store.inventory.head()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        else:
            self._error = None

    def check(self) -> None:
        """Raise unless the database answers in time."""
        self.join(max(0.0, self._end - time.monotonic()))
        if self._error is not None:
            raise self._error


def _probe(store: Store) -> _Probe:
    """The probe that is running, or a new one; frequent requests share one thread."""
    extensions, name = store.database.extensions, f"health {store.tenant}"
    probe = extensions.get(name)
    if not isinstance(probe, _Probe) or not probe.is_alive():
        probe = extensions[name] = _Probe(store)
        probe.start()
    return probe


_DEEP = ("deep",)


def _examined(call: Call) -> dict[str, Any]:
    """What the doctor finds, for actors who may read."""
    request = call.request
    known = call.services.admission.admit(
        Needs(Permission.READ, Rate.READ, parameters=_DEEP), request
    )
    bare = not credentials_in(request, _DEEP)  # should not have been admitted
    context = DoctorContext(known.store, open_to=known.actor.name if bare else None)
    findings = [
        finding
        for finding in examine(context)
        # A weak token is reported only to those who can change it.
        if finding.check != "access" or bare or known.actor.permission >= Permission.ADMIN
    ]
    return {"state": worst(findings), "checks": [attrs.asdict(finding) for finding in findings]}


def openapi(call: Call) -> Response:
    """Give the OpenAPI document."""
    return Response(200, msgspec.json.encode(call.services.describe()))


def session(call: Call) -> Response:
    """Exchange a one-time link for a session."""
    token = call.body().get("one_time_token")
    tokens = call.services.one_time_tokens
    if not isinstance(token, str) or len(token) > _TOKEN_LENGTH:
        raise InvalidInput(
            "one_time_token is the token of a link.", problems=[Problem("one_time_token", "text")]
        )
    if tokens is None:
        raise NotFound("This server hands out no one-time links; sign in with a token.")
    with call.services.admission.guess(call.request, token):
        found = tokens.exchange(token, call.idempotency_key)
    return success(
        "Signed in.",
        {
            "token": found.token,
            "expires_at": found.until.isoformat().replace("+00:00", "Z"),
            "permissions": ["read", "write", "admin"],
        },
        replayed=found.replayed,
    )


def metrics(call: Call) -> Response:
    """Give the figures of the backups as Prometheus reads them."""
    try:
        from expresso_persist.ops.metrics import render
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("prometheus_client"):
            raise
        raise NotFound(
            'Metrics need one more package on the server: pip install "expresso-persist[metrics]".'
        ) from None
    body, media_type = render(call.store)
    return Response(200, body, {"Content-Type": media_type})


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "health", "GET", "/api/migration/health", Permission.NONE, health,
        "Whether the server and its database answer, and backups are made.",
        query={"deep": Query("true: what the doctor finds, for actors who may read", FLAG)},
        error_statuses=(401, 403, 404),
    ),
    Endpoint(
        "openapi", "GET", "/api/migration/openapi.json", Permission.NONE, openapi,
        "This description.",
    ),
    Endpoint(
        "session", "POST", "/api/migration/session", Permission.NONE, session,
        "Exchange the token of a one-time link for a session.",
        body={
            "type": "object",
            "properties": {"one_time_token": {"type": "string", "maxLength": _TOKEN_LENGTH}},
            "required": ["one_time_token"],
        },
        error_statuses=(404,),
    ),
    Endpoint(
        "metrics", "GET", "/api/migration/metrics", Permission.READ, metrics,
        "Figures of the backups for Prometheus.", produces=("text/plain",),
    ),
)  # fmt: skip
