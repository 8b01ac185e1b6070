"""The published contract suite on an adapter that somebody else could have written: Django's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.http import NO_RATES, Api, BearerTokens
from expresso_persist.testing import *  # noqa: F403 - the suite is a module of tests
from expresso_persist.testing import TOKENS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def django_host() -> Iterator[Any]:
    """The example as a project uses it: with settings and URLs of its own."""
    from django.conf import settings

    settings.configure(
        ROOT_URLCONF=ModuleType("urls"),
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    )
    sys.path.insert(0, str(EXAMPLES))
    try:
        import django_host

        yield django_host
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One is enough: below the adapter everything is the same as for the others."""
    return sqlite_url


@pytest.fixture
def client(django_host: Any, store: Store) -> Any:
    """Asks the example through Django's handler of WSGI requests."""
    from django.conf import settings
    from django.test import Client

    api = Api(store, authorize=BearerTokens(TOKENS), limits=NO_RATES)
    settings.ROOT_URLCONF = ModuleType("urls")
    settings.ROOT_URLCONF.urlpatterns = django_host.urls(api)
    http = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def ask(
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",
        headers: dict[str, str] | None = None,
    ) -> Any:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        kind = sent.pop("Content-Type", "")
        # By itself Django's client tells no type of an empty body.
        answer = http.generic(method, path, content, headers=sent, CONTENT_TYPE=kind)
        whole = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return Answer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, whole)

    return ask


class Answer(SimpleNamespace):
    """A response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status=status, headers=headers, body=body)

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


def test_it_is_under_a_hundred_lines() -> None:
    """As promised in docs/other-frameworks.md."""
    assert len((EXAMPLES / "django_host.py").read_text("utf-8").splitlines()) < 100
