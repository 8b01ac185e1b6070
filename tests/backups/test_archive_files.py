"""Archives as files: whole or not there, however large, whatever is in their place.

``EXPRESSO_ARCHIVE_MIB`` is the size of the state whose archive is measured, 100 when it is
not set; what it may cost in memory is the same for 10,000.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyrage
import pytest
import sqlalchemy as sa

import archives
from backed_up import give_a_past
from expresso_persist import Store
from expresso_persist.db.tables import backup_chunks
from expresso_persist.errors import BackupCorrupted, InvalidInput
from expresso_persist.model.records import Put, Setting

WORKER = Path(__file__).with_name("archive_worker.py")
MIB = int(os.environ.get("EXPRESSO_ARCHIVE_MIB", "100"))


@pytest.mark.timeout(120 + 3 * MIB)
def test_an_archive_costs_no_memory(tmp_path: Path) -> None:
    """Written, encrypted, opened, stored, verified and written again in 56 MiB."""
    key = str(pyrage.x25519.Identity.generate())
    command = [sys.executable, str(WORKER), "measure", str(tmp_path), str(MIB), key]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert told["size"] > MIB * 1024**2
    assert told["after"] - told["before"] < 56 * 1024**2, told


@pytest.fixture
def backup_id(store: Store) -> str:
    give_a_past(store)
    noise = [Put(Setting.of(f"n{i}", data=os.urandom(500).hex())) for i in range(300)]
    store.inventory.commit(noise, actor="test")
    return store.backups.create().id


@pytest.mark.parametrize("earlier", [None, b"the archive of yesterday"])
def test_a_killed_export_leaves_what_was_there(
    store: Store, database_url: str, backup_id: str, tmp_path: Path, earlier: bytes | None
) -> None:
    """Nothing, or the file of before; never half a file under the name."""
    path = tmp_path / "event.expresso.zst"
    if earlier is not None:
        path.write_bytes(earlier)
    command = [sys.executable, str(WORKER), "die", database_url, backup_id, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == earlier
    store.backups.export(backup_id, path)
    assert archives.read(path.read_bytes()).header["backup"]["id"] == backup_id
    assert path.stat().st_mode & 0o077 == 0, "orders and names are in it"


def test_a_damaged_backup_gives_no_file(store: Store, backup_id: str, tmp_path: Path) -> None:
    with store.database.write() as connection:
        connection.execute(sa.delete(backup_chunks))
    path = tmp_path / "event.expresso.zst"
    with pytest.raises(BackupCorrupted):
        store.backups.export(backup_id, path)
    with pytest.raises(InvalidInput, match="age1"):
        store.backups.export(backup_id, path, recipients=["ssh-rsa AAAA"])
    assert [*tmp_path.glob("*zst*")] == []


def test_links_and_pipes_stay_what_they_are(store: Store, backup_id: str, tmp_path: Path) -> None:
    """A rename would put a file in the place of a device that others write to."""
    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    target.write_bytes(b"earlier")
    link.symlink_to(target)
    store.backups.export(backup_id, link)
    assert link.is_symlink()
    expected = target.read_bytes()
    assert archives.read(expected)

    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    store.backups.export(backup_id, pipe)
    reader.join(30)
    assert found == [expected]
    assert pipe.is_fifo()
    store.backups.export(backup_id, "/dev/null")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError):
        store.backups.export(backup_id, tmp_path)
