"""backup sync, and --from: what is left when the database is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result

from expresso_persist.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the environment names as the mirror; its name has a blank."""
    folder = tmp_path / "usb stick"
    folder.mkdir()
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", f"'{folder}'")
    return folder


@pytest.fixture
def filled(run: Run, place: Path, dump_file: str) -> Path:
    """A database with a dump and two backups, all copied to the mirror."""
    run("init")
    run("backup", "create", "--notes", "empty")
    run("import", dump_file)
    run("backup", "create")
    return place


def elsewhere(tmp_path: Path, *words: str, code: int = 0) -> Result:
    """Run a verb on a machine that has nothing but the mirror."""
    database = f"sqlite:///{tmp_path}/new.db"
    result = CliRunner().invoke(cli, [*words, "--database", database])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.output
    return result


def exported(tmp_path: Path) -> Any:
    return json.loads(elsewhere(tmp_path, "export").stdout)["localStorage"]


def test_a_backup_made_by_hand_is_copied_at_once(filled: Path) -> None:
    assert len([*filled.rglob("*.expresso.zst")]) == 2


def test_sync_says_what_it_did(
    run: Run, answer: Callable[..., Any], filled: Path, tmp_path: Path
) -> None:
    assert "copied 0, removed 0" in run("backup", "sync").stdout
    filled.rename(tmp_path / "unplugged")
    assert "FAILED" in run("backup", "sync", code=1).stdout
    [failed] = answer("backup", "sync", code=1)["mirrors"]
    assert "Is its disk mounted?" in failed["error"]
    created = run("backup", "create")  # the backup was made all the same
    assert "Made and verified" in created.stdout
    assert "Is its disk mounted?" in created.stderr
    assert "Is its disk mounted?" in run("backup", "run").stderr
    (tmp_path / "unplugged").rename(filled)
    assert "copied 1, removed 0" in run("backup", "sync").stdout.replace("copied 2", "copied 1")


def test_sync_without_a_mirror_says_how_to_set_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXPRESSO_PERSIST_MIRRORS", raising=False)
    run("init")
    assert "EXPRESSO_PERSIST_MIRRORS" in run("backup", "sync", code=1).stderr


def test_the_copies_are_listed_without_a_database(filled: Path, tmp_path: Path) -> None:
    listed = elsewhere(tmp_path, "backup", "list", "--from", str(filled))
    assert listed.stdout.count("manual") == 2
    data = json.loads(elsewhere(tmp_path, "backup", "list", "--from", str(filled), "--json").stdout)
    assert [copy["revision"] for copy in data["copies"]] == [1, 0]
    assert not (tmp_path / "new.db").exists()


def test_a_mirror_is_all_it_takes_after_a_disaster(run: Run, filled: Path, tmp_path: Path) -> None:
    """Nothing but the folder: the data comes back to the letter."""
    before = json.loads(run("export").stdout)["localStorage"]
    elsewhere(tmp_path, "backup", "restore", "latest", "--from", str(filled), "--yes")
    assert exported(tmp_path) == before
    assert "DOES NOT" not in elsewhere(tmp_path, "backup", "verify", "--all").stdout


def test_an_older_copy_can_be_chosen(filled: Path, tmp_path: Path) -> None:
    listed = elsewhere(tmp_path, "backup", "list", "--from", str(filled), "--json")
    oldest = json.loads(listed.stdout)["copies"][-1]["id"]
    dry = elsewhere(tmp_path, "backup", "restore", oldest, "--from", str(filled), "--dry-run")
    assert "nothing to restore" in dry.stdout


def test_no_database_is_created_for_a_copy_that_is_not_there(filled: Path, tmp_path: Path) -> None:
    for words in (("f" * 32, str(filled)), ("latest", str(tmp_path / "nowhere"))):
        elsewhere(tmp_path, "backup", "restore", words[0], "--from", words[1], "--yes", code=1)
    assert not (tmp_path / "new.db").exists()


def test_a_drill_touches_no_database(filled: Path, tmp_path: Path) -> None:
    drilled = elsewhere(tmp_path, "backup", "verify", "--all", "--from", str(filled))
    assert "Verified 2: none of them" in drilled.stdout
    file = max(filled.rglob("*.expresso.zst"))
    file.write_bytes(file.read_bytes()[:-3])
    failed = elsewhere(tmp_path, "backup", "verify", "latest", "--from", str(filled), code=1)
    assert "DOES NOT RESTORE" in failed.stdout
    assert not (tmp_path / "new.db").exists()


