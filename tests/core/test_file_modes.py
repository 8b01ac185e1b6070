"""Whatever files and folders the library makes are their owner's alone, whatever the umask."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backed_up import give_a_past
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror
from expresso_persist.model.records import Put, Setting
from expresso_persist.ops.doctor import DoctorContext, disk

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(params=[0o000, 0o022, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def assert_private(folder: Path) -> set[str]:
    """Everything below a folder; gives back the names."""
    found = set()
    for path in folder.rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
        found.add(path.name)
    return found


def test_a_new_database_and_what_is_beside_it(tmp_path: Path, umask: int) -> None:
    with Store(f"sqlite:///{tmp_path}/expresso.db", migrate=True) as store:
        store.inventory.commit([Put(Setting.of("a", data=1))], actor="t")
        found = assert_private(tmp_path)
        assert {"expresso.db", "expresso.db-wal", "expresso.db-shm"} <= found
    assert assert_private(tmp_path) == {"expresso.db"}


def test_a_database_that_is_there_keeps_its_rights(tmp_path: Path, umask: int) -> None:
    """And its journal has the same, so that a user of the one can use the other."""
    file = tmp_path / "expresso.db"
    Store(f"sqlite:///{file}", migrate=True).close()
    file.chmod(0o660)
    with Store(f"sqlite:///{file}") as store:
        store.inventory.commit([Put(Setting.of("a", data=1))], actor="t")
        assert mode(file) == mode(Path(f"{file}-wal")) == 0o660


def test_the_doctor_says_who_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "expresso.db"
    with Store(f"sqlite:///{file}", migrate=True) as store:
        assert "Every user" not in disk(DoctorContext(store)).text
        file.chmod(0o644)
        found = disk(DoctorContext(store))
        assert (found.state, f"chmod o-rwx {file}" in found.text) == ("warning", True)


def test_mirrors_and_archives(store: Store, tmp_path: Path, umask: int) -> None:
    """The mirror's own folder was there; the tenant's in it, and what is in that, are new."""
    place = tmp_path / "mirror"
    place.mkdir()
    give_a_past(store, 2)
    with BackupManager(store.database, store.inventory, mirrors=[Mirror(str(place))]) as backups:
        assert [synced.error for synced in backups.sync_mirrors()] == [None]
    assert len(assert_private(place)) == 1 + 2
    archive = tmp_path / "archive.expresso"
    store.backups.export(store.backups.list()[0].id, archive)
    assert mode(archive) == 0o600


def test_the_command_line(tmp_path: Path, umask: int) -> None:
    """A database, an export and an archive, each made by its verb."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for verb in (
        ["init"],
        ["export", "--output", "dump.json"],
        ["backup", "create"],
        ["backup", "export", "latest", "--output", "archive.expresso"],
    ):
        subprocess.run(
            [sys.executable, "-m", "expresso_persist", *verb, "--database", "sqlite:///new.db"],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
    assert assert_private(tmp_path) == {"new.db", "dump.json", "archive.expresso"}
    shutil.rmtree(tmp_path)
