"""The SQLite file is moved, replaced or deleted under real servers, which are killed.

Nothing that was answered 200 may be lost by what the servers do about it, and nothing of one
file may get into another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from expresso_persist import Store
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.model.records import Put, Setting
from server import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(os.environ.get("EXPRESSO_TEST_BARE")), reason="serving needs a framework"
    ),
]
HEALTH = "/api/migration/health"
SETTING = "/api/inventory/settings/update"
ENDS = [signal.SIGKILL, signal.SIGTERM]
Serve = Callable[..., Server]


class Files:
    """A folder with a database file, another one to put in its place, and a place apart."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "expresso.db"
        self.apart = folder / "apart" / "expresso.db"
        self.apart.parent.mkdir()
        self.url = f"sqlite:///{self.file}"
        other = f"sqlite:///{folder}/other.db"
        with Store(other, migrate=True) as store:
            for number in range(40):
                store.inventory.commit([Put(Setting.of(f"o{number}", data="other"))], actor="t")
        self.other = folder / "other.db"

    def move_away(self) -> None:
        self.file.rename(self.apart)

    def move_back(self) -> None:
        self.apart.rename(self.file)

    def replace(self) -> None:
        """The file goes away, and another one comes in its place."""
        self.move_away()
        shutil.copy(self.other, self.file)

    def settings(self) -> dict[str, object]:
        with Store(self.url) as store:
            assert store.inventory.verify().ok
            return store.inventory.settings()

    def assert_other(self) -> None:
        assert self.settings() == {f"o{number}": "other" for number in range(40)}


