"""What an operator sees of the backups: how old, how large, verified when, kept why."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from expresso_persist import Store
from expresso_persist.backups import Rotation
from expresso_persist.cli import host_group
from expresso_persist.cli.words import age, size
from expresso_persist.db.tables import backup_chunks, data_backups
from expresso_persist.model.records import Put, Setting
from terminal import seen


def write(store: Store, value: object) -> None:
    store.inventory.commit([Put(Setting.of("n", data=value))], actor="test")  # type: ignore[arg-type]


def grow_older(store: Store, backup_id: str, **times: dt.timedelta) -> None:
    """Date a backup back, from the database's clock."""
    with store.database.write() as connection:
        now = store.database.now(connection)
        connection.execute(
            sa.update(data_backups)
            .where(data_backups.c.id == backup_id)
            .values({name: now - span for name, span in times.items()})
        )


def test_the_list_tells_age_and_reason(store: Store, run, answer) -> None:
    """By the database's clock; in JSON as numbers."""
    write(store, 1)
    old = store.backups.create("automatic").id
    new = store.backups.create(notes="doors open").id
    days = dt.timedelta(days=3, hours=1)
    grow_older(store, old, created_at=days, verified_at=dt.timedelta(hours=2, minutes=5))
    header, newest, oldest = run("backup", "list").stdout.splitlines()
    columns = ["ID", "MADE", "AGE", "TYPE", "SIZE", "STORED", "RECORDS", "VERIFIED"]
    assert header.split() == [*columns, "KEPT", "BECAUSE", "NOTES"]
    assert newest.startswith(new)
    assert newest.endswith("made by hand     doors open")
    assert "3 days" in oldest
    assert "yes, 2 h ago" in oldest
    assert "newest: 1 of 50" in oldest
    newest, oldest = answer("backup", "list")["backups"]
    assert (newest["kept"], newest["kept_because"]) == (True, "made by hand")
    assert oldest["age_seconds"] == pytest.approx(days.total_seconds(), abs=300)
    assert oldest["records"] == 1


def test_what_is_not_verified_stands_out(store: Store, run) -> None:
    """Failed, not checked yet, about to be dropped, confirmed since."""
    write(store, 1)
    store.backups.create("automatic")
    store.backups.create("automatic")
    assert "(confirmed " in run("backup", "list").stdout
    with store.database.write() as connection:
        store.backups._catalog.note_failure(connection, store.database.now(connection), "Disk\x1b!")
        connection.execute(
            sa.update(data_backups)
            .where(data_backups.c.backup_status == "completed")
            .values(verified_at=None)
        )
    failed, unverified = run("backup", "list").stdout.splitlines()[1:]
    assert "  NO: failed  as new as those that stay, though failed or damaged  Disk\\x1b!" in failed
    assert "  NO  " in unverified
    store.backups.pin(store.backups.list()[0].id)
    assert "automatic (pinned)" in run("backup", "list").stdout


def test_a_narrow_terminal_gets_lines_of_its_width(store: Store, database_url: str) -> None:
    """A wide one gets the table; nothing is cut off in either."""
    write(store, 1)
    made = store.backups.create(notes="before the doors open, with all of the milk counted twice")
    narrow = seen(database_url, "backup", "list", columns=50).splitlines()
    assert narrow[0] == made.id
    assert all(len(line) <= 50 for line in narrow)
    assert made.notes in " ".join(line.strip() for line in narrow)
    wide = seen(database_url, "backup", "list", columns=250).splitlines()
    assert wide[0].startswith("ID ")
    assert wide[1].endswith(made.notes)


def test_a_dry_rotation_is_the_real_one(store: Store) -> None:
    """Each decision with its reason, by the rule of the host."""
    store.backups.rotation = Rotation(keep_last=2)
    for number in range(5):
        write(store, number)
        store.backups.create("automatic" if number else "manual")
    group = host_group(lambda: store)

    def rotate(*words: str) -> list[str]:
        result = CliRunner().invoke(group, ["backup", "rotate", *words])
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    *dry, told = rotate("--dry-run")
    assert len(store.backups.list()) == 5
    assert told == "Would keep 3 and drop 2; the rule: the 2 newest. Nothing was dropped."
    *real, told = rotate()
    assert told == "Kept 3, dropped 2; the rule: the 2 newest."
    words = {"keep": "kept", "drop": "dropped"}
    assert [line.split() for line in real] == [
        [words[first], *rest] for first, *rest in map(str.split, dry)
    ]
    kept = [line.split()[1] for line in real if line.startswith("kept")]
    assert [backup.id for backup in store.backups.list()] == kept
    assert [line for line in real if "beyond the rule (the 2 newest)" in line] == real[2:4]


def test_a_pinned_backup_stays(store: Store, run, answer) -> None:
    """Until it is unpinned."""
    write(store, 1)
    made = store.backups.create("automatic")
    assert answer("backup", "pin", "latest")["pinned"] is True
    (decision,) = answer("backup", "rotate", "--dry-run")["decisions"]
    assert decision == {"backup_id": made.id, "keep": True, "reason": "pinned"}
    assert "Unpinned" in run("backup", "unpin", made.id).stdout
    assert store.backups.get(made.id).pinned is False
    assert "backup" in run("backup", "pin", "nope", code=1).stderr


def test_all_backups_are_verified(store: Store, run, answer) -> None:
    """One that would not restore makes the exit code 1, and the others are still checked."""
    assert "backup create" in run("backup", "verify", "--all", code=1).stderr
    for number in range(3):
        write(store, f"{number}" * 500)
        store.backups.create()
    with store.database.write() as connection:  # a trace of a failure holds nothing to verify
        store.backups._catalog.note_failure(connection, store.database.now(connection), "Disk")
    assert answer("backup", "verify", "--all")["ok"] is True
    write(store, "other")
    with store.database.write() as connection:
        newest = connection.scalar(
            sa.select(backup_chunks.c.sha256).where(backup_chunks.c.base_sha256.is_not(None))
        )
        connection.execute(
            sa.update(backup_chunks)
            .where(backup_chunks.c.sha256 == newest)
            .values(data=b"\x02damaged")
        )
    found = answer("backup", "verify", "--all", code=1)
    assert found["ok"] is False
    results = {result["backup_id"]: result["ok"] for result in found["backups"]}
    assert len(results) == 3
    assert {*results.values()} == {True, False}
    text = run("backup", "verify", "--all", code=1).stdout
    assert "DOES NOT RESTORE" in text
    assert "of them would fail to restore." in text
    for words in ([], ["latest", "--all"]):
        run("backup", "verify", *words, code=2)


def test_progress_is_for_those_who_watch(store: Store, database_url: str, run) -> None:
    """On standard error of a terminal, and nowhere else."""
    store.backups.create()
    quiet = run("backup", "verify", "--all")
    assert quiet.stderr == ""
    assert "Verifying" not in quiet.stdout
    shown = seen(database_url, "backup", "verify", "--all", columns=80)
    assert "Verifying" in shown
    assert "100%" in shown
    assert "Verified 1: none of them" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "in the future"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172799, "47 h"),
        (172800, "2 days"),
        (86400 * 400, "400 days"),
    ],
)
def test_spans_are_told_in_one_unit(seconds: float, text: str) -> None:
    """The largest of which there are at least one or, for days, two."""
    assert age(dt.timedelta(seconds=seconds)) == text


def test_sizes_are_told_in_units() -> None:
    """Of a thousand."""
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 3_200_000_000)] == [
        "0 B", "999 B", "1 KB", "12 MB", "3.2 GB",
    ]  # fmt: skip
