"""backup export, import."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from expresso_persist.backups.catalog import Backup, iso
from expresso_persist.cli.base import Target, Terminal, actor, invocation, may_write, resolve, verb
from expresso_persist.cli.words import size

__all__ = ["export", "import_", "keys_in", "passphrase_of"]

_PASSPHRASE = "EXPRESSO_PERSIST_PASSPHRASE"  # noqa: S105 - its name, not itself


@click.command
@click.argument("backup_id", metavar="ID")
@click.option(
    "-o", "--output", metavar="FILE", help='Where to; default: a name with its time. "-": stdout.'
)
@click.option("--recipient", "recipients", multiple=True, metavar="AGE1…", help="Encrypt for it.")
@click.option(
    "--passphrase", is_flag=True, help=f"Encrypt with ${_PASSPHRASE}, or with what you type."
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@verb
def export(
    target: Target,
    terminal: Terminal,
    backup_id: str,
    output: str | None,
    recipients: tuple[str, ...],
    passphrase: bool,
    force: bool,
) -> None:
    """Write backup ID as an archive, a file that `backup import` reads anywhere.

    "latest" is the newest that is no safety backup. Without encryption `zstd -dc` shows it.
    """
    secret = passphrase_of(twice=True) if passphrase else None
    with target.open() as store, terminal.measuring("Writing") as progress:
        chosen = store.backups.get(resolve(store, backup_id))
        name = f"{chosen.created_at:%Y%m%dT%H%M%SZ}-{chosen.id[:8]}.expresso.zst"
        path = output or name + ".age" * bool(recipients or secret)
        to: Path | BinaryIO = (
            sys.stdout.buffer if path == "-" else may_write(Path(path), force=force)
        )
        store.backups.export(
            chosen.id, to, recipients=recipients, passphrase=secret, progress=progress
        )
    if isinstance(to, Path):
        terminal.result(
            {"backup": chosen.to_json(), "file": path, "bytes": to.stat().st_size},
            f"Wrote backup {chosen.id} to {path} ({size(to.stat().st_size)}).",
        )


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of age with the private key that opens it.",
)
@click.option("--passphrase", is_flag=True, help=f"Open it with ${_PASSPHRASE}, or what you type.")
@click.option("--from-tenant", metavar="NAME", help="It was written for this other tenant.")
@verb
def import_(
    target: Target,
    terminal: Terminal,
    file: BinaryIO,
    identities: tuple[Path, ...],
    passphrase: bool,
    from_tenant: str | None,
) -> None:
    """Store the archive FILE ("-" reads standard input) as a backup, and verify it.

    Nothing is restored by this. Creates the database if there is none, so that an archive
    is all it takes after a disaster.
    """
    secret = passphrase_of() if passphrase else None
    keys = [key for path in identities for key in keys_in(path)]
    with target.open(migrate=True) as store, terminal.measuring("Storing") as progress:
        made = store.backups.import_once(
            file,
            actor=actor(),
            idempotency_key=None,
            identities=keys,
            passphrase=secret,
            from_tenant=from_tenant,
            progress=progress,
        )
    stored = made.backup
    if made.already:
        line = (
            f"It was here already, as backup {stored.id} ({size(stored.file_size_bytes)}), so "
            "nothing was stored. All of the archive was read and is in order; the backup here "
            f"was {_last_checked(stored)}."
        )
    else:
        line = f"Stored and verified as backup {stored.id} ({size(stored.file_size_bytes)})."
    terminal.result(
        {**stored.to_json(), "already": made.already},
        line,
        f"To use it: {invocation()} backup restore {stored.id}{target.options}",
    )


def _last_checked(stored: Backup) -> str:
    if stored.verified_at is None:
        return f"never checked (`{invocation()} backup verify {stored.id}`)"
    return f"not checked again; it was last at {iso(stored.verified_at)}"


def keys_in(path: Path) -> list[str]:
    """The keys in a file as ``age-keygen`` writes it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def passphrase_of(*, twice: bool = False) -> str:
    """The passphrase from the environment, or from who is at the keyboard."""
    given = os.environ.get(_PASSPHRASE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"There is no terminal to ask at; set {_PASSPHRASE}.")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
