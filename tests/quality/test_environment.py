"""The suite's own fixtures keep their promises."""

from __future__ import annotations

import psycopg
import pytest

from postgres_server import given_server


def test_every_test_gets_an_empty_postgresql_database(postgresql_url: str) -> None:
    """Two tests never share a database, and it is a server of a supported version."""
    with psycopg.connect(postgresql_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone()
        assert row == (0,)
        assert connection.info.server_version >= 140000


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"DATABASE_URL": "sqlite:///x.db"}, None),
        ({"DATABASE_URL": "postgres://u@h/d"}, "postgresql://u@h/d"),
        ({"PGHOST": "/run/pg"}, "postgresql:///postgres"),
        ({"PGHOST": "h", "PGDATABASE": "d"}, "postgresql:///d"),
    ],
)
def test_a_given_server_is_recognised(environ: dict[str, str], expected: str | None) -> None:
    """DATABASE_URL counts when it is a PostgreSQL; otherwise libpq's variables do."""
    assert given_server(environ) == expected


@pytest.mark.browser
def test_the_browser_runs_javascript(page) -> None:
    """Chromium starts and has a localStorage of its own."""
    assert page.evaluate("JSON.stringify({b: 1, a: 0.125})") == '{"b":1,"a":0.125}'
