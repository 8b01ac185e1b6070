"""After the database was lost: what the command says at once, and what it leaves behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from expresso_persist import Store
from expresso_persist.backups import mirror_status
from expresso_persist.backups.mirrors import Mirror
from expresso_persist.cli import backups as backup_verbs
from expresso_persist.cli import cli

Run = Callable[..., Result]
DUMP = {"event_inventory": {"milk": {"Oat": {"enabled": True}}}}


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with the only copy of revision 2 of a database that is gone."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", str(folder))
    with Store(f"sqlite:///{tmp_path / 'gone.db'}", migrate=True) as store:
        store.importer.import_(DUMP, actor="anna")
        store.importer.import_({"event_name": "Spring"}, actor="anna")
        store.backups.create()
        store.backups.sync_mirrors()
    return folder


def test_every_answer_names_the_mirror_at_once(run: Run, database_url: str, lost: Path) -> None:
    (copy,) = Mirror(str(lost)).copies()
    way = f"backup restore {copy.id} --from {lost}"
    assert way in run("status", code=1).stderr
    assert way in run("doctor", code=1).stdout
    assert way in run("init", "--dry-run").stdout
    assert way in run("init").stdout
    assert way in run("init").stdout  # also the second time
    assert way in run("status").stdout
    with Store(database_url) as store:
        health = store.backups.health()
        assert "A mirror has data" in health["warning"]
        assert str(lost) not in health["warning"], "strangers may ask"
        assert copy.id not in health["warning"]
        assert not health["ok"]
        assert any(way in warning for warning in store.backups.status()["warnings"])


def test_after_the_restore_nothing_is_missing(
    run: Run, lost: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Although the restored database is at a lower revision than the copy was."""
    answer = json.loads(
        run("backup", "restore", "latest", "--from", str(lost), "--yes", "--json").stdout
    )
    assert "This database is new" not in caplog.text
    status = json.loads(run("status", "--json").stdout)["backups"]
    assert status["latest_backup"]["id"] == answer["backup_after"]
    assert not any("no backup" in warning for warning in status["warnings"])
    assert not any("newer" in warning for warning in status["warnings"])
    run("backup", "sync")
    assert "newer" not in run("status").stdout


def test_a_no_leaves_nothing(
    run: Run, lost: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_verbs, "_require_somebody", lambda _terminal: None)
    refused = run("backup", "restore", "latest", "--from", str(lost), code=1, stdin="n\n")
    assert "No database was created" in refused.stderr
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    run("status", code=1)  # there are no tables
    run("backup", "restore", "latest", "--from", str(lost), stdin="y\n")


def test_a_mirror_that_hangs_holds_nobody_up(
    store: Store, lost: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()

    def copies(_mirror: Mirror, _tenant: str) -> list[Any]:
        hangs.wait()
        return []

    monkeypatch.setattr(Mirror, "copies", copies)
    monkeypatch.setattr(mirror_status, "PATIENCE", 0.1)
    try:
        began = time.monotonic()
        store.backups.health()
        looks = [each for each in threading.enumerate() if "lookout" in each.name]
        for _ in range(20):
            store.for_tenant("default").backups.health()
        assert "has not answered" in " ".join(store.backups.status()["warnings"])
        assert len([each for each in threading.enumerate() if "lookout" in each.name]) == len(looks)
        assert time.monotonic() - began < 2
    finally:
        hangs.set()


def test_a_missing_file_beside_its_journal(tmp_path: Path, lost: Path) -> None:
    """No verb advises or does what would throw the journal away."""
    file = tmp_path / "expresso.db"
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps(DUMP))
    for journal in (f"{file}-wal", f"{file}-journal"):
        Path(journal).write_bytes(b"commits")
        for words in (
            ["status"],
            ["doctor"],
            ["init"],
            ["init", "--dry-run"],
            ["import", str(dump), "--dry-run"],
            ["backup", "restore", "latest", "--from", str(lost), "--yes"],
        ):
            told = CliRunner().invoke(cli, [*words, "--database", f"sqlite:///{file}"])
            assert told.exit_code == 1, words
            assert "Put the file back" in told.output + told.stderr
            assert "create it with" not in told.output + told.stderr
        assert not file.exists()
        Path(journal).unlink()


@pytest.mark.parametrize(
    "words", [["export"], ["backup", "export", "latest"], ["tenant", "delete", "other", "--yes"]]
)
def test_no_verb_replaces_a_file_unasked(run: Run, tmp_path: Path, words: list[str]) -> None:
    run("init")
    run("backup", "create")
    run("tenant", "create", "other")
    file = tmp_path / "there"
    file.write_text("mine")
    assert "--force replaces it" in run(*words, "-o", str(file), code=1).stderr
    assert file.read_text() == "mine"
    run(*words, "-o", str(file), "--force")
    assert file.read_bytes() != b"mine"


def test_an_archive_that_is_here_already(run: Run, tmp_path: Path) -> None:
    run("init")
    made = json.loads(run("backup", "create", "--json").stdout)
    file = tmp_path / "archive"
    run("backup", "export", made["id"], "-o", str(file))
    told = run("backup", "import", str(file)).stdout
    assert f"here already, as backup {made['id']}" in told
    assert "not checked again" in told
    assert "Stored and verified" not in told
