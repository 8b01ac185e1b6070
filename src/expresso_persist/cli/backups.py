"""The verbs of `backup`; list, rotate and diff have modules of their own."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import TypedDict

import attrs
import click

from expresso_persist.backups import Verification
from expresso_persist.backups.restore_plan import RestorePlan
from expresso_persist.cli import differences, listing, mirrors
from expresso_persist.cli.base import (
    NO_BACKUP_YET,
    Target,
    Terminal,
    Verbs,
    actor,
    plain,
    resolve,
    verb,
)
from expresso_persist.cli.words import size
from expresso_persist.errors import BackupNotFound
from expresso_persist.store import Store

__all__ = ["backup"]


@click.group(cls=Verbs)
def backup() -> None:
    """Make, list, check and restore backups."""


@backup.command
@click.option("--notes", default="", help="Free text for people.")
@verb
def create(target: Target, terminal: Terminal, notes: str) -> None:
    """Make a backup now, verify it and copy it to the mirrors; rotation leaves it alone."""
    with target.open() as store:
        with terminal.working("Backing up"):
            made = store.backups.create("manual", notes, actor())
        with terminal.working("Copying"):
            mirrors.sync_quietly(store, terminal)
    terminal.result(
        made.to_json(), f"Made and verified backup {made.id} ({size(made.file_size_bytes)})."
    )


backup.add_command(listing.list_)


@backup.command
@click.argument("backup_id", metavar="[ID]", required=False)
@click.option("--all", "every", is_flag=True, help="Verify every backup there is.")
@verb
@mirrors.from_mirror
def verify(
    target: Target,
    terminal: Terminal,
    source: mirrors.Source | None,
    backup_id: str | None,
    every: bool,
) -> None:
    """Read backup ID back, check every byte and rebuild it in a scratch database.

    "latest" is the newest one. Exit code 1: it (or with --all one of them) would not
    restore, or there is none. With --from: copies at a mirror are fetched and restored into
    a new database that is thrown away, as after a disaster; yours is not touched.
    """
    if (backup_id is None) is not every:
        raise click.UsageError("Name a backup (such as latest), or say --all.")
    if source is not None:
        results = source.drill(backup_id, terminal)
    else:
        with target.open() as store:
            if backup_id is None:
                results = _verify_all(store, terminal)
            else:
                with terminal.working("Verifying"):
                    results = [store.backups.verify(resolve(store, backup_id))]
    ok = all(result.ok for result in results)
    found = [attrs.asdict(result) for result in results]
    lines = [line for result in results for line in _verdict(result)]
    if every:
        bad = sum(not result.ok for result in results)
        lines.append(f"Verified {len(results)}: {bad or 'none'} of them would fail to restore.")
    terminal.result({"ok": ok, "backups": found} if every else found[0], *lines)
    if not ok:
        click.get_current_context().exit(1)


def _verify_all(store: Store, terminal: Terminal) -> list[Verification]:
    results: list[Verification] = []
    # Those that failed before they held anything are traces, not backups.
    backups = [made for made in store.backups.list() if made.payload_sha256]
    if not backups:
        raise BackupNotFound(NO_BACKUP_YET)
    for made in terminal.progress("Verifying", backups):
        with contextlib.suppress(BackupNotFound):  # rotated away meanwhile
            results.append(store.backups.verify(made.id))
    return results


def _verdict(result: Verification) -> list[str]:
    verdict = "restores." if result.ok else "DOES NOT RESTORE."
    return [*map(plain, result.problems), f"Backup {result.backup_id} {verdict}"]


@backup.command
@click.argument("backup_id", metavar="ID")
@verb
def pin(target: Target, terminal: Terminal, backup_id: str) -> None:
    """Keep backup ID whatever the rotation says ("latest" is the newest one)."""
    with target.open() as store:
        made = store.backups.pin(resolve(store, backup_id))
    terminal.result(made.to_json(), f"Pinned backup {made.id}; rotation leaves it alone.")


@backup.command
@click.argument("backup_id", metavar="ID")
@verb
def unpin(target: Target, terminal: Terminal, backup_id: str) -> None:
    """Let backup ID rotate again."""
    with target.open() as store:
        made = store.backups.pin(resolve(store, backup_id), pinned=False)
    terminal.result(made.to_json(), f"Unpinned backup {made.id}; rotation decides about it.")


backup.add_command(listing.rotate)


class _Scope(TypedDict):
    kinds: tuple[str, ...] | None
    stations: tuple[str, ...] | None
    keys: tuple[str, ...] | None


@backup.command
@click.argument("backup_id", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--kind", "kinds", multiple=True, help="Restore only this kind of record.")
@click.option("--station", "stations", multiple=True, help="Restore only this station's.")
@click.option(
    "--key", "keys", multiple=True, help="Restore only this record: event_inventory:milk/Oat."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
@mirrors.from_mirror
def restore(
    target: Target,
    terminal: Terminal,
    source: mirrors.Source | None,
    backup_id: str,
    dry_run: bool,
    kinds: tuple[str, ...],
    stations: tuple[str, ...],
    keys: tuple[str, ...],
    yes: bool,
) -> None:
    """Bring the data back to what it was in backup ID.

    "latest" is the newest that is no safety backup.
    Shows the plan and asks first; makes a safety backup of the present state; is one commit.
    With --from the backup is fetched from a mirror first. The database is created if there
    is none: a mirror is all it takes after a disaster. A dry run creates none; in one that is
    there it keeps the fetched backup, and says so.
    """
    scope = _Scope(kinds=kinds or None, stations=stations or None, keys=keys or None)
    asking = not dry_run and not yes
    new = False
    if source is not None:
        source.mirror.find(backup_id, source.tenant)  # before a database is created for it
        new = target.is_new
        if new and asking:
            _try_first(target, terminal, source, backup_id, scope)
            asking = False
        if new and not dry_run:
            target.create()
    fetched = False
    with target.tried() if dry_run and source else target.open(new_tenant=bool(source)) as store:
        if source is None:
            chosen = resolve(store, backup_id)
        else:
            before = {backup.id for backup in store.backups.list()}
            chosen = source.fetch(store, backup_id, terminal)
            fetched = chosen not in before and not new
        with terminal.working("Comparing"):
            plan = store.backups.plan_restore(chosen, **scope)
        if asking and not plan.plan.empty:
            _ask(terminal, plan, f"It stored backup {chosen}." if fetched else "")
        if not dry_run:
            with terminal.working("Restoring"):
                plan = store.backups.restore(chosen, actor=actor(), **scope)
        made = None
        if plan.committed and source is not None:
            # What was restored is of another database; from now on this one has its own.
            with terminal.working("Backing up"):
                made = store.backups.create("automatic", f"After restoring {chosen}", actor())
    lines, data = _outcome(plan, chosen if fetched else None), plan.to_json()
    if made is not None:
        lines.append(f"Made and verified backup {made.id} of the restored data.")
        data["backup_after"] = made.id
    terminal.result(data, *lines)


def _outcome(plan: RestorePlan, fetched: str | None) -> list[str]:
    """A restore in sentences; ``fetched`` is the backup that came from a mirror for it."""
    lines = [plain(sentence) for sentence in plan.summary]
    if plan.committed:
        lines.append(f"Committed as revision {plan.revision}.")
    elif plan.dry_run and fetched:
        lines.append(f"No data was changed: this was a dry run. It stored backup {fetched}.")
    elif plan.dry_run:
        lines.append("Nothing was written: this was a dry run.")
    return lines


def _try_first(
    target: Target, terminal: Terminal, source: mirrors.Source, backup_id: str, scope: _Scope
) -> None:
    """Ask about a restore into a database that is not there yet, before it is created."""
    _require_somebody(terminal)
    with target.tried() as store:
        chosen = source.fetch(store, backup_id, terminal)
        with terminal.working("Comparing"):
            plan = store.backups.plan_restore(chosen, **scope)
    _ask(terminal, plan, "No database was created.")


def _ask(terminal: Terminal, plan: RestorePlan, left: str) -> None:
    """Show a plan and ask whether to carry it out; end the verb if not."""
    _require_somebody(terminal)
    for sentence in plan.summary:
        terminal.note(sentence)
    try:
        click.confirm("Restore?", abort=True, err=True)
    except click.Abort:
        terminal.note(f"No data was changed. {left}".rstrip())
        raise


def _require_somebody(terminal: Terminal) -> None:
    if terminal.json or not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask at; say --yes (or --dry-run).")


backup.add_command(differences.diff)
backup.add_command(mirrors.sync)


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
        for mirror in store.backups.status()["mirrors"]:
            if mirror["failures"]:
                terminal.note(mirror["last_error"])
    if made is None:
        line = "No backup is due, or another process is making it."
    elif made.confirmed_at is not None:
        line = f"Nothing changed since backup {made.id}; it was confirmed."
    else:
        line = f"Made and verified backup {made.id} ({size(made.file_size_bytes)})."
    terminal.result({"backup": None if made is None else made.to_json()}, line)


def _on_signals(stop: threading.Event) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
