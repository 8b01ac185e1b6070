"""Tokens to the last detail: whose they are, when they end, and what a name may be."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import attrs
import pytest

import secret_vectors as vectors
from expresso_persist import Store
from expresso_persist.errors import InvalidInput, NotFound
from expresso_persist.tenants.tokens import AccessToken, tenant_of


def encoded(tenant: str) -> str:
    return base64.urlsafe_b64encode(tenant.encode()).decode().rstrip("=")


def test_what_is_known_of_a_token_is_what_was_asked_for(store: Store) -> None:
    """The same from making it, from the list and from recognising it."""
    tenant = store.for_tenant("south")
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    text, made = tenant.tokens.create("anna", "write", lifetime=dt.timedelta(hours=8))
    assert (made.tenant, made.name, made.permission) == ("south", "anna", "write")
    assert before < made.created_at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    assert made.expires_at == made.created_at + dt.timedelta(hours=8)
    assert tenant.tokens.list() == [made]
    assert tenant.tokens.recognise(text) == made
    mark, name, id_, secret = text.split(".")
    assert (mark, name, id_) == ("xp", encoded("south"), made.id)
    assert len(bytes.fromhex(id_)) == 6
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    other, unending = tenant.tokens.create("bert", "read")
    assert unending.expires_at is None
    assert tenant.tokens.recognise(other) == unending


def test_no_token_holds_a_sign_that_addresses_escape(store: Store) -> None:
    for tenant in ("default", "a", "ab", "abc", "abW"):  # the last one's code ends with an X
        text, made = store.for_tenant(tenant).tokens.create("anna", "read")
        assert store.for_tenant(tenant).tokens.recognise(text) == made
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_a_token_is_over_at_its_end() -> None:
    end = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    token = AccessToken("default", "1", "anna", "read", end, end)
    moment = dt.timedelta(microseconds=1)
    assert [token.expired(end + step) for step in (-moment, 0 * moment, moment)] == [
        False,
        True,
        True,
    ]
    assert not attrs.evolve(token, expires_at=None).expired(end)


def test_tokens_are_listed_by_name(store: Store) -> None:
    for name in ("carl", "anna", "bert"):
        store.tokens.create(name, "read")
    assert [token.name for token in store.tokens.list()] == ["anna", "bert", "carl"]


def test_revoking_ends_the_one_token_of_one_tenant(store: Store) -> None:
    """Not that of the same name elsewhere, and no other one of the tenant."""
    south = store.for_tenant("south")
    texts = {
        (tenant, name): tenant.tokens.create(name, "read")[0]
        for tenant in (store, south)
        for name in ("anna", "bert")
    }
    store.tokens.revoke("anna")
    assert {
        (tenant.tenant, name): tenant.tokens.recognise(text) is not None
        for (tenant, name), text in texts.items()
    } == {
        ("default", "anna"): False,
        ("default", "bert"): True,
        ("south", "anna"): True,
        ("south", "bert"): True,
    }
    with pytest.raises(NotFound):
        store.tokens.revoke("anna")
    with pytest.raises(InvalidInput):
        store.tokens.revoke("a\0b")


def test_whose_a_token_is_says_only_a_whole_token() -> None:
    for tenant in ("default", "~~~", "???", "Frühling/2026 .x"):
        assert tenant_of(f"xp.{encoded(tenant)}.id.secret") == tenant
    assert {"-", "_"} <= {*encoded("~~~"), *encoded("???")}
    name = encoded("default")
    assert tenant_of(f"xp.{name}.id.a\0b") == "default", "of the secret only the hash is looked at"
    for other in (
        f"xp.{name[:4]}!{name[4:]}.id.secret",
        f"xp.{name[:4]} {name[4:]}.id.secret",
        f"xp.{name[:4]}!!!!{name[4:]}.id.secret",
        f"xp.{encoded('a' + chr(0) + 'b')}.id.secret",
        f"xp.{name}.i\0d.secret",
        f"xp.{name}.id",
        f"xp.{name}.id.secret.more",
        f"xp.{name}.id.secr\u00e9t",
        f"xp.{base64.urlsafe_b64encode(bytes([0xFF])).decode().rstrip('=')}.id.secret",
        f"yp.{name}.id.secret",
    ):
        assert tenant_of(other) is None, other


@pytest.mark.parametrize("name", ["a", "x" * 256, "Zoë & Ben"])
def test_a_name_of_any_length_that_fits(store: Store, name: str) -> None:
    text, _ = store.tokens.create(name, "read")
    known = store.tokens.recognise(text)
    assert known is not None
    assert known.name == name


@pytest.mark.parametrize(
    ("path", "name", "permission", "lifetime"),
    [
        ("name", "", "read", None),
        ("name", "x" * 257, "read", None),
        ("name", "a\tb", "read", None),
        ("name", 7, "read", None),
        ("name", vectors.jwt(), "read", None),
        ("permission", "anna", "Read", None),
        ("permission", "anna", None, None),
        ("lifetime", "anna", "read", dt.timedelta(0)),
        ("lifetime", "anna", "read", dt.timedelta(seconds=-1)),
        ("lifetime", "anna", "read", 60),
    ],
)
def test_what_cannot_be_is_refused_by_its_path(
    store: Store, path: str, name: Any, permission: Any, lifetime: Any
) -> None:
    with pytest.raises(InvalidInput) as caught:
        store.tokens.create(name, permission, lifetime=lifetime)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert store.tokens.list() == []


def test_what_is_no_text_is_no_token(store: Store) -> None:
    given: Any = b"xp.a.b.c"
    assert store.tokens.recognise(given) is None
