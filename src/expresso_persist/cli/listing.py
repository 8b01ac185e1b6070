"""backup list, backup rotate: what there is, how old it is, and why it stays."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Mapping, Sequence

import attrs
import click

from expresso_persist.backups import Backup, Decision
from expresso_persist.backups.manifest import HOST_PREFIX
from expresso_persist.cli.base import NO_BACKUP_YET, Target, Terminal, plain, table, verb
from expresso_persist.cli.mirrors import Source, copies, from_mirror
from expresso_persist.cli.words import age, size

__all__ = ["list_", "rotate"]


@click.command("list")
@verb
@from_mirror
def list_(target: Target, terminal: Terminal, source: Source | None) -> None:
    """List the backups, newest first: how old, how large, verified when, kept why.

    Ages are by the database's clock. A terminal that is too narrow for the table gets a
    few lines per backup. With --from: the copies at a mirror, which need no database.
    """
    if source is not None:
        copies(source, terminal)
        return
    with target.open() as store:
        found = store.backups.list()
        decisions = {made.backup_id: made for made in store.backups.rotate(dry_run=True)}
        with store.database.read() as connection:
            now = store.database.now(connection)
    listing = [_Row(made, decisions.get(made.id), now) for made in found]
    lines = _lines(listing, terminal.width) if found else [NO_BACKUP_YET]
    terminal.result({"backups": [row.to_json() for row in listing]}, *lines)


@click.command
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@verb
def rotate(target: Target, terminal: Terminal, dry_run: bool) -> None:
    """Drop the automatic backups that the rule does not keep; say for each one why.

    Inside a host's own command the rule is the host's, else it keeps the 50 newest. The
    scheduler and `backup run` do the same after each new backup.
    """
    with target.open() as store, terminal.working("Rotating"):
        found = {made.id: made for made in store.backups.list()}
        decisions = store.backups.rotate(dry_run=dry_run)
        rule = str(store.backups.rotation)
    dropped = sum(not decision.keep for decision in decisions)
    kept = len(decisions) - dropped
    data = {
        "dry_run": dry_run,
        "rule": rule,
        "kept": kept,
        "dropped": dropped,
        "decisions": [attrs.asdict(decision) for decision in decisions],
    }
    words = ("keep", "drop") if dry_run else ("kept", "dropped")
    rows = [
        (words[not d.keep], d.backup_id, _time(found.get(d.backup_id)), d.reason) for d in decisions
    ]
    last = f"Kept {kept}, dropped {dropped}; the rule: {rule}."
    if dry_run:
        last = f"Would keep {kept} and drop {dropped}; the rule: {rule}. Nothing was dropped."
    terminal.result(data, *(table(rows) if rows else [NO_BACKUP_YET]), last)


@attrs.frozen
class _Row:
    """One backup with what the list says besides: its age, and why it stays."""

    made: Backup
    decision: Decision | None
    now: dt.datetime

    @property
    def age(self) -> str:
        text = age(self.now - self.made.created_at)
        if self.made.backup_status == "completed" and self.made.confirmed_at is not None:
            # Old, and still the state as it was found then.
            text += f" (confirmed {_ago(self.now - self.made.confirmed_at)})"
        return text

    @property
    def type(self) -> str:
        return self.made.backup_type + (" (pinned)" if self.made.pinned else "")

    @property
    def records(self) -> int:
        counts: Mapping[str, int | str] = self.made.record_counts
        return sum(
            n
            for name, n in counts.items()
            if isinstance(n, int) and not name.startswith(HOST_PREFIX)
        )

    @property
    def verified(self) -> str:
        if self.made.verified_at is not None:
            return f"yes, {_ago(self.now - self.made.verified_at)}"
        return "NO: failed" if self.made.backup_status == "failed" else "NO"

    @property
    def kept(self) -> str:
        if self.decision is None:  # made while the list was
            return ""
        return self.decision.reason if self.decision.keep else f"NOT KEPT: {self.decision.reason}"

    @property
    def notes(self) -> str:
        return " ".join(text for text in (self.made.notes, self.made.error) if text)

    def cells(self) -> tuple[object, ...]:
        made = self.made
        return (
            made.id, _time(made), self.age, self.type, size(made.file_size_bytes),
            size(made.stored_bytes), self.records, self.verified, self.kept, self.notes,
        )  # fmt: skip

    def block(self) -> list[str]:
        made = self.made
        return [
            f"{_time(made)}, {self.type}, {self.age}",
            f"records: {self.records}; size: {size(made.file_size_bytes)}; stored: "
            + size(made.stored_bytes),
            f"verified: {self.verified}; kept: {self.kept}",
            *([self.notes] if self.notes else []),
        ]

    def to_json(self) -> dict[str, object]:
        decision = self.decision
        return {
            **self.made.to_json(),
            "age_seconds": (self.now - self.made.created_at).total_seconds(),
            "records": self.records,
            "kept": None if decision is None else decision.keep,
            "kept_because": None if decision is None else decision.reason,
        }


_HEADER = (
    "ID", "MADE", "AGE", "TYPE", "SIZE", "STORED", "RECORDS", "VERIFIED", "KEPT BECAUSE", "NOTES",
)  # fmt: skip


def _lines(rows: Sequence[_Row], width: int | None) -> list[str]:
    lines = table([_HEADER, *(row.cells() for row in rows)])
    if width is None or max(map(len, lines)) <= width:
        return lines
    return [line for row in rows for line in (row.made.id, *_wrapped(row.block(), width))]


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(
            plain(text), max(width, 20), initial_indent="  ", subsequent_indent="    "
        )
    ]


def _time(made: Backup | None) -> str:
    return "" if made is None else made.created_at.strftime("%Y-%m-%d %H:%M:%SZ")


def _ago(span: dt.timedelta) -> str:
    return f"{age(span)} ago" if span >= dt.timedelta(0) else age(span)
