"""SQLite: full, read only, locked, replaced or deleted under the process."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.errors import (
    DatabaseReadOnly,
    DatabaseUnavailable,
    ExpressoPersistError,
    StorageFull,
)
from expresso_persist.model.records import Put, Setting


def put(store: Store, number: int, size: int = 10) -> int:
    record = Setting.of(f"key {number}", data="x" * size)
    return store.inventory.commit([Put(record)], actor="test").revision


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk; the limit of pages is tested anyway")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_until_full(store: Store) -> int:
    """Commit until the disk is full; the last revision that was confirmed."""
    confirmed = 1

    def fill() -> None:
        nonlocal confirmed
        while confirmed < 1000:
            put(store, confirmed + 1, size=20_000)
            confirmed += 1

    with pytest.raises(StorageFull) as caught:
        fill()
    assert caught.value.status == 507
    assert "INSERT" not in str(caught.value)
    return confirmed


def test_a_full_disk_stores_nothing_by_halves(small_disk: Path) -> None:
    with Store(f"sqlite:///{small_disk}/expresso.db", migrate=True) as store:
        put(store, 1)
        confirmed = fill_until_full(store)
        assert store.inventory.head().revision == confirmed
        assert len(store.inventory.settings()) == confirmed
        with pytest.raises(StorageFull):
            store.importer.import_({"event_menu": {"big": "x" * 900_000}}, actor="test")
        assert store.inventory.head().revision == confirmed
        assert store.inventory.verify().ok
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        assert put(store, 1000) == confirmed + 1


def test_a_full_database_recovers_when_there_is_room(sqlite_url: str) -> None:
    with Store(sqlite_url, migrate=True) as store:
        pages = 120

        @sa.event.listens_for(store.database.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        put(store, 1)
        confirmed = fill_until_full(store)
        assert store.inventory.verify().ok
        pages = 1_000_000
        assert put(store, 1000) == confirmed + 1


def test_a_read_only_database_says_so(sqlite_url: str, tmp_path: Path) -> None:
    with Store(sqlite_url, migrate=True) as store:
        put(store, 1)
        store.database.engine.dispose()
    with sqlite3.connect(tmp_path / "expresso.db") as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    file = tmp_path / "expresso.db"
    with Store(f"sqlite:///file:{file}?immutable=1&uri=true") as store:
        assert store.inventory.settings() == {"key 1": "x" * 10}
        with pytest.raises(DatabaseReadOnly) as caught:
            put(store, 2)
        assert "read" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a folder read only takes root")
def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(ExpressoPersistError, match=r"folder|read.only"):
            Store(f"sqlite:///{folder}/expresso.db", migrate=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_missing_folder_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="folder"):
        Store(f"sqlite:///{tmp_path}/no/such/expresso.db", migrate=True)


def test_a_lock_is_waited_for_and_then_told(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expresso_persist.db.engine.BUSY_TIMEOUT", 0.3)
    with Store(sqlite_url, migrate=True) as store:
        put(store, 1)
        other = sqlite3.connect(
            tmp_path / "expresso.db", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked") as caught:
            put(store, 2)
        assert caught.value.retry_after
        assert store.inventory.settings() == {"key 1": "x" * 10}
        free = threading.Timer(0.1, other.rollback)
        free.start()
        assert put(store, 2) == 2
        free.join()
        other.close()


def test_an_older_copy_in_its_place_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """A restart on the copy: a client that saw more starts again, and the trail is whole."""
    file = tmp_path / "expresso.db"
    with Store(sqlite_url, migrate=True) as store:
        put(store, 1)
    shutil.copy(file, tmp_path / "older.db")
    with Store(sqlite_url) as store:
        put(store, 2)
        head = store.inventory.head()
        seen = head.cursor
    shutil.copy(tmp_path / "older.db", file)
    with Store(sqlite_url) as store:
        assert store.inventory.changes(seen).reset
        assert put(store, 3) == head.revision == 2
        assert store.inventory.changes(seen).reset
        assert store.inventory.head().etag != head.etag, "a 304 would hide what is stored"
        assert store.inventory.verify().ok


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_goes_away_under_a_server_is_noticed(
    sqlite_url: str, tmp_path: Path, replaced: bool
) -> None:
    """Nothing is confirmed that is in no file, and nothing of the old file gets into the new."""
    file = tmp_path / "expresso.db"
    with Store(sqlite_url, migrate=True) as store:
        put(store, 1)
    shutil.copy(file, tmp_path / "other.db")
    with Store(sqlite_url) as store:
        put(store, 2)
        if replaced:
            (tmp_path / "other.db").replace(file)
        else:
            file.unlink()
        uses = (
            lambda: put(store, 3),
            store.inventory.head,
            store.inventory.settings,
            lambda: put(store, 4),
        )
        for use in uses:
            with pytest.raises(DatabaseUnavailable, match="replaced"):
                use()
        assert file.exists() == replaced, "no empty file takes its place"
    if replaced:
        assert not Path(f"{file}-wal").exists(), "it would be replayed into the other file"
        with Store(sqlite_url) as store:
            assert store.inventory.settings() == {"key 1": "x" * 10}
            assert store.inventory.verify().ok
            assert put(store, 2) == 2


def test_a_damaged_file_is_told(sqlite_url: str, tmp_path: Path) -> None:
    with Store(sqlite_url, migrate=True) as store:
        for number in range(30):
            put(store, number, size=5_000)
    file = tmp_path / "expresso.db"
    content = bytearray(file.read_bytes())
    content[:16] = b"not a database.."
    file.write_bytes(content)
    with pytest.raises(ExpressoPersistError, match="damaged"):
        Store(sqlite_url).inventory.records()


def test_a_store_that_many_threads_open_at_once_lets_its_file_go(
    sqlite_url: str, tmp_path: Path
) -> None:
    """One lock on the note per store, which is given back with its last connection."""
    with Store(sqlite_url, migrate=True) as store:
        put(store, 1)
    for _ in range(5):
        with Store(sqlite_url) as store:
            store.database.close()
            together = threading.Barrier(8)

            def read(store: Store = store, together: threading.Barrier = together) -> None:
                together.wait()
                store.inventory.settings()

            threads = [threading.Thread(target=read) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [path.name for path in tmp_path.iterdir()] == ["expresso.db"]
