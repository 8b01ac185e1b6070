"""Copies outside the database: complete after every outage, readable without it."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pyrage
import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Copy, Mirror, Rotation
from expresso_persist.backups.mirrors import folder_of
from expresso_persist.db.tables import backup_chunks, backup_manifests, backup_mirrors, data_backups
from expresso_persist.errors import (
    ArchiveRefused,
    BackupNotFound,
    ConflictRefused,
    InvalidConfiguration,
    MirrorUnavailable,
)
from expresso_persist.model.records import Put, Setting
from expresso_persist.ops.drill import drill

WORKER = Path(__file__).with_name("mirror_worker.py")
PASSWORD = "s3cr3t"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def managed(store: Store, *mirrors: Mirror | Path, interval: float = 300) -> BackupManager:
    return BackupManager(
        store.database,
        store.inventory,
        interval=interval,
        mirrors=[m if isinstance(m, Mirror) else Mirror(str(m)) for m in mirrors],
    )


def make(backups: BackupManager, store: Store, number: int, kind: str = "automatic") -> str:
    store.inventory.commit([Put(Setting.of("n", data=number))], actor="test")
    return backups.create(kind).id


def ids(mirror: Mirror) -> list[str]:
    return [copy.id for copy in mirror.copies()]


def file_of(place: Path, copy: Copy) -> Path:
    return place / "default" / copy.name


def due_now(store: Store) -> None:
    """As if the time of the next try had come."""
    with store.database.write() as connection:
        connection.execute(sa.update(backup_mirrors).values(next_at=store.database.now(connection)))


def test_every_verified_backup_is_copied_once(store: Store, place: Path) -> None:
    backups = managed(store, place)
    made = [make(backups, store, number) for number in range(3)]
    assert [synced.copied for synced in backups.sync_mirrors()] == [tuple(reversed(made))]
    assert [(synced.copied, synced.deleted) for synced in backups.sync_mirrors()] == [((), ())]
    copies = backups.mirrors[0].copies()
    assert [copy.id for copy in copies] == list(reversed(made))
    assert [(copy.revision, copy.backup_type, copy.encrypted) for copy in copies] == [
        (number, "automatic", False) for number in (3, 2, 1)
    ]
    assert all(file_of(place, copy).stat().st_size == copy.size for copy in copies)
    assert all(drill(backups.mirrors[0], copy).ok for copy in copies)


def test_a_backup_that_does_not_restore_is_not_copied_and_stops_no_other(
    store: Store, place: Path
) -> None:
    """Its damage is noted in its row."""
    backups = managed(store, place)
    good = make(backups, store, 1)
    with store.database.read() as connection:
        older = set(connection.scalars(sa.select(backup_chunks.c.sha256)))
    bad = make(backups, store, 2)
    store.inventory.commit([Put(Setting.of("n", data=3))], actor="test")
    with store.database.write() as connection:
        newer = backup_chunks.c.sha256.not_in(older)
        connection.execute(sa.update(backup_chunks).where(newer).values(data=b"rotten"))
    [synced] = backups.sync_mirrors()
    assert synced.error is None
    assert synced.copied == (good,)
    assert backups.get(bad).backup_status == "failed"


def test_a_mirror_has_a_rotation_of_its_own(store: Store, place: Path) -> None:
    backups = managed(store, Mirror(str(place), rotation=Rotation(keep_last=2)))
    by_hand = make(backups, store, 0, "manual")
    first = [make(backups, store, number) for number in range(1, 4)]
    backups.sync_mirrors()
    assert ids(backups.mirrors[0]) == [first[2], first[1], by_hand]
    newest = make(backups, store, 4)
    [synced] = backups.sync_mirrors()
    assert (synced.copied, synced.deleted) == ((newest,), (first[1],))
    assert len(backups.list()) == 5


def test_foreign_files_are_left_alone(store: Store, place: Path) -> None:
    (place / "default").mkdir()
    foreign = ["holiday.jpg", "20260101T000000.000000Z_r1_automatic_x.expresso.zst", "a" * 200]
    for name in foreign:
        (place / "default" / name).write_text("mine")
    (place / "default" / "folder.partial").mkdir()
    backups = managed(store, place)
    make(backups, store, 1)
    backups.sync_mirrors()
    assert {name for name in foreign if (place / "default" / name).read_text() == "mine"} == {
        *foreign
    }
    assert (place / "default" / "folder.partial").is_dir()
    assert len(backups.mirrors[0].copies()) == 1


def test_a_copy_that_somebody_removed_comes_back(store: Store, place: Path) -> None:
    backups = managed(store, place)
    made = make(backups, store, 1)
    backups.sync_mirrors()
    file_of(place, backups.mirrors[0].find(made)).unlink()
    assert backups.sync_mirrors()[0].copied == (made,)


def test_a_disk_that_is_not_mounted_is_noticed_and_made_good(store: Store, place: Path) -> None:
    """Nothing is written below the mount point meanwhile, and other mirrors go on."""
    place.rmdir()
    other = place.with_name("other")
    other.mkdir()
    backups = managed(store, place, other)
    made = [make(backups, store, number) for number in range(3)]
    failed, fine = backups.sync_mirrors()
    assert "Is its disk mounted?" in str(failed.error)
    assert fine.error is None
    assert not place.exists()
    [status] = [m for m in backups.status()["mirrors"] if m["mirror"] == str(place)]
    assert (status["failures"], status["copies"]) == (1, 0)
    assert status["lag_seconds"] > 0
    assert status["next_try_at"] is not None
    assert any("mounted" in warning for warning in backups.status()["warnings"])

    place.mkdir()
    backups.run_once()  # not tried again before its time
    assert not ids(backups.mirrors[0])
    due_now(store)
    backups.run_once()
    assert ids(backups.mirrors[0]) == list(reversed(made))
    [status] = [m for m in backups.status()["mirrors"] if m["mirror"] == str(place)]
    assert (status["failures"], status["lag_seconds"], status["last_error"]) == (0, 0.0, None)


def test_failures_are_repeated_ever_more_slowly(store: Store, tmp_path: Path) -> None:
    backups = managed(store, tmp_path / "missing")
    delays = []
    for _ in range(12):
        backups.sync_mirrors()
        with store.database.read() as connection:
            row = connection.execute(sa.select(backup_mirrors)).one()
            delays.append((row.next_at - store.database.now(connection)).total_seconds())
    assert delays[0] <= 10
    assert max(delays) <= 3600
    assert delays[5] > 8 * delays[0]
    assert row.failures == 12


def test_a_full_disk_leaves_no_half_copy(store: Store, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        backups = managed(store, small)
        make(backups, store, 1)
        assert backups.sync_mirrors()[0].error is None
        store.inventory.commit([Put(Setting.of("big", data=os.urandom(60_000).hex()))], actor="x")
        backups.create()
        [synced] = backups.sync_mirrors()
        assert "No space left on device" in str(synced.error)
        assert len([*(small / "default").iterdir()]) == 1
        assert drill(backups.mirrors[0], backups.mirrors[0].find()).ok
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_any_flipped_byte_of_a_copy_is_found_and_none_restored(store: Store, place: Path) -> None:
    backups = managed(store, place)
    make(backups, store, 1)
    backups.sync_mirrors()
    copy = backups.mirrors[0].find()
    file = file_of(place, copy)
    intact = file.read_bytes()
    with Store("sqlite://", migrate=True) as empty:
        for position in range(0, len(intact), 7):
            damaged = bytearray(intact)
            damaged[position] ^= 1 << position % 8
            file.write_bytes(damaged)
            with backups.mirrors[0].open() as archive, pytest.raises(ArchiveRefused):
                empty.backups.import_(archive)
        assert not empty.backups.list()
    assert not drill(backups.mirrors[0], copy).ok


def test_a_copy_under_anothers_name_is_refused(store: Store, place: Path) -> None:
    """Two files exchanged, one renamed, one of another tenant: the archive says what it is."""
    backups = managed(store, place)
    first, second = make(backups, store, 1), make(backups, store, 2)
    backups.sync_mirrors()
    mirror = backups.mirrors[0]
    files = {copy.id: file_of(place, copy) for copy in mirror.copies()}
    intact = {name: file.read_bytes() for name, file in files.items()}
    files[first].write_bytes(intact[second])
    files[second].write_bytes(intact[first])
    for name, other in ((first, second), (second, first)):
        with mirror.open(name) as archive, pytest.raises(ArchiveRefused) as refused:
            backups.import_(archive)  # also where both backups are known
        assert name in refused.value.message
        assert other in refused.value.message
        result = drill(mirror, mirror.find(name))
        assert not result.ok
        assert other in result.problems[0]
    files[first].write_bytes(intact[first])
    renamed = files[first].name.replace("_r1_", "_r7_")
    files[first].rename(files[first].with_name(renamed))
    assert mirror.find().id == first, "by its name it is the newest"
    assert "revision 7" in drill(mirror, mirror.find(first)).problems[0]

    tenant = store.for_tenant("other")
    theirs = managed(tenant, place)
    made = make(theirs, tenant, 1)
    theirs.sync_mirrors()
    [foreign] = mirror.copies("other")
    (place / "other" / foreign.name).rename(place / "default" / foreign.name)
    result = drill(mirror, mirror.find(made))
    assert not result.ok
    assert "'other'" in result.problems[0]
    assert "'default'" in result.problems[0]


def test_the_latest_copy_is_that_of_the_highest_revision(store: Store, place: Path) -> None:
    """The clock was ahead when the older one was made."""
    backups = managed(store, place)
    older, newer = make(backups, store, 1), make(backups, store, 2)
    backups.sync_mirrors()
    mirror = backups.mirrors[0]
    copy = mirror.find(older)
    ahead = attrs.evolve(copy, name=copy.name.replace("2026", "2027").replace("2025", "2027"))
    file_of(place, copy).rename(file_of(place, ahead))
    assert [copy.id for copy in mirror.copies()] == [newer, older]
    assert mirror.find().id == newer


def test_copies_of_two_databases_have_no_latest(
    store: Store, other_store: Store, place: Path
) -> None:
    """Their revisions do not count together; each can be named."""
    backups, others = managed(store, place), managed(other_store, place)
    ours = [make(backups, store, number) for number in range(3)][-1]
    theirs = make(others, other_store, 1)
    backups.sync_mirrors()
    assert others.sync_mirrors()[0].copied == (theirs,), "a lower revision is no older state"
    assert {ours, theirs} <= set(ids(others.mirrors[0]))
    with pytest.raises(ConflictRefused) as refused:
        others.mirrors[0].find()
    assert ours in refused.value.message
    assert theirs in refused.value.message
    assert others.mirrors[0].find(theirs).id == theirs


def test_a_mirror_mends_what_both_copies_have_lost(store: Store, place: Path) -> None:
    """Also while the live state has moved on; and a manifest that is gone twice."""
    backups = managed(store, place)
    older = make(backups, store, 1)
    make(backups, store, 2)
    backups.sync_mirrors()
    make(backups, store, 3)
    with store.database.write() as connection:
        connection.execute(sa.update(backup_chunks).values(data=b"rotten"))
        for table in (data_backups, backup_manifests):
            damaged = sa.update(table).where(table.c.id == older)
            connection.execute(damaged.values(manifest="gone"))
    assert not backups.verify(older).ok
    assert len(backups.status()["damaged_backups"]) == 2
    backups.sync_mirrors()
    assert backups.status()["damaged_backups"] == []
    assert all(backups.verify(backup.id).ok for backup in backups.list())
    backups.restore(older, actor="test")
    assert store.inventory.settings() == {"n": 1}


def test_after_a_disaster_a_mirror_is_all_it_takes(
    store: Store, place: Path, other_store: Store
) -> None:
    backups = managed(store, place)
    make(backups, store, 1)
    make(backups, store, 2, "safety")
    backups.sync_mirrors()
    with Mirror(str(place)).open() as archive:
        stored = other_store.backups.import_(archive)
    other_store.backups.restore(stored.id, actor="anna")
    assert other_store.inventory.settings() == {"n": 1}  # "latest" is no safety backup


@pytest.fixture
def other_store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/new.db", migrate=True) as store:
        yield store


def test_copies_can_be_encrypted(store: Store, place: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    backups = managed(store, Mirror(str(place), recipients=(str(key.to_public()),)))
    make(backups, store, 1)
    backups.sync_mirrors()
    copy = backups.mirrors[0].find()
    assert copy.encrypted
    assert file_of(place, copy).read_bytes().startswith(b"age-encryption.org/v1")
    assert drill(backups.mirrors[0], copy, identities=[str(key)]).ok
    assert not drill(backups.mirrors[0], copy).ok


def test_tenants_have_folders_of_their_own(store: Store, place: Path) -> None:
    """Whatever their names: no path, and no two alike on a file system that ignores case."""
    names = ["a", "A", "../../etc", "ä/b", "a b", "a_b", "", "." * 300]
    folders = {folder_of(name) for name in names}
    assert len({name.lower() for name in folders}) == len(names)
    assert all("/" not in name and not name.startswith(".") for name in folders)
    for name in ("default", "../x"):
        tenant = store.for_tenant(name)
        backups = managed(tenant, place)
        tenant.inventory.commit([Put(Setting.of("whose", data=name))], actor="test")
        backups.create()
        assert backups.sync_mirrors()[0].error is None
        assert len(backups.mirrors[0].copies(name)) == 1
    assert {folder.name for folder in place.iterdir()} == {"default", folder_of("../x")}
    assert drill(Mirror(str(place)), Mirror(str(place)).find(tenant="../x"), tenant="../x").ok
    with pytest.raises(BackupNotFound):
        Mirror(str(place)).find(tenant="nobody")


# -- a real server that can be lost -----------------------------------------------------------


@attrs.define
class FtpServer:
    """A server of files with a password, which can be killed and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ftp://anna:{PASSWORD}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(self.port),
                "-d", str(self.folder), "-w", "-u", "anna", "-P", PASSWORD,
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while True:
            assert self.process.poll() is None
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def ftp(place: Path) -> Iterator[FtpServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = FtpServer(place, free.getsockname()[1])
    server.start()
    yield server
    server.kill()


def test_a_server_that_was_down_is_caught_up_with(
    store: Store, ftp: FtpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And its password is in no status, no message, no log and no row."""
    backups = managed(store, Mirror(ftp.url))
    first = make(backups, store, 1)
    assert backups.sync_mirrors()[0].error is None
    ftp.kill()
    later = [make(backups, store, number) for number in (2, 3)]
    [synced] = backups.sync_mirrors()
    assert synced.error == (f"The mirror ftp://127.0.0.1:{ftp.port}/ failed: Connection refused.")
    with pytest.raises(MirrorUnavailable):
        backups.mirrors[0].copies()
    status = backups.status()
    ftp.start()
    due_now(store)
    backups.run_once()
    assert ids(backups.mirrors[0]) == [*reversed(later), first]
    assert drill(backups.mirrors[0], backups.mirrors[0].find()).ok
    with store.database.read() as connection:
        rows = connection.execute(sa.select(backup_mirrors)).all()
    told = f"{status} {backups.status()} {synced} {caplog.text} {rows} {backups.mirrors}"
    assert "s3cr3t" not in told
    assert "anna" not in told


def test_a_wrong_password_is_told_without_it(store: Store, ftp: FtpServer) -> None:
    backups = managed(store, Mirror(ftp.url.replace("s3cr3t", "wr0ng")))
    make(backups, store, 1)
    [synced] = backups.sync_mirrors()
    assert synced.error is not None
    assert "wr0ng" not in synced.error
    assert not ftp.folder.joinpath("default").exists()


@pytest.mark.parametrize("url", ["", " ", "nonsense://x", "s3x://bucket/coffee"])
def test_a_url_that_means_nothing_is_refused(store: Store, url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        Mirror(url).copies()


def test_one_place_is_one_mirror(store: Store, place: Path) -> None:
    with pytest.raises(InvalidConfiguration):
        managed(store, place, Mirror(f"{place}/../mirror/../mirror"), place)


# -- many processes, and dying ones -----------------------------------------------------------


def test_two_schedulers_copy_everything_once(
    store: Store, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that does not hold the lease leaves the other in peace."""
    managers = [managed(store, place, interval=1) for _ in range(2)]
    results: list[object] = []
    for number in range(4):
        make(managers[0], store, number)
    threads = [
        threading.Thread(target=lambda m=m: results.extend(m.sync_mirrors())) for m in managers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copied = [name for result in results for name in result.copied]  # type: ignore[attr-defined]
    assert sorted(copied) == sorted(ids(managers[0].mirrors[0]))
    assert len(copied) == 4
    assert not [*place.rglob("*.partial")]


def test_the_scheduler_copies_by_itself(store: Store, place: Path) -> None:
    backups = managed(store, place, interval=1)
    with contextlib.closing(Stopping(backups)):
        backups.start()
        give_up = time.monotonic() + 60
        while not ids(backups.mirrors[0]):
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_stop_waits_for_what_is_being_copied(
    store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards nobody uses the database any more."""
    begun, ended = threading.Event(), threading.Event()
    backups = managed(store, place, interval=1)
    make(backups, store, 1)
    export = type(backups._transfer).export

    def slow(*arguments: Any) -> object:
        begun.set()
        time.sleep(0.3)
        try:
            return export(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(type(backups._transfer), "export", slow)
    backups.start()
    assert begun.wait(60)
    backups.stop(60)
    assert ended.is_set()


@attrs.frozen
class Stopping:
    backups: BackupManager

    def close(self) -> None:
        self.backups.stop()


def test_a_copier_that_is_killed_leaves_nothing_but_a_part_that_is_tidied_away(
    store: Store, place: Path, database_url: str
) -> None:
    """Killed after some bytes were written: the final name never shows half a copy."""
    backups = managed(store, place)
    make(backups, store, 1)
    command = [sys.executable, str(WORKER), database_url, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"writing\n"
        assert backups.sync_mirrors()[0].busy
        worker.kill()
    assert len([*place.rglob("*.partial")]) == 1
    assert not backups.mirrors[0].copies()
    assert len(backups.sync_mirrors()[0].copied) == 1  # the dead one's lease is free at once
    assert len(backups.mirrors[0].copies()) == 1
    assert not [*place.rglob("*.partial")]


WITHOUT_FSSPEC = """
import sys

sys.modules["fsspec"] = None  # as if it were not installed
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.model.records import Put, Setting

url = sys.argv[1]
with Store("sqlite://", migrate=True) as store:
    backups = BackupManager(store.database, store.inventory, mirrors=[Mirror(url)])
    store.inventory.commit([Put(Setting.of("n", data=1))], actor="test")
    made = backups.create()
    (synced,) = backups.sync_mirrors()
    assert (synced.error, synced.copied) == (None, (made.id,)), synced
    with backups.mirrors[0].open() as archive, Store("sqlite://", migrate=True) as other:
        other.backups.restore(other.backups.import_(archive).id, actor="test")
        assert other.inventory.settings() == {"n": 1}
for elsewhere in ("s3://bucket/x", "memory://x", "simplecache::file:///x"):
    try:
        Mirror(elsewhere).copies()
    except InvalidConfiguration as error:
        assert "expresso-persist[mirrors]" in error.message
    else:
        raise AssertionError(elsewhere)
"""


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "{}/../mirror"])
def test_a_folder_needs_no_further_package(place: Path, spelling: str) -> None:
    """Without fsspec a folder takes copies and gives them back; other places ask for it."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_FSSPEC, spelling.format(place)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [path.suffix for path in place.rglob("*") if path.is_file()] == [".zst"]


def test_what_was_written_is_read_back(store: Store, place: Path) -> None:
    """A place that stores other bytes than it was given has no copy."""

    class Liar(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            return data[:-1] + b"?" if data else data

    backups = managed(store, place)
    make(backups, store, 1)
    with backups.mirrors[0].reached("default") as folder:
        lying = attrs.evolve(folder, fs=_Lying(folder.fs, Liar))
        with pytest.raises(MirrorUnavailable, match="other bytes"):
            lying.put("x", io.BytesIO(b"content"), lambda: None)
    assert not [path for path in place.rglob("*") if path.is_file()]


@attrs.frozen
class _Lying:
    fs: object
    reader: type[io.BytesIO]

    def __getattr__(self, name: str) -> object:
        return getattr(self.fs, name)

    def open(self, path: str, mode: str) -> object:
        if mode == "rb":
            return self.reader(Path(path).read_bytes())
        return self.fs.open(path, mode)  # type: ignore[attr-defined]


def test_the_copies_of_another_database_are_never_removed(
    store: Store, other_store: Store, place: Path
) -> None:
    """A lost event's copies stay, whatever a new one makes, and it says that they are there."""
    lost = managed(store, place)
    event = [make(lost, store, number) for number in range(3)]
    lost.sync_mirrors()
    few = Mirror(str(place), rotation=Rotation(keep_last=2))
    new = managed(other_store, few)
    for number in range(6):
        make(new, other_store, number)
        [synced] = new.sync_mirrors()
        assert not {*synced.deleted} & {*event}
        [mirror] = new.status()["mirrors"]
        assert f"backup {event[-1]}" in mirror["last_error"]
        assert mirror["copies"] == min(number + 1, 2)
        assert not new.health()["ok"]
    assert {*event} < {*ids(few)}
    [synced] = lost.sync_mirrors()
    assert (synced.copied, synced.deleted) == ((), ())
    with few.open(event[-1]) as archive:
        taken = new.import_(archive)
    new.restore(taken.id, actor="anna")
    new.sync_mirrors()
    assert new.status()["mirrors"][0]["last_error"] is None
    assert {*event} <= {*ids(few)}


def test_copies_of_the_first_release_say_in_the_archive_whose_they_are(
    store: Store, other_store: Store, place: Path
) -> None:
    backups, others = managed(store, Mirror(str(place), rotation=Rotation(keep_last=1))), None
    first = make(backups, store, 1)
    backups.sync_mirrors()
    for copy in backups.mirrors[0].copies():
        plain = copy.name.replace(f"_{copy.epoch}_{copy.digest}", "")
        file_of(place, copy).rename(place / "default" / plain)
    others = managed(other_store, Mirror(str(place), rotation=Rotation(keep_last=1)))
    for number in range(3):
        make(others, other_store, number)
        others.sync_mirrors()
    assert first in ids(backups.mirrors[0])
    newer = make(backups, store, 2)
    with store.database.write() as connection:
        connection.execute(sa.delete(data_backups).where(data_backups.c.id == first))
    assert backups.sync_mirrors()[0].deleted == (first,)
    assert newer in ids(backups.mirrors[0])


@pytest.mark.parametrize("damage", ["half", "empty", "flip"])
@pytest.mark.parametrize("recipients", [(), (str(pyrage.x25519.Identity.generate().to_public()),)])
def test_a_copy_that_is_damaged_is_written_again(
    store: Store, place: Path, damage: str, recipients: tuple[str, ...]
) -> None:
    """While the database has what was in it; it is noticed in a few rounds at most."""
    backups = managed(store, Mirror(str(place), recipients=recipients))
    for number in range(3):
        make(backups, store, number)
    backups.sync_mirrors()
    mirror = backups.mirrors[0]
    victim = mirror.copies()[1]
    file = file_of(place, victim)
    good = bytearray(file.read_bytes())
    good[len(good) // 2] ^= 1
    file.write_bytes({"half": bytes(good[: len(good) // 2]), "empty": b"", "flip": good}[damage])
    rounds = [backups.sync_mirrors()[0].copied for _ in range(3)]
    assert sorted(rounds) == [(), (), (victim.id,)]
    assert sorted(ids(mirror)) == sorted(backup.id for backup in backups.list())
    with mirror.reached("default") as folder:
        assert all(folder.is_sound(copy, lambda: None) for copy in mirror.copies())
