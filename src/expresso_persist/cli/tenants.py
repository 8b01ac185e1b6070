"""tenant create, list, rename, delete; security enable-rls, disable-rls."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from expresso_persist.cli.archives import passphrase_of
from expresso_persist.cli.base import Target, Terminal, Verbs, actor, may_write, plain, table, verb
from expresso_persist.cli.words import size
from expresso_persist.db import row_security

__all__ = ["security", "tenant"]


@click.group(cls=Verbs)
def tenant() -> None:
    """Look after the tenants: shops or events that share the database and nothing else."""


@tenant.command
@click.argument("name")
@verb
def create(target: Target, terminal: Terminal, name: str) -> None:
    """Create a tenant NAME without data."""
    with target.open() as store:
        made = store.tenants.create(name)
    terminal.result({"tenant": made.name}, f"Created tenant {plain(made.name)}.")


@tenant.command("list")
@verb
def list_(target: Target, terminal: Terminal) -> None:
    """List all tenants of the database."""
    with target.open() as store:
        found = store.tenants.list()
    rows = [(one.name, one.revision, f"{one.created_at:%Y-%m-%d %H:%M:%SZ}") for one in found]
    data = [
        {"name": one.name, "revision": one.revision, "created_at": one.created_at.isoformat()}
        for one in found
    ]
    header = ("NAME", "REVISION", "CREATED")
    lines = table([header, *rows]) if rows else ["There is no tenant yet."]
    terminal.result({"tenants": data}, *lines)


@tenant.command
@click.argument("old")
@click.argument("new")
@verb
def rename(target: Target, terminal: Terminal, old: str, new: str) -> None:
    """Give the tenant OLD the name NEW: its data, history and backups stay.

    Who still uses the old name is refused from now on.
    """
    with target.open() as store, terminal.working("Renaming"):
        made = store.tenants.rename(old, new, actor=actor())
    terminal.result(
        {"tenant": made.name, "revision": made.revision},
        f"Renamed {plain(old)} to {plain(new)} (revision {made.revision}).",
        "Change the name in settings and scripts, and make new tokens: those of the old name "
        "open nothing any more. Copies at mirrors stay in the folder "
        "of the old name; new ones go to another.",
    )


@tenant.command
@click.argument("name")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
    help="Where the archive goes; default: a name with the time.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--passphrase", is_flag=True, help="Encrypt the archive with a passphrase.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
def delete(
    target: Target,
    terminal: Terminal,
    name: str,
    output: Path | None,
    force: bool,
    passphrase: bool,
    yes: bool,
) -> None:
    """Delete the tenant NAME, after its state was written to an archive that restores.

    Its history and its earlier backups are gone afterwards.
    """
    named = output or Path(f"tenant-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.expresso.zst")
    path = may_write(named, force=force)
    secret = passphrase_of(twice=True) if passphrase else None
    with target.open() as store:
        if not yes:
            click.confirm(
                f"Delete the tenant {plain(name)}, its history and its backups?",
                abort=True,
                err=True,
            )
        with terminal.working("Archiving and deleting"):
            gone = store.tenants.delete(name, path, actor=actor(), passphrase=secret, replace=force)
    terminal.result(
        {"tenant": name, "archive": str(path), "bytes": gone.bytes, "rows": gone.rows},
        f"Wrote its last state to {plain(path)} ({size(gone.bytes)}), which restores.",
        f"Deleted tenant {plain(name)}: {sum(gone.rows.values())} rows.",
    )


@click.group(cls=Verbs)
def security() -> None:
    """Row level security of PostgreSQL: a second wall between the tenants."""


@security.command("enable-rls")
@verb
def enable_rls(target: Target, terminal: Terminal) -> None:
    """Let PostgreSQL itself keep each transaction to the rows of its tenant.

    Does nothing against superusers and roles with BYPASSRLS: `doctor` tells.
    """
    with target.open() as store:
        names = row_security.enable(store.database)
    terminal.result(
        {"tables": names},
        f"Row level security guards {len(names)} tables. Restart the servers that use this "
        "database.",
    )


@security.command("disable-rls")
@verb
def disable_rls(target: Target, terminal: Terminal) -> None:
    """Turn it off again."""
    with target.open() as store:
        names = row_security.disable(store.database)
    terminal.result({"tables": names}, f"Row level security is off for {len(names)} tables.")
