"""init, import, export, status, verify."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from expresso_persist import adoption
from expresso_persist.backups.transfer import whole_file
from expresso_persist.cli.base import (
    NEEDS_A_LOOK,
    Target,
    Terminal,
    actor,
    may_write,
    plain,
    table,
    verb,
)
from expresso_persist.db.database import Database
from expresso_persist.importing.receipt import Lookalikes, Receipt
from expresso_persist.store import Store, lost_data

__all__ = ["export", "import_", "init", "status", "verify"]


@click.command
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--undo",
    is_flag=True,
    help="Bring the replaced system's tables back, if nothing changed since.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Where tables were dropped by something else, make them again, empty.",
)
@click.option("--report", is_flag=True, help="Show again what an earlier adoption did.")
@verb
def init(
    target: Target, terminal: Terminal, dry_run: bool, undo: bool, fresh: bool, report: bool
) -> None:
    """Create the tables, bring older ones up to date, or adopt those of the replaced system.

    An adopted database keeps its old tables as legacy_…; --dry-run says what would become of
    every row, --report what did.
    """
    if dry_run + undo + fresh + report > 1:
        raise click.UsageError("Give one of --dry-run, --undo, --fresh and --report.")
    if undo:
        _bring_back(target, terminal)
    elif report:
        _show_report(target, terminal)
    else:
        _bring_up_to_date(target, terminal, dry_run=dry_run, fresh=fresh)


def _bring_up_to_date(target: Target, terminal: Terminal, *, dry_run: bool, fresh: bool) -> None:
    tenant, existed = target.tenant or "default", not target.is_missing_file
    if dry_run:
        database = target.look()
        try:
            with target.reached():
                report = adoption.upgrade(database, tenant=tenant, dry_run=True)
        finally:
            database.close()
    else:
        database = Database(target.url)
        try:
            with target.reached():
                report = adoption.upgrade(database, tenant=tenant, fresh=fresh)
        finally:
            database.close()
    steps = [*report.steps]
    lost = lost_data(tenant) if report.created else []
    if not dry_run and not existed:
        steps = [f"Created {database.url}.", *steps]
    if not steps:
        lost = _lost(target)
    data: dict[str, Any] = {"dry_run": dry_run, "steps": steps, "newer_at_mirrors": lost}
    if report.adopted is not None:
        data["adopted"] = report.adopted.to_json()
    lines = [*(steps or ["The database is up to date."]), *lost]
    terminal.result(data, *map(plain, lines))
    if report.adopted is not None and report.adopted.needs_a_look:
        click.get_current_context().exit(NEEDS_A_LOOK)


def _lost(target: Target) -> list[str]:
    """What mirrors have that is newer than what an existing database holds."""
    with target.open() as store:
        return store.backups.newer_at_mirrors()


def _show_report(target: Target, terminal: Terminal) -> None:
    with target.open() as store:
        found = adoption.last_report(store.database, store.tenant)
    if found is None:
        lines = ["Nothing was adopted here, or by a version that kept no report of it."]
        terminal.result({"adopted": None}, *lines)
        return
    terminal.result({"adopted": found.to_json()}, *map(plain, found.sentences(dry_run=False)))


def _bring_back(target: Target, terminal: Terminal) -> None:
    database = Database(target.url)
    try:
        with target.reached():
            steps = adoption.undo(database)
    finally:
        database.close()
    terminal.result({"steps": steps}, *map(plain, steps))


@click.command("import", short_help="Take in a localStorage dump from a file.")
@click.argument("file", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option(
    "--mode",
    type=click.Choice(["merge", "replace"]),
    default="merge",
    show_default=True,
    help="merge keeps what the file does not have, or has empty; replace removes it.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["incoming", "existing", "fail"]),
    default="incoming",
    show_default=True,
    help="Whose value stays where both have one that is not empty.",
)
@click.option(
    "--include",
    multiple=True,
    type=click.Choice(["caches"]),
    help="Also take caches and interface state.",
)
@click.option("--device-id", metavar="ID", help="Whose preferences the file holds.")
@verb
def import_(
    target: Target,
    terminal: Terminal,
    file: Path,
    dry_run: bool,
    mode: Any,
    on_conflict: Any,
    include: tuple[str, ...],
    device_id: str | None,
) -> None:
    """Take in FILE, a localStorage dump as JSON ("-" reads standard input).

    Secrets are refused, caches skipped, broken values put into quarantine; the receipt says
    what became of each key. An import that changes or removes anything stored makes a safety
    backup first. Creates the database if there is none. Exit code 3: done, but something is
    in quarantine.
    """
    content = _read(file)
    options = {
        "mode": mode,
        "on_conflict": on_conflict,
        "include": include,
        "device_id": device_id,
    }
    if dry_run and target.is_new:
        # Compared with nothing, and nothing is created.
        with Store("sqlite://", migrate=True) as empty:
            receipt = empty.importer.plan(content, **options)
    else:
        with target.open(migrate=not dry_run) as store, terminal.working("Importing"):
            if dry_run:
                receipt = store.importer.plan(content, **options)
            else:
                receipt = store.importer.import_(content, actor=actor(), **options)
    terminal.result(receipt.to_json(), *_receipt_lines(receipt))
    if receipt.totals["quarantined"]:
        click.get_current_context().exit(NEEDS_A_LOOK)


@click.command(short_help="Write everything as a localStorage dump.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help='Write to this file instead of standard output ("-").',
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--device-id", metavar="ID", help="Whose preferences to include.")
@click.option("--devices", is_flag=True, help="Only list the devices that have preferences.")
@verb
def export(
    target: Target,
    terminal: Terminal,
    output: Path | None,
    force: bool,
    device_id: str | None,
    devices: bool,
) -> None:
    """Write every document as a localStorage dump, each string as the browser had it.

    `import` reads it back, and so does the migration page. Preferences are of one device
    each; without --device-id every key is taken from the device that wrote it last, which the
    dump names (from_devices).
    """
    output = None if output is None or str(output) == "-" else may_write(output, force=force)
    with target.open() as store, terminal.working("Reading"):
        dump = store.inventory.dump(device_id)
    if devices:
        _list_devices(terminal, dump["devices"])
        return
    chosen = sorted({*dump["from_devices"].values()})
    if device_id is None and len(chosen) > 1:
        terminal.note(
            f"Preferences are of {len(chosen)} devices ({', '.join(chosen)}), each key's of the "
            "one that wrote it last; --device-id takes those of one."
        )
    elif device_id is not None and device_id not in {d["device_id"] for d in dump["devices"]}:
        terminal.note(f"There are no preferences of {device_id}; --devices lists whose there are.")
    content = json.dumps(dump, ensure_ascii=False, indent=2).encode() + b"\n"
    if output is None:
        sys.stdout.buffer.write(content)
        return
    _write(output, content)
    keys = len(dump["localStorage"])
    data = {"file": str(output), "keys": keys, "revision": dump["revision"]}
    terminal.result(data, f"Wrote {keys} keys to {plain(output)} (revision {dump['revision']}).")


def _list_devices(terminal: Terminal, devices: list[dict[str, Any]]) -> None:
    head = ("Device", "Documents", "Of those newest", "Last written")
    rows = [(d["device_id"], d["documents"], d["newest"], d["updated_at"]) for d in devices]
    lines = table([head, *rows]) if rows else ["No device has preferences of its own."]
    terminal.result({"devices": devices}, *lines)


@click.command
@verb
def status(target: Target, terminal: Terminal) -> None:
    """Show what is stored, and how old the newest backup is."""
    with target.open() as store:
        stats = store.inventory.stats()
        backups = store.backups.status()
        data = {"database": store.url, "tenant": store.tenant, "stats": stats, "backups": backups}
    latest = backups.get("latest_backup")
    rows = [
        ("Database", data["database"]),
        ("Tenant", data["tenant"]),
        *(
            (name.replace("_", " ").capitalize(), "-" if n is None else n)
            for name, n in stats.items()
        ),
        ("Backups", backups.get("total_backups", 0)),
        ("Newest backup", latest["created_at"] if latest else _no_newest(backups)),
    ]
    warnings = [f"Note: {plain(warning)}" for warning in backups.get("warnings", ())]
    terminal.result(data, *table(rows), *warnings)


def _no_newest(backups: dict[str, Any]) -> str:
    return "none of the present data" if backups.get("total_backups") else "none yet"


@click.command(short_help="Walk the audit trail.")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="REV.HASH",
    help="What an earlier run printed; finds that newer commits were cut off.",
)
@verb
def verify(target: Target, terminal: Terminal, anchors: tuple[str, ...]) -> None:
    """Walk the audit trail: is every change accounted for, and does it lead to the data?

    Exit code 1: it found something.
    """
    with target.open() as store, terminal.working("Verifying"):
        report = store.inventory.verify(anchors=anchors)
    data = {
        "ok": report.ok,
        "commits": report.commits,
        "problems": list(report.problems),
        "anchor": report.anchor,
    }
    verdict = "all is well" if report.ok else _counted(len(report.problems), "problem")
    terminal.result(
        data,
        *(plain(problem) for problem in report.problems),
        f"Verified {_counted(report.commits, 'commit')}: {verdict}.",
        *([f"Anchor, to keep elsewhere: {report.anchor}"] if report.ok else []),
    )
    if not report.ok:
        click.get_current_context().exit(1)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    return file.read_bytes()


def _write(output: Path, content: bytes) -> None:
    """The old file or the new one, never half of either."""
    try:
        with whole_file(output) as file:  # readable by its owner only: orders and names are in it
            file.write(content)
    except OSError as error:
        error.filename = str(output.absolute().parent)  # not the temporary name
        raise


def _receipt_lines(receipt: Receipt) -> list[str]:
    totals = receipt.totals
    classes = ", ".join(f"{count} {name}" for name, count in totals.items() if name != "keys")
    records = ", ".join(f"{count} {name}" for name, count in receipt.records.to_json().items())
    lines = [f"{totals['keys']} keys: {classes}.", f"Records: {records}."]
    special = [key for key in receipt.keys if key.outcome not in ("stored", "unchanged")]
    taken = [key for key in receipt.keys if key.removed_secrets]
    rows = [(key.outcome, key.key, key.reason or "") for key in (*special, *taken)]
    lines += [f"  {line}" for line in table(rows)] if rows else []
    lines += _difference_lines(receipt)
    if receipt.safety_backup_id is not None:
        lines.append(f"The state before is in safety backup {receipt.safety_backup_id}.")
    if receipt.dry_run:
        lines.append("Nothing was written: this was a dry run.")
    elif receipt.committed:
        lines.append(f"Committed as revision {receipt.revision}.")
    else:
        lines.append(f"Nothing had to change; revision {receipt.revision} stands.")
    return lines


def _difference_lines(receipt: Receipt) -> list[str]:
    """What was known under another name, and whose values stand where there were two."""
    lines: list[str] = []
    if receipt.matched:
        lines.append(f"Items stored under another name: {receipt.matched_count}.")
        names = [
            (f"{match.document}: {'/'.join(match.incoming)}", f"is {'/'.join(match.stored)}")
            for match in receipt.matched[:_SHOWN]
        ]
        lines += [f"  {line}" for line in table(names)]
    if receipt.alike:
        lines.append(f"Items that look like the same thing: {receipt.alike_count}.")
        lines.append("  Whether they are one thing is for a person to decide; nothing was guessed.")
        for alike in receipt.alike[:_SHOWN]:
            lines.append(f"  {alike.document}: {_LIKENESS[alike.cause]}")
            lines += [f"    {line}" for line in table(_alike_rows(alike))]
    if receipt.conflicts:
        lines.append(f"Values that differed: {receipt.conflict_count}.")
        rows = [
            (
                f"{conflict.document}: {'/'.join((*conflict.key, *conflict.path))}",
                conflict.cause,
                _STANDS[conflict.resolution],
            )
            for conflict in receipt.conflicts[:_SHOWN]
        ]
        lines += [f"  {line}" for line in table(rows)]
    return lines


def _alike_rows(alike: Lookalikes) -> list[tuple[str, str, str, str]]:
    """Each item with the numbers that hang on it."""
    return [
        (
            "/".join(item.key),
            item.name,
            _SIDES[item.side],
            ", ".join(
                f"{holding.kind} {'/'.join(holding.key)}: "
                f"{'-' if holding.quantity is None else f'{holding.quantity:g}'}"
                for holding in item.holdings
            )
            or "no stock, no station",
        )
        for item in alike.items
    ]


_SHOWN = 20  # --json has them all
_LIKENESS = {
    "same_name": "one name, several ids; kept apart",
    "other_category": "one name in several categories; kept apart",
    "same_id": "one id, two names; united",
}
_SIDES = {"stored": "in the database", "dump": "in the file", "both": "in both"}
_STANDS = {
    "incoming": "the file's value stands",
    "existing": "what was stored stands",
    "both": "kept apart",
}