def test_encrypted_copies_need_the_key(
    run: Run, place: Path, tmp_path: Path, dump_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = pyrage.x25519.Identity.generate()
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRROR_RECIPIENTS", str(key.to_public()))
    identity = tmp_path / "key.txt"
    identity.write_text(f"# created: today\n{key}\n")
    run("init")
    run("import", dump_file)
    run("backup", "create")
    restore = ("backup", "restore", "latest", "--yes", "--from", str(place))
    locked = elsewhere(tmp_path, *restore, code=1)
    assert "encrypted" in locked.stderr
    elsewhere(tmp_path, *restore, "--identity", str(identity))
    assert exported(tmp_path) == json.loads(run("export").stdout)["localStorage"]


def test_a_key_without_a_mirror_is_a_mistake(run: Run) -> None:
    run("init")
    result = run("backup", "verify", "latest", "--passphrase", code=2)
    assert "--from" in result.stderr


def test_one_station_can_be_restored(run: Run, answer: Callable[..., Any], filled: Path) -> None:
    plan = answer("backup", "restore", "latest", "--dry-run", "--key", "event_inventory:milk")
    assert plan["keys"] == ["event_inventory:milk"]
    refused = run("backup", "restore", "latest", "--dry-run", "--station", "nowhere", code=1)
    assert "station nowhere" in refused.stderr


def test_a_dry_run_from_a_mirror_says_what_it_wrote(
    run: Run, answer: Callable[..., Any], filled: Path, tmp_path: Path
) -> None:
    """Nothing where there is no database; in one that is there, the backup that it compares."""
    words = ("backup", "restore", "latest", "--from", str(filled), "--dry-run")
    files = sorted(path.name for path in tmp_path.iterdir())
    dry = elsewhere(tmp_path, *words)
    assert "records would be added" in dry.stdout
    assert "Nothing was written" in dry.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert "Nothing was written" in run(*words).stdout, "it has this backup already"
    elsewhere(tmp_path, "init")
    dry = elsewhere(tmp_path, *words)
    (stored,) = json.loads(elsewhere(tmp_path, "backup", "list", "--json").stdout)["backups"]
    assert f"No data was changed: this was a dry run. It stored backup {stored['id']}" in dry.stdout
    assert exported(tmp_path) == {}


def test_no_dry_run_creates_a_database(tmp_path: Path, filled: Path, dump_file: str) -> None:
    """Whatever the verb: with a name that is mistyped, no file appears."""
    files = sorted(path.name for path in tmp_path.iterdir())
    for words, code in (
        (["init"], 0),
        (["import", dump_file], 0),
        (["backup", "restore", "latest", "--from", str(filled)], 0),
        (["backup", "restore", "latest"], 1),
        (["backup", "rotate"], 1),
        (["undo", "1"], 1),
        (["history", "forget", "--older-than", "1d"], 1),
    ):
        database = f"sqlite:///{tmp_path}/new.db"
        result = CliRunner().invoke(cli, [*words, "--dry-run", "--database", database])
        assert result.exit_code == code, (words, result.output)
        assert sorted(path.name for path in tmp_path.iterdir()) == files, words


def test_exchanged_files_are_told_and_not_restored(filled: Path, tmp_path: Path) -> None:
    one, two = sorted(filled.rglob("*.expresso.zst"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    drilled = elsewhere(tmp_path, "backup", "verify", "--all", "--from", str(filled), code=1)
    assert drilled.stdout.count("DOES NOT RESTORE") == 2
    assert "renamed or exchanged" in drilled.stdout
    words = ("backup", "restore", "latest", "--from", str(filled), "--yes")
    assert "renamed or exchanged" in elsewhere(tmp_path, *words, code=1).stderr


def test_a_drill_says_nothing_about_the_database(
    filled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it opens is new, and no loss: no advice to restore over healthy data."""
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", str(filled))
    drilled = elsewhere(tmp_path, "backup", "verify", "--all", "--from", str(filled))
    assert "restores" in drilled.stdout
    assert "new" not in drilled.stderr
    assert "is new" not in caplog.text


def test_a_refused_restore_makes_no_database(filled: Path, tmp_path: Path) -> None:
    files = sorted(path.name for path in tmp_path.iterdir())
    words = ("backup", "restore", "latest", "--from", str(filled))
    assert "say --yes" in elsewhere(tmp_path, *words, code=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == files
