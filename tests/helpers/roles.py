"""Roles of PostgreSQL that may do as little as a careful operator lets them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

__all__ = ["grant", "plain_role"]


@contextlib.contextmanager
def plain_role(url: str) -> Iterator[str]:
    """The database as a new role that may connect; what it owns at the end becomes ours."""
    role = f"plain_{uuid.uuid4().hex[:12]}"
    name = sql.Identifier(role)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'plain'").format(name))
    yield make_url(url).set(username=role, password="plain").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}"):
            connection.execute(sql.SQL(statement).format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def grant(url: str, plain_url: str, rights: LiteralString) -> None:
    """Give the plain role rights on what is there."""
    role = sql.Identifier(make_url(plain_url).username or "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(rights), role))
