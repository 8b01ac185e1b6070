"""Backups outside the database: backup sync, and what `--from` means for the other verbs."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click

from expresso_persist.backups import Mirror, Synced, Verification
from expresso_persist.cli.archives import keys_in, passphrase_of
from expresso_persist.cli.base import Target, Terminal, plain, table, verb
from expresso_persist.cli.words import age, size
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.ops.drill import drill
from expresso_persist.store import Store

__all__ = ["Source", "copies", "from_mirror", "sync", "sync_quietly"]


@attrs.frozen(slots=False)
class Source:
    """A mirror to read from, and what opens its copies."""

    mirror: Mirror
    tenant: str
    identities: tuple[Path, ...]
    ask: bool

    @functools.cached_property
    def secrets(self) -> dict[str, Any]:
        """What opens an encrypted copy."""
        return {
            "identities": [key for path in self.identities for key in keys_in(path)],
            "passphrase": passphrase_of() if self.ask else None,
        }

    def fetch(self, store: Store, backup_id: str, terminal: Terminal) -> str:
        """Store a copy as a backup of ``store``; give its id there."""
        with (
            self.mirror.open(backup_id, self.tenant) as archive,
            terminal.measuring("Fetching") as progress,
        ):
            made = store.backups.import_(archive, progress=progress, **self.secrets)
        return made.id

    def drill(self, backup_id: str | None, terminal: Terminal) -> list[Verification]:
        """Restore one copy, or all of them, into databases that are thrown away."""
        if backup_id is None:
            chosen = self.mirror.copies(self.tenant)
        else:
            chosen = [self.mirror.find(backup_id, self.tenant)]
        secrets = self.secrets
        return [
            drill(self.mirror, copy, tenant=self.tenant, **secrets)
            for copy in terminal.progress("Restoring", chosen)
        ]


def from_mirror(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb ``--from URL`` and what opens the copies there: a source, or None."""

    @click.option("--from", "url", metavar="URL", help="Use the copies at this mirror.")
    @click.option(
        "--identity",
        "identities",
        multiple=True,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file of age with the private key that opens them.",
    )
    @click.option("--passphrase", "ask", is_flag=True, help="Open them with a passphrase.")
    @functools.wraps(function)
    def wrapper(
        target: Target,
        terminal: Terminal,
        *args: Any,
        url: str | None,
        identities: tuple[Path, ...],
        ask: bool,
        **kwargs: Any,
    ) -> None:
        source = None
        if url is not None:
            source = Source(Mirror(url), target.tenant or "default", identities, ask)
        elif identities or ask:
            raise click.UsageError("--identity and --passphrase open what --from names.")
        function(target, terminal, source, *args, **kwargs)

    return wrapper


@click.command
@verb
def sync(target: Target, terminal: Terminal) -> None:
    """Copy to the mirrors what they lack, now, and remove what their rotations drop.

    The mirrors are the host's, or those that EXPRESSO_PERSIST_MIRRORS names: folders and
    URLs that fsspec knows, with blanks between. Exit code 1: one of them failed.
    """
    with target.open() as store:
        if not store.backups.mirrors:
            raise InvalidConfiguration(
                "No mirror is set; name folders or URLs in EXPRESSO_PERSIST_MIRRORS."
            )
        with terminal.working("Copying"):
            done = store.backups.sync_mirrors()
    terminal.result(
        {"mirrors": [attrs.asdict(synced) for synced in done]}, *(_line(synced) for synced in done)
    )
    if any(synced.error for synced in done):
        click.get_current_context().exit(1)


def sync_quietly(store: Store, terminal: Terminal) -> None:
    """Copy a backup that was just made; a mirror that fails does not make that a failure."""
    for synced in store.backups.sync_mirrors():
        if synced.error:
            terminal.note(synced.error)


def copies(source: Source, terminal: Terminal) -> None:
    """Print what is at a mirror."""
    with terminal.working("Looking"):
        found = source.mirror.copies(source.tenant)
    now = dt.datetime.now(dt.UTC)
    rows = [
        (
            copy.id, f"{copy.created_at:%Y-%m-%d %H:%M:%SZ}", age(now - copy.created_at),
            copy.backup_type, size(copy.size), copy.revision, "yes" if copy.encrypted else "no",
        )
        for copy in found
    ]  # fmt: skip
    header = ("ID", "MADE", "AGE", "TYPE", "SIZE", "REVISION", "ENCRYPTED")
    lines = table([header, *rows]) if rows else [f"There is no copy at {source.mirror.name}."]
    data = [{**attrs.asdict(copy), "created_at": copy.created_at.isoformat()} for copy in found]
    terminal.result({"mirror": source.mirror.name, "copies": data}, *lines)


def _line(synced: Synced) -> str:
    if synced.error:
        return f"{plain(synced.mirror)}: FAILED. {plain(synced.error)}"
    if synced.busy:
        return f"{plain(synced.mirror)}: another process is copying."
    return f"{plain(synced.mirror)}: copied {len(synced.copied)}, removed {len(synced.deleted)}."
