"""token create, list, revoke."""

from __future__ import annotations

import datetime as dt

import click

from expresso_persist.cli.base import Target, Terminal, Verbs, duration, plain, table, verb
from expresso_persist.tenants.tokens import PERMISSIONS, AccessToken

__all__ = ["token"]


@click.group(cls=Verbs, short_help="Make and revoke the tokens that open the data over HTTP.")
def token() -> None:
    """Make and revoke the tokens that open the data over HTTP.

    Give each station, display and person one of its own: the audit trail then tells them
    apart, their limits are their own, and one can be revoked without the others.
    """


@token.command()
@click.argument("name")
@click.option(
    "--permission",
    type=click.Choice(PERMISSIONS),
    default="write",
    show_default=True,
    help="What it may do; each includes those before it.",
)
@click.option(
    "--expires-in",
    callback=duration,
    metavar="DURATION",
    help="How long it lasts, such as 12h, 3d or 2w; default: until it is revoked.",
)
@verb
def create(
    target: Target,
    terminal: Terminal,
    name: str,
    permission: str,
    expires_in: dt.timedelta | None,
) -> None:
    """Make a token for NAME; it is shown this once and kept nowhere."""
    with target.open() as store:
        text, made = store.tokens.create(name, permission, lifetime=expires_in)
    end = "until it is revoked" if made.expires_at is None else f"until {_time(made.expires_at)}"
    terminal.result(
        {**_json(made), "token": text},
        f"Token for {plain(name)} ({permission}, {end}):",
        text,
        "Send it as `Authorization: Bearer …`. It cannot be shown again.",
    )


@token.command("list")
@verb
def list_(target: Target, terminal: Terminal) -> None:
    """List the tokens; the tokens themselves are kept nowhere."""
    now = dt.datetime.now(dt.UTC)
    with target.open() as store:
        found = store.tokens.list()
    rows = [
        (
            each.name,
            each.permission,
            _time(each.created_at),
            "never" if each.expires_at is None else _time(each.expires_at),
            "expired" if each.expired(now) else "",
        )
        for each in found
    ]
    heading = ("name", "permission", "created", "expires", "")
    lines = table([heading, *rows]) if rows else ["No tokens."]
    terminal.result({"tokens": [_json(each) for each in found]}, *lines)


@token.command()
@click.argument("name")
@verb
def revoke(target: Target, terminal: Terminal, name: str) -> None:
    """End the token of NAME; servers notice within ten seconds."""
    with target.open() as store:
        store.tokens.revoke(name)
    terminal.result({"revoked": name}, f"Revoked the token of {plain(name)}.")


def _json(token: AccessToken) -> dict[str, str | None]:
    return {
        "name": token.name,
        "permission": token.permission,
        "created_at": _time(token.created_at),
        "expires_at": None if token.expires_at is None else _time(token.expires_at),
    }


def _time(value: dt.datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
