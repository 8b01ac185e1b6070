"""history, history forget, undo."""

from __future__ import annotations

import datetime as dt
import json

import click

from expresso_persist.cli.base import Target, Terminal, Verbs, actor, duration, plain, table, verb
from expresso_persist.commits.history import HistoryEntry
from expresso_persist.model.records import Change

__all__ = ["history", "undo"]

_MOST_SHOWN = 20  # records of an undo that are listed for people


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    short_help="Show who did what to a record or a station.",
)
@click.option("--kind", help="Kind of the record, such as station_stock.")
@click.option("--key", help='Key of the record, such as \'["1","milk","oat"]\'.')
@click.option("--station", metavar="ID", help="A station, instead of a record.")
@click.option("--before", type=click.IntRange(1, 10**18), help="Only before this revision.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many."
)
@verb
def history(
    target: Target,
    terminal: Terminal,
    kind: str | None,
    key: str | None,
    station: str | None,
    before: int | None,
    limit: int,
) -> None:
    """Show who did what to a record or a station, newest first; or all commits."""
    if click.get_current_context().invoked_subcommand is not None:
        if target.database is not None or target.tenant is not None:
            # It would be the default database that is worked on.
            raise click.UsageError("Put --database and --tenant after the verb.")
        return
    with target.open() as store:
        page = store.inventory.history(
            key=_key(kind, key), station_id=station, before=before, limit=limit
        )
    lines = table([_line(entry) for entry in page.entries]) if page.entries else ["Nothing."]
    if page.more:
        lines.append(f"There is more: --before {page.entries[-1].revision}")
    terminal.result(page.to_json(), *lines)


def _key(kind: str | None, key: str | None) -> tuple[str, list[str]] | None:
    if kind is None and key is None:
        return None
    try:
        parts = json.loads(key or "null")
    except ValueError:
        parts = None
    if kind is None or not isinstance(parts, list) or not all(isinstance(p, str) for p in parts):
        raise click.UsageError('Name a record by --kind and --key \'["1","milk","oat"]\'.')
    return kind, parts


def _line(entry: HistoryEntry) -> tuple[object, ...]:
    what = entry.source
    if entry.movement is not None:
        asked = entry.movement
        number = asked.get("delta", asked.get("quantity"))
        what = f"{asked['type']} {asked['item']} {number}"
        what += f" ({asked['reason']})" if "reason" in asked else ""
    touched = len(entry.changes)
    records = str(entry.changes[0].key) if touched == 1 else f"{touched} records"
    return (
        entry.revision,
        f"{entry.at:%Y-%m-%d %H:%M:%S}Z",
        entry.actor,
        what,
        records,
        entry.note,
    )


@history.command(short_help="Drop old changes for good.")
@click.option(
    "--older-than",
    callback=duration,
    required=True,
    metavar="AGE",
    help="Such as 400d, 12w or 36h.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be forgotten.")
@verb
def forget(target: Target, terminal: Terminal, older_than: dt.timedelta, dry_run: bool) -> None:
    """Drop what records were before, of commits older than AGE, for good.

    The data stays as it is, and so does who did what and when; `verify` goes on to work.
    What is older cannot be undone or looked at any more. Make a backup first.
    """
    before = dt.datetime.now(dt.UTC) - older_than
    with target.open() as store, terminal.working("Forgetting"):
        done = store.inventory.forget_history(before, actor=actor(), dry_run=dry_run)
    verb_ = "would be forgotten" if dry_run else "were forgotten"
    line = f"{done.changes} changes of {done.commits} commits {verb_}, up to revision"
    nothing = "Nothing is that old, or it was forgotten before."
    terminal.result(done.to_json(), f"{line} {done.through}." if done.commits else nothing)


@click.command(short_help="Take a commit back.")
@click.argument("revision", type=click.IntRange(1, 10**18))
@click.option("--dry-run", is_flag=True, help="Only say what would change, and what conflicts.")
@click.option("--force", is_flag=True, help="Also when later commits touched the same records.")
@verb
def undo(target: Target, terminal: Terminal, revision: int, dry_run: bool, force: bool) -> None:
    """Take the commit REVISION back, be it a tap, an import or a restore.

    Every record of it becomes what it was before. Refused when later commits touched one of
    them. Undoing the undo restores what it took back.
    """
    with target.open() as store:
        undone = store.inventory.undo(revision, actor=actor(), dry_run=dry_run, force=force)
    changes, conflicts = undone.plan.changes, undone.plan.conflicts
    lines = [_change(change) for change in changes[:_MOST_SHOWN]]
    if len(changes) > _MOST_SHOWN:
        lines.append(f"… and {len(changes) - _MOST_SHOWN} more")
    lines += [f"Conflict: {plain(c.path)} was {plain(c.message)}." for c in conflicts]
    if undone.commit is None:
        lines.append("Nothing was written: this was a dry run.")
    else:
        lines.append(f"Undone as revision {undone.commit.revision}.")
    terminal.result(undone.to_json(), *lines)


def _change(change: Change) -> str:
    if change.after is None:
        return f"remove  {plain(change.key)}"
    verb_ = "restore" if change.before is None else "change "
    return f"{verb_} {plain(change.key)}: {plain(change.after.text[:200])}"
