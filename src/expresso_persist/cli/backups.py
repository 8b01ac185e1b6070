"""backup create, list, verify, restore, run."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import attrs
import click

from expresso_persist.cli import differences
from expresso_persist.cli.base import (
    NO_BACKUP_YET,
    Target,
    Terminal,
    Verbs,
    actor,
    plain,
    resolve,
    table,
    verb,
)

__all__ = ["backup", "size"]


@click.group(cls=Verbs)
def backup() -> None:
    """Make, list, check and restore backups."""


@backup.command
@click.option("--notes", default="", help="Free text for people.")
@verb
def create(target: Target, terminal: Terminal, notes: str) -> None:
    """Make a backup now and verify it; rotation leaves it alone."""
    with target.open() as store, terminal.working("Backing up"):
        made = store.backups.create("manual", notes, actor())
    terminal.result(
        made.to_json(), f"Made and verified backup {made.id} ({size(made.file_size_bytes)})."
    )


@backup.command("list")
@verb
def list_(target: Target, terminal: Terminal) -> None:
    """List the backups, newest first."""
    with target.open() as store:
        found = store.backups.list()
    rows = [("ID", "MADE", "TYPE", "STATUS", "REVISION", "SIZE", "NOTES")]
    rows += [
        (
            made.id,
            made.created_at.strftime("%Y-%m-%d %H:%M:%SZ"),
            made.backup_type + (" (pinned)" if made.pinned else ""),
            "verified" if made.verified_at else made.backup_status,
            str(made.revision),
            size(made.file_size_bytes),
            made.notes,
        )
        for made in found
    ]
    lines = table(rows) if found else [NO_BACKUP_YET]
    terminal.result({"backups": [made.to_json() for made in found]}, *lines)


@backup.command
@click.argument("backup_id", metavar="ID")
@verb
def verify(target: Target, terminal: Terminal, backup_id: str) -> None:
    """Read backup ID back, check every byte and rebuild it in a scratch database.

    "latest" is the newest one. Exit code 1: it would not restore.
    """
    with target.open() as store, terminal.working("Verifying"):
        result = store.backups.verify(resolve(store, backup_id))
    verdict = "restores." if result.ok else "DOES NOT RESTORE."
    terminal.result(
        attrs.asdict(result),
        *map(plain, result.problems),
        f"Backup {result.backup_id} {verdict}",
    )
    if not result.ok:
        click.get_current_context().exit(1)


@backup.command
@click.argument("backup_id", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--kind", "kinds", multiple=True, help="Restore only this kind of record.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
def restore(
    target: Target,
    terminal: Terminal,
    backup_id: str,
    dry_run: bool,
    kinds: tuple[str, ...],
    yes: bool,
) -> None:
    """Bring the data back to what it was in backup ID.

    "latest" is the newest that is no safety backup.
    Shows the plan and asks first; makes a safety backup of the present state; is one commit.
    """
    with target.open() as store:
        chosen = resolve(store, backup_id)
        with terminal.working("Comparing"):
            plan = store.backups.plan_restore(chosen, kinds or None)
        if not dry_run and not plan.plan.empty and not yes:
            if terminal.json or not sys.stdin.isatty():
                raise click.UsageError("Nobody is here to ask; say --yes (or --dry-run).")
            for sentence in plan.summary:
                terminal.note(sentence)
            click.confirm("Restore?", abort=True, err=True)
        if not dry_run:
            with terminal.working("Restoring"):
                plan = store.backups.restore(chosen, actor=actor(), kinds=kinds or None)
    lines = [plain(sentence) for sentence in plan.summary]
    if plan.committed:
        lines.append(f"Committed as revision {plan.revision}.")
    elif plan.dry_run:
        lines.append("Nothing was written: this was a dry run.")
    terminal.result(plan.to_json(), *lines)


backup.add_command(differences.diff)


@backup.command
@click.option("--loop", is_flag=True, help="Go on until SIGTERM or Ctrl-C.")
@verb
def run(target: Target, terminal: Terminal, loop: bool) -> None:
    """Make the automatic backup if it is due; for cron, or --loop for a service.

    Any number of these and of servers may run: exactly one of them makes each backup.
    """
    with target.open() as store:
        if loop:
            stop = threading.Event()
            _on_signals(stop)
            store.backups.start()
            terminal.note(f"Backing up {store.url} every {store.backups.interval:.0f} s.")
            stop.wait()
            store.backups.stop()
            return
        with terminal.working("Backing up"):
            made = store.backups.run_once()
    if made is None:
        line = "No backup is due, or another process is making it."
    elif made.confirmed_at is not None:
        line = f"Nothing changed since backup {made.id}; it was confirmed."
    else:
        line = f"Made and verified backup {made.id} ({size(made.file_size_bytes)})."
    terminal.result({"backup": None if made is None else made.to_json()}, line)


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _on_signals(stop: threading.Event) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
