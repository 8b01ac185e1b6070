"""init, import, export, status, verify."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from expresso_persist import adoption
from expresso_persist.cli.base import NEEDS_A_LOOK, Target, Terminal, actor, plain, table, verb
from expresso_persist.database import Database
from expresso_persist.importing.receipt import Receipt
from expresso_persist.store import Store

__all__ = ["export", "import_", "init", "status", "verify"]


@click.command
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--undo",
    is_flag=True,
    help="Bring the replaced system's tables back, if nothing changed since.",
)
@verb
def init(target: Target, terminal: Terminal, dry_run: bool, undo: bool) -> None:
    """Create the tables, bring older ones up to date, or adopt those of the replaced system.

    An adopted database keeps its old tables as legacy_…; --dry-run says what would become of
    every row.
    """
    if undo:
        _bring_back(target, terminal, dry_run=dry_run)
        return
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
                report = adoption.upgrade(database, tenant=tenant)
        finally:
            database.close()
    steps = [*report.steps]
    if not dry_run and not existed:
        steps = [f"Created {database.url}.", *steps]
    data: dict[str, Any] = {"dry_run": dry_run, "steps": steps}
    if report.adopted is not None:
        data["adopted"] = report.adopted.to_json()
    terminal.result(data, *map(plain, steps or ["The database is up to date."]))
    if report.adopted is not None and report.adopted.needs_a_look:
        click.get_current_context().exit(NEEDS_A_LOOK)


def _bring_back(target: Target, terminal: Terminal, *, dry_run: bool) -> None:
    if dry_run:
        raise click.UsageError("--undo has no dry run; it refuses when anything would be lost.")
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
    help="merge keeps what the file does not have; replace removes it.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["incoming", "existing", "fail"]),
    default="incoming",
    show_default=True,
    help="Whose value stays where both have one.",
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

    Secrets are refused, caches skipped, broken values put into quarantine; what became of
    each key is told. Creates the database if there is none. Exit code 3: done, but
    something is in quarantine.
    """
    content = _read(file)
    options = {
        "mode": mode,
        "on_conflict": on_conflict,
        "include": include,
        "device_id": device_id,
    }
    if dry_run and target.is_missing_file:
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
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of standard output.",
)
@click.option("--device-id", metavar="ID", help="Whose preferences to include.")
@verb
def export(target: Target, terminal: Terminal, output: Path | None, device_id: str | None) -> None:
    """Write every document as a localStorage dump, each string as the browser had it.

    `import` reads it back, and so does the migration page.
    """
    with target.open() as store, terminal.working("Reading"):
        dump = store.inventory.dump(device_id)
    content = json.dumps(dump, ensure_ascii=False, indent=2).encode() + b"\n"
    if output is None:
        sys.stdout.buffer.write(content)
        return
    _write(output, content)
    keys = len(dump["localStorage"])
    data = {"file": str(output), "keys": keys, "revision": dump["revision"]}
    terminal.result(data, f"Wrote {keys} keys to {plain(output)} (revision {dump['revision']}).")


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
    folder = output.absolute().parent
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{output.name}-")
    except OSError as error:
        error.filename = str(folder)  # not the temporary name that nobody asked for
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(output)  # readable by its owner only: orders and names are in it
    except BaseException:
        Path(name).unlink(missing_ok=True)
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
    if receipt.conflicts:
        lines.append(
            f"Values that differed: {len(receipt.conflicts)}; "
            f"what was kept: {receipt.conflicts[0].resolution}."
        )
    if receipt.dry_run:
        lines.append("Nothing was written: this was a dry run.")
    elif receipt.committed:
        lines.append(f"Committed as revision {receipt.revision}.")
    else:
        lines.append(f"Nothing had to change; revision {receipt.revision} stands.")
    return lines