class Writer:
    """Writes through servers, and remembers what was confirmed."""

    def __init__(self) -> None:
        self.confirmed: dict[str, object] = {}

    def write(self, server: Server, times: int = 1) -> int:
        status = 0
        for _ in range(times):
            key, value = f"k{len(self.confirmed)}", len(self.confirmed)
            status, answer = server.request(SETTING, {"key": key, "value": value})
            if status == 200:
                self.confirmed[key] = value
            else:
                assert status == 503, answer
        return status


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def serve(files: Files, tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(url: str = files.url, *, no_backups: bool = True) -> Server:
            server = Server("--database", url, *["--no-backups"] * no_backups, cwd=tmp_path)
            stack.callback(server.close)
            server.wait_until_ready()
            return server

        yield start


def refused(server: Server) -> str:
    """What everybody is told, strangers included."""
    status, answer = server.request(HEALTH, token=None)
    assert status == 503, answer
    assert "/" not in answer["error"], "a path is none of a stranger's business"
    assert server.request("/api/inventory/get-all")[0] == 503
    return str(answer["error"])


@pytest.mark.parametrize("end", ENDS)
def test_away_and_back(files: Files, writer: Writer, serve: Serve, end: int) -> None:
    """It refuses until it is started again; then every confirmed write is there."""
    server = serve()
    writer.write(server, 100)
    files.move_away()
    assert "start the server again" in refused(server)
    files.move_back()
    refused(server)
    assert writer.write(server) == 503
    server.stop(end)
    assert files.settings() == writer.confirmed
    assert len(writer.confirmed) == 100


@pytest.mark.parametrize("end", ENDS)
def test_as_the_message_says(files: Files, writer: Writer, serve: Serve, end: int) -> None:
    """Stop, put the file back, start. A start without it throws nothing away."""
    server = serve()
    writer.write(server, 30)
    files.move_away()
    refused(server)
    server.stop(end)
    with pytest.raises(DatabaseUnavailable, match="Put the file back"):
        Store(files.url, migrate=True)
    assert not files.file.exists(), "no empty database takes its place"
    files.move_back()
    assert writer.write(serve(), 5) == 200
    assert len(writer.confirmed) == 35
    assert files.settings() == writer.confirmed


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("end", ENDS)
def test_another_file_in_its_place_and_back(
    files: Files, writer: Writer, serve: Serve, end: int, noticed: bool
) -> None:
    """Each file gets its own journal, whichever is there at the next start."""
    server = serve()
    writer.write(server, 30)
    files.replace()
    if noticed:
        refused(server)
        assert writer.write(server) == 503
    server.stop(end)
    files.assert_other()
    files.assert_other()
    files.file.unlink()
    files.move_back()
    assert files.settings() == writer.confirmed
    assert writer.write(serve(), 3) == 200
    assert files.settings() == writer.confirmed
    assert [path.name for path in files.file.parent.glob("*-wal-of-*")] == []


@pytest.mark.parametrize("end", ENDS)
def test_back_before_the_next_start(files: Files, writer: Writer, serve: Serve, end: int) -> None:
    """Another file was in its place for a while only; also when the stop was a clean one."""
    server = serve()
    writer.write(server, 30)
    files.replace()
    refused(server)
    server.stop(end)
    files.file.unlink()
    files.move_back()
    assert files.settings() == writer.confirmed


def test_other_tools_find_the_other_file_whole(files: Files, writer: Writer, serve: Serve) -> None:
    """After a clean stop no journal of the earlier file is left that SQLite would replay."""
    server = serve()
    writer.write(server, 30)
    files.replace()
    refused(server)
    server.stop(signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(files.file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM system_settings").fetchone() == (40,)


def test_the_journal_of_the_newcomer_is_left_alone(
    files: Files, writer: Writer, serve: Serve, tmp_path: Path
) -> None:
    """The other file comes with a journal of its own, as its server was killed."""
    other = serve(f"sqlite:///{files.other}")
    newcomer = Writer()
    newcomer.write(other, 10)
    other.stop(signal.SIGKILL)
    server = serve()
    writer.write(server, 30)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{files.file}{suffix}").rename(f"{files.apart}{suffix}")
    for suffix in ("", "-wal"):
        Path(f"{files.other}{suffix}").rename(f"{files.file}{suffix}")
    refused(server)
    server.stop(signal.SIGTERM)
    assert files.settings().items() >= newcomer.confirmed.items()
    assert len(files.settings()) == 40 + 10
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{files.apart}{suffix}").rename(f"{files.file}{suffix}")
    assert files.settings() == writer.confirmed


@pytest.mark.parametrize("end", ENDS)
def test_two_workers_of_which_one_sees_the_gap(
    files: Files, writer: Writer, serve: Serve, end: int
) -> None:
    """The other one goes on with the same file and the same journal."""
    servers = serve(), serve()
    for server in servers:
        writer.write(server, 20)
    files.move_away()
    refused(servers[0])
    files.move_back()
    assert writer.write(servers[0]) == 503
    assert writer.write(servers[1], 20) == 200
    servers[0].stop(end)
    assert writer.write(servers[1], 20) == 200
    third = serve()
    assert writer.write(third, 5) == 200
    servers[1].stop(end)
    third.stop(end)
    assert len(writer.confirmed) == 85
    assert files.settings() == writer.confirmed


def test_no_journal_is_moved_under_a_worker(files: Files, writer: Writer, serve: Serve) -> None:
    """One of two stops, while the other one has the earlier file open and may write to it."""
    servers = serve(), serve()
    for server in servers:
        writer.write(server, 20)
    files.replace()
    refused(servers[0])
    servers[0].stop(signal.SIGTERM)
    with pytest.raises(DatabaseUnavailable, match="Stop every process"):
        Store(files.url, migrate=True)
    servers[1].stop(signal.SIGKILL)
    files.assert_other()
    files.file.unlink()
    files.move_back()
    assert files.settings() == writer.confirmed


def test_workers_that_are_started_at_once_on_another_file(
    files: Files, writer: Writer, serve: Serve
) -> None:
    """One of them sets the journal aside; the others wait for it."""
    server = serve()
    writer.write(server, 20)
    files.replace()
    server.stop(signal.SIGKILL)
    code = (
        f"from expresso_persist import Store; print(len(Store({files.url!r}).inventory.settings()))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0] for process in started] == ["40\n"] * 4


def test_a_journal_whose_file_was_changed_meanwhile_is_not_replayed(
    files: Files, writer: Writer, serve: Serve
) -> None:
    """The number of a file may be given to another one; its time of writing tells."""
    server = serve()
    writer.write(server, 20)
    files.replace()
    server.stop(signal.SIGKILL)
    files.assert_other()
    files.file.unlink()
    files.move_back()
    os.utime(files.file)
    with pytest.raises(DatabaseUnavailable, match="move it to another folder"):
        files.settings()
    [kept] = files.file.parent.glob("*-wal-of-*")
    kept.rename(f"{files.file}-wal")
    assert files.settings() == writer.confirmed


def test_a_file_that_was_given_the_inode_of_the_deleted_one(
    files: Files, writer: Writer, serve: Serve
) -> None:
    """A file system likes to give a deleted file's inode to the next one."""
    server = serve()
    writer.write(server, 20)
    server.stop(signal.SIGKILL)
    inode = files.file.stat().st_ino
    files.file.unlink()
    for _ in range(20):  # some file systems never do it: then this is one more replacement
        shutil.copy(files.other, files.file)
        if files.file.stat().st_ino == inode:
            break
        files.file.unlink()
    else:
        shutil.copy(files.other, files.file)
    files.assert_other()
    assert len([*files.file.parent.glob("*-wal-of-*")]) == 1


def test_a_link_that_is_turned_to_another_file(
    files: Files, writer: Writer, serve: Serve, tmp_path: Path
) -> None:
    """The path that was given counts; each file's journal is beside the file."""
    link = tmp_path / "current.db"
    link.symlink_to(files.file)
    server = serve(f"sqlite:///{link}")
    writer.write(server, 20)
    link.unlink()
    link.symlink_to(files.other)
    refused(server)
    server.stop(signal.SIGTERM)
    with Store(f"sqlite:///{link}") as store:
        assert len(store.inventory.settings()) == 40
    assert files.settings() == writer.confirmed


def test_a_relative_path_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    with Store("sqlite:///expresso.db", migrate=True) as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.inventory.commit([Put(Setting.of("a", data=1))], actor="t")
        store.database.engine.dispose()
        assert store.inventory.settings() == {"a": 1}
    assert {path.name for path in tmp_path.iterdir()} == {"expresso.db", "elsewhere"}


def test_a_gap_under_load_loses_nothing(files: Files, serve: Serve) -> None:
    """Eight writers at once while the file is away for a moment, then kill -9."""
    server = serve(no_backups=False)
    writers = [Writer() for _ in range(8)]
    over = threading.Event()

    def work(number: int) -> None:
        while not over.is_set():
            key = f"w{number}-{len(writers[number].confirmed)}"
            if server.request(SETTING, {"key": key, "value": 1})[0] == 200:
                writers[number].confirmed[key] = 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while sum(len(writer.confirmed) for writer in writers) < 200:
        over.wait(0.01)
    files.move_away()
    refused(server)
    files.move_back()
    over.wait(0.3)
    over.set()
    for thread in threads:
        thread.join()
    server.stop(signal.SIGKILL)
    confirmed = {key: value for writer in writers for key, value in writer.confirmed.items()}
    assert files.settings().items() >= confirmed.items()
